package awsiam

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// reaperWorkers is how many users the reaper deletes at once.
const reaperWorkers = 4

// reaper finishes what records say is unfinished: creations that were cut off,
// deletions that failed, and users whose lease has ended without anybody
// revoking it, as when the lease was never stored.
//
// It keeps in memory when each record is due, so that a pass costs what is due
// and not what is healthy. What it keeps is a hint only: a record is read
// again, under its lock, before anything is done about it.
type reaper struct {
	b *backend

	mu      sync.Mutex
	due     map[string]time.Time // by user name
	loaded  bool                 // due covers the records of earlier processes
	running bool
	stopped bool
	cancel  context.CancelFunc // of the pass that is running
	done    sync.WaitGroup
}

func newReaper(b *backend) *reaper {
	return &reaper{b: b, due: make(map[string]time.Time)}
}

// schedule says when the user's record is to be looked at next.
func (r *reaper) schedule(username string, due time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due[username] = due
}

func (r *reaper) forget(username string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.due, username)
}

// overdue returns the names of users whose records are due.
func (r *reaper) overdue(now time.Time) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for name, due := range r.due {
		if !now.Before(due) {
			names = append(names, name)
		}
	}
	return names
}

// periodic is Vault's periodic callback. Core holds locks during it that block
// reloads and requests, so the pass runs in a goroutine of its own.
func (b *backend) periodic(_ context.Context, req *logical.Request) error {
	if b.WriteSafeReplicationState() {
		b.reaper.start(req.Storage) //nolint:contextcheck // the pass outlives the callback, whose context ends with it
	}
	return nil
}

// start begins a pass, unless one is still running.
func (r *reaper) start(s logical.Storage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running || r.stopped {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.running, r.cancel = true, cancel
	r.done.Go(func() {
		defer func() {
			cancel()
			r.mu.Lock()
			defer r.mu.Unlock()
			r.running = false
		}()
		r.pass(ctx, s)
	})
}

// stop ends the pass that is running and waits for it. None begins after it.
func (r *reaper) stop() {
	r.mu.Lock()
	r.stopped = true
	if r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	r.done.Wait()
}

// pass looks at every record that is due.
func (r *reaper) pass(ctx context.Context, s logical.Storage) {
	if err := r.load(ctx, s); err != nil {
		r.b.Logger().Error("the reaper cannot read the records of users; it tries again in a minute", "error", err)
		// What is known to be due is worked off all the same.
	}
	names := make(chan string)
	var workers sync.WaitGroup
	for range reaperWorkers {
		workers.Go(func() {
			for name := range names {
				r.reap(ctx, s, name)
			}
		})
	}
	for _, name := range r.overdue(r.b.now()) {
		if ctx.Err() != nil {
			break
		}
		names <- name
	}
	close(names)
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
		if err != nil {
			// One record that cannot be read must not hide the others.
			r.b.Logger().Error("the reaper skips a record that it cannot read", "username", name, "error", err)
			continue
		}
		if u != nil {
			r.schedule(name, u.due())
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
			r.schedule(username, u.due())
			return false, nil
		}
		// From here on a renewal is refused. If it cannot be written, a
		// renewal could come in between: the user is left for another pass.
		reason, u.State, u.NextAttempt = u.State, stateDeleting, b.now()
		return reason != stateDeleting, nil
	})
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
