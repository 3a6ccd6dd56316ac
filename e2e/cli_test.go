package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

// readJSON reads credentials with the CLI, as a script would.
func readJSON(t *testing.T, m *mount, args ...string) credential {
	t.Helper()
	return parseJSON(t, m, cli(t, m.server, append([]string{"read", "-format=json"}, args...)...))
}

func parseJSON(t *testing.T, m *mount, output string) credential {
	t.Helper()
	secret, err := api.ParseSecret(strings.NewReader(output))
	require.NoError(t, err)
	return newCredential(t, m.aws, secret)
}

func TestReadPrintsATable(t *testing.T) {
	t.Parallel()
	m := newMount(t)

	output := cli(t, m.server, "read", m.path+"/creds/app")

	rows := make(map[string]string)
	for line := range strings.Lines(output) {
		if fields := strings.Fields(line); len(fields) == 2 {
			rows[fields[0]] = fields[1]
		}
	}
	users := m.users()
	require.Len(t, users, 1)
	require.Equal(t, users[0].AccessKeys[0].ID, rows["access_key_id"])
	require.Equal(t, users[0].AccessKeys[0].ID, rows["access_key"])
	require.Equal(t, users[0].Name, rows["username"])
	require.Equal(t, users[0].ID, rows["user_id"])
	require.Equal(t, users[0].ARN, rows["arn"])
	require.Contains(t, users[0].Policies, rows["policy_name"])
	require.Equal(t, account, rows["account_id"])
	require.Len(t, rows["secret_access_key"], 40)
	require.Equal(t, rows["secret_access_key"], rows["secret_key"])
	require.NotEmpty(t, rows["lease_expiration"])
	require.True(t, strings.HasPrefix(rows["lease_id"], m.path+"/creds/app/"), rows["lease_id"])
	require.Equal(t, "30m", rows["lease_duration"])
	require.Equal(t, "true", rows["lease_renewable"])
}

func TestReadAsJSONWithTTL(t *testing.T) {
	t.Parallel()
	m := newMount(t)

	before := time.Now()
	c := readJSON(t, m, m.path+"/creds/app", "ttl=3h")

	require.Equal(t, 3*60*60, c.lease.LeaseDuration)
	require.True(t, strings.HasPrefix(c.lease.LeaseID, m.path+"/creds/app/"), c.lease.LeaseID)
	require.True(t, c.lease.Renewable)
	require.Empty(t, c.lease.Warnings)
	require.Regexp(t, `^vault-app-[a-z0-9]{20}$`, c.Username)
	require.Equal(t, account, c.AccountID)
	expiration, err := time.Parse(time.RFC3339, c.LeaseExpiration)
	require.NoError(t, err)
	require.Equal(t, time.UTC, expiration.Location())
	require.WithinRange(t, expiration, before.Add(3*time.Hour-time.Second), time.Now().Add(3*time.Hour))
	user, found := m.aws.Account(account).User(c.Username)
	require.True(t, found)
	require.Equal(t, m.userPath, user.Path)
	require.Equal(t, user.ID, c.UserID)
	require.Equal(t, user.ARN, c.ARN)
}

func TestReadOneField(t *testing.T) {
	t.Parallel()
	m := newMount(t)

	output := cli(t, m.server, "read", "-field=access_key_id", m.path+"/creds/app")

	users := m.users()
	require.Len(t, users, 1)
	require.Equal(t, users[0].AccessKeys[0].ID, strings.TrimSpace(output))
}

func TestWriteIssuesLikeRead(t *testing.T) {
	t.Parallel()
	m := newMount(t)

	c := parseJSON(t, m, cli(t, m.server, "write", "-format=json", m.path+"/creds/app", "ttl=90m"))
	require.Equal(t, 90*60, c.lease.LeaseDuration)
	require.True(t, c.exists())

	// Without a parameter the CLI needs -force.
	c = parseJSON(t, m, cli(t, m.server, "write", "-format=json", "-force", m.path+"/creds/app"))
	require.Equal(t, 30*60, c.lease.LeaseDuration)
	require.Len(t, m.users(), 2)
}

func TestTTLBeyondTheMaximumIsCappedWithAWarning(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/short", map[string]any{"policy_document": listGroups, "max_ttl": "2h"})

	c := readJSON(t, m, m.path+"/creds/short", "ttl=3h")

	require.Equal(t, 2*60*60, c.lease.LeaseDuration)
	require.NotEmpty(t, c.lease.Warnings)
}

func TestKeyWorksForWhatItsPolicyAllowsUntilItIsRevoked(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/other", map[string]any{"policy_document": listUsers})
	app, other := readJSON(t, m, m.path+"/creds/app"), readJSON(t, m, m.path+"/creds/other")

	require.Empty(t, app.listGroups())
	require.Equal(t, "AccessDenied", app.listUsers())
	require.Empty(t, other.listUsers())
	require.Equal(t, "AccessDenied", other.listGroups())

	cli(t, m.server, "lease", "revoke", "-sync", app.lease.LeaseID)

	m.requireGone(app)
	require.Empty(t, other.listUsers(), "the other lease is alive")
}

func TestLeaseRenew(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	c := readJSON(t, m, m.path+"/creds/app", "ttl=1h")

	renewed, err := api.ParseSecret(strings.NewReader(cli(t, m.server, "lease", "renew", "-format=json", "-increment=2h", c.lease.LeaseID)))
	require.NoError(t, err)
	require.Equal(t, c.lease.LeaseID, renewed.LeaseID)
	require.Equal(t, 2*60*60, renewed.LeaseDuration)
	require.True(t, renewed.Renewable)

	cli(t, m.server, "delete", m.path+"/roles/app")
	refused := cliAs(t, m.server, m.server.RootToken, "lease", "renew", c.lease.LeaseID)
	require.Equal(t, 2, refused.ExitCode)
	require.Contains(t, refused.Stderr, `role "app" was deleted`)
	require.True(t, c.exists(), "the lease lives on until its end")
}

func TestRevokeByPrefix(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/other", map[string]any{"policy_document": listUsers})
	kept := m.issue("other")
	for range 3 {
		m.issue("app")
	}
	require.Len(t, m.users(), 4)

	cli(t, m.server, "lease", "revoke", "-sync", "-prefix", m.path+"/creds/app")

	require.Len(t, m.users(), 1)
	require.True(t, kept.exists())
}

func TestLeaseEndsWithoutAnybodyAsking(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/brief", map[string]any{"policy_document": listGroups, "default_ttl": "5s", "max_ttl": "1h"})
	c := m.issue("brief")
	require.Equal(t, 5, c.lease.LeaseDuration)
	require.Empty(t, c.listGroups())

	eventually(t, soon, "the user's end", func() bool { return !c.exists() })
	m.requireGone(c)
	eventually(t, soon, "the lease's end", func() bool { return len(m.leases("brief")) == 0 })
}

// TestCostOfALease guards the number of AWS calls with a real Vault in front.
func TestCostOfALease(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	c := m.issue("app")
	require.ElementsMatch(t, []string{"CreateUser", "CreateAccessKey", "PutUserPolicy"}, m.actions())

	m.aws.ResetCalls()
	require.NoError(t, m.revoke(c))
	require.ElementsMatch(t, []string{"DeleteAccessKey", "DeleteUserPolicy", "DeleteUser"}, m.actions())
}

func TestManagementByCLI(t *testing.T) {
	t.Parallel()
	m := newMount(t)

	cli(t, m.server, "write", m.path+"/roles/second", "policy_document="+listUsers, "default_ttl=1h", "max_ttl=4h")
	require.JSONEq(t, `["app","second"]`, cli(t, m.server, "list", "-format=json", m.path+"/roles"))
	require.Equal(t, "3600", strings.TrimSpace(cli(t, m.server, "read", "-field=default_ttl", m.path+"/roles/second")))
	require.JSONEq(t, `["default"]`, cli(t, m.server, "list", "-format=json", m.path+"/config"))

	var integration struct{ Data map[string]any }
	require.NoError(t, json.Unmarshal([]byte(cli(t, m.server, "read", "-format=json", m.path+"/config")), &integration))
	require.Equal(t, account, integration.Data["account_id"])
	require.NotContains(t, integration.Data, "secret_key")
	require.Contains(t, cli(t, m.server, "path-help", m.path), "new IAM user")

	refused := cliAs(t, m.server, m.server.RootToken, "delete", m.path+"/config/default")
	require.Equal(t, 2, refused.ExitCode)
	require.Contains(t, refused.Stderr, "app, second")
}
