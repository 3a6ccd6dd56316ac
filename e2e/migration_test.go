package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

const (
	boundaryARN = "arn:aws:iam::" + account + ":policy/boundary"
	managedARN  = "arn:aws:iam::aws:policy/ReadOnlyAccess"
)

// builtIn is a mount of Vault's own aws engine, to move over from.
type builtIn struct {
	t      *testing.T
	server *vaultdev.Server
	path   string
	aws    simulation
	key    awsfake.Credentials
}

// newBuiltIn enables one, with a key that may do everything in IAM: it looks at all
// that a user may have before it deletes it.
func newBuiltIn(t *testing.T, server *vaultdev.Server, sim simulation, path string) *builtIn {
	t.Helper()
	b := &builtIn{t: t, server: server, path: path, aws: sim, key: sim.newKey(account, path+"-root", widePolicy)}
	require.NoError(t, server.Client.Sys().MountWithContext(t.Context(), path, &api.MountInput{Type: "aws"}))
	t.Cleanup(func() { _ = server.Client.Sys().Unmount(path) }) // a test may have done so
	b.write("config/root", map[string]any{
		"access_key": b.key.AccessKeyID, "secret_key": b.key.SecretAccessKey, "region": "us-east-1", "sts_region": "eu-west-1",
		"iam_endpoint": sim.url, "sts_endpoint": sim.url, "max_retries": 1,
	})
	b.write("config/lease", map[string]any{"lease": "1h", "lease_max": "24h"})
	b.write("roles/app", map[string]any{"credential_type": "iam_user", "policy_document": listGroups})
	return b
}

func (b *builtIn) write(path string, data map[string]any) {
	b.t.Helper()
	_, err := clientWith(b.t, b.server, b.server.RootToken).Logical().WriteWithContext(b.t.Context(), b.path+"/"+path, data)
	require.NoError(b.t, err)
}

// issue reads credentials, whose lease is the answer's.
func (b *builtIn) issue(role string) credential {
	b.t.Helper()
	secret, err := b.server.Client.Logical().ReadWithContext(b.t.Context(), b.path+"/creds/"+role)
	require.NoError(b.t, err)
	// The three fields of the built-in engine for a user: the last is without a value.
	require.ElementsMatch(b.t, []string{"access_key", "secret_key", "session_token"}, slices.Collect(maps.Keys(secret.Data)))
	require.Nil(b.t, secret.Data["session_token"])
	return credential{
		AccessKeyID: secret.Data["access_key"].(string), SecretAccessKey: secret.Data["secret_key"].(string),
		lease: secret, aws: b.aws,
	}
}

// bareMount enables the plugin and writes nothing to it.
func bareMount(t *testing.T, server *vaultdev.Server, sim simulation, path string) *mount {
	t.Helper()
	m := &mount{t: t, server: server, path: path, aws: sim}
	require.NoError(t, server.Enable(t.Context(), path, plugin, api.MountConfigInput{}))
	t.Cleanup(m.disable)
	return m
}

// list returns the names at a path.
func (m *mount) list(path string) []string {
	m.t.Helper()
	secret, err := m.server.Client.Logical().ListWithContext(m.t.Context(), m.path+"/"+path)
	require.NoError(m.t, err)
	var names []string
	if secret != nil {
		for _, name := range secret.Data["keys"].([]any) {
			names = append(names, name.(string))
		}
	}
	return names
}

// buildMigrate builds scripts/migrate into a folder of the test's.
func buildMigrate(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "migrate")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "vault-plugin-secrets-aws-iam/scripts/migrate").CombinedOutput()
	require.NoError(t, err, "%s", output)
	return path
}

// migrator runs the program from one mount to another.
type migrator struct {
	t        *testing.T
	bin      string
	server   *vaultdev.Server
	from, to string
}

func (m migrator) run(token string, args ...string) vaultdev.Result {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), m.bin, append([]string{"-from", m.from, "-to", m.to}, args...)...)
	cmd.Env = []string{"VAULT_ADDR=" + m.server.Addr, "VAULT_TOKEN=" + token, "HOME=" + m.t.TempDir()}
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(m.t, err, &exit)
	}
	result := vaultdev.Result{Stdout: stdout.String(), Stderr: stderr.String(), ExitCode: cmd.ProcessState.ExitCode()}
	require.Zero(m.t, handedOut.find([]byte(result.Stdout+result.Stderr), true), "a secret was printed")
	return result
}

func (m migrator) succeed(token string, args ...string) string {
	m.t.Helper()
	result := m.run(token, args...)
	require.Zero(m.t, result.ExitCode, "%s%s", result.Stdout, result.Stderr)
	return result.Stdout
}

// secretFile has the key's secret as an editor leaves it, with a line break.
func secretFile(t *testing.T, key awsfake.Credentials) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret.txt")
	require.NoError(t, os.WriteFile(path, []byte(key.SecretAccessKey+"\n"), 0o600))
	return path
}

// writeOddRoles gives the old mount what there is besides plain roles.
func (b *builtIn) writeOddRoles() {
	b.t.Helper()
	b.write("roles/full", map[string]any{
		"credential_type": "iam_user", "policy_document": listUsers, "policy_arns": managedARN, "iam_groups": "a,b",
		"iam_tags": map[string]any{"team": "payments"}, "permissions_boundary_arn": boundaryARN, "user_path": "/teams/",
	})
	b.write("roles/legacy", map[string]any{"policy": listGroups}) // for users and federation tokens
	b.write("roles/bare", map[string]any{"credential_type": "iam_user"})
	b.write("roles/me@home", map[string]any{"credential_type": "iam_user", "policy_document": listGroups})
	b.write("roles/sts", map[string]any{"credential_type": "assumed_role", "role_arns": "arn:aws:iam::" + account + ":role/x"})
	b.aws.newKey(account, b.path+"-static", listGroups)
	b.write("static-roles/batch", map[string]any{"username": b.path + "-static", "rotation_period": "24h"})
}

// TestMigrationCarriesOver takes a mount of the built-in engine over, and shows what
// is written, what is not, and that all of it is said.
func TestMigrationCarriesOver(t *testing.T) {
	t.Parallel()
	sim := newSimulation(t)
	old := newBuiltIn(t, shared, sim, "builtin-carried")
	old.writeOddRoles()
	m := bareMount(t, shared, sim, "aws-iam-carried")
	run := migrator{t, buildMigrate(t), shared, old.path, m.path}

	dry := run.succeed(shared.RootToken)
	require.Contains(t, dry, "Nothing was written.")
	require.Contains(t, dry, m.path+"/config/default: CANNOT BE WRITTEN: Vault does not show the old mount's secret key")
	refused := run.run(shared.RootToken, "-write")
	require.Equal(t, 1, refused.ExitCode)
	require.Contains(t, refused.Stderr, "nothing was written")
	require.Empty(t, m.list("config"))
	require.Empty(t, m.list("roles"))

	key := sim.newKey(account, "carried", corePolicy)
	withKey := []string{"-access-key", key.AccessKeyID, "-secret-key-file", secretFile(t, key)}
	dry = run.succeed(shared.RootToken, withKey...)
	require.Contains(t, dry, m.path+"/roles/app: would create")
	require.Empty(t, m.list("roles"), "a dry run")
	written := run.run(shared.RootToken, append(withKey, "-write")...)

	require.Equal(t, 1, written.ExitCode, "one was refused: %s", written.Stderr)
	require.Contains(t, written.Stderr, "1 role(s) refused")
	for _, line := range []string{
		m.path + "/config/default: created", "secret_key=(not shown)", "sts_region=eu-west-1: carried over as region",
		m.path + "/roles/app: created", m.path + "/roles/full: created", m.path + "/roles/legacy: created",
		m.path + "/roles/bare: REFUSED: give at least one of policy_document",
		m.path + "/roles/me@home: NOT CARRIED OVER: the name",
		m.path + "/roles/sts: NOT CARRIED OVER: credential_type=assumed_role",
		"user_path=/teams/: not carried over", "sts/legacy is not", "static-roles/batch: not carried over",
		"max_ttl=24h0m0s",
	} {
		require.Contains(t, written.Stdout, line)
	}
	require.Equal(t, []string{"app", "full", "legacy"}, m.list("roles"))
	config := m.read("config/default")
	require.Equal(t, []any{key.AccessKeyID, "eu-west-1", sim.url, true}, []any{config["access_key"], config["region"], config["iam_endpoint"], config["verified"]})
	full := m.read("roles/full")
	require.JSONEq(t, listUsers, full["policy_document"].(string))
	require.Equal(t, []any{[]any{managedARN}, []any{"a", "b"}, map[string]any{"team": "payments"}, boundaryARN, ""},
		[]any{full["policy_arns"], full["iam_groups"], full["iam_tags"], full["permissions_boundary_arn"], full["user_path"]})
	for _, role := range m.list("roles") {
		require.Equal(t, "3600", fmt.Sprint(m.read("roles/" + role)["default_ttl"]))
		require.Equal(t, "86400", fmt.Sprint(m.read("roles/" + role)["max_ttl"]))
	}
}

// TestMigrationRunsAgain: what is there already stays, until told otherwise.
func TestMigrationRunsAgain(t *testing.T) {
	t.Parallel()
	sim := newSimulation(t)
	old := newBuiltIn(t, shared, sim, "builtin-again")
	m := bareMount(t, shared, sim, "aws-iam-again")
	run := migrator{t, buildMigrate(t), shared, old.path, m.path}
	withOldKey := []string{"-secret-key-file", secretFile(t, old.key), "-write"}
	first := run.succeed(shared.RootToken, withOldKey...)
	require.Contains(t, first, "is in both mounts: rotate it in neither")

	again := run.succeed(shared.RootToken, withOldKey...)
	require.Contains(t, again, "Written: 0, refused: 0; 2 the same")
	require.Contains(t, run.succeed(shared.RootToken, "-write"), "Written: 0", "a secret is not needed again")

	m.write("roles/app", map[string]any{"max_ttl": "2h"})
	m.write("config/default", map[string]any{"max_retries": 3})
	kept := run.succeed(shared.RootToken, "-write")
	require.Contains(t, kept, m.path+"/roles/app: IS THERE ALREADY AND STAYS AS IT IS, without -overwrite; it would get\n    max_ttl=24h0m0s\n")
	require.Contains(t, kept, m.path+"/config/default: IS THERE ALREADY AND STAYS AS IT IS, without -overwrite; it would get\n    max_retries=1\n")
	require.Equal(t, "7200", fmt.Sprint(m.read("roles/app")["max_ttl"]))

	require.Contains(t, run.succeed(shared.RootToken, "-write", "-overwrite"), "Written: 2")
	require.Equal(t, "86400", fmt.Sprint(m.read("roles/app")["max_ttl"]))
	require.Equal(t, "1", fmt.Sprint(m.read("config/default")["max_retries"]))
	require.Equal(t, "0", fmt.Sprint(m.read("roles/app")["propagation_timeout"]), "what the old engine does not have is left alone")
}

// TestMigrationRefusesOtherMounts: a mistyped mount is not written to.
func TestMigrationRefusesOtherMounts(t *testing.T) {
	t.Parallel()
	sim := newSimulation(t)
	old := newBuiltIn(t, shared, sim, "builtin-mistyped")
	bin := buildMigrate(t)
	for mounts, refusal := range map[[2]string]string{
		{old.path, old.path}: "-to names one of this engine",
		{"sys", old.path}:    "-from names one of the built-in engine",
		{old.path, "nobody"}: "looking at the mount nobody/",
		{"nobody", old.path}: "looking at the mount nobody/",
	} {
		result := migrator{t, bin, shared, mounts[0], mounts[1]}.run(shared.RootToken, "-write", "-overwrite")
		require.Equal(t, 1, result.ExitCode)
		require.Contains(t, result.Stderr, refusal)
	}
}
