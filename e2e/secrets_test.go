package e2e

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// TestSecretsStayInTheResponse takes leases and creations through what can
// become of them, and looks for secrets in everything that Vault has stored
// meanwhile. What the servers have logged is searched after the last test.
func TestSecretsStayInTheResponse(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	marked := strings.Replace(listGroups, `"Effect"`, `"Sid": "`+policyMarker+`", "Effect"`, 1)
	m.write("roles/app", map[string]any{"policy_document": marked})

	renewed := m.issue("app")
	_, err := m.server.Client.Sys().RenewWithContext(t.Context(), renewed.lease.LeaseID, 60*60)
	require.NoError(t, err)

	// Undone, after the key was made.
	remove := m.aws.Inject(awsfake.Fault{Action: "PutUserPolicy", Code: "LimitExceeded"})
	_, err = m.tryIssue(m.server.RootToken, "app")
	requireStatus(t, err, http.StatusBadRequest)
	remove()

	// Not undone, and not revoked: the record says why.
	stuck := m.issue("app")
	remove = m.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: http.StatusServiceUnavailable})
	t.Cleanup(remove)
	require.Error(t, m.revoke(stuck))

	// Refused, with a wrong secret of an integration's.
	wrong := m.aws.integration(m.key)
	wrong["secret_key"] = "e2eWrongSecretKeyOfAnIntegration00000000"
	handedOut.addIntegration("e2eWrongSecretKeyOfAnIntegration00000000")
	_, err = m.tryWrite("config", wrong)
	requireStatus(t, err, http.StatusBadRequest)
	wrong["secret_key"] = []string{"e2eWrongSecretKeyOfAnIntegration00000000"}
	_, err = m.tryWrite("config", wrong)
	requireStatus(t, err, http.StatusBadRequest, "secret_key")

	log, err := os.ReadFile(m.server.LogPath)
	require.NoError(t, err)
	require.Contains(t, string(log), stuck.Username, "what the search of the log is worth: errors are in it")
	requireCleanRecords(t, m, renewed, stuck)
	requireCleanLeases(t, m, renewed, stuck)
	remove()
}

// requireCleanRecords looks through all that the mount has stored.
func requireCleanRecords(t *testing.T, m *mount, leased ...credential) {
	t.Helper()
	folder := "logical/" + m.uuid() + "/"
	seen := make(map[string]int)
	for _, key := range m.rawKeys(folder) {
		value, kind := m.raw(key), strings.Split(strings.TrimPrefix(key, folder), "/")[0]
		seen[kind]++
		if kind == "config" {
			require.Zero(t, handedOut.find([]byte(value), false), key)
			require.Contains(t, value, m.key.SecretAccessKey, "the one that belongs there")
			value = strings.ReplaceAll(value, m.key.SecretAccessKey, "")
		}
		require.Zero(t, handedOut.find([]byte(value), true), key)
	}
	require.Equal(t, map[string]int{"config": 1, "roles": 1, "users": len(leased)}, seen)
	for _, c := range leased {
		require.Contains(t, m.storedRecords(), c.Username)
	}
}

// requireCleanLeases looks through the leases as core stores them. Core keeps
// the response too, which is its own doing; all else is searched.
func requireCleanLeases(t *testing.T, m *mount, leased ...credential) {
	t.Helper()
	require.Len(t, m.leases("app"), len(leased))
	for _, c := range leased {
		lease := m.storedLease(c.lease.LeaseID)
		if len(lease.Data) > 0 { // a renewal has dropped it
			require.Equal(t, c.SecretAccessKey, lease.Data["secret_access_key"], "what the search is worth")
		}
		require.NotZero(t, handedOut.find([]byte(c.SecretAccessKey), true), "what the search is worth")
		require.Zero(t, handedOut.find(lease.Secret, true), c.lease.LeaseID)
		require.Equal(t, c.Username, lease.internalData(t)["user"].(map[string]any)["username"])
	}
}

// TestNoAuditDevice: what the log is searched for would be in an audit device's
// output, so there must be none that could be taken for the log.
func TestNoAuditDevice(t *testing.T) {
	t.Parallel()
	devices, err := shared.Client.Sys().ListAuditWithContext(t.Context())
	require.NoError(t, err)
	require.Empty(t, devices)
}
