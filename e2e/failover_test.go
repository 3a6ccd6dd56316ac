package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// TestFailover kills the active node of three: another takes over the leases,
// and what it knows is in the storage alone.
func TestFailover(t *testing.T) {
	t.Parallel()
	active := ownServer(t)
	standbys := []*vaultdev.Server{join(t, active), join(t, active)}
	m := newMountOn(t, active, newSimulation(t))
	m.write("roles/brief", map[string]any{"policy_document": listGroups, "default_ttl": "10s"})
	before, late := m.issue("app"), m.issue("brief")

	require.NoError(t, active.Kill())
	m.server = leaderOf(t, standbys)

	eventually(t, soon, "the end of the lease that ran out", func() bool { return !late.exists() })
	after := m.issue("app")
	require.Empty(t, after.listGroups())
	for _, c := range []credential{before, after} {
		require.NoError(t, m.revoke(c))
		m.requireGone(c)
	}
	require.Empty(t, m.storedRecords())
}

// join runs a further node of the server's cluster.
func join(t *testing.T, member *vaultdev.Server) *vaultdev.Server {
	t.Helper()
	node, err := member.Join(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, checkLog(node))
		require.NoError(t, node.Stop())
	})
	return node
}

// leaderOf waits until one of the nodes has taken over.
func leaderOf(t *testing.T, nodes []*vaultdev.Server) (leader *vaultdev.Server) {
	t.Helper()
	eventually(t, time.Minute, "another active node", func() bool {
		for _, node := range nodes {
			health, err := clientWith(t, node, node.RootToken).Sys().HealthWithContext(t.Context())
			if err == nil && !health.Standby && !health.Sealed {
				leader = node
				return true
			}
		}
		return false
	})
	return leader
}
