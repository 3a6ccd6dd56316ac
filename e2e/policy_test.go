package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

func (m *mount) newKey(accountID, name, policy string) awsfake.Credentials {
	return m.aws.newKey(accountID, m.path+"-"+name, policy)
}

// connected is an account that a mount has an integration for.
type connected struct {
	name, partition, region, account string
	// hub is the account of the user that assumes the role "vault" in this one; empty
	// where the integration has the key of a user of this one.
	hub string
}

// connect writes the integration, with the policy that the engine says it needs, and
// a role of the same name.
func (m *mount) connect(c connected) {
	m.t.Helper()
	integration := map[string]any{"region": c.region, "iam_endpoint": m.aws.url, "sts_endpoint": m.aws.url, "max_retries": 1}
	if c.hub == "" {
		key := m.newKey(c.account, c.name, corePolicy)
		integration["access_key"], integration["secret_key"] = key.AccessKeyID, key.SecretAccessKey
	} else {
		role := fmt.Sprintf("arn:%s:iam::%s:role/vault", c.partition, c.account)
		m.write("config/"+c.name, map[string]any{"role_arn": role, "region": c.region, "verify_connection": false})
		key := m.newKey(c.hub, c.name, m.read("policy/" + c.name)["source_policy_document"].(string))
		user, found := m.aws.Account(c.hub).User(m.path + "-" + c.name)
		require.True(m.t, found)
		m.aws.Account(c.account).AddRole("vault", user.ARN, m.read("policy/" + c.name)["policy_document"].(string))
		integration["role_arn"], integration["access_key"], integration["secret_key"] = role, key.AccessKeyID, key.SecretAccessKey
	}
	m.write("config/"+c.name, integration)
	m.write("roles/"+c.name, map[string]any{"integration": c.name, "policy_document": listGroups})
}

// deny takes actions away from whoever the integration is in the account: the user,
// or the role. It returns what gives them back.
func (m *mount) deny(c connected, actions string) (giveBack func()) {
	m.t.Helper()
	api, name, policy := m.aws.byHand(c.account), m.path+"-"+c.name, "lost"
	document := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":` + actions + `,"Resource":"*"}]}`
	signedThere := func(o *iam.Options) {
		if c.partition == "aws-cn" {
			o.Region = "cn-north-1"
		}
	}
	put, drop := func() error {
		_, err := api.PutUserPolicy(m.t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: &policy, PolicyDocument: &document}, signedThere)
		return err
	}, func() error {
		_, err := api.DeleteUserPolicy(m.t.Context(), &iam.DeleteUserPolicyInput{UserName: &name, PolicyName: &policy}, signedThere)
		return err
	}
	if c.hub != "" {
		name = "vault"
		put, drop = func() error {
			_, err := api.PutRolePolicy(m.t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: &policy, PolicyDocument: &document}, signedThere)
			return err
		}, func() error {
			_, err := api.DeleteRolePolicy(m.t.Context(), &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: &policy}, signedThere)
			return err
		}
	}
	require.NoError(m.t, put())
	return func() { require.NoError(m.t, drop()) }
}

// TestThreeAccountsInTwoPartitions are served by one mount: one with a key of its
// own, one through a role that this key's user assumes, one in China, through a
// role there. Each integration has the policy that the engine says it needs. One that
// loses its rights, with leases out, tells who asks for a lease and who ends one which
// action is missing, on what; the others are none the worse.
//
// Break it by leaving AWS's message out of describeAnswer.
func TestThreeAccountsInTwoPartitions(t *testing.T) {
	t.Parallel()
	const third = "777788889999"
	m := newMount(t)
	m.aws.AccountIn("aws-cn", otherAccount)
	m.aws.Account(third)
	accounts := []connected{
		{"here", "aws", "eu-central-1", account, ""},
		{"beyond", "aws", "us-east-1", third, account},
		{"china", "aws-cn", "cn-northwest-1", otherAccount, otherAccount},
	}
	out := make(map[string]credential)
	for _, c := range accounts {
		m.connect(c)
		shown := m.read("config/" + c.name)
		require.Equal(t, c.partition, shown["partition"])
		require.Equal(t, c.account, shown["account_id"])
		require.Equal(t, true, shown["verified"])
		require.Contains(t, m.read("policy/" + c.name)["policy_document"], "arn:"+c.partition+":iam::"+c.account+":user/vault/*")
		cred := m.issue(c.name)
		require.True(t, strings.HasPrefix(cred.ARN, "arn:"+c.partition+":iam::"+c.account+":user"+m.userPath), cred.ARN)
		require.True(t, cred.exists())
		out[c.name] = cred
	}
	_, err := m.tryWrite("roles/china", map[string]any{"policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess"})
	requireStatus(t, err, http.StatusBadRequest, "policy_arns", `"aws-cn"`)

	for i, c := range accounts {
		giveBack := m.deny(c, `["iam:CreateUser","iam:DeleteUser"]`)
		_, err := m.tryIssue(m.server.RootToken, c.name)
		requireStatus(t, err, http.StatusBadRequest, "is not authorized to perform: iam:CreateUser on resource: arn:"+c.partition+":iam::"+c.account+":user"+m.userPath)
		err = m.revoke(out[c.name])
		requireStatus(t, err, http.StatusBadRequest, "is not authorized to perform: iam:DeleteUser on resource: "+out[c.name].ARN)
		require.NoError(t, m.revoke(m.issue(accounts[(i+1)%len(accounts)].name)))

		giveBack()
		require.NoError(t, m.revoke(out[c.name]))
		require.False(t, out[c.name].exists())
	}
}
