package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

var (
	terraformPath = regexp.MustCompile(`(?m)^(?:ephemeral|data) "vault_generic_secret" "aws" \{\n  path = "([^"]+)"\n\}$`)
	terraformData = regexp.MustCompile(`(?m)^  (access_key|secret_key) = (?:ephemeral|data)\.vault_generic_secret\.aws\.data\["([a-z_]+)"\]$`)
)

// testTerraform checks of the configurations what can be checked without providers, and
// does with Vault what the provider does: it makes itself a token for the run, and reads
// the path with it.
func testTerraform(t *testing.T, m *mount) {
	t.Helper()
	shell := newExampleShell(t, m, "terraform")
	if onPath(t, "terraform", "the check of the form of examples/terraform") {
		shell.next("terraform fmt")
	} else {
		shell.skip("terraform fmt")
	}

	policy := newPolicy(t, m.server, "terraform", `
		path "aws-iam/creds/app" { capabilities = ["read"] }
		path "auth/token/create" { capabilities = ["create", "update"] }`)
	for _, folder := range []string{".", "data-source"} {
		var configuration []byte
		files, err := filepath.Glob(filepath.Join(examples, "terraform", folder, "*.tf"))
		require.NoError(t, err)
		for _, file := range files {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			configuration = append(configuration, content...)
		}
		path := terraformPath.FindSubmatch(configuration)
		require.NotNil(t, path)

		run := clientWith(t, m.server, newToken(t, m.server, nil, policy))
		child, err := run.Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{
			DisplayName: "terraform", TTL: "1200s", ExplicitMaxTTL: "1200s", Renewable: new(bool),
		})
		require.NoError(t, err)
		run.SetToken(child.Auth.ClientToken)
		read, err := run.Logical().ReadWithContext(t.Context(), string(path[1]))
		require.NoError(t, err)
		c := newCredential(t, m.aws, read)
		named := make(map[string]any)
		for _, match := range terraformData.FindAllSubmatch(configuration, -1) {
			named[string(match[1])] = read.Data[string(match[2])]
		}
		require.Equal(t, map[string]any{"access_key": c.AccessKeyID, "secret_key": c.SecretAccessKey}, named)
		require.Empty(t, c.listGroups())

		require.NoError(t, run.Auth().Token().RevokeSelfWithContext(t.Context(), ""))
		eventually(t, soon, "the end of the user with its token", func() bool { return !c.exists() })
	}

	// The data source made for the built-in engine sends role_arn, and reads these fields.
	read, err := m.server.Client.Logical().ReadWithDataWithContext(t.Context(), "aws-iam/creds/app", map[string][]string{"role_arn": {""}, "ttl": {"15m"}})
	require.NoError(t, err)
	c := newCredential(t, m.aws, read)
	require.Equal(t, []any{c.AccessKeyID, c.SecretAccessKey, nil}, []any{read.Data["access_key"], read.Data["secret_key"], read.Data["security_token"]})
	_, err = m.tryIssue(m.server.RootToken, "app", "role_arn=arn:aws:iam::111122223333:role/any")
	requireStatus(t, err, http.StatusBadRequest, "role_arn")
}
