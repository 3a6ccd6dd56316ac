package awsiam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/aws/smithy-go"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	// reaperWorkers is how many users of one integration are deleted at once,
	// and how many records are read at once.
	reaperWorkers = 4
	// unreadablePause is how long a record that cannot be understood is left
	// alone, since looking at it again does not mend it.
	unreadablePause = time.Hour
	// storageReminder is how often the reaper says that storage fails it in one
	// way, which is one problem however many records it concerns.
	storageReminder = time.Hour
	// storageMemory is for how long a failure of storage is taken to last. A record
	// that it concerns is looked at again after minRetryPause, by one of core's passes.
	storageMemory = 2 * time.Minute
	// lateWrites is for how long a write of a record that failed is reckoned with
	// happening all the same, and relistPause how often records are listed meanwhile.
	lateWrites  = time.Hour
	relistPause = 5 * time.Minute
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
	// storageTimeout is the constant; tests shorten it.
	storageTimeout time.Duration

	mu     sync.Mutex
	agenda agenda
	listed bool // the agenda has the records of earlier processes
	// listedAt is when records were last listed, writeFailed when a write of one last failed.
	listedAt, writeFailed time.Time
	// learnt is closed, and another made, when there is an end to the reading of
	// records of which only the names were known, or to the attempt.
	learnt  chan struct{}
	passing bool
	passed  time.Time // when the last pass began
	stopped bool
	// reported is when the log last had a failure of storage, by its cause.
	reported map[string]time.Time
	// storageFailed is when storage last failed the reaper, with storageFailure.
	storageFailed  time.Time
	storageFailure error
}

func newReaper(b *backend) *reaper {
	r := &reaper{
		b: b, agenda: newAgenda(), learnt: make(chan struct{}), reported: make(map[string]time.Time), storageTimeout: storageTimeout,
	}
	r.lifetime, r.end = context.WithCancel(context.Background())
	return r
}

// schedule says when the user's record is to be looked at next, whatever it says.
func (r *reaper) schedule(username string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.agenda.note(username, kind{}, at)
}

// periodic is Vault's periodic callback. Core holds locks during it that block
// reloads and requests, so the pass runs in a goroutine of its own.
func (b *backend) periodic(_ context.Context, req *logical.Request) error {
	if b.WriteSafeReplicationState() {
		b.reaper.start(req.Storage)
	}
	return nil
}

// initialize is called when core has mounted the backend, or made its process anew.
// What an earlier process left is worked off from then on: core's first periodic
// callback comes a minute later (NewRollbackManager), which a node that keeps
// failing may not live to see. Core waits for this on becoming active
// (Core.postUnseal), so that nothing is done here that takes time.
func (b *backend) initialize(ctx context.Context, req *logical.InitializationRequest) error {
	return b.periodic(ctx, &logical.Request{Storage: req.Storage})
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

// spawn has work done that ends with r.lifetime, with storage whose operations end
// in time. It returns false if the backend has ended.
func (r *reaper) spawn(s logical.Storage, work func(logical.Storage)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return false
	}
	r.done.Go(func() { work(r.limited(s)) })
	return true
}

// stop ends what is running and waits for it. Nothing begins after it.
func (r *reaper) stop() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.end()
	r.done.Wait()
}

// pass has everything that is due worked off, but for integrations that are
// still busy with what an earlier pass found.
func (r *reaper) pass(s logical.Storage) {
	s = r.limited(s)
	r.mindClock()
	if err := r.list(s); err != nil && r.lifetime.Err() == nil {
		r.complainOfStorage(err) // what is known to be due is worked off all the same
	}
	r.b.pools.tend(s)
	r.workOff(s)
	r.mu.Lock()
	if q := r.agenda.queues[unread]; q == nil || !q.busy {
		r.announceLearnt() // nothing was to be read, or it could not even be listed
	}
	r.mu.Unlock()
	// These read by themselves, and nothing above waits for it.
	if err := r.b.tidies.resume(r.lifetime, s); err != nil && r.lifetime.Err() == nil {
		r.complainOfStorage(err)
	}
	if err := r.b.rotations.pass(r.lifetime, s); err != nil && r.lifetime.Err() == nil {
		r.complainOfStorage(err)
	}
}

// mindClock has all records looked at again where the clock was set back: what was to
// happen in a minute by it would happen hours later.
func (r *reaper) mindClock() {
	now := r.b.now()
	r.mu.Lock()
	back := now.Before(r.passed)
	r.passed = now
	r.mu.Unlock()
	if back {
		r.doubtAll(true)
	}
}

// list learns the names of the records that earlier processes have left, once, and of
// those that were written late.
// The records themselves are read by workers: start-up waits for none of it, and
// whatever is written or removed meanwhile is newer than what they read.
func (r *reaper) list(s logical.Storage) error {
	r.mu.Lock()
	listed := r.listed && !r.awaitsLateWrites()
	r.mu.Unlock()
	if listed {
		return nil
	}
	names, err := s.List(r.lifetime, userPrefix)
	if err != nil {
		return fmt.Errorf("listing the records of users: %w", err)
	}
	now := r.b.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		if r.agenda.byName[name] == nil {
			r.agenda.note(name, kind{}, now)
		}
	}
	r.listed, r.listedAt = true, now
	return nil
}

// awaitsLateWrites says whether a record may have come to be there by a write that was
// told to have failed, and happened after the reaper had looked. It is for callers that
// hold the lock.
func (r *reaper) awaitsLateWrites() bool {
	return r.listedAt.Before(r.writeFailed.Add(lateWrites)) && !r.b.now().Before(r.listedAt.Add(relistPause))
}

// workOff begins a run for each queue that has something due and is not busy.
func (r *reaper) workOff(s logical.Storage) {
	now := r.b.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lifetime.Err() != nil {
		return // a run would do nothing, so that the next began at once, and for ever
	}
	for _, q := range r.agenda.queues {
		if q.busy || q.first(now) == nil {
			continue
		}
		q.busy = true
		r.done.Go(func() {
			r.run(s, q, now)
			r.mu.Lock()
			q.busy = false
			r.agenda.tidy(q)
			if q.integration == unread {
				r.announceLearnt()
			}
			r.mu.Unlock()
			if q.integration == unread {
				r.workOff(s) // what has turned out to be due
			}
		})
	}
}

// run works off what was due in the queue, a few users at a time.
func (r *reaper) run(s logical.Storage, q *queue, due time.Time) {
	again := due.Add(minRetryPause)
	work := func(username string) { r.reap(r.lifetime, s, username) }
	if q.integration == unread {
		work = func(username string) { r.learn(r.lifetime, s, username) }
	}
	var workers sync.WaitGroup
	for range reaperWorkers {
		workers.Go(func() {
			for r.lifetime.Err() == nil {
				username, ok := r.take(q, due, again)
				if !ok {
					return
				}
				work(username)
			}
		})
	}
	workers.Wait()
}

// take returns a user that was due, and moves its appointment, so that this run
// does not meet it again, and another one does unless the work says otherwise.
func (r *reaper) take(q *queue, due, again time.Time) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.b.now(); now.Before(due) {
		due, again = now, now.Add(minRetryPause) // the clock was set back
	}
	a := q.first(due)
	if a == nil {
		return "", false
	}
	r.agenda.note(a.username, kind{}, again)
	return a.username, true
}

// learn reads a record of which only the name is known, to find out when it is
// due. It waits for nothing but storage.
func (r *reaper) learn(ctx context.Context, s logical.Storage, username string) {
	// One that cannot be understood must not hide the others, nor be forgotten.
	if _, err := r.b.readUser(ctx, s, username); err != nil {
		r.complain(username, err)
	}
}

// reap retires the user if its record, read again under its lock, is due.
func (r *reaper) reap(ctx context.Context, s logical.Storage, username string) {
	b := r.b
	var reason userState
	err := b.changeUser(ctx, s, username, func(u *userRecord) (bool, error) {
		switch {
		case u == nil:
			return false, nil
		case !u.isDue(b.now()) && !b.overwritten(u):
			r.wrote(u) // or somebody else did
			return false, nil
		}
		// From here on a renewal is refused. If it cannot be written, a
		// renewal could come in between: the user is left for another pass.
		reason, u.State, u.NextAttempt = u.State, stateDeleting, b.now()
		return reason != stateDeleting, nil
	})
	if err == nil && reason != "" {
		err = b.retire(ctx, s, username, ending{eventCredsReap, reason})
		if err == nil {
			b.Logger().Info("the reaper deleted a user", "username", username, "was", reason)
		}
	}
	if err != nil {
		r.complain(username, err)
	}
}

// hasten has the deletions tried again that have failed in an integration: writing
// it may have mended what was wrong. It returns whether there are any.
func (r *reaper) hasten(s logical.Storage, integration string) (found bool) {
	for _, username := range r.failing(integration) {
		err := r.b.changeUser(r.lifetime, s, username, func(u *userRecord) (bool, error) {
			if u == nil || u.State != stateDeleting || !u.NextAttempt.After(r.b.now()) {
				return false, nil
			}
			u.NextAttempt = r.b.now()
			found = true
			return true, nil
		})
		if err != nil {
			r.complain(username, err)
		}
	}
	return found
}

// failing are the users of the integration whose deletion has failed, of those whose
// records were read.
func (r *reaper) failing(integration string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for username := range r.agenda.failing {
		if r.agenda.byName[username].group.integration == integration {
			names = append(names, username)
		}
	}
	return names
}

// complain puts into the log what is wrong, unless the work was only ended with
// the backend.
func (r *reaper) complain(username string, err error) {
	var storage storageError
	var answer smithy.APIError // what AWS says is news, whatever storage does
	switch {
	case r.lifetime.Err() != nil:
	case unreadable(err):
		r.b.Logger().Error("the record of a user cannot be read: the user is left alone until its lease ends, or the record can be read again",
			"username", username, "error", err)
	case errors.As(err, &storage) && !errors.As(err, &answer):
		r.complainOfStorage(storage)
	default:
		r.b.Logger().Error("the reaper could not delete a user yet", "username", username, "error", describe(err))
	}
}

// complainOfStorage leaves out what the log has had lately.
func (r *reaper) complainOfStorage(err error) {
	cause := err
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		cause = inner
	}
	now := r.b.now()
	r.mu.Lock()
	r.storageFailed, r.storageFailure = now, err
	maps.DeleteFunc(r.reported, func(_ string, at time.Time) bool { return !now.Before(at.Add(storageReminder)) })
	_, known := r.reported[cause.Error()]
	if !known {
		r.reported[cause.Error()] = now
	}
	r.mu.Unlock()
	if !known {
		r.b.Logger().Error("storage fails the reaper, which goes on trying", "error", describe(err))
	}
}

// storageTrouble is how storage fails the reaper; nil if it has not since the last
// passes, of which core has one begun every minute.
func (r *reaper) storageTrouble() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.storageFailure == nil || !r.b.now().Before(r.storageFailed.Add(storageMemory)) {
		return nil
	}
	return r.storageFailure
}
