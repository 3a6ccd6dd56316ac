package awsiam

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/errgroup"
)

const (
	// poolMakers is how many users of one pool are made at once. They wait for
	// AWS to let their keys in, most of the time.
	poolMakers = 4
	// poolMakersOfAll is the same of all pools together, for the sake of STS, which
	// is asked about every key again and again.
	poolMakersOfAll = 16
	// poolRenewal is how long before the end of a user's waiting another is made,
	// so that a pool is not empty when its users, made together, are old together.
	poolRenewal = 10 * time.Minute
	// poolReminder is how often the log has it that a pool cannot be filled.
	poolReminder = time.Hour
)

// pools has the users that wait for a lease, of each role that has a pool_size.
//
// What it keeps in memory is who waits, learnt once from storage and then from
// what is done here, so that no request lists anything. It is a hint only: a user
// is leased by what its record says, under its lock.
type pools struct {
	b      *backend
	makers chan struct{} // has a place for each user being made

	mu       sync.Mutex
	byRole   map[string]*pool
	learned  bool // byRole has what earlier processes have left
	learning bool
}

// pool is of one role. Its fields are guarded by pools.mu.
type pool struct {
	ready    []waiting // the oldest first
	found    []waiting // left by an earlier process; see admit
	retiring []string  // users that nobody is to be given any more
	making   int
	size     int  // pool_size as last seen
	seen     bool // when last looked at
	asked    bool // to be looked at
	busy     bool // work is under way

	failing  time.Time            // since when it cannot be filled
	failure  string               // why
	resume   time.Time            // no user is made before
	reported map[string]time.Time // when the log last had a failure, by its kind
}

// poolState is what a look at a pool shows.
type poolState struct {
	ready   int
	failure string // empty while it can be filled
}

// states are of all pools, by role.
func (p *pools) states() map[string]poolState {
	p.mu.Lock()
	defer p.mu.Unlock()
	states := make(map[string]poolState, len(p.byRole))
	for name, q := range p.byRole {
		state := poolState{ready: len(q.ready)}
		if !q.failing.IsZero() {
			state.failure = q.failure
		}
		states[name] = state
	}
	return states
}

// waiting is a user that is ready to be leased.
type waiting struct {
	username string
	fits     string
	expires  time.Time
}

func newPools(b *backend) *pools {
	return &pools{b: b, makers: make(chan struct{}, poolMakersOfAll), byRole: make(map[string]*pool)}
}

func newWaiting(u *userRecord) waiting {
	return waiting{username: u.Username, fits: u.Ahead.Fits, expires: u.Expires}
}

// tend has all pools looked at, in the background: it is called by each pass of
// the reaper.
func (p *pools) tend(s logical.Storage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin(s)
	for name, q := range p.byRole {
		p.ask(s, name, q)
	}
}

// begin finds out who waits, once. It is for callers that hold the lock.
func (p *pools) begin(s logical.Storage) {
	if !p.learned && !p.learning && p.b.WriteSafeReplicationState() {
		p.learning = p.b.reaper.spawn(s, p.learn)
	}
}

// roleChanged is called when the role was written or deleted, or may have been.
// What could not be done before may be possible now.
func (p *pools) roleChanged(s logical.Storage, name string, size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byRole[name] == nil && size == 0 {
		return
	}
	q := p.of(name)
	q.failing, q.resume = time.Time{}, time.Time{}
	p.ask(s, name, q)
}

// of is the role's pool. It is for callers that hold the lock.
func (p *pools) of(role string) *pool {
	q := p.byRole[role]
	if q == nil {
		q = new(pool)
		p.byRole[role] = q
	}
	return q
}

// ask has the pool looked at. It is for callers that hold the lock.
func (p *pools) ask(s logical.Storage, name string, q *pool) {
	q.asked = true
	p.begin(s)
	if !q.busy && p.learned && p.b.WriteSafeReplicationState() {
		q.busy = p.b.reaper.spawn(s, func(s logical.Storage) { p.work(s, name, q) })
	}
}

// work does what there is to do for a pool.
func (p *pools) work(s logical.Storage, name string, q *pool) {
	for p.goesOn(name, q) {
		if err := p.attend(p.b.reaper.lifetime, s, name, q); err != nil {
			p.failed(name, q, err)
		}
	}
}

// goesOn says whether there is anything to do, and ends the work if there is not.
func (p *pools) goesOn(name string, q *pool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.b.reaper.lifetime.Err() == nil && (q.asked || q.short(p.b.now())) {
		q.asked, q.seen = false, false
		return true
	}
	q.busy = false
	if q.seen && q.size == 0 && len(q.ready) == 0 && len(q.found) == 0 && len(q.retiring) == 0 {
		delete(p.byRole, name)
	}
	return false
}

// attend makes the pool what its role says.
func (p *pools) attend(ctx context.Context, s logical.Storage, name string, q *pool) error {
	r, conn, fits, err := p.look(ctx, s, name)
	if err != nil {
		return err
	}
	unknown := p.admit(ctx, conn, r, fits, q)
	p.mu.Lock()
	q.review(r.PoolSize, fits, p.b.now())
	p.mu.Unlock()
	if err := errors.Join(unknown, p.retire(ctx, s, q)); err != nil {
		return err
	}
	p.fill(ctx, s, r, fits, q)
	return nil
}

// look returns the role, with a pool_size of 0 and no connection if there is none,
// and what its users have to fit.
func (p *pools) look(ctx context.Context, s logical.Storage, name string) (*role, *connection, string, error) {
	r, err := p.b.roleCache.get(ctx, s, name)
	if err != nil {
		return nil, nil, "", storageError{err}
	}
	if r == nil || r.PoolSize == 0 {
		return newRole(name), nil, "", nil
	}
	in, conn, err := p.b.connected(ctx, s, r.Integration)
	if err != nil {
		return nil, nil, "", err
	}
	return r, conn, p.b.fingerprint(r, in, conn), nil
}

// review takes out who does not fit, or has waited for long enough, and of the
// others the oldest if they are too many.
func (q *pool) review(size int, fits string, now time.Time) {
	q.size, q.seen = size, true
	q.ready = slices.DeleteFunc(q.ready, func(w waiting) bool {
		out := w.fits != fits || !now.Before(w.expires)
		if out {
			q.retiring = append(q.retiring, w.username)
		}
		return out
	})
	for len(q.ready) > size {
		q.retiring = append(q.retiring, q.ready[0].username)
		q.ready = q.ready[1:]
	}
}

// short says whether a user is to be made now.
func (q *pool) short(now time.Time) bool {
	if now.Before(q.resume) {
		return false
	}
	young := q.making
	for _, w := range q.ready {
		if now.Add(poolRenewal).Before(w.expires) {
			young++
		}
	}
	return young < q.size
}

// retire deletes the users that nobody is to be given any more, a few at a time.
// Those of whom that could not even be put on record are left for another time.
func (p *pools) retire(ctx context.Context, s logical.Storage, q *pool) error {
	p.mu.Lock()
	names := q.retiring
	q.retiring = nil
	p.mu.Unlock()
	var group errgroup.Group
	group.SetLimit(reaperWorkers)
	for _, name := range names {
		group.Go(func() error {
			err := p.b.retireWaiting(ctx, s, name)
			if err == nil || unreadable(err) { // which the reaper tells
				return nil
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			q.retiring = append(q.retiring, name)
			return err
		})
	}
	return group.Wait()
}

// fill makes users until there are as many as there should be, one cannot be
// made, or the role is to be looked at again.
func (p *pools) fill(ctx context.Context, s logical.Storage, r *role, fits string, q *pool) {
	begin := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if ctx.Err() != nil || q.asked || !q.short(p.b.now()) {
			return false
		}
		q.making++
		return true
	}
	var group errgroup.Group
	group.SetLimit(poolMakers)
	for begin() {
		group.Go(func() error {
			u, err := p.make(ctx, s, r, fits)
			p.mu.Lock()
			q.making--
			if err == nil {
				q.ready = append(q.ready, newWaiting(u))
				q.failing = time.Time{}
			}
			p.mu.Unlock()
			if err != nil {
				p.failed(r.Name, q, err)
			}
			return nil
		})
	}
	_ = group.Wait() // what failed is in the log
}

// make makes a user when there is a place for it.
func (p *pools) make(ctx context.Context, s logical.Storage, r *role, fits string) (*userRecord, error) {
	select {
	case p.makers <- struct{}{}:
		defer func() { <-p.makers }()
		return p.b.makeAhead(ctx, s, r, fits)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// failed puts off the next attempt, longer the longer it has been failing. The
// log has each kind of failure when it begins, and is reminded of it.
func (p *pools) failed(role string, q *pool, err error) {
	if p.b.reaper.lifetime.Err() != nil {
		return
	}
	kind := "other"
	var answer smithy.APIError
	if errors.As(err, &answer) {
		kind = answer.ErrorCode()
	}
	now := p.b.now()
	p.mu.Lock()
	if q.failing.IsZero() {
		q.failing = now
	}
	q.failure = strings.TrimSpace(describe(err))
	q.resume = now.Add(retryPause(now.Sub(q.failing), true))
	tell := now.Sub(q.reported[kind]) >= poolReminder
	if tell {
		if q.reported == nil {
			q.reported = make(map[string]time.Time)
		}
		q.reported[kind] = now
	}
	failure := q.failure
	p.mu.Unlock()
	if tell {
		p.b.Logger().Warn("the pool of a role cannot be filled; leases are made without it meanwhile",
			"role", role, "error", failure)
	}
}
