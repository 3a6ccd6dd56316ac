package awsiam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

const (
	fieldMaxUsers = "max_users"
	// accountUsers is IAM's quota of users in an account, which cannot be raised
	// (reference_iam-quotas).
	accountUsers = 5000
	// countTimeout is how long a reader of a role with a cap waits, after a start of
	// the process, until the records of earlier ones have been read.
	countTimeout = 10 * time.Second
)

func validateMaxUsers(n int) error {
	if n < 0 || n > accountUsers {
		return refuse("%s (%d) must be 0, for no limit, or at most %d, which is what IAM allows an account", fieldMaxUsers, n, accountUsers)
	}
	return nil
}

// caps are what bounds the number of users that a new one adds to. A user counts
// from before AWS is asked to make it until it is confirmed gone, as its record
// does. One that waits for a lease counts for its integration, where it takes one of
// the account's places, and not for its role: nobody has been given it.
type caps struct {
	role          string
	ofRole        int // 0: none
	integration   string
	ofIntegration int // 0: none
}

// caps of a role's user that is made now. One that is made ahead has a role without
// any; see role.bare.
func (r *role) caps(in *integration) caps {
	return caps{role: r.Name, ofRole: r.MaxUsers, integration: in.Name, ofIntegration: in.MaxUsers}
}

// leaseCaps are of a lease, whose user may be one that waits: that one is counted
// for its integration already.
func (r *role) leaseCaps() caps { return caps{role: r.Name, ofRole: r.MaxUsers} }

// errUncounted says that it is not known yet whether there is room. It passes within
// seconds, so that it is answered with a 503: Vault's clients try again by themselves.
var errUncounted = errors.New("the records of earlier users are still being read, to be counted for " + fieldMaxUsers + ": try again in some seconds")

// withheld is why no user is made or leased: there is no room, or none known of.
type withheld struct{ error }

func (w withheld) Unwrap() error { return w.error }

// awaitRoom is reaper.awaitRoom for a user of the role that is to be made.
func (b *backend) awaitRoom(ctx context.Context, s logical.Storage, r *role) error {
	in, err := b.integrationCache.get(ctx, s, r.Integration)
	if err != nil {
		return storageError{err}
	}
	if in == nil {
		return nil // recordUser says so
	}
	return b.reaper.awaitRoom(ctx, s, r.caps(in))
}

// awaitRoom returns an error if there is no room, and waits only while that is not
// known: for one reading of the records, and for a bounded time. It reserves nothing.
func (r *reaper) awaitRoom(ctx context.Context, s logical.Storage, c caps) error {
	if !r.bounded(c) {
		return nil
	}
	r.mu.Lock()
	err := r.room(c)
	r.mu.Unlock()
	if !errors.Is(err, errUncounted) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	r.awaitLearnt(ctx, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.room(c)
}

// announceLearnt is for callers that hold the lock.
func (r *reaper) announceLearnt() {
	close(r.learnt)
	r.learnt = make(chan struct{})
}

// admit counts the user, whose record is about to be written, if there is room: of
// any number of callers at once no more are let in than that. If the record is not
// written after all, the reaper finds that out.
func (r *reaper) admit(u *userRecord, c caps) error {
	bounded := r.bounded(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	if bounded {
		err = r.room(c)
	}
	if err == nil {
		r.expect(u, u.due(r.b.now()))
	}
	return err
}

// bounded says whether the caps are to be kept here. It may ask core, and is not for
// callers that hold the lock.
func (r *reaper) bounded(c caps) bool {
	// Elsewhere nothing is written, but passed on to the node that may.
	return (c.ofRole > 0 || c.ofIntegration > 0) && r.b.WriteSafeReplicationState()
}

// room returns an error unless one more user is within the caps, for certain. It is
// for callers that hold the lock.
func (r *reaper) room(c caps) error {
	g := &r.agenda
	if c.ofRole > 0 {
		whole := fmt.Sprintf("role %q", c.role)
		if err := r.roomFor(whole, c.ofRole, g.leased[c.role], func(k *kind) bool { return k.role == c.role && !k.ahead }); err != nil {
			return err
		}
	}
	if c.ofIntegration > 0 {
		n := 0
		if q := g.queues[c.integration]; q != nil {
			n = len(q.waiting)
		}
		whole := fmt.Sprintf("integration %q", c.integration)
		return r.roomFor(whole, c.ofIntegration, n, func(k *kind) bool { return k.integration == c.integration })
	}
	return nil
}

// roomFor judges one cap by the number n of users that are known to count. Those of
// whom it is not known may all count, too.
func (r *reaper) roomFor(whole string, limit, n int, counts func(*kind) bool) error {
	unknown, damaged := r.agenda.count(kind{}), r.agenda.count(unreadableKind)
	switch {
	case n < limit && r.listed && n+unknown+damaged < limit:
		return nil
	case n < limit && (!r.listed || unknown > 0):
		return withheld{errUncounted}
	}
	return withheld{r.agenda.full(whole, limit, damaged, r.b.now(), counts)}
}

// stateWords are how a refusal calls users by what is done about them.
var stateWords = []struct {
	state userState
	words string
}{
	{stateActive, "leased"},
	{stateCreating, "being made"},
	{stateDeleting, "being deleted"},
	{statePooled, "waiting for a lease"},
}

// full says of a whole that has no room who takes it, and until when. It looks at
// what is in memory, which for one integration is a matter of microseconds.
func (g *agenda) full(whole string, limit, damaged int, now time.Time, counts func(*kind) bool) error {
	byState, queues := make(map[userState]int), make(map[*queue]bool)
	total := damaged
	for _, of := range g.groups {
		if counts(&of.kind) {
			byState[of.state] += of.n
			total += of.n
			queues[of.queue] = true
		}
	}
	var parts []string
	for _, s := range stateWords {
		if n := byState[s.state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s.words))
		}
	}
	if damaged > 0 {
		parts = append(parts, fmt.Sprintf("%d on record that cannot be read and may be among them", damaged))
	}
	text := fmt.Sprintf("%s has %d user(s), and %s=%d (%s)", whole, total, fieldMaxUsers, limit, strings.Join(parts, ", "))
	oldest, ends := g.oldestAndFirst(queues, counts)
	if !oldest.IsZero() {
		text += fmt.Sprintf("; the oldest was made at %s", timestamp(oldest))
	}
	if !ends.IsZero() {
		if ends = ends.Add(-clockAllowance); ends.Before(now) {
			ends = now
		}
		text += fmt.Sprintf("; the first lease to end does so at %s, unless it is renewed", timestamp(ends))
	}
	return refuse("%s: revoke leases that nobody needs, or raise %s", text, fieldMaxUsers)
}

// oldestAndFirst are when the oldest user of the queues that counts was made, and the
// earliest that one of them expires that is leased; zero if there is none.
func (g *agenda) oldestAndFirst(queues map[*queue]bool, counts func(*kind) bool) (oldest, first time.Time) {
	var made int64
	for q := range queues {
		for _, a := range q.waiting {
			if !counts(&a.group.kind) {
				continue
			}
			if made == 0 || a.made < made {
				made = a.made
			}
			if a.group.state == stateActive && (first.IsZero() || a.at.Before(first)) {
				first = a.at
			}
		}
	}
	if made != 0 {
		oldest = time.Unix(made, 0)
	}
	return oldest, first
}
