package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

// people is a userpass auth method of a test's own.
type people struct {
	m              *mount
	path, accessor string
	policy         string
}

// newPeople makes a user pass for each name, who may read the credentials of all roles.
func newPeople(m *mount, names ...string) people {
	m.t.Helper()
	sys := m.server.Client.Sys()
	p := people{m: m, path: m.path + "-people"}
	require.NoError(m.t, sys.EnableAuthWithOptionsWithContext(m.t.Context(), p.path, &api.EnableAuthOptions{Type: "userpass"}))
	auths, err := sys.ListAuthWithContext(m.t.Context())
	require.NoError(m.t, err)
	p.accessor = auths[p.path+"/"].Accessor
	p.policy = newPolicy(m.t, m.server, m.path+"-reader", `path "`+m.path+`/creds/*" { capabilities = ["read"] }`)
	for _, name := range names {
		_, err := m.server.Client.Logical().WriteWithContext(m.t.Context(), "auth/"+p.path+"/users/"+name, map[string]any{"password": "secret-" + name, "token_policies": p.policy})
		require.NoError(m.t, err)
	}
	return p
}

// login returns the token and the entity of who logs in.
func (p people) login(name string) (token, entity string) {
	p.m.t.Helper()
	secret, err := p.m.server.Client.Logical().WriteWithContext(p.m.t.Context(), "auth/"+p.path+"/login/"+name, map[string]any{"password": "secret-" + name})
	require.NoError(p.m.t, err)
	return secret.Auth.ClientToken, secret.Auth.EntityID
}

// getUser uses the key as its owner would, and returns AWS's error code.
func (c credential) getUser(name string) string {
	_, err := c.client().GetUser(context.Background(), &iam.GetUserInput{UserName: &name})
	return codeOf(err)
}

// TestEachToTheirOwn: everybody reads the same role, and may use what is theirs in AWS:
// by the name that they log in with, by metadata of their entity, and by their group.
// Who has no entity is told so.
func TestEachToTheirOwn(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	who := newPeople(m, "ann", "bob", "eve")
	acct := m.aws.Account(account)
	for _, path := range []string{"/home/ann/", "/home/bob/", "/team/blue/", "/group/payments/"} {
		acct.AddUser(path, strings.ReplaceAll(strings.Trim(path, "/"), "/", "-"), listUsers)
	}
	m.write("config/wide", m.aws.integration(m.aws.newKey(account, m.path+"-wide", widePolicy)))
	arn := "arn:aws:iam::" + account + ":user"
	resources := []string{
		arn + "/home/{{identity.entity.aliases." + who.accessor + ".name}}/*",
		arn + "/team/{{identity.entity.metadata.team}}/*",
		arn + "/group/{{identity.groups.names." + m.path + ".metadata.name}}/*",
	}
	m.write("roles/own", map[string]any{
		"integration":     "wide",
		"policy_document": `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:GetUser", "Resource": ["` + strings.Join(resources, `", "`) + `"]}]}`,
		"iam_tags":        map[string]any{"owner": "{{ identity.entity.name }}"},
	})

	tokens, entities := make(map[string]string), []string{}
	for _, name := range []string{"ann", "bob", "eve"} {
		token, entity := who.login(name)
		tokens[name] = token
		data := map[string]any{"name": m.path + "-" + name, "metadata": map[string]any{"team": "blue"}}
		if name == "eve" {
			data["metadata"] = map[string]any{"team": "*"}
		}
		_, err := m.server.Client.Logical().WriteWithContext(t.Context(), "identity/entity/id/"+entity, data)
		require.NoError(t, err)
		entities = append(entities, entity)
	}
	_, err := m.tryIssue(tokens["ann"], "own")
	requireStatus(t, err, http.StatusBadRequest, `role "own"`, "in no group")
	_, err = m.server.Client.Logical().WriteWithContext(t.Context(), "identity/group", map[string]any{
		"name": m.path, "member_entity_ids": entities, "metadata": map[string]any{"name": "payments"},
	})
	require.NoError(t, err)

	for name, other := range map[string]string{"ann": "bob", "bob": "ann"} {
		c, err := m.tryIssue(tokens[name], "own")
		require.NoError(t, err)
		user, found := acct.User(c.Username)
		require.True(t, found)
		require.Contains(t, user.Policies[c.PolicyName], `"`+arn+"/home/"+name+`/*"`)
		require.NotContains(t, user.Policies[c.PolicyName], "{{")
		require.Empty(t, c.getUser("home-"+name))
		require.Empty(t, c.getUser("team-blue"))
		require.Empty(t, c.getUser("group-payments"))
		require.Equal(t, "AccessDenied", c.getUser("home-"+other))
		require.Equal(t, "AccessDenied", c.listUsers())
		require.Equal(t, m.path+"-"+name, user.Tags["owner"])
		require.Equal(t, "own", user.Tags["vault-role"])
		require.Equal(t, m.path+"/", user.Tags["vault-mount"])
		require.Equal(t, c.lease.RequestID, user.Tags["vault-request-id"])
		require.Contains(t, entities, user.Tags["vault-entity-id"])
		require.NoError(t, m.revoke(c))
	}
	m.aws.ResetCalls()
	_, err = m.tryIssue(tokens["eve"], "own")
	requireStatus(t, err, http.StatusBadRequest, `role "own"`, "{{identity.entity.metadata.team}}", "'*'")
	_, err = m.tryIssue(m.server.RootToken, "own")
	requireStatus(t, err, http.StatusBadRequest, `role "own"`, "has no entity: log in with an auth method")
	require.Empty(t, m.aws.Calls())
	require.Empty(t, m.users())
	_, err = m.tryWrite("roles/wrong", map[string]any{"policy_document": strings.Replace(listGroups, "ListGroups", "{{identity.entity.name}}", 1)})
	requireStatus(t, err, http.StatusBadRequest, "policy_document", "values of conditions only")
}
