package awsiam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-aws-iam/internal/governor"
)

// take serves a request with a user that waits, or returns nil where none does
// and one has to be made. What is wrong with a waiting user is not the caller's
// trouble: that user is undone, and a new one made. An error is one that whoever
// makes a user would meet as well, or of a caller whose time is over.
func (p *pools) take(ctx context.Context, req *logical.Request, r *role, terms func() (leaseTerms, error)) (*issue, error) {
	if r.PoolSize == 0 {
		return nil, nil
	}
	in, conn, err := p.b.connected(ctx, req.Storage, r.Integration)
	if err != nil {
		return nil, err
	}
	granted, err := terms()
	if err != nil {
		return nil, storageError{err}
	}
	defer p.refill(req.Storage, r.Name)
	fits := p.b.fingerprint(r, in, conn)
	for w := p.pop(r.Name); w != nil; w = p.pop(r.Name) {
		if w.fits != fits {
			p.reject(r.Name, w)
			continue
		}
		secret, err := getPooledSecret(ctx, req.Storage, w.username)
		if err != nil {
			p.giveBack(r.Name, w) // nothing was done to it
			return nil, ctx.Err()
		}
		if secret == "" {
			p.reject(r.Name, w)
			continue
		}
		u, err := p.b.claim(ctx, req, r, w.username)
		if errors.As(err, new(withheld)) {
			p.giveBack(r.Name, w)
			return nil, err
		}
		if err != nil {
			// Nobody knows what the record says now. The user is not leased. Nor is
			// anything done about it in AWS before its record can be written: this
			// node may not be the active one any more, and another have leased it.
			p.reject(r.Name, w)
			return nil, ctx.Err()
		}
		if u != nil {
			return p.lease(ctx, req.Storage, &creation{
				conn: conn, role: r, user: &u.issuedUser, tags: laterTags(req, r), maxTTL: granted.maxTTL, secret: secret,
			}, u, granted)
		}
	}
	return nil, nil
}

// claim puts on record that the user is taken, by whom and for what, from when on
// nobody else can take it: not after a crash, and not on another node, since only
// the active one can write. It returns nil if the user does not wait any more.
func (b *backend) claim(ctx context.Context, req *logical.Request, r *role, username string) (claimed *userRecord, err error) {
	err = b.changeUser(ctx, req.Storage, username, func(u *userRecord) (bool, error) {
		if u == nil || u.State != statePooled || u.Role != r.Name || !b.now().Before(u.Expires) {
			return false, nil
		}
		u.State, u.Ahead.Taken = stateCreating, b.now()
		u.EntityID, u.DisplayName = req.EntityID, req.DisplayName
		u.PolicyARNs, u.Groups = r.PolicyARNs, r.IAMGroups
		if r.hasInlinePolicy() {
			u.PolicyName = u.Username
		}
		if err := b.reaper.admit(u, r.leaseCaps()); err != nil {
			return false, err
		}
		claimed = u
		return true, nil
	})
	return claimed, err
}

// lease gives the user that was claimed its permissions: everything at once, in
// one round trip, while its secret is removed from storage.
func (p *pools) lease(ctx context.Context, s logical.Storage, made *creation, u *userRecord, terms leaseTerms) (*issue, error) {
	b := p.b
	// AWS judges the deadline by its own clock, and its date of the user is old.
	made.created, made.pooled = b.now().Add(u.Ahead.AWSAhead), true
	steps := append(made.grants(), func(ctx context.Context) error {
		return forgetPooledSecret(ctx, s, u.Username)
	})
	if len(made.tags) > 0 {
		steps = append(steps, made.tagUser)
	}
	err := concurrently(governor.WithRest(ctx, time.Now()), steps)
	if err == nil {
		leased := *u
		if err = b.activateUser(ctx, s, &leased, terms); err == nil {
			return &issue{user: &leased, secret: made.secret, terms: terms}, nil
		}
	}
	// The caller does not wait for it. Where the backend has ended, the record
	// leaves it to the next process.
	b.reaper.spawn(s, func(s logical.Storage) { b.undo(context.WithoutCancel(ctx), s, made.conn, u, err) })
	if ctx.Err() != nil {
		return nil, fmt.Errorf("user %q: %w", u.Username, err)
	}
	b.Logger().Warn("a user that was made ahead could not be leased; another is made", "username", u.Username, "role", u.Role, "error", describe(err))
	return nil, nil
}

// refill has the pool filled up again.
func (p *pools) refill(s logical.Storage, role string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.of(role); !q.busy { // who is at work sees by itself that there is more to do
		p.ask(s, role, q)
	}
}

// pop takes the oldest user out of the pool, whom nobody else is given after
// that. It returns nil if nobody waits.
func (p *pools) pop(role string) *waiting {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.byRole[role]
	if q == nil || len(q.ready) == 0 {
		return nil
	}
	w := q.ready[0]
	q.ready = q.ready[1:]
	return &w
}

// giveBack is for a user that was popped and not touched.
func (p *pools) giveBack(role string, w *waiting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.of(role)
	q.ready = append([]waiting{*w}, q.ready...)
}

// reject has a user retired that was popped.
func (p *pools) reject(role string, w *waiting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.of(role)
	q.retiring = append(q.retiring, w.username)
}
