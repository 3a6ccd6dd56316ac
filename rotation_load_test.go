package awsiam

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

var rotationsUnderLoad = flag.Int("rotations", 8, "how often a key is rotated while leases come and go")

// Leases are issued, renewed and revoked while the key is rotated and old keys go,
// and none fails. Break it by not waiting in proveKey, or by deleting the old key with
// the switch.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.aws.SetLag(awsfake.Lag{Key: 500 * time.Millisecond})
	e.aws.SetLatency(20 * time.Millisecond)
	e.write("roles/app", map[string]any{"default_ttl": "20h", "propagation_timeout": 0}) // more leases in less time
	e.rotateUnderLoad("app", "app", "app", "app")
	require.Empty(t, e.records())
	e.reap()
	e.requireOneKey()
}

// rotateUnderLoad rotates the key of the default integration while leases of the roles
// come and go, of each one after the other.
func (e *env) rotateUnderLoad(roles ...string) {
	t := e.t
	t.Helper()
	var ended atomic.Bool
	defer ended.Store(true)
	rounds := make([]atomic.Int64, len(roles))
	var workers sync.WaitGroup
	for i, role := range roles {
		workers.Go(func() {
			for !ended.Load() {
				if err := e.leaseCycle(role); err != nil {
					t.Errorf("%s, round %d: %s", role, rounds[i].Load(), err)
					return
				}
				rounds[i].Add(1)
			}
		})
	}
	for range *rotationsUnderLoad {
		e.rotated()
		for i := range rounds { // what was signed with the old key comes to its end
			now := rounds[i].Load()
			require.Eventually(t, func() bool { return rounds[i].Load() > now || t.Failed() }, time.Minute, 10*time.Millisecond)
		}
		require.Len(t, e.ownKeys(), 2)
		e.clock.advance(retireAfter)
		e.b.reaper.pass(e.storage)
		require.Eventually(t, func() bool { return len(e.ownKeys()) == 1 && !e.b.rotations.busy(defaultIntegration) },
			time.Minute, 10*time.Millisecond)
	}
	ended.Store(true)
	workers.Wait()
	cycles := int64(0)
	for i := range rounds {
		cycles += rounds[i].Load()
	}
	t.Logf("%d rotations; %d leases issued, renewed and revoked", *rotationsUnderLoad, cycles)
}

// leaseCycle issues, renews and revokes a lease of the role.
func (e *env) leaseCycle(role string) error {
	issued, err := e.b.HandleRequest(context.WithoutCancel(e.t.Context()), &logical.Request{
		Operation: logical.ReadOperation, Path: "creds/" + role, Storage: e.storage, ClientTokenAccessor: "test-accessor",
	})
	if err != nil || issued.IsError() {
		return fmt.Errorf("issue: %w, %v", err, issued)
	}
	l := newLease(e.t, issued)
	if _, err := e.renew(l, time.Hour); err != nil {
		return fmt.Errorf("renew: %w", err)
	}
	return e.revoke(l)
}
