package e2e

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// newCluster runs three nodes that know the plugin. What they logged is looked
// through at the end.
func newCluster(t *testing.T) *vaultdev.Cluster {
	t.Helper()
	cluster, err := vaultdev.StartCluster(t.Context(), serverConfig, 3)
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, node := range cluster.Nodes {
			require.NoError(t, checkLog(node))
		}
		require.NoError(t, cluster.Stop())
	})
	require.NoError(t, cluster.Nodes[0].Register(t.Context(), plugin))
	return cluster
}

func leader(t *testing.T, cluster *vaultdev.Cluster) *vaultdev.Server {
	t.Helper()
	node, err := cluster.Leader(t.Context())
	require.NoError(t, err)
	return node
}

// TestClusterOperations is the ground that the tests of clusters stand on: each
// thing that can be done to a node, in a row.
func TestClusterOperations(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	first := leader(t, cluster)
	require.Same(t, cluster.Nodes[0], first)

	cluster.Isolate(first)
	second := leader(t, cluster)
	require.NotSame(t, first, second)
	cluster.Heal()

	require.NoError(t, second.Pause())
	third := leader(t, cluster)
	require.NotSame(t, second, third)
	require.NoError(t, second.Resume())

	require.NoError(t, third.Kill())
	require.NotSame(t, third, leader(t, cluster))
	require.NoError(t, third.Restart(t.Context()))

	sealed := leader(t, cluster)
	require.NoError(t, sealed.Seal(t.Context()))
	require.NotSame(t, sealed, leader(t, cluster))
	require.NoError(t, sealed.Unseal(t.Context()))

	require.NoError(t, leader(t, cluster).StepDown(t.Context()))
	requireOlderStateBack(t, cluster)
}

// requireOlderStateBack restores a snapshot, after which every node knows nothing
// of what was done since it was taken.
func requireOlderStateBack(t *testing.T, cluster *vaultdev.Cluster) {
	t.Helper()
	node := leader(t, cluster)
	var snapshot bytes.Buffer
	require.NoError(t, node.SaveSnapshot(t.Context(), &snapshot))
	newPolicy(t, node, "since", `path "x" { capabilities = ["read"] }`)
	require.NoError(t, node.RestoreSnapshot(t.Context(), &snapshot))
	for _, node := range cluster.Nodes {
		policy, err := node.Client.Sys().GetPolicyWithContext(t.Context(), "since")
		require.NoError(t, err)
		require.Empty(t, policy)
	}
}
