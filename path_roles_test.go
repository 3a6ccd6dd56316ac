package awsiam

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

func TestRoleDefaults(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.must(logical.DeleteOperation, "roles/app", nil)
	e.must(logical.UpdateOperation, "roles/app", map[string]any{"policy_document": testPolicy})
	require.Equal(t, map[string]any{
		"integration": "default", "policy_document": testPolicy, "policy_arns": []string{}, "iam_groups": []string{},
		"permissions_boundary_arn": "", "iam_tags": map[string]string{}, "user_path": "", "username_template": "",
		"credential_type": "iam_user", "default_ttl": int64(1800), "max_ttl": int64(0), "enforce_expiry": true,
		"propagation_timeout": int64(10), "pool_size": 0, "max_users": 0,
	}, e.read("roles/app"))
}

// Break it by starting from newRole whatever is stored.
func TestRoleUpdateKeepsWhatItDoesNotMention(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("config/b", e.connection(e.anotherKey(corePolicy)))
	full := map[string]any{
		"integration": "b", "policy_document": testPolicy, "policy_arns": []string{testPolicyARN + "a", testPolicyARN + "b"}, "iam_groups": []string{"g"},
		"permissions_boundary_arn": testPolicyARN + "c", "iam_tags": map[string]string{"k": "v"}, "user_path": "/vault/deep/",
		"username_template": "a-{{ random 20 }}", "credential_type": "iam_user", "default_ttl": int64(60), "max_ttl": int64(120), "enforce_expiry": false,
		"propagation_timeout": int64(45), "pool_size": 3, "max_users": 7,
	}
	e.write("roles/app", full)
	require.Equal(t, full, e.read("roles/app"))
	for field, value := range map[string]any{
		"integration": "default", "policy_document": policyOfSize(t, 300), "policy_arns": []string{testPolicyARN + "d"}, "iam_groups": []string{},
		"permissions_boundary_arn": "", "iam_tags": map[string]string{}, "user_path": "", "username_template": "", "default_ttl": int64(90), "max_ttl": int64(0), "enforce_expiry": true,
		"propagation_timeout": int64(0), "pool_size": 0, "max_users": 0,
	} {
		e.write("roles/app", map[string]any{field: value})
		full[field] = value
		require.Equal(t, full, e.read("roles/app"), field)
	}
	e.write("roles/app", map[string]any{})
	require.Equal(t, full, e.read("roles/app"))
}

// As Vault's command line sends it: everything is a string.
func TestRoleFromStrings(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("roles/cli", map[string]any{
		"policy_arns": testPolicyARN + "a, " + testPolicyARN + "b", "iam_groups": "g,h", "iam_tags": []string{"a=b=c", "d="}, "default_ttl": "90m", "max_ttl": "7200",
	})
	shown := e.read("roles/cli")
	require.Equal(t, []string{testPolicyARN + "a", testPolicyARN + "b"}, shown["policy_arns"])
	require.Equal(t, []string{"g", "h"}, shown["iam_groups"])
	require.Equal(t, map[string]string{"a": "b=c", "d": ""}, shown["iam_tags"])
	require.Equal(t, int64(5400), shown["default_ttl"])
	require.Equal(t, int64(7200), shown["max_ttl"])
}

func TestRoleList(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("roles/b.c_d-1", map[string]any{"policy_document": testPolicy})
	require.Equal(t, []string{"app", "b.c_d-1"}, e.must(logical.ListOperation, "roles/", nil).Data["keys"])
	e.must(logical.DeleteOperation, "roles/app", nil)
	require.Equal(t, []string{"b.c_d-1"}, e.must(logical.ListOperation, "roles/", nil).Data["keys"])
}

func TestRoleWarnings(t *testing.T) {
	e := newEnv(t, corePolicy)
	resp := e.write("roles/app", map[string]any{"default_ttl": "25h", "max_ttl": "26h", "policy_arns": listOf(11, testPolicyARN+"p%d")})
	all := strings.Join(resp.Warnings, "\n")
	for _, warning := range []string{"default_ttl (25h0m0s) is longer than the mount's maximum (24h0m0s)", "max_ttl (26h0m0s) is longer", "policy_arns has 11 entries"} {
		require.Contains(t, all, warning)
	}
	require.Len(t, resp.Warnings, 3)
	require.Equal(t, int64(25*3600), e.read("roles/app")["default_ttl"], "stored in spite of the warnings")
	require.Nil(t, e.write("roles/app", map[string]any{"default_ttl": "24h", "max_ttl": "24h", "policy_arns": listOf(10, testPolicyARN+"p%d")}))
}

// A role of an integration that was not verified is checked against AWS's own
// rules alone.
func TestRoleOfAnUnverifiedIntegration(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("config/b", changed(e.connection(e.anotherKey(corePolicy)), map[string]any{"verify_connection": false}))
	e.write("roles/b", map[string]any{"integration": "b", "policy_arns": "arn:aws-cn:iam::999999999999:policy/a"})
	e.refused(logical.UpdateOperation, "roles/b", map[string]any{"policy_arns": "arn:aws-cn:iam::99999999999:policy/a"}, "policy_arns", "12 digits")
}

// Changes apply to users made from then on, in what they are given.
func TestRoleGivesItsUsersWhatItSays(t *testing.T) {
	e := newEnv(t, widePolicy)
	policy, boundary := e.acct.AddManagedPolicy("/", "policy", testPolicy), e.acct.AddManagedPolicy("/", "boundary", widePolicy)
	e.acct.AddGroup("group")
	e.write("roles/app", map[string]any{
		"policy_arns": policy, "iam_groups": "group", "permissions_boundary_arn": boundary, "iam_tags": "team=blue",
		"user_path": "/vault/deep/", "username_template": "{{ .RoleName }}.{{ random 20 }}",
	})
	l := e.issue("app", nil)
	user, ok := e.acct.User(l.username())
	require.True(t, ok)
	require.Regexp(t, `^app\.[a-z2-7]{20}$`, user.Name)
	require.Equal(t, "/vault/deep/1a2b3c4d/", user.Path)
	require.Equal(t, []string{policy}, user.AttachedPolicies)
	require.Equal(t, []string{"group"}, user.Groups)
	require.Equal(t, boundary, user.Boundary)
	require.Equal(t, "blue", user.Tags["team"])
	require.NoError(t, e.revoke(l))
	require.Empty(t, e.records())
	_, ok = e.acct.User(l.username())
	require.False(t, ok)
}

// A role may move to another integration while users of the old one live:
// they are deleted where they were made.
func TestRoleMovesToAnotherAccount(t *testing.T) {
	e := newEnv(t, corePolicy)
	other := e.aws.Account(otherAccount)
	_, key := other.AddUser("/", "other", corePolicy)
	e.write("config/b", e.connection(key))
	old := e.issue("app", nil)
	e.write("roles/app", map[string]any{"integration": "b"})
	moved := e.issue("app", nil)
	require.Equal(t, otherAccount, moved.data["account_id"])
	e.must(logical.DeleteOperation, "roles/app", nil)
	require.NoError(t, e.revoke(old))
	require.NoError(t, e.revoke(moved))
	e.requireNothingLeft()
	require.Equal(t, 1, other.UserCount())
}

// A role that is deleted while it is being changed is changed first and then gone, and
// events say so. Break it by deleting without the lock that writers have.
func TestARoleIsChangedAndDeletedInTurn(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("roles/app", map[string]any{"max_users": 7})
	listener := e.listen()
	deleted := make(chan error, 1)
	e.storage.on(func(op, key string) (bool, error) {
		if op == "put" && key == rolePrefix+"app" {
			e.storage.on(nil)
			go func() {
				_, err := e.do(logical.DeleteOperation, "roles/app", nil)
				deleted <- err
			}()
			select {
			case err := <-deleted:
				deleted <- err
			case <-time.After(100 * time.Millisecond): // it waits for this write
			}
		}
		return true, nil
	})
	e.write("roles/app", map[string]any{"default_ttl": "1h"})
	require.NoError(t, <-deleted)
	resp, err := e.do(logical.ReadOperation, "roles/app", nil)
	require.NoError(t, err)
	require.Nil(t, resp, "the write has brought back what was deleted")
	sent := e.told(listener)
	require.Len(t, sent, 2)
	require.Equal(t, []string{"role-write", "role-delete"}, []string{sent[0]["operation"], sent[1]["operation"]})
}
