package awsiam

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

const (
	// reaperWorkers is how many users of one integration are deleted at once.
	reaperWorkers = 4
	// damagedPause is how long a record that cannot be decoded is left alone,
	// since looking at it again does not mend it.
	damagedPause = time.Hour
)

// reaper finishes what records say is unfinished: creations that were cut off,
// deletions that failed, and users whose lease has ended without anybody
// revoking it, as when the lease was never stored.
//
// It keeps in memory when each record is due, so that a pass costs what is due
// and not what is healthy. What it keeps is a hint only: a record is read
// again, under its lock, before anything is done about it.
type reaper struct {
	b *backend
	// lifetime ends with the backend, and with it all work begun here.
	lifetime context.Context
	end      context.CancelFunc
	done     sync.WaitGroup // of all work begun here

	mu      sync.Mutex
	due     map[string]appointment // by user name
	loaded  bool                   // due covers the records of earlier processes
	passing bool
	busy    map[string]bool // integrations whose users are being worked off
	stopped bool
}

// appointment is when a record is to be looked at. The integration, if it is
// known, keeps an account that does not answer from holding up the others.
type appointment struct {
	at          time.Time
	integration string
}

func newReaper(b *backend) *reaper {
	r := &reaper{b: b, due: make(map[string]appointment), busy: make(map[string]bool)}
	r.lifetime, r.end = context.WithCancel(context.Background())
	return r
}

// schedule says when the user's record is to be looked at next.
func (r *reaper) schedule(username, integration string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due[username] = appointment{at, integration}
}

func (r *reaper) forget(username string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.due, username)
}

// periodic is Vault's periodic callback. Core holds locks during it that block
// reloads and requests, so the pass runs in a goroutine of its own.
func (b *backend) periodic(_ context.Context, req *logical.Request) error {
	if b.WriteSafeReplicationState() {
		b.reaper.start(req.Storage)
	}
	return nil
}

// start begins a pass, unless one is still running.
func (r *reaper) start(s logical.Storage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.passing || r.stopped {
		return
	}
	r.passing = true
	r.done.Go(func() {
		r.pass(s)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.passing = false
	})
}

// stop ends what is running and waits for it. Nothing begins after it.
func (r *reaper) stop() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.end()
	r.done.Wait()
}

// pass sets workers to every record that is due, but for integrations that are
// still busy with an earlier pass's.
func (r *reaper) pass(s logical.Storage) {
	if err := r.load(r.lifetime, s); err != nil && r.lifetime.Err() == nil {
		r.b.Logger().Error("the reaper cannot list the records of users; it tries again in a minute", "error", err)
		// What is known to be due is worked off all the same.
	}
	for integration, names := range r.overdue(r.b.now()) {
		r.done.Go(func() {
			r.work(r.lifetime, s, names)
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.busy, integration)
		})
	}
}

// overdue returns the names of users whose records are due, by integration,
// and marks the integrations busy.
func (r *reaper) overdue(now time.Time) map[string][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make(map[string][]string)
	for name, a := range r.due {
		if !now.Before(a.at) && !r.busy[a.integration] {
			names[a.integration] = append(names[a.integration], name)
		}
	}
	for integration := range names {
		r.busy[integration] = true
	}
	return names
}

// work reaps the users, a few at a time.
func (r *reaper) work(ctx context.Context, s logical.Storage, usernames []string) {
	queue := make(chan string)
	var workers sync.WaitGroup
	for range min(reaperWorkers, len(usernames)) {
		workers.Go(func() {
			for name := range queue {
				r.reap(ctx, s, name)
			}
		})
	}
	for _, name := range usernames {
		if ctx.Err() != nil {
			break
		}
		queue <- name
	}
	close(queue)
	workers.Wait()
}

// load learns of the records that earlier processes have left, once.
func (r *reaper) load(ctx context.Context, s logical.Storage) error {
	r.mu.Lock()
	loaded := r.loaded
	r.mu.Unlock()
	if loaded {
		return nil
	}
	names, err := s.List(ctx, userPrefix)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		u, err := getUser(ctx, s, name)
		switch {
		case err != nil:
			// One record that cannot be read must not hide the others, nor be
			// forgotten: reap looks at it, and says what is wrong with it.
			r.schedule(name, "", r.b.now())
		case u != nil:
			r.schedule(name, u.Integration, u.due())
		}
	}
	r.mu.Lock()
	r.loaded = true
	r.mu.Unlock()
	return nil
}

// reap retires the user if its record, read again under its lock, is due.
func (r *reaper) reap(ctx context.Context, s logical.Storage, username string) {
	b := r.b
	var reason userState
	err := b.changeUser(ctx, s, username, func(u *userRecord) (bool, error) {
		switch {
		case u == nil:
			r.forget(username)
			return false, nil
		case b.now().Before(u.due()):
			r.schedule(username, u.Integration, u.due())
			return false, nil
		}
		// From here on a renewal is refused. If it cannot be written, a
		// renewal could come in between: the user is left for another pass.
		reason, u.State, u.NextAttempt = u.State, stateDeleting, b.now()
		return reason != stateDeleting, nil
	})
	if errors.Is(err, errDamaged) {
		r.schedule(username, "", b.now().Add(damagedPause))
	}
	if err == nil && reason != "" {
		err = b.retire(ctx, s, username)
		if err == nil {
			b.Logger().Info("the reaper deleted a user", "username", username, "was", reason)
		}
	}
	if err != nil {
		b.Logger().Error("the reaper could not delete a user yet", "username", username, "error", describe(err))
	}
}
