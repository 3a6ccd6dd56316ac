package e2e

import (
	"bytes"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// TestStandbysForward asks every node. A standby of Vault's Community Edition
// hands on what it is asked before any plugin sees it, so that there is one user
// for one lease whoever is asked; here it is seen to be so.
func TestStandbysForward(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	m := newClusterMount(t, cluster)
	requireOneEach(t, cluster, m)
	requireDistinct(t, cluster, m)
	requireOlderStateBack(t, cluster, m)
}

// requireOneEach goes through the life of a lease at each node.
func requireOneEach(t *testing.T, cluster *vaultdev.Cluster, m *mount) {
	t.Helper()
	for _, node := range cluster.Nodes {
		m.aws.ResetCalls()
		c := m.at(node).issue("app")
		require.Equal(t, 1, m.aws.Count("CreateUser"))
		require.Equal(t, 1, m.aws.Count("CreateAccessKey"))
		m.requireOnly(c)
		require.NoError(t, m.at(node).renew(c))
		m.requireAlive(c)
		require.NoError(t, m.at(node).revoke(c))
		m.requireGone(c)
		m.requireOnly()
	}
}

// requireDistinct reads at all nodes at once.
func requireDistinct(t *testing.T, cluster *vaultdev.Cluster, m *mount) {
	t.Helper()
	const reads = 8 // at each node
	m.aws.ResetCalls()
	issued := make([]credential, reads*len(cluster.Nodes))
	errs := make([]error, len(issued))
	var readers sync.WaitGroup
	for i := range issued {
		node := cluster.Nodes[i%len(cluster.Nodes)]
		readers.Go(func() { issued[i], errs[i] = m.at(node).tryIssue(node.RootToken, "app") })
	}
	readers.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, len(issued), m.aws.Count("CreateUser"))
	m.requireOnly(issued...)

	for i, c := range issued {
		require.NoError(t, m.at(cluster.Nodes[(i+1)%len(cluster.Nodes)]).revoke(c), "at another node")
	}
	m.requireOnly()
}

// requireOlderStateBack restores a snapshot: the lease that was revoked since it
// was taken is back, and ends once more.
func requireOlderStateBack(t *testing.T, cluster *vaultdev.Cluster, m *mount) {
	t.Helper()
	m.server = leader(t, cluster)
	c := m.issue("app")
	var snapshot bytes.Buffer
	require.NoError(t, m.server.SaveSnapshot(t.Context(), &snapshot))
	require.NoError(t, m.revoke(c))
	m.write("roles/since", map[string]any{"policy_document": listGroups})

	require.NoError(t, m.server.RestoreSnapshot(t.Context(), &snapshot))
	for _, node := range cluster.Nodes {
		there := m.at(node)
		require.Equal(t, []string{c.Username}, there.recorded())
		require.Equal(t, []string{c.lease.LeaseID}, there.leased())
		_, err := there.tryIssue(node.RootToken, "since")
		requireStatus(t, err, http.StatusBadRequest, "there is no role")
	}

	// AWS's word that it does not know a user is believed when that is old.
	m.makeDue(nil)
	require.NoError(t, m.revoke(c))
	m.requireOnly()
}
