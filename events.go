package awsiam

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	// eventPrefix begins the types of all events, as kv-v2/ and database/ do of
	// Vault's own engines.
	eventPrefix = "aws-iam/"

	eventCredsCreate  = "creds-create"
	eventCredsRenew   = "creds-renew"
	eventCredsRevoke  = "creds-revoke"
	eventCredsReap    = "creds-reap"
	eventCredsDelete  = "creds-delete"
	eventCredsTidy    = "creds-tidy"
	eventConfigWrite  = "config-write"
	eventConfigDelete = "config-delete"
	eventConfigRotate = "config-rotate"
	eventRoleWrite    = "role-write"
	eventRoleDelete   = "role-delete"
	// eventFailed ends the types of events that say that something did not succeed.
	eventFailed = "-fail"

	eventPreviousAccessKeyID = "previous_access_key_id"

	// enterpriseMetadata is in the version of Vault Enterprise, as in 1.21.1+ent.hsm.
	enterpriseMetadata = "ent"

	// maxEventsWaiting bounds what is kept for a server that does not take events.
	maxEventsWaiting = 1024
	// eventTimeout bounds the sending of one event, which takes Vault no time: it
	// does not wait for subscribers.
	eventTimeout = 10 * time.Second
	// eventFlush is how long the end of the backend waits for events to be sent.
	eventFlush = time.Second
	// eventReminder is how often the log says that events are lost.
	eventReminder = time.Hour
)

// events are on their way to Vault's event system. Whoever has something to tell
// leaves it here and goes on: each event is a call to Vault's process, on which no
// request waits, and whose failure is nobody's trouble. One goroutine sends them,
// in order, while there are any. Where the server does not keep up they are lost,
// as Vault loses them itself where a subscriber does not: they are a notice, and
// the records are the truth.
type events struct {
	b *backend
	// wanted says that the server has somebody to pass events to, as far as is known:
	// each costs it and the plugin more than a renewal does.
	wanted   atomic.Bool
	asked    bool // and answered, by who sends
	lifetime context.Context
	end      context.CancelFunc
	work     sync.WaitGroup // of the goroutine

	mu       sync.Mutex
	waiting  []event
	sending  chan struct{} // closed when the goroutine ends; nil if there is none
	stopped  bool
	lost     int // since the log last said so
	reported time.Time
}

type event struct {
	operation string
	metadata  []string // pairs, as logical.SendEvent takes them
}

func newEvents(b *backend) *events {
	e := &events{b: b}
	e.lifetime, e.end = context.WithCancel(context.Background())
	return e
}

// tell has an event sent. path is what a subscriber must have the right to, and
// dataPath where to read what is so now, if that can be read; both below the mount.
// Pairs without a value are left out.
func (e *events) tell(operation, path, dataPath string, pairs ...string) {
	if !e.wanted.Load() || operation == "" {
		return
	}
	metadata := []string{
		logical.EventMetadataModified, strconv.FormatBool(true),
		logical.EventMetadataOperation, operation,
		logical.EventMetadataPath, path,
	}
	for pairs = append(pairs, logical.EventMetadataDataPath, dataPath); len(pairs) > 1; pairs = pairs[2:] {
		if pairs[1] != "" {
			metadata = append(metadata, pairs[0], pairs[1])
		}
	}
	e.mu.Lock()
	switch {
	case e.stopped:
		e.mu.Unlock()
		return
	case len(e.waiting) == maxEventsWaiting:
		e.mu.Unlock()
		e.lose(fmt.Errorf("%d are waiting already", maxEventsWaiting))
		return
	}
	e.waiting = append(e.waiting, event{operation, metadata})
	if e.sending == nil {
		e.sending = make(chan struct{})
		e.work.Go(e.send)
	}
	e.mu.Unlock()
}

// send sends what waits, until nothing does.
func (e *events) send() {
	for {
		e.mu.Lock()
		if len(e.waiting) == 0 || !e.wanted.Load() || e.lifetime.Err() != nil {
			if e.wanted.Load() {
				e.lost += len(e.waiting)
			}
			close(e.sending)
			e.waiting, e.sending = nil, nil
			e.mu.Unlock()
			return
		}
		next := e.waiting[0]
		e.waiting = e.waiting[1:]
		e.mu.Unlock()
		err := e.deliver(next)
		switch {
		case errors.Is(err, framework.ErrNoEvents):
			e.wanted.Store(false)
		case err != nil:
			e.lose(err)
		}
	}
}

// hasSubscribers is false for Vault's Community edition, which takes events, and to
// whose events nobody can subscribe. A server that does not say what it is may have;
// one that failed to is asked again with the next event.
func (e *events) hasSubscribers(ctx context.Context) bool {
	if e.asked {
		return true // or wanted is false
	}
	env, err := e.b.System().PluginEnv(ctx)
	e.asked = err == nil
	return err != nil || env == nil || env.VaultVersion == "" || strings.Contains(env.VaultVersionMetadata, enterpriseMetadata)
}

// deliver does not let a server that panics, or the way to it, end the process, and
// with it the requests of all mounts.
func (e *events) deliver(ev event) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	ctx, cancel := context.WithTimeout(e.lifetime, eventTimeout)
	defer cancel()
	if !e.hasSubscribers(ctx) {
		return framework.ErrNoEvents
	}
	return logical.SendEvent(ctx, e.b, eventPrefix+ev.operation, ev.metadata...)
}

// lose counts an event that nobody is told of. The log has it once in a while: a
// server that takes no events loses one for every lease.
func (e *events) lose(cause error) {
	now := e.b.now()
	e.mu.Lock()
	e.lost++
	lost, due := e.lost, e.reported.IsZero() || !now.Before(e.reported.Add(eventReminder))
	if due {
		e.lost, e.reported = 0, now
	}
	e.mu.Unlock()
	if due {
		e.report(lost, cause)
	}
}

func (e *events) report(lost int, cause error) {
	e.b.Logger().Warn("events are lost: Vault does not take them", "lost", lost, "error", cause)
}

// stop waits for what was told to be sent, for a moment: of a mount that is
// disabled these are the ends of all its leases. Nothing is sent after it.
func (e *events) stop() {
	e.mu.Lock()
	e.stopped = true
	sending := e.sending
	e.mu.Unlock()
	for range 2 { // to send, and to give up
		if sending == nil {
			break
		}
		select {
		case <-sending:
			sending = nil
		case <-time.After(eventFlush):
			e.end()
		}
	}
	e.end()
	e.mu.Lock()
	lost := e.lost + len(e.waiting) // whose sender hears of no end
	e.lost, e.waiting = 0, nil
	e.mu.Unlock()
	if lost > 0 {
		e.report(lost, errors.New("the backend ends"))
	}
}

// ending is how a user comes to its end, for the event that tells of it.
type ending struct {
	operation string    // of the event; empty for users that nobody was given
	was       userState // what the reaper found the user to be
}

// credsPath is the path of events about a user: that of its lease, so that one
// right to subscribe is for all that becomes of a role's users. Users that tidy has
// found are of no role.
func credsPath(u *issuedUser) string {
	if u.Role == "" {
		return userPrefix + u.Username
	}
	return "creds/" + u.Role
}

// aboutUser tells of a user that is there.
func (e *events) aboutUser(operation string, u *issuedUser, pairs ...string) {
	e.tell(operation, credsPath(u), userPrefix+u.Username, u.forEvent(pairs...)...)
}

// aboutEnd tells that a user is gone, or that it is not.
func (e *events) aboutEnd(how ending, u *userRecord, failure error) {
	waited := u.Ahead != nil && u.Ahead.Fits != "" // for a lease that it was never given
	switch {
	case how.operation == "" || how.operation == eventCredsReap && waited:
	case failure != nil && e.b.reaper.lifetime.Err() == nil:
		e.aboutUser(how.operation+eventFailed, &u.issuedUser, fieldState, string(how.was))
	case failure == nil:
		e.tell(how.operation, credsPath(&u.issuedUser), "", u.forEvent(fieldState, string(how.was))...)
	}
}

// forEvent is what events say of a user. It is never a secret.
func (u *issuedUser) forEvent(pairs ...string) []string {
	return append([]string{
		fieldRole, u.Role, fieldIntegration, u.Integration, fieldAccountID, u.AccountID,
		fieldUsername, u.Username, fieldAccessKeyID, u.AccessKeyID,
	}, pairs...)
}

func (e *events) aboutIntegration(operation string, in *integration) {
	e.tell(operation, integrationPrefix+in.Name, integrationPrefix+in.Name,
		fieldIntegration, in.Name, fieldAccountID, in.AccountID, fieldAccessKeyID, in.AccessKey)
}

// aboutRotation tells that an integration uses another key, or that it does not
// come to that.
func (e *events) aboutRotation(operation, name, previous, current string) {
	e.tell(operation, "rotate-root/"+name, integrationPrefix+name,
		fieldIntegration, name, fieldAccessKeyID, current, eventPreviousAccessKeyID, previous)
}
