package e2e

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// TestOperatedUnderLoad does to a cluster what its operators do while
// applications are at work: nothing that these see is an error for good, no live
// lease loses its user, and nobody's users are left.
//
// Break it in extendUser, by leaving Expires as it is: the reaper would come before
// the end of a renewed lease.
func TestOperatedUnderLoad(t *testing.T) {
	t.Parallel()
	// Few workers, so that a mass of revocations takes its time.
	cluster := newCluster(t, "VAULT_LEASE_REVOCATION_WORKERS=2")
	requireSettled(t, cluster,
		steppedDown(t, cluster),
		sealedWhileRevoking(t, cluster),
		upgraded(t, cluster),
	)
}

func steppedDown(t *testing.T, cluster *vaultdev.Cluster) unfinished {
	t.Helper()
	w := startWorkload(t, cluster)
	for range 3 {
		w.progress()
		require.NoError(t, leader(t, cluster).StepDown(t.Context()))
		leader(t, cluster)
	}
	return w.finish()
}

// sealedWhileRevoking seals one leader after the other in the midst of a mass
// revocation, until there is no majority, and unseals them. Each lets end what it
// has begun; the rest is for the next.
func sealedWhileRevoking(t *testing.T, cluster *vaultdev.Cluster) unfinished {
	t.Helper()
	m := newClusterMount(t, cluster)
	m.write("roles/mass", map[string]any{"policy_document": listGroups})
	const mass = 60
	for range mass {
		m.issue("mass")
	}
	kept := m.issue("app")
	m.aws.SetLatency(100 * time.Millisecond)
	require.NoError(t, m.server.Client.Sys().RevokeWithOptionsWithContext(t.Context(),
		&api.RevokeOptions{LeaseID: m.path + "/creds/mass", Prefix: true}))

	var sealed []*vaultdev.Server
	for left := mass; len(sealed) < 2; left = len(m.users()) {
		eventually(t, soon, "some revocations", func() bool { return len(m.users()) < left })
		node := leader(t, cluster)
		require.NoError(t, node.Seal(t.Context()))
		sealed = append(sealed, node)
	}
	require.Greater(t, len(m.users()), 1, "sealed in the midst of it")
	for _, node := range sealed {
		require.NoError(t, node.Unseal(t.Context()))
	}

	m.server = leader(t, cluster)
	eventually(t, time.Minute, "the end of the users", func() bool { return len(m.users()) == 1 })
	m.requireAlive(kept)
	return unfinished{m, []credential{kept}}
}

// upgraded moves the mount to another version of the plugin, on all nodes, and
// has another leader take over with it. Records and leases of the older version
// are renewed and revoked by the newer one.
func upgraded(t *testing.T, cluster *vaultdev.Cluster) unfinished {
	t.Helper()
	w := startWorkload(t, cluster)
	older := w.m.issue("app")
	node := leader(t, cluster)
	next, err := vaultdev.BuildPlugin(t.Context(), serverConfig.PluginDir, "v0.1.2-next")
	require.NoError(t, err)
	require.NoError(t, node.Register(t.Context(), next))
	w.progress()

	cli(t, node, "secrets", "tune", "-plugin-version="+next.Version, w.m.path)
	// "vault plugin reload -mounts" does not work in Vault 1.21.1: see TestUpgrade.
	cli(t, node, "write", "sys/plugins/reload/backend", "mounts="+w.m.path, "scope=global")
	require.Equal(t, next.Version, w.m.at(node).runningVersion())
	w.progress()

	require.NoError(t, node.StepDown(t.Context()))
	node = leader(t, cluster)
	require.Equal(t, next.Version, w.m.at(node).runningVersion())
	require.NoError(t, w.m.at(node).renew(older))
	require.NoError(t, w.m.at(node).revoke(older))
	w.m.requireGone(older)
	return w.finish()
}
