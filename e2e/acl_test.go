package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

func TestTokenMayReadOneRoleAndNotAnother(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/other", map[string]any{"policy_document": listUsers})
	policy := newPolicy(t, m.server, m.path+"-reader", `path "`+m.path+`/creds/app" { capabilities = ["read"] }`)
	token := newToken(t, m.server, nil, policy)

	c, err := m.tryIssue(token, "app", "ttl=1h")
	require.NoError(t, err)
	require.True(t, c.exists())
	_, err = m.tryIssue(token, "other")
	requireStatus(t, err, http.StatusForbidden)

	client := clientWith(t, m.server, token).Logical()
	_, err = client.WriteWithContext(t.Context(), m.path+"/creds/app", nil)
	requireStatus(t, err, http.StatusForbidden)
	_, err = client.ReadWithContext(t.Context(), m.path+"/roles/app")
	requireStatus(t, err, http.StatusForbidden)
	_, err = client.ReadWithContext(t.Context(), m.path+"/config")
	requireStatus(t, err, http.StatusForbidden)
	require.Len(t, m.users(), 1)
}

// TestDeniedPathIsDeniedWithASlash: core looks for the rule of a path with the
// slash as it was sent, so that the plugin must not take one path for the other.
func TestDeniedPathIsDeniedWithASlash(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	policy := newPolicy(t, m.server, m.path+"-denied", `
		path "`+m.path+`/*"         { capabilities = ["create", "read", "update", "delete", "list"] }
		path "`+m.path+`/creds/app" { capabilities = ["deny"] }
		path "`+m.path+`/roles/app" { capabilities = ["deny"] }
		path "`+m.path+`/config"    { capabilities = ["deny"] }
		path "`+m.path+`/users"     { capabilities = ["deny"] }
		path "`+m.path+`/roles/"    { capabilities = ["deny"] }
	`)
	token := newToken(t, m.server, nil, policy)
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPost} {
		for _, path := range []string{"creds/app", "creds/app/", "creds//app", "creds/app//", "roles/app", "roles/app/", "config", "config/"} {
			status, answer := sendAs(t, m, token, method, path, nil)
			require.GreaterOrEqual(t, status, http.StatusBadRequest, "%s %s: %s", method, path, answer)
		}
	}
	// Lists, too, of which the rule may name the path with the slash or without.
	c := m.issue("app")
	for _, path := range []string{"users", "users/", "users//", "roles", "roles/", "roles//"} {
		for _, method := range []string{"LIST", http.MethodGet} {
			asked := path
			if method == http.MethodGet {
				asked += "?list=true"
			}
			status, answer := sendAs(t, m, token, method, asked, nil)
			require.GreaterOrEqual(t, status, http.StatusBadRequest, "%s %s: %s", method, asked, answer)
			require.NotContains(t, answer, `"keys"`, "%s %s", method, asked)
		}
	}
	require.NoError(t, m.revoke(c))
	require.Empty(t, m.users())
	require.NotEmpty(t, m.read("roles/app"))
	require.NotEmpty(t, m.read("config"))
}

// TestPolicyOfTheTTL shows that a policy can bound what a token asks for, where
// it reads by writing.
func TestPolicyOfTheTTL(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	policy := newPolicy(t, m.server, m.path+"-ttl", `path "`+m.path+`/creds/app" {
		capabilities = ["update"]
		allowed_parameters = { "ttl" = ["1h"] }
	}`)
	client := clientWith(t, m.server, newToken(t, m.server, nil, policy)).Logical()

	secret, err := client.WriteWithContext(t.Context(), m.path+"/creds/app", map[string]any{"ttl": "1h"})
	require.NoError(t, err)
	require.Equal(t, 60*60, secret.LeaseDuration)
	_, err = client.WriteWithContext(t.Context(), m.path+"/creds/app", map[string]any{"ttl": "8h"})
	requireStatus(t, err, http.StatusForbidden)
}

// TestCreateOnly shows that Vault can tell a new role or integration from one
// that is there, which is what the paths' existence checks are for.
func TestCreateOnly(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	policy := newPolicy(t, m.server, m.path+"-create", `
		path "`+m.path+`/roles/*"  { capabilities = ["create"] }
		path "`+m.path+`/config/*" { capabilities = ["create"] }`)
	client := clientWith(t, m.server, newToken(t, m.server, nil, policy)).Logical()
	role := map[string]any{"policy_document": listUsers}

	_, err := client.WriteWithContext(t.Context(), m.path+"/roles/mine", role)
	require.NoError(t, err)
	_, err = client.WriteWithContext(t.Context(), m.path+"/roles/mine", role)
	requireStatus(t, err, http.StatusForbidden)
	_, err = client.WriteWithContext(t.Context(), m.path+"/roles/app", role)
	requireStatus(t, err, http.StatusForbidden)
	_, err = client.WriteWithContext(t.Context(), m.path+"/config/default", m.aws.integration(m.key))
	requireStatus(t, err, http.StatusForbidden)
	require.JSONEq(t, listGroups, m.read("roles/app")["policy_document"].(string))
}

func TestLeasesEndWithTheirToken(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	policy := newPolicy(t, m.server, m.path+"-reader", `path "`+m.path+`/creds/app" { capabilities = ["read"] }`)

	t.Run("revoked", func(t *testing.T) {
		token := newToken(t, m.server, nil, policy)
		c, err := m.tryIssue(token, "app")
		require.NoError(t, err)
		others := m.issue("app")
		cli(t, m.server, "token", "revoke", token)
		eventually(t, soon, "the user's end", func() bool { return !c.exists() })
		require.True(t, others.exists(), "a lease of another token")
		require.NoError(t, m.revoke(others))
	})
	t.Run("expired", func(t *testing.T) {
		token := newToken(t, m.server, func(r *api.TokenCreateRequest) { r.TTL = "5s" }, policy)
		c, err := m.tryIssue(token, "app", "ttl=1h")
		require.NoError(t, err)
		eventually(t, soon, "the user's end", func() bool { return !c.exists() })
	})
	t.Run("of a parent", func(t *testing.T) {
		parentPolicy := newPolicy(t, m.server, m.path+"-parent", `path "auth/token/create" { capabilities = ["update"] }`)
		parent := newToken(t, m.server, nil, policy, parentPolicy)
		child, err := clientWith(t, m.server, parent).Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: []string{policy}})
		require.NoError(t, err)
		c, err := m.tryIssue(child.Auth.ClientToken, "app")
		require.NoError(t, err)
		cli(t, m.server, "token", "revoke", parent)
		eventually(t, soon, "the user's end", func() bool { return !c.exists() })
	})
	require.Empty(t, m.users())
}

// TestBatchTokens: their leases end with them, which the plugin is not told. It
// tells them from others by their having no accessor.
func TestBatchTokens(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	policy := newPolicy(t, m.server, m.path+"-reader", `path "`+m.path+`/creds/app" { capabilities = ["read"] }`)
	const warning = "lease_expiration is an upper bound"

	for name, change := range map[string]func(*api.TokenCreateRequest){
		"service":  nil,
		"orphan":   func(r *api.TokenCreateRequest) { r.NoParent = true },
		"periodic": func(r *api.TokenCreateRequest) { r.Period = "1h" },
		"few uses": func(r *api.TokenCreateRequest) { r.NumUses = 3 },
	} {
		c, err := m.tryIssue(newToken(t, m.server, change, policy), "app")
		require.NoError(t, err)
		require.NotContains(t, strings.Join(c.lease.Warnings, "\n"), warning, name)
	}

	batch := newToken(t, m.server, func(r *api.TokenCreateRequest) { r.Type, r.TTL = "batch", "8s" }, policy)
	c, err := m.tryIssue(batch, "app", "ttl=1h")
	require.NoError(t, err)
	require.Contains(t, strings.Join(c.lease.Warnings, "\n"), warning)
	require.Empty(t, c.listGroups())
	eventually(t, soon, "the user's end", func() bool { return !c.exists() })
	expiration, err := time.Parse(time.RFC3339, c.LeaseExpiration)
	require.NoError(t, err)
	require.True(t, time.Now().Before(expiration), "the upper bound was kept")
}

// TestResponseWrapping: the credentials can be handed on in a token that can be
// unwrapped once.
func TestResponseWrapping(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	wrapped := cli(t, m.server, "read", "-wrap-ttl=60s", "-field=wrapping_token", m.path+"/creds/app")
	c := parseJSON(t, m, cli(t, m.server, "unwrap", "-format=json", strings.TrimSpace(wrapped)))
	require.Empty(t, c.listGroups())
	require.NoError(t, m.revoke(c))
	m.requireGone(c)
}
