package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// policyDocument is an IAM policy, of which the tests take actions away.
type policyDocument struct {
	Version   string
	Statement []struct {
		Sid, Effect      string
		Action, Resource []string
		Condition        map[string]any `json:",omitempty"`
	}
}

func (d *policyDocument) takeAway(t *testing.T, sid, action string) {
	t.Helper()
	for i, s := range d.Statement {
		if s.Sid == sid {
			require.Contains(t, s.Action, action)
			d.Statement[i].Action = slices.DeleteFunc(s.Action, func(a string) bool { return a == action })
			if len(d.Statement[i].Action) == 0 { // which AWS does not take
				d.Statement = slices.Delete(d.Statement, i, i+1)
			}
			return
		}
	}
	require.Fail(t, "no such statement", "%s in %v", sid, d)
}

// permissionRoles are roles that each ask for one more statement of the policy, by
// its Sid: the rows of the README's table that are about roles. action is one that
// the making of a user misses first.
var permissionRoles = map[string]struct {
	role   func(acct *awsfake.Account) map[string]any
	action string
}{
	"MakeAndDeleteUsers": {func(*awsfake.Account) map[string]any { return map[string]any{} }, "iam:CreateUser"},
	"TagUsersAsRolesSay": {func(*awsfake.Account) map[string]any {
		return map[string]any{"iam_tags": map[string]any{"team": "blue"}}
	}, "iam:TagUser"},
	"AttachThePoliciesOfRoles": {func(acct *awsfake.Account) map[string]any {
		return map[string]any{"policy_arns": acct.AddManagedPolicy("/", "of-a-role", listUsers)}
	}, "iam:AttachUserPolicy"},
	"AddUsersToTheGroupsOfRoles": {func(acct *awsfake.Account) map[string]any {
		acct.AddGroup("of-a-role", listUsers)
		return map[string]any{"iam_groups": "of-a-role"}
	}, "iam:AddUserToGroup"},
	"MakeUsersWithinBoundariesOnly": {func(acct *awsfake.Account) map[string]any {
		return map[string]any{"permissions_boundary_arn": acct.AddManagedPolicy("/", "boundary", listGroups)}
	}, "iam:CreateUser"},
}

// TestPermissions pastes into AWS what `vault read aws-iam/policy` shows, and finds
// it to be enough for the role, and an action less to be too little. The unit test
// of the same name does so for all actions, and for what is optional.
func TestPermissions(t *testing.T) {
	t.Parallel()
	for sid, c := range permissionRoles {
		t.Run(sid, func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			acct := m.aws.Account(account)
			role := c.role(acct)
			role["policy_document"] = listGroups
			m.write("roles/app", role)
			var document policyDocument
			shown := cli(t, m.server, "read", "-field=policy_document", m.path+"/policy")
			require.NoError(t, json.Unmarshal([]byte(shown), &document))

			m.write("config", m.aws.integration(m.newKeyWith("exact", document)))
			cred := m.issue("app")
			require.Empty(t, cred.listGroups())
			require.NoError(t, m.revoke(cred))
			m.requireGone(cred)

			document.takeAway(t, sid, c.action)
			m.write("config", m.aws.integration(m.newKeyWith("less", document)))
			_, err := m.tryIssue(m.server.RootToken, "app")
			requireStatus(t, err, http.StatusBadRequest, "is not authorized to perform: "+c.action)
			require.Empty(t, m.users(), "what was half made")
		})
	}
}

// TestPermissionsToRotate is TestPermissions for the integration's own key: what is
// shown for the user that the integration has is pasted into AWS for that user.
func TestPermissionsToRotate(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config", m.aws.integration(m.newKey(account, "bare", listGroups)))
	m.write("config", map[string]any{"rotation_period": "720h"})
	var document policyDocument
	shown := cli(t, m.server, "read", "-field=policy_document", m.path+"/policy")
	require.NoError(t, json.Unmarshal([]byte(shown), &document))
	paste := func(document policyDocument) {
		t.Helper()
		encoded, err := json.Marshal(document)
		require.NoError(t, err)
		root := m.aws.Account(account).Root()
		_, err = (credential{AccessKeyID: root.AccessKeyID, SecretAccessKey: root.SecretAccessKey, aws: m.aws}).client().PutUserPolicy(t.Context(),
			&iam.PutUserPolicyInput{UserName: aws.String(m.path + "-bare"), PolicyName: aws.String("pasted"), PolicyDocument: aws.String(string(encoded))})
		require.NoError(t, err)
	}
	for _, action := range []string{"iam:ListAccessKeys", "iam:CreateAccessKey", "iam:DeleteAccessKey"} {
		var less policyDocument
		require.NoError(t, json.Unmarshal([]byte(shown), &less))
		less.takeAway(t, "RotateItsOwnKey", action)
		paste(less)
		_, err := m.tryWrite("rotate-root", nil)
		requireStatus(t, err, http.StatusBadRequest, "the integration's own user needs "+action)
	}
	paste(document)
	before := m.read("config")["access_key"]
	cli(t, m.server, "write", "-f", m.path+"/rotate-root")
	require.NotEqual(t, before, m.read("config")["access_key"])
	require.NoError(t, m.revoke(m.issue("app")))
}

func (m *mount) newKey(accountID, name, policy string) awsfake.Credentials {
	return m.aws.newKey(accountID, m.path+"-"+name, policy)
}

func (m *mount) newKeyWith(name string, document policyDocument) awsfake.Credentials {
	m.t.Helper()
	encoded, err := json.Marshal(document)
	require.NoError(m.t, err)
	return m.newKey(account, name, string(encoded))
}

// TestThreeAccountsInTwoPartitions are served by one mount: one with a key of its
// own, one through a role that this key's user assumes, one in China, through a
// role there. Each integration has the policy that the engine says it needs.
func TestThreeAccountsInTwoPartitions(t *testing.T) {
	t.Parallel()
	const third = "777788889999"
	m := newMount(t)
	m.aws.AccountIn("aws-cn", otherAccount)
	m.aws.Account(third)
	for name, c := range map[string]struct {
		partition, region, account, hub string
	}{
		"here":   {"aws", "eu-central-1", account, ""},
		"beyond": {"aws", "us-east-1", third, account},
		"china":  {"aws-cn", "cn-northwest-1", otherAccount, otherAccount},
	} {
		integration := map[string]any{"region": c.region, "iam_endpoint": m.aws.url, "sts_endpoint": m.aws.url, "max_retries": 1}
		if c.hub == "" {
			key := m.newKey(c.account, name, corePolicy)
			integration["access_key"], integration["secret_key"] = key.AccessKeyID, key.SecretAccessKey
		} else {
			role := fmt.Sprintf("arn:%s:iam::%s:role/vault", c.partition, c.account)
			unverified := map[string]any{"role_arn": role, "region": c.region, "verify_connection": false}
			m.write("config/"+name, unverified)
			key := m.newKey(c.hub, name, m.read("policy/" + name)["source_policy_document"].(string))
			user, found := m.aws.Account(c.hub).User(m.path + "-" + name)
			require.True(t, found)
			m.aws.Account(c.account).AddRole("vault", user.ARN, m.read("policy/" + name)["policy_document"].(string))
			integration["role_arn"], integration["access_key"], integration["secret_key"] = role, key.AccessKeyID, key.SecretAccessKey
		}
		m.write("config/"+name, integration)
		m.write("roles/"+name, map[string]any{"integration": name, "policy_document": listGroups})

		shown := m.read("config/" + name)
		require.Equal(t, c.partition, shown["partition"])
		require.Equal(t, c.account, shown["account_id"])
		require.Equal(t, true, shown["verified"])
		require.Contains(t, m.read("policy/" + name)["policy_document"], "arn:"+c.partition+":iam::"+c.account+":user/vault/*")
		cred := m.issue(name)
		require.True(t, strings.HasPrefix(cred.ARN, "arn:"+c.partition+":iam::"+c.account+":user"+m.userPath), cred.ARN)
		require.True(t, cred.exists())
		require.NoError(t, m.revoke(cred))
		require.False(t, cred.exists())
	}
	_, err := m.tryWrite("roles/china", map[string]any{"policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess"})
	requireStatus(t, err, http.StatusBadRequest, "policy_arns", `"aws-cn"`)
}

// TestAnIntegrationThatLosesItsRights: who asks for a lease and who revokes one
// are told which action is missing, on what.
func TestAnIntegrationThatLosesItsRights(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	cred := m.issue("app")
	name := strings.TrimPrefix(m.read("config")["caller_arn"].(string), "arn:aws:iam::"+account+":user/")
	root := credential{AccessKeyID: m.aws.Account(account).Root().AccessKeyID, SecretAccessKey: m.aws.Account(account).Root().SecretAccessKey, aws: m.aws}
	deny := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["iam:CreateUser","iam:DeleteUser"],"Resource":"*"}]}`
	_, err := root.client().PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("lost"), PolicyDocument: &deny})
	require.NoError(t, err)

	_, err = m.tryIssue(m.server.RootToken, "app")
	requireStatus(t, err, http.StatusBadRequest, "is not authorized to perform: iam:CreateUser on resource: arn:aws:iam::"+account+":user"+m.userPath)
	err = m.revoke(cred)
	requireStatus(t, err, http.StatusBadRequest, "is not authorized to perform: iam:DeleteUser on resource: "+cred.ARN)

	_, err = root.client().DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: &name, PolicyName: aws.String("lost")})
	require.NoError(t, err)
	require.NoError(t, m.revoke(cred))
	m.requireGone(cred)
}
