package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTwoMountsInOneAccount: each has a path of its own and leaves the other's
// users alone, though their integrations may do the same.
func TestTwoMountsInOneAccount(t *testing.T) {
	t.Parallel()
	sim := newSimulation(t)
	one, two := newMountOn(t, shared, sim), newMountOn(t, shared, sim)
	require.NotEqual(t, one.userPath, two.userPath)
	mine, others := one.issue("app"), two.issue("app")
	require.Len(t, one.users(), 1)
	require.Len(t, two.users(), 1)

	cli(t, one.server, "secrets", "disable", one.path)

	one.requireGone(mine)
	require.True(t, others.exists())
	require.Empty(t, others.listGroups())
	require.Len(t, two.users(), 1)
}

func TestSeveralAccountsInOneMount(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config/second", m.aws.integration(m.aws.newKey(otherAccount, "vault", corePolicy)))
	m.write("roles/there", map[string]any{"integration": "second", "policy_document": listUsers})

	// An account reached through a role needs sts:AssumeRole on top of the
	// core policy, at the key's end; the role itself has just the core policy.
	const third = "777788889999"
	key := m.aws.newKey(account, "assumer", widePolicy)
	caller, _ := m.aws.Account(account).User("assumer")
	role := m.aws.Account(third).AddRole("vault", caller.ARN, corePolicy)
	integration := m.aws.integration(key)
	integration["role_arn"] = role
	m.write("config/third", integration)
	m.write("roles/beyond", map[string]any{"integration": "third", "policy_document": listGroups})

	here, there, beyond := m.issue("app"), m.issue("there"), m.issue("beyond")

	require.Equal(t, account, here.AccountID)
	require.Equal(t, otherAccount, there.AccountID)
	require.Equal(t, third, beyond.AccountID)
	require.Equal(t, third, m.read("config/third")["account_id"])
	for _, c := range []credential{here, there, beyond} {
		require.True(t, c.exists())
	}
	require.Empty(t, there.listUsers())
	require.Empty(t, beyond.listGroups())
	require.Equal(t, "AccessDenied", beyond.listUsers())

	// An integration stays while anything depends on it.
	client := clientWith(t, m.server, m.server.RootToken).Logical()
	_, err := client.DeleteWithContext(t.Context(), m.path+"/config/third")
	requireStatus(t, err, http.StatusBadRequest, "third", "beyond")
	_, err = client.DeleteWithContext(t.Context(), m.path+"/roles/beyond")
	require.NoError(t, err)
	_, err = client.DeleteWithContext(t.Context(), m.path+"/config/third")
	requireStatus(t, err, http.StatusBadRequest, beyond.Username)

	for _, c := range []credential{here, there, beyond} {
		require.NoError(t, m.revoke(c))
		m.requireGone(c)
	}
	_, err = client.DeleteWithContext(t.Context(), m.path+"/config/third")
	require.NoError(t, err)
}

// TestManagedPoliciesGroupsTagsAndBoundary has an integration that may do more
// than the core policy says, because IAM asks for further actions for each of
// these.
func TestManagedPoliciesGroupsTagsAndBoundary(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	acct := m.aws.Account(account)
	acct.AddGroup("readers", listGroups)
	attached := acct.AddManagedPolicy("/", "list-users", listUsers)
	boundary := acct.AddManagedPolicy("/", "boundary", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListGroups","Resource":"*"}]}`)
	m.write("config/wide", m.aws.integration(m.aws.newKey(account, "wide", widePolicy)))
	m.write("roles/rich", map[string]any{
		"integration": "wide", "policy_arns": []string{attached}, "iam_groups": "readers",
		"iam_tags": map[string]any{"team": "blue"}, "permissions_boundary_arn": boundary,
	})

	c := m.issue("rich")

	user, found := acct.User(c.Username)
	require.True(t, found)
	require.Equal(t, []string{attached}, user.AttachedPolicies)
	require.Equal(t, []string{"readers"}, user.Groups)
	require.Equal(t, "blue", user.Tags["team"])
	require.Equal(t, boundary, user.Boundary)
	require.Equal(t, c.Username, c.PolicyName)
	require.Contains(t, user.Policies[c.PolicyName], "Deny", "of the expiry alone")
	require.Empty(t, c.listGroups(), "by the group, within the boundary")
	require.Equal(t, "AccessDenied", c.listUsers(), "attached, but beyond the boundary")

	require.NoError(t, m.revoke(c))
	m.requireGone(c)
}
