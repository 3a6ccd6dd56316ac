package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// untilPooled waits until so many users of the mount wait for a lease, and
// returns their names.
func (m *mount) untilPooled(n int) (names []string) {
	m.t.Helper()
	eventually(m.t, 2*soon, "the pool", func() bool {
		names = nil
		secret, err := m.server.Client.Logical().ListWithContext(m.t.Context(), m.path+"/users")
		require.NoError(m.t, err)
		if secret == nil {
			return n == 0
		}
		for _, name := range secret.Data["keys"].([]any) {
			// One that is gone meanwhile is no error.
			user, err := m.server.Client.Logical().ReadWithContext(m.t.Context(), m.path+"/users/"+name.(string))
			require.NoError(m.t, err)
			if user != nil && user.Data["state"] == "pooled" {
				names = append(names, name.(string))
			}
		}
		return len(names) == n
	})
	return names
}

// TestPool: leases of a role with a pool arrive at once with keys that work,
// although AWS takes five seconds to let new ones in; the pool fills up behind
// them, outlives the plugin, and empties with its role.
func TestPool(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	m := newMountOn(t, server, newSimulation(t))
	m.write("roles/app", map[string]any{"pool_size": 2, "propagation_timeout": "30s"})
	m.untilPooled(2)
	m.aws.SetLag(awsfake.Lag{Key: 5 * time.Second, KeySpread: time.Second})
	waiting := m.untilPooled(2)
	for _, user := range m.users() {
		require.Empty(t, user.Policies)
	}

	start := time.Now()
	first := m.issue("app")
	require.Less(t, time.Since(start), 4*time.Second, "less than AWS takes")
	require.Contains(t, waiting, first.Username)
	require.Empty(t, first.lease.Warnings)
	require.Zero(t, first.PropagationSeconds)
	require.Empty(t, first.listGroups())
	policies := slices.DeleteFunc(m.aws.Calls(), func(c awsfake.Call) bool { return c.User != first.Username || c.CallerARN == first.ARN })
	require.Equal(t, "PutUserPolicy", policies[len(policies)-1].Action)
	refilled := m.untilPooled(2)

	// Another process finds who waits, and leases without until it has.
	_, err := server.Client.Sys().ReloadPluginWithContext(context.Background(), &api.ReloadPluginInput{Mounts: []string{m.path + "/"}})
	require.NoError(t, err)
	var leased []credential
	eventually(t, 3*soon, "a lease of a user that waited before", func() bool {
		leased = append(leased, m.issue("app", "ttl=10m"))
		return slices.Contains(refilled, leased[len(leased)-1].Username)
	})

	m.aws.SetLag(awsfake.Lag{})
	require.NoError(t, m.revoke(first))
	for _, c := range leased {
		require.NoError(t, m.revoke(c))
	}
	m.emptyPool("app")
}

// emptyPool deletes the role, which has no lease any more, and waits until nothing
// is left of its users: those that wait have no lease that Vault would revoke.
func (m *mount) emptyPool(role string) {
	m.t.Helper()
	logical := m.server.Client.Logical()
	_, err := logical.DeleteWithContext(m.t.Context(), m.path+"/roles/"+role)
	require.NoError(m.t, err)
	eventually(m.t, 2*soon, "the end of the pool", func() bool { return len(m.users()) == 0 })
	eventually(m.t, soon, "the end of its records", func() bool {
		_, err := logical.DeleteWithContext(m.t.Context(), m.path+"/config")
		return err == nil
	})
}
