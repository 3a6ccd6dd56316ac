package awsiam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/errgroup"

	"vault-plugin-secrets-aws-iam/internal/governor"
)

// learn finds out which users wait, and which roles have a pool.
func (p *pools) learn(s logical.Storage) {
	found, err := p.stored(p.b.reaper.lifetime, s)
	p.mu.Lock()
	p.learning, p.learned = false, err == nil
	for name, waiting := range found {
		p.of(name).found = waiting
	}
	p.mu.Unlock()
	switch {
	case err == nil:
		p.tend(s)
	case p.b.reaper.lifetime.Err() == nil:
		p.b.reaper.complainOfStorage(err) // the next pass tries again
	}
}

// stored reads who waits, by role, and has a key for each role with a pool. Where
// a user does not wait any more, the reaper finishes with it and its secret.
func (p *pools) stored(ctx context.Context, s logical.Storage) (map[string][]waiting, error) {
	names, err := s.List(ctx, poolPrefix)
	if err != nil {
		return nil, fmt.Errorf("listing the users that wait for a lease: %w", err)
	}
	found := make(map[string][]waiting)
	for _, name := range names {
		u, err := getUser(ctx, s, name)
		switch {
		case unreadable(err):
		case err != nil:
			return nil, err
		case u == nil: // somebody else's doing: the engine removes the record last
			err = forgetPooledSecret(ctx, s, name)
		case u.State == statePooled:
			found[u.Role] = append(found[u.Role], newWaiting(u))
		}
		if err != nil && !unreadable(err) {
			return nil, err
		}
	}
	err = eachRole(ctx, s, func(r *role) {
		if r.PoolSize > 0 && found[r.Name] == nil {
			found[r.Name] = []waiting{}
		}
	})
	var damaged refusal
	if errors.As(err, &damaged) {
		err = nil // a role that cannot be read is written again, or deleted
	}
	return found, err
}

// admit offers the users for leases that an earlier process has left, where AWS
// shows that they may do nothing. That they wait is what storage says, and storage
// may be a restored snapshot, which does not know who was leased after it was taken:
// a second lease of such a user would have the key of the first. Whoever may do
// something, and whoever AWS does not show, has to go.
//
// What a role gives beside an inline policy cannot be seen with the eight core
// actions. So users of a role that gives none are all replaced; and as the
// fingerprint has it whether there is one, no other can have been leased without.
func (p *pools) admit(ctx context.Context, conn *connection, r *role, fits string, q *pool) error {
	p.mu.Lock()
	var found []waiting
	if !p.b.now().Before(q.resume) {
		found, q.found = q.found, nil
	}
	p.mu.Unlock()
	// After a failure the others are left for another time, too: who waits for a turn
	// with AWS for long holds up whatever else there is to do for the pool.
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(reaperWorkers)
	for _, w := range found {
		group.Go(func() (err error) {
			bare := false
			if w.fits == fits && r.hasInlinePolicy() {
				bare, err = p.isBare(ctx, conn, w.username)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			switch {
			case err != nil:
				q.found = append(q.found, w)
			case bare:
				q.ready = append(q.ready, w)
			default:
				q.retiring = append(q.retiring, w.username)
			}
			return err
		})
	}
	err := group.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortFunc(q.ready, func(a, b waiting) int { return a.expires.Compare(b.expires) })
	return err
}

// isBare says whether AWS shows the user, and no inline policy of it. Nobody waits
// for the answer.
func (p *pools) isBare(ctx context.Context, conn *connection, username string) (bool, error) {
	ctx, cancel := context.WithTimeout(governor.WithTask(ctx, governor.Idle, time.Now()), createTimeout)
	defer cancel()
	bare := true
	err := eachInlinePolicy(ctx, conn.iam, username, func(string) error {
		bare = false
		return nil
	})
	switch {
	case hasCode(err, codeNoSuchEntity, codeAccessDenied): // which may mean the same
		return false, nil
	case err != nil:
		return false, fmt.Errorf("whether user %q still waits for a lease: %w", username, err)
	case !bare:
		p.b.Logger().Warn("a user that is on record as waiting for a lease has a policy, and is deleted: "+
			"it was leased after the snapshot was taken that Vault was restored from, or changed by somebody", "username", username)
	}
	return bare, nil
}
