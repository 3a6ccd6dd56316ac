package e2e

import (
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// identity is a way to be somebody at AWS: a row of the README's table, whose name it
// bears.
type identity struct {
	config map[string]any
	// caller is who AWS takes the integration for, account the one that it serves.
	caller, account string
	// assumed and asked are how often AWS is asked for a session, and who it is, for
	// any number of leases.
	assumed, asked int
	rotates        bool
	refused        string // with what, where the server cannot do it
}

// serverWithCredentials starts a server that has the key in its environment, where the
// SDK's default chain finds it.
func serverWithCredentials(t *testing.T, id, secret string) *vaultdev.Server {
	t.Helper()
	config := serverConfig
	config.Env = append(slices.Clone(config.Env), "AWS_ACCESS_KEY_ID="+id, "AWS_SECRET_ACCESS_KEY="+secret, "AWS_EC2_METADATA_DISABLED=true")
	server, err := vaultdev.Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, checkLog(server))
		require.NoError(t, server.Stop())
	})
	require.NoError(t, server.Register(t.Context(), plugin))
	return server
}

// identities are all that the README has, on one mount.
func identities(m *mount, environment string) map[string]identity {
	const iam, sts = "arn:aws:iam::" + account, "arn:aws:sts::" + otherAccount
	may := `{"Effect":"Allow","Action":["sts:AssumeRole"],"Resource":"arn:aws:iam::` + otherAccount + `:role/*"},` +
		`{"Effect":"Allow","Action":["iam:ListAccessKeys","iam:CreateAccessKey","iam:DeleteAccessKey"],"Resource":"arn:aws:iam::*:user/${aws:username}"},`
	policy := strings.Replace(corePolicy, `"Statement":[`, `"Statement":[`+may, 1)
	other := m.aws.Account(otherAccount)
	keyed := func(name string, more map[string]any) map[string]any {
		config := m.aws.integration(m.aws.newKey(account, name, policy))
		maps.Copy(config, more)
		return config
	}
	keyless := func(more map[string]any) map[string]any {
		config := map[string]any{"iam_endpoint": m.aws.url, "sts_endpoint": m.aws.url, "max_retries": 1}
		maps.Copy(config, more)
		return config
	}
	m.write("config/source", keyed("source", nil))
	return map[string]identity{
		"static key": {config: keyed("static", nil), caller: iam + ":user/static", account: account, rotates: true},
		"static key and a role": {
			config: keyed("hub", map[string]any{
				"role_arn":    other.AddRoleWithExternalID("of-a-key", iam+":root", "a-shared-word", corePolicy),
				"external_id": "a-shared-word", "session_name": "our-vault",
			}),
			caller: sts + ":assumed-role/of-a-key/our-vault", account: otherAccount, assumed: 1, rotates: true,
		},
		"default credentials": {config: keyless(nil), caller: iam + ":user/" + environment, account: account, asked: 1},
		"default credentials and a role": {
			config: keyless(map[string]any{"role_arn": other.AddRole("of-a-server", iam+":root", corePolicy)}),
			caller: sts + ":assumed-role/of-a-server/vault-aws-iam", account: otherAccount, assumed: 1,
		},
		"another integration's": {
			config: keyless(map[string]any{"source_integration": "source", "role_arn": other.AddRole("of-a-source", iam+":root", corePolicy)}),
			caller: sts + ":assumed-role/of-a-source/vault-aws-iam", account: otherAccount, assumed: 1,
		},
		"workload identity federation": {
			config:  keyless(map[string]any{"identity_token_audience": "vault.example", "role_arn": "arn:aws:iam::" + account + ":role/federated"}),
			refused: "this Vault server cannot mint identity tokens",
		},
	}
}

// TestIdentities has each identity of the README's table serve leases, with no more
// calls of AWS than the table says. Its subtests bear the names of the table's rows.
// That of federation is the error of Vault's Community edition: the unit test
// TestWorkloadIdentityFederation shows what is with the other.
func TestIdentities(t *testing.T) {
	t.Parallel()
	const environment = "from-the-environment"
	sim := newSimulation(t)
	may := `{"Effect":"Allow","Action":["sts:AssumeRole"],"Resource":"*"},`
	key := sim.newKey(account, environment, strings.Replace(corePolicy, `"Statement":[`, `"Statement":[`+may, 1))
	m := newMountOn(t, serverWithCredentials(t, key.AccessKeyID, key.SecretAccessKey), sim)
	kinds := identities(m, environment)
	require.Equal(t, slices.Sorted(maps.Keys(kinds)), identitiesOfREADME(t))
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			m.t = t
			integration := strings.NewReplacer(" ", "-", "'", "").Replace(name)
			_, err := m.tryWrite("config/"+integration, kind.config)
			if kind.refused != "" {
				for _, verify := range []bool{true, false} {
					kind.config["verify_connection"] = verify
					_, err = m.tryWrite("config/"+integration, kind.config)
					requireStatus(t, err, http.StatusBadRequest, kind.refused, "community edition", "use access_key, source_integration or")
				}
				return
			}
			require.NoError(t, err)
			m.write("roles/"+integration, map[string]any{"integration": integration, "policy_document": listGroups})
			m.requireIdentity(integration, kind)
			m.requireRotation(integration, kind)
		})
	}
	m.t = t
}

func (m *mount) requireIdentity(integration string, kind identity) {
	m.t.Helper()
	m.write("config/"+integration, nil) // verify_connection, on demand
	shown := m.read("config/" + integration)
	require.Equal(m.t, kind.caller, shown["caller_arn"])
	require.Equal(m.t, kind.account, shown["account_id"])
	require.Equal(m.t, "aws", shown["partition"])
	require.Equal(m.t, true, shown["verified"])
	require.NotEmpty(m.t, shown["verified_at"])

	m.aws.ResetCalls()
	for range 2 {
		cred := m.issue(integration)
		require.Equal(m.t, kind.account, cred.AccountID)
		require.Empty(m.t, cred.listGroups())
		require.NoError(m.t, m.revoke(cred))
		m.requireGone(cred)
	}
	require.Equal(m.t, kind.assumed, m.aws.Count("AssumeRole"))
	require.Equal(m.t, kind.asked, m.aws.Count("GetCallerIdentity"))
}

// requireRotation is last: it leaves an old key, for two minutes.
func (m *mount) requireRotation(integration string, kind identity) {
	m.t.Helper()
	_, err := m.tryWrite("rotate-root/"+integration, nil)
	if !kind.rotates {
		requireStatus(m.t, err, http.StatusBadRequest, "was not rotated")
		if kind.config["source_integration"] == nil {
			return
		}
		require.ErrorContains(m.t, err, "rotate-root/source")
		_, err = m.tryWrite("rotate-root/source", nil)
	}
	require.NoError(m.t, err)
	cred := m.issue(integration)
	require.NoError(m.t, m.revoke(cred))
	m.requireGone(cred)
}

var identityRow = regexp.MustCompile(`(?m)^\| ([^|]+) \|`)

// identitiesOfREADME are the first cells of the table under "Identities", sorted.
func identitiesOfREADME(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(readme), "\n#### Identities\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n#")
	var rows []string
	for _, match := range identityRow.FindAllStringSubmatch(section, -1) {
		rows = append(rows, match[1])
	}
	require.NotEmpty(t, rows)
	rows = slices.DeleteFunc(rows, func(row string) bool { return row == "identity" })
	return slices.Sorted(slices.Values(rows))
}
