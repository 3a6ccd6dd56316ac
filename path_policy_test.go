package awsiam

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// sids are the statements of the policy, as "Sid on its resources".
func (e *env) sids(field string) []string {
	e.t.Helper()
	var sids []string
	for _, s := range e.neededPolicy(field) {
		sids = append(sids, s.Sid+" on "+strings.Join(s.Resource, " "))
	}
	return sids
}

// The core's policy is the eight actions on the path, in the partition and the
// account that AWS has named.
func TestPolicyOfTheCore(t *testing.T) {
	e := newEnv(t, corePolicy)
	require.JSONEq(t, `{"Version":"2012-10-17","Statement":[{"Sid":"MakeAndDeleteUsers","Effect":"Allow","Action":[
		"iam:CreateUser","iam:PutUserPolicy","iam:CreateAccessKey","iam:ListAccessKeys","iam:ListUserPolicies",
		"iam:DeleteAccessKey","iam:DeleteUserPolicy","iam:DeleteUser"],"Resource":["arn:aws:iam::111122223333:user/vault/*"]}]}`,
		e.read("policy")["policy_document"].(string))
	require.Equal(t, e.read("policy"), e.read("policy/default"))
	require.Empty(t, e.read("policy")["source_policy_document"])
	require.Nil(t, e.must(logical.ReadOperation, "policy/nope", nil), "a 404")

	gov := e.aws.AccountIn("aws-us-gov", otherAccount)
	_, key := gov.AddUser("/", "vault-integration", strings.Replace(corePolicy, "arn:aws:", "arn:aws-us-gov:", 1))
	e.write("config/gov", changed(e.connection(key), map[string]any{"region": "us-gov-west-1", "user_path": "/a/b/"}))
	require.Contains(t, e.read("policy/gov")["policy_document"], `"arn:aws-us-gov:iam::444455556666:user/a/b/*"`)
}

// What the policies hold follows the roles of the integration, and its users.
func TestPolicyFollowsRoles(t *testing.T) {
	const (
		account  = "arn:aws:iam::111122223333:"
		users    = account + "user/vault/*"
		core     = "MakeAndDeleteUsers on " + users
		byName   = "TellGoneFromDenied on " + account + "user/vault-*"
		readOnly = "arn:aws:iam::aws:policy/ReadOnlyAccess"
	)
	for name, c := range map[string]struct {
		roles []map[string]any
		want  []string
	}{
		"none": {nil, []string{core}},
		"another integration's": {
			[]map[string]any{{"integration": "b", "policy_arns": readOnly, "permissions_boundary_arn": readOnly}}, []string{core},
		},
		"a path of its own":  {[]map[string]any{{"user_path": "/vault/team/"}}, []string{core}},
		"tags of one of two": {[]map[string]any{{"iam_tags": map[string]any{"a": "b"}}, {}}, []string{core, "TagUsersAsRolesSay on " + users}},
		"the same group twice": {
			[]map[string]any{{"iam_groups": "b,a"}, {"iam_groups": "a"}},
			[]string{core, "AddUsersToTheGroupsOfRoles on " + account + "group/a " + account + "group/*/a " + account + "group/b " + account + "group/*/b"},
		},
		"policies": {[]map[string]any{{"policy_arns": readOnly}, {"policy_arns": readOnly}}, []string{core, "AttachThePoliciesOfRoles on " + users}},
		"all within boundaries": {
			[]map[string]any{{"permissions_boundary_arn": readOnly}, {"permissions_boundary_arn": roleBoundary}},
			[]string{core, "MakeUsersWithinBoundariesOnly on " + users, byName},
		},
		"one within a boundary": {[]map[string]any{{"permissions_boundary_arn": readOnly}, {}}, []string{core}},
		"names of their own": {
			[]map[string]any{
				{"permissions_boundary_arn": readOnly, "username_template": "v-{{ random 20 }}"},
				{"permissions_boundary_arn": readOnly, "username_template": "v-x-{{ random 20 }}"},
			},
			[]string{core, "MakeUsersWithinBoundariesOnly on " + users, "TellGoneFromDenied on " + account + "user/v-* " + account + "user/vault-*"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, corePolicy)
			e.write("config/b", e.connection(e.anotherKey(corePolicy)))
			e.must(logical.DeleteOperation, "roles/app", nil)
			for i, role := range c.roles {
				e.write(fmt.Sprintf("roles/r%d", i), changed(map[string]any{"policy_document": testPolicy}, role))
			}
			require.Equal(t, c.want, e.sids("policy_document"))
		})
	}
}

// Users that were made elsewhere have to be deleted all the same. Break it by
// leaving needs.addUser out.
func TestPolicyCoversUsersOfAFormerPath(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.write("config", map[string]any{"user_path": "/v2/"})
	require.Equal(t, []string{"MakeAndDeleteUsers on arn:aws:iam::111122223333:user/v2/* arn:aws:iam::111122223333:user/vault/1a2b3c4d/*"}, e.sids("policy_document"))
	require.NoError(t, e.revoke(l))
	require.Equal(t, []string{"MakeAndDeleteUsers on arn:aws:iam::111122223333:user/v2/*"}, e.sids("policy_document"))
}

// Users whose names follow a former template have to be asked for by name, too. Break it
// by leaving the names out of needs.addUser.
func TestPolicyCoversUsersOfAFormerName(t *testing.T) {
	e := newEnv(t, widePolicy)
	e.acct.AddManagedPolicy("/", "of-a-role", testPolicy)
	within := map[string]any{"permissions_boundary_arn": roleBoundary, "username_template": "old-{{ random 20 }}"}
	e.write("roles/app", within)
	l := e.issue("app", nil)
	e.write("roles/app", map[string]any{"username_template": "new-{{ random 20 }}"})
	e.issue("app", nil)
	e.write("config", e.connection(e.newUserWith("exact", e.neededPolicy("policy_document"))))
	require.Contains(t, e.sids("policy_document"), "TellGoneFromDenied on arn:aws:iam::111122223333:user/new-* "+
		"arn:aws:iam::111122223333:user/"+l.username()+"* arn:aws:iam::111122223333:user/vault-*")
	e.deleteByHand(l.username())
	e.advance(10 * time.Minute)
	require.NoError(t, e.revoke(l))
	require.NotContains(t, fmt.Sprint(e.sids("policy_document")), "user/old-")
}

func TestPolicyWarnings(t *testing.T) {
	e := newEnv(t, corePolicy)
	warnings := func() string {
		return strings.Join(e.must(logical.ReadOperation, "policy", nil).Warnings, "\n")
	}
	require.Empty(t, warnings())

	e.must(logical.DeleteOperation, "roles/app", nil)
	e.write("config", map[string]any{"region": "us-west-2", "verify_connection": false})
	require.Contains(t, warnings(), "names neither partition nor account")
	require.Contains(t, e.read("policy")["policy_document"], `"arn:*:iam::*:user/vault/*"`)
	e.write("config", nil)
	require.Empty(t, warnings())

	e.write("config", changed(e.connection(e.assumedRole()), map[string]any{"role_arn": roleForRoot, "user_path": "/"}))
	require.Contains(t, warnings(), "for all users of the account")
	e.write("config", map[string]any{"user_path": "/vault/"})

	for i := range 4 {
		var arns []string
		for j := range 20 {
			arns = append(arns, fmt.Sprintf("arn:aws:iam::111122223333:policy/%s-%d-%d", long(60), i, j))
		}
		e.write(fmt.Sprintf("roles/r%d", i), map[string]any{"policy_arns": arns})
	}
	require.Contains(t, warnings(), "a managed policy of IAM at most 6144")
	require.Contains(t, warnings(), "policy_document has 8")

	require.NoError(t, e.storage.Put(t.Context(), &logical.StorageEntry{Key: "roles/broken", Value: []byte("{")}))
	require.Contains(t, warnings(), "what these need is missing")
	require.Contains(t, warnings(), "broken")
}

const roleForRoot = "arn:aws:iam::" + testAccount + ":role/vault"

// assumedRole makes a role, and the key of a user that may assume it.
func (e *env) assumedRole() awsfake.Credentials {
	caller, key := e.acct.AddUser("/", "hub", widePolicy)
	e.acct.AddRole("vault", caller.ARN, corePolicy)
	return key
}

func TestPolicyWhenStorageFails(t *testing.T) {
	for _, step := range []string{"get config/default", "list roles/", "get roles/app", "list users/"} {
		e := newEnv(t, corePolicy)
		e.storage.on(func(op, key string) (bool, error) { return true, failIf(op+" "+key == step) })
		_, err := e.do(logical.ReadOperation, "policy", nil)
		require.ErrorIs(t, err, errInjected, step)
	}
}
