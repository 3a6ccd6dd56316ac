package e2e

import (
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

func TestPluginKilled(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	m := newMountOn(t, server, newSimulation(t))
	before := m.issue("app")
	pids := server.PluginPIDs()
	require.NotEmpty(t, pids)
	for _, pid := range pids {
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}

	// Vault answers 500 in the moment before it notices. The CLI tries again by
	// itself then, as Vault's client libraries do.
	after := readJSON(t, m, m.path+"/creds/app")

	require.Empty(t, after.listGroups())
	require.NotEmpty(t, server.PluginPIDs())
	require.NotSubset(t, pids, server.PluginPIDs())
	for _, c := range []credential{before, after} {
		require.NoError(t, m.revoke(c))
		m.requireGone(c)
	}
}

// TestVaultKilled restarts Vault on its data, with a lease that ran out in the
// meantime, and changes in between what the leases were made with.
func TestVaultKilled(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	m := newMountOn(t, server, newSimulation(t))
	m.write("roles/gone", map[string]any{"policy_document": listGroups})
	m.write("roles/brief", map[string]any{"policy_document": listGroups, "default_ttl": "10s"})
	kept, orphan, late := m.issue("app"), m.issue("gone"), m.issue("brief")
	require.NoError(t, server.Kill())
	require.True(t, late.exists())
	require.NoError(t, server.Restart(t.Context()))

	eventually(t, soon, "the end of the lease that ran out", func() bool { return !late.exists() })
	require.Empty(t, kept.listGroups(), "a lease survives the server")
	renewed, err := server.Client.Sys().RenewWithContext(t.Context(), kept.lease.LeaseID, 60*60)
	require.NoError(t, err)
	require.Equal(t, 60*60, renewed.LeaseDuration)

	_, err = server.Client.Logical().DeleteWithContext(t.Context(), m.path+"/roles/gone")
	require.NoError(t, err)
	m.changeKey()
	for _, c := range []credential{kept, orphan} {
		require.NoError(t, m.revoke(c))
		m.requireGone(c)
	}
	require.Empty(t, m.storedRecords())
}

// changeKey gives the integration another key, and the old one stops working.
func (m *mount) changeKey() {
	m.t.Helper()
	old := m.key
	m.key = m.aws.newKey(account, "vault-next", corePolicy)
	m.write("config", m.aws.integration(m.key))
	m.aws.Inject(awsfake.Fault{Hook: func(call awsfake.Call) {
		if call.AccessKeyID == old.AccessKeyID {
			m.t.Errorf("%s was called with the old key", call.Action)
		}
	}})
}

func TestAWSOutOfOrder(t *testing.T) {
	t.Parallel()
	m := newMount(t)

	for _, action := range []string{"CreateAccessKey", "PutUserPolicy"} {
		remove := m.aws.Inject(awsfake.Fault{Action: action, Status: http.StatusInternalServerError})
		_, err := m.tryIssue(m.server.RootToken, "app")
		requireStatus(t, err, http.StatusBadGateway, "app", "default", action, "ServiceFailure", "request id")
		remove()
	}
	remove := m.aws.Inject(awsfake.Fault{Code: "Throttling"})
	_, err := m.tryIssue(m.server.RootToken, "app")
	requireStatus(t, err, http.StatusBadGateway, "Throttling", "try again")
	remove()
	remove = m.aws.Inject(awsfake.Fault{Action: "CreateUser", Code: "LimitExceeded"})
	_, err = m.tryIssue(m.server.RootToken, "app")
	requireStatus(t, err, http.StatusBadRequest, "LimitExceeded")
	remove()

	require.Empty(t, m.users())
	require.Empty(t, m.storedRecords())

	// After this answer a user may be there all the same, and IAM may not know
	// it yet: the record stays until that is certain.
	remove = m.aws.Inject(awsfake.Fault{Action: "CreateUser", Status: http.StatusInternalServerError})
	_, err = m.tryIssue(m.server.RootToken, "app")
	requireStatus(t, err, http.StatusBadGateway, "CreateUser", "ServiceFailure")
	remove()
	require.Empty(t, m.users())
	require.Len(t, m.storedRecords(), 1)

	require.True(t, m.issue("app").exists(), "all is well again")
}

func TestAWSUnreachable(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.aws.close()

	_, err := m.tryIssue(m.server.RootToken, "app")
	requireStatus(t, err, http.StatusBadGateway, "app", "default")
	require.Empty(t, m.storedRecords(), "no user can have come of it")

	integration := m.aws.integration(m.key)
	integration["region"] = "eu-west-1"
	_, err = m.tryWrite("config", integration)
	requireStatus(t, err, http.StatusBadGateway, "default")
	require.Empty(t, m.read("config")["region"], "nothing was stored")
}

// TestDisableFailsWhileAWSRefuses: the revocation of the leases is all that
// stands between "vault secrets disable" and forgotten users.
func TestDisableFailsWhileAWSRefuses(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"ServiceFailure", "AccessDenied", "DeleteConflict"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			testDisableFails(t, code)
		})
	}
}

func testDisableFails(t *testing.T, code string) {
	t.Helper()
	m := newMount(t)
	c := m.issue("app")
	remove := m.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: code})

	failed := cliAs(t, m.server, m.server.RootToken, "secrets", "disable", m.path)

	require.Equal(t, 2, failed.ExitCode)
	require.Contains(t, failed.Stderr, c.Username)
	require.Contains(t, failed.Stderr, code)
	require.True(t, c.exists())
	require.Contains(t, m.storedRecords()[c.Username], `"state":"deleting"`)
	require.Equal(t, "InvalidClientTokenId", c.listGroups(), "the key went first")

	remove()
	cli(t, m.server, "secrets", "disable", m.path)
	require.False(t, c.exists())
}

// TestLostAnswer: a user whose creation AWS did not answer is not forgotten.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"CreateUser", "CreateAccessKey", "PutUserPolicy"} {
		t.Run(action+" once", func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			m.aws.Inject(awsfake.Fault{Action: action, Lost: true, Count: 1})
			c := m.issue("app")
			require.Empty(t, c.listGroups())
			require.Len(t, m.users(), 1, "what the lost answer left is gone")
			require.Len(t, m.users()[0].AccessKeys, 1)
			require.Len(t, m.storedRecords(), 1)
		})
		t.Run(action+" always", func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			m.aws.Inject(awsfake.Fault{Action: action, Lost: true})
			_, err := m.tryIssue(m.server.RootToken, "app")
			requireStatus(t, err, http.StatusBadGateway, action)
			require.Empty(t, m.users())
			require.Empty(t, m.storedRecords())
		})
	}
}

// TestReaperFinishesInARealVault has a creation fail and its undoing too. The
// record stays, and Vault's periodic callback, once a minute, sees to the rest.
func TestReaperFinishesInARealVault(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.aws.Inject(awsfake.Fault{Action: "CreateUser", Lost: true, Count: 2})
	m.aws.Inject(awsfake.Fault{Action: "PutUserPolicy", Code: "LimitExceeded"})
	remove := m.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: http.StatusServiceUnavailable})

	_, err := m.tryIssue(m.server.RootToken, "app")

	require.Error(t, err)
	users := m.users()
	require.NotEmpty(t, users)
	for _, user := range users {
		require.Contains(t, m.storedRecords()[user.Name], `"state":"deleting"`)
	}
	remove()
	eventually(t, 3*time.Minute, "the reaper's success", func() bool { return len(m.users()) == 0 })
	eventually(t, soon, "the end of the records", func() bool { return len(m.storedRecords()) == 0 })
}

// TestLeaseRevokedLater: a revocation that failed is tried again by Vault.
func TestLeaseRevokedLater(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/brief", map[string]any{"policy_document": listGroups, "default_ttl": "2s"})
	m.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: http.StatusServiceUnavailable, Count: 2})
	c := m.issue("brief")
	eventually(t, time.Minute, "the user's end after one failure", func() bool { return !c.exists() })
}
