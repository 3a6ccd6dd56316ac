package chaos

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/hashicorp/vault/api"
)

// waves issues several leases of a role made for the purpose, and revokes them
// by their prefix. Each has a role of its own: a revocation whose answer was
// lost may be carried out at any later time, and must meet no other lease then.
type waves struct {
	client
	made int
}

// run makes one wave after the other until the context ends.
func (w *waves) run(ctx context.Context) {
	for pause(ctx, between(w.random, 5*time.Second, 15*time.Second)) {
		spec, size, wait := pick(w.random, roles...), 2+w.random.IntN(4), w.random.IntN(2) == 0
		w.made++
		spec.pool = 0 // which would be left where the role's deletion is not answered
		w.wave(ctx, fmt.Sprintf("wave-%d", w.made), spec, size, wait)
	}
}

func (w *waves) wave(ctx context.Context, role string, spec roleSpec, size int, wait bool) {
	finish := context.WithoutCancel(ctx)
	if _, err := w.insist(ctx, writeRole(ctx, role, spec.body())); err != nil {
		return
	}
	var usernames []string
	for range size {
		if username, ok := w.issue(finish, role, spec, maxLeaseTTL); ok {
			usernames = append(usernames, username)
		}
	}
	if len(usernames) == 0 || !pause(ctx, time.Second) {
		return
	}
	for _, username := range usernames {
		w.ledger.end(username, "revoked by prefix")
	}
	for range 2 * len(w.nodes) {
		path := "sys/leases/revoke-prefix/" + mountPath + "/creds/" + role
		if _, err := w.write(finish, path, map[string]any{"sync": wait}); err == nil {
			w.tally.addN(revokedPrefix, len(usernames))
			break
		}
	}
	_, _ = w.once(deleteRole(finish, role)) // one that stays harms nobody
}

// churn deletes and rewrites the roles that others issue from.
type churn struct {
	client
}

// run goes on until the context ends.
func (c *churn) run(ctx context.Context) {
	for pause(ctx, between(c.random, 3*time.Second, 10*time.Second)) {
		spec, gone, away := pick(c.random, roles...), c.random.IntN(3) == 0, between(c.random, 100*time.Millisecond, 3*time.Second)
		body := maps.Clone(spec.body())
		body["default_ttl"] = seconds(c.ttl())
		if gone {
			if _, err := c.insist(ctx, deleteRole(ctx, spec.name)); err == nil {
				c.tally.add(rolesDeleted)
			}
			pause(ctx, away)
		}
		if _, err := c.insist(ctx, writeRole(ctx, spec.name, body)); err == nil {
			c.tally.add(rolesWritten)
		}
	}
}

func writeRole(ctx context.Context, name string, body map[string]any) func(*api.Logical) (*api.Secret, error) {
	return func(l *api.Logical) (*api.Secret, error) {
		return l.WriteWithContext(ctx, mountPath+"/roles/"+name, body)
	}
}

func deleteRole(ctx context.Context, name string) func(*api.Logical) (*api.Secret, error) {
	return func(l *api.Logical) (*api.Secret, error) {
		return l.DeleteWithContext(ctx, mountPath+"/roles/"+name)
	}
}
