package awsiam

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// neededPolicy reads a policy of the integration as AWS would.
func (e *env) neededPolicy(field string) []permission {
	e.t.Helper()
	var document struct{ Statement []permission }
	require.NoError(e.t, json.Unmarshal([]byte(e.read("policy")[field].(string)), &document))
	return document.Statement
}

// newUserWith makes an IAM user that may do exactly this, by managed policies,
// whose size limit is the one that counts.
func (e *env) newUserWith(name string, policies ...[]permission) awsfake.Credentials {
	e.t.Helper()
	_, key := e.acct.AddUser("/", name)
	for i, statements := range policies {
		document, err := policyJSON(statements)
		require.NoError(e.t, err)
		document = strings.ReplaceAll(document, "user/vault-integration", "user/"+name) // its own key's owner
		arn := e.acct.AddManagedPolicy("/", fmt.Sprintf("%s-%d", name, i), document)
		_, err = e.byHand().AttachUserPolicy(e.t.Context(), &iam.AttachUserPolicyInput{UserName: &name, PolicyArn: &arn})
		require.NoError(e.t, err)
	}
	return key
}

// With the policy that policy/<integration> shows everything works that it is for,
// and without any one of its actions something does not: the scene of the
// statement. The subtests bear the names that the README's table has.
//
// Break it by taking an action out of a statement, or by adding one.
func TestPermissions(t *testing.T) {
	t.Parallel()
	for sid, scene := range permissionScenes {
		t.Run(sid, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, widePolicy)
			works := scene(e)
			policies, actions := e.policiesWith(t, sid)
			e.write("config", e.connection(e.newUserWith("exact", policies...)))
			require.NoError(t, works())

			for _, action := range actions {
				t.Run(action, func(t *testing.T) {
					t.Parallel() // pauses between attempts take seconds
					e := newEnv(t, widePolicy)
					works := scene(e)
					policies, _ := e.policiesWith(t, sid)
					remove(policies, sid, action)
					e.write("config", e.connection(e.newUserWith("exact", policies...)))
					require.Error(t, works(), "nothing in this scene needs %s", action)
				})
			}
		})
	}
}

// policiesWith are the policies of the integration, the optional one if the
// statement is of that, and the statement's actions.
func (e *env) policiesWith(t *testing.T, sid string) (policies [][]permission, actions []string) {
	t.Helper()
	policies = [][]permission{e.neededPolicy("policy_document")}
	actions = actionsOf(policies, sid)
	if len(actions) == 0 {
		policies = append(policies, e.neededPolicy("optional_policy_document"))
		actions = actionsOf(policies, sid)
	}
	require.NotEmpty(t, actions, "no statement %s in %v", sid, policies)
	return policies, actions
}

func actionsOf(policies [][]permission, sid string) []string {
	for _, statement := range slices.Concat(policies...) {
		if statement.Sid == sid {
			return statement.Action
		}
	}
	return nil
}

// remove takes an action out of a statement, or the statement if it has no other.
func remove(policies [][]permission, sid, action string) {
	for i, statements := range policies {
		policies[i] = slices.DeleteFunc(statements, func(s permission) bool { return s.Sid == sid && len(s.Action) == 1 })
		for j, s := range policies[i] {
			if s.Sid == sid {
				policies[i][j].Action = slices.DeleteFunc(s.Action, func(a string) bool { return a == action })
			}
		}
	}
}

// A role's boundary keeps the engine from making bare users, so that it has to
// ask by name whether a user is gone.
func TestPermissionsWithinBoundaries(t *testing.T) {
	for _, granted := range []bool{true, false} {
		t.Run(fmt.Sprintf("TellGoneFromDenied %t", granted), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, widePolicy)
			issueAndRevoke(map[string]any{"permissions_boundary_arn": roleBoundary})(e)
			policies, actions := e.policiesWith(t, "TellGoneFromDenied")
			require.Len(t, policies, 1, "it is required here")
			if !granted {
				remove(policies, "TellGoneFromDenied", actions[0])
			}
			e.write("config", e.connection(e.newUserWith("exact", policies...)))
			l := e.issue("app", nil)
			e.deleteByHand(l.username())
			e.advance(10 * time.Minute)
			if granted {
				require.NoError(t, e.revoke(l))
				e.requireNothingLeft()
			} else {
				require.ErrorContains(t, e.revoke(l), "grant iam:ListAccessKeys on it without a path")
			}
		})
	}
}

// An integration that assumes a role has the policies on that role, and the
// identity beneath it may do no more than assume it.
func TestPermissionsOfAnAssumedRole(t *testing.T) {
	e := newEnv(t, corePolicy)
	other := e.aws.Account(otherAccount)
	body := changed(e.connection(e.anotherKey(corePolicy)), map[string]any{
		"role_arn": "arn:aws:iam::" + otherAccount + ":role/vault", "verify_connection": false,
	})
	e.write("config/far", body)
	shown := e.read("policy/far")
	caller, key := e.acct.AddUser("/", "hub", shown["source_policy_document"].(string))
	other.AddRole("vault", caller.ARN, shown["policy_document"].(string))
	other.AddRole("more", caller.ARN, widePolicy)

	e.write("config/far", e.connection(key))
	e.write("roles/far", map[string]any{"integration": "far", "policy_document": testPolicy})
	require.NoError(t, e.revoke(e.issue("far", nil)))
	e.refused(logical.UpdateOperation, "config/far", map[string]any{"role_arn": "arn:aws:iam::" + otherAccount + ":role/more"}, "sts:AssumeRole", "AccessDenied")
}

// A source needs to assume the roles of those who borrow from it, and no others; the
// core too if it makes users itself. Break it by leaving lendsOnly out of required.
func TestPermissionsOfASource(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.must(logical.DeleteOperation, "roles/app", nil)
	near := e.aws.Account(otherAccount).AddRole("vault", "arn:aws:iam::"+testAccount+":root", corePolicy)
	more := e.aws.Account(otherAccount).AddRole("more", "arn:aws:iam::"+testAccount+":root", widePolicy)
	e.write("config/far", e.borrowing(defaultIntegration, map[string]any{"role_arn": near, "verify_connection": false}))
	e.write("roles/far", map[string]any{"integration": "far", "policy_document": testPolicy})

	required := e.neededPolicy("policy_document")
	require.Len(t, required, 1, "it makes no users")
	require.Equal(t, []string{near}, required[0].Resource)
	optional := e.neededPolicy("optional_policy_document")
	require.Len(t, optional, 1)
	require.Equal(t, "RotateItsOwnKey", optional[0].Sid)
	source := e.read("policy/far")["source_policy_document"].(string)
	require.Contains(t, source, near)
	require.NotContains(t, source, "CreateAccessKey", "its key is the source's")

	e.write("config", e.connection(e.newUserWith("exact", required)))
	require.NoError(t, e.serve("far"))
	e.refused(logical.UpdateOperation, "config/far", map[string]any{"role_arn": more}, "sts:AssumeRole", "AccessDenied")
	e.write("roles/app", map[string]any{"policy_document": testPolicy})
	require.Len(t, e.neededPolicy("policy_document"), 2)

	e.write("config/near", e.borrowing(defaultIntegration, map[string]any{"user_path": "/vault/near/"}))
	require.Contains(t, e.must(logical.ReadOperation, "policy", nil).Warnings[0], "integration(s) near are the same caller")
	resp := e.must(logical.ReadOperation, "policy/near", nil)
	require.Contains(t, resp.Warnings[0], `who integration "default" is`)
	require.Empty(t, resp.Data["source_policy_document"])
	require.Contains(t, resp.Data["policy_document"], "user/vault/near/*")
}

// Nobody in AWS assumes a role that Vault's tokens are exchanged for. Break it by
// leaving federated out of needs.source.
func TestPermissionsOfAFederatedRole(t *testing.T) {
	e, _, body := newVouchedEnv(t)
	e.write("config/wif", body)
	require.Empty(t, e.read("policy/wif")["source_policy_document"])
}

// What the policies do not allow: everything that is somebody else's. Break it by
// taking a condition or a path out of a statement.
func TestPermissionsEndWhereTheyShould(t *testing.T) {
	e := newEnv(t, widePolicy)
	ctx := t.Context()
	e.acct.AddGroup("admins", widePolicy)
	issueAndRevoke(map[string]any{
		"permissions_boundary_arn": roleBoundary, "policy_arns": roleBoundary, "iam_groups": groupOfARole, "iam_tags": map[string]any{"a": "b"},
	})(e)
	l := e.issue("app", nil)
	mine := l.username()
	key := e.newUserWith("exact", e.neededPolicy("policy_document"), e.neededPolicy("optional_policy_document"))
	other, _ := e.acct.AddUser("/", "other", testPolicy)
	unbounded, _ := e.acct.AddUser("/vault/somebody/", "unbounded", testPolicy)
	api := e.iamClient(key)
	admin := aws.String("arn:aws:iam::aws:policy/AdministratorAccess")
	calls := map[string]func() error{
		"make a user elsewhere": func() error {
			_, err := api.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("vault-x"), PermissionsBoundary: aws.String(roleBoundary)})
			return err
		},
		"make a user without a boundary": func() error {
			_, err := api.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("vault-x"), Path: aws.String(testPath)})
			return err
		},
		"make a user with another boundary": func() error {
			_, err := api.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("vault-x"), Path: aws.String(testPath), PermissionsBoundary: admin})
			return err
		},
		"empower a user without a boundary": func() error {
			_, err := api.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &unbounded.Name, PolicyName: aws.String("x"), PolicyDocument: aws.String(widePolicy)})
			return err
		},
		"empower somebody else": func() error {
			_, err := api.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &other.Name, PolicyName: aws.String("x"), PolicyDocument: aws.String(widePolicy)})
			return err
		},
		"a key of somebody else's": func() error {
			_, err := api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &other.Name})
			return err
		},
		"look at somebody else's keys": func() error {
			_, err := api.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &other.Name})
			return err
		},
		"delete somebody else": func() error {
			_, err := api.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &other.Name})
			return err
		},
		"attach another policy": func() error {
			_, err := api.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &mine, PolicyArn: admin})
			return err
		},
		"attach the role's policy to somebody else": func() error {
			_, err := api.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &other.Name, PolicyArn: aws.String(roleBoundary)})
			return err
		},
		"add to another group": func() error {
			_, err := api.AddUserToGroup(ctx, &iam.AddUserToGroupInput{UserName: &mine, GroupName: aws.String("admins")})
			return err
		},
		"its own policy": func() error {
			_, err := api.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("exact"), PolicyName: aws.String("x"), PolicyDocument: aws.String(widePolicy)})
			return err
		},
	}
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		require.True(t, hasCode(calls[name](), codeAccessDenied), name)
	}
}

// The key beneath an assumed role is rotated by its own user, wherever that is. Break it
// by leaving out either resource of newNeeds, or rotateOwnKey out of needs.source.
func TestPermissionsToRotateBeneathAnAssumedRole(t *testing.T) {
	for _, path := range []string{"/", "/a/b/"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			caller, key := e.acct.AddUser(path, "hub", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`)
			role := e.aws.Account(otherAccount).AddRole("vault", caller.ARN, corePolicy)
			e.write("config/far", changed(e.connection(key), map[string]any{"role_arn": role, "rotation_period": "24h"}))
			needed := e.read("policy/far")["source_policy_document"].(string)
			_, err := e.byHand().PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String("hub"), PolicyName: aws.String("inline-0"), PolicyDocument: &needed})
			require.NoError(t, err)
			e.write("rotate-root/far", nil)
			e.pass(retireAfter)
			user, _ := e.acct.User("hub")
			require.Len(t, user.AccessKeys, 1)
			require.Equal(t, e.read("config/far")["access_key"], user.AccessKeys[0].ID)
		})
	}
}
