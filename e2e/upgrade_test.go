package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// TestUpgrade moves a mount to another version of the plugin, as an operator
// does: the leases of the old one are renewed and revoked by the new one.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	// A reload ends the process that all mounts of a version share, with the
	// requests that it is serving.
	m := newMountOn(t, ownServer(t), newSimulation(t))
	before, renewed := m.issue("app"), m.issue("app")
	next, err := vaultdev.BuildPlugin(t.Context(), serverConfig.PluginDir, "v0.1.1-next")
	require.NoError(t, err)
	require.NoError(t, m.server.Register(t.Context(), next))

	cli(t, m.server, "secrets", "tune", "-plugin-version="+next.Version, m.path)
	// "vault plugin reload -mounts" does not work outside of a namespace in
	// Vault 1.21.1: it calls sys/plugins/reload/unknown.
	cli(t, m.server, "write", "sys/plugins/reload/backend", "mounts="+m.path)

	require.Equal(t, next.Version, m.runningVersion())
	after := m.issue("app")
	secret, err := m.server.Client.Sys().RenewWithContext(t.Context(), renewed.lease.LeaseID, 60*60)
	require.NoError(t, err)
	require.Equal(t, 60*60, secret.LeaseDuration)
	for _, c := range []credential{before, renewed, after} {
		require.Empty(t, c.listGroups())
		require.NoError(t, m.revoke(c))
		m.requireGone(c)
	}
	require.Empty(t, m.storedRecords())
}

// runningVersion is the version of the plugin that serves the mount.
func (m *mount) runningVersion() string {
	m.t.Helper()
	all, err := m.server.Client.Sys().ListMountsWithContext(m.t.Context())
	require.NoError(m.t, err)
	return all[m.path+"/"].RunningVersion
}
