package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

const migrationGuide = "../docs/migration.md"

var (
	shellBlock  = regexp.MustCompile("(?s)\n *```sh\n(.*?)\n *```\n")
	firstColumn = regexp.MustCompile(`(?m)^\| ([^|]+) \|`)
)

// guideShell runs the guide's commands as a reader would, who has logged in and is
// in the folder of the sources.
type guideShell struct {
	t      *testing.T
	server *vaultdev.Server
	folder string
	fill   *strings.Replacer
}

func newGuideShell(t *testing.T, server *vaultdev.Server, key, secret string) guideShell {
	t.Helper()
	folder := t.TempDir()
	bin, err := filepath.Abs(server.Command(t.Context(), "", "version").Path)
	require.NoError(t, err)
	require.NoError(t, os.Symlink(bin, filepath.Join(folder, "vault")))
	for name, content := range map[string]string{".vault-token": server.RootToken, "secret.txt": secret + "\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600))
	}
	return guideShell{t, server, folder, strings.NewReplacer("go run ./scripts/migrate", buildMigrate(t), "AKIA…", key)}
}

func (s guideShell) run(block string) string {
	s.t.Helper()
	var script strings.Builder
	for line := range strings.Lines(block) { // indented, as a part of a list
		script.WriteString(strings.TrimPrefix(line, "   "))
	}
	cmd := exec.CommandContext(s.t.Context(), "bash", "-euc", s.fill.Replace(script.String()))
	cmd.Dir = s.folder
	cmd.Env = []string{"PATH=" + s.folder + ":" + os.Getenv("PATH"), "HOME=" + s.folder, "VAULT_ADDR=" + s.server.Addr}
	output, err := cmd.CombinedOutput()
	require.NoError(s.t, err, "%s\n%s", script.String(), output)
	return string(output)
}

// TestMigrationGuide follows docs/migration.md from its first command to its last,
// with a lease of the old mount that lives through it.
func TestMigrationGuide(t *testing.T) {
	t.Parallel()
	sim, server := newSimulation(t), ownServer(t) // which has the guide's mounts to itself
	old := newBuiltIn(t, server, sim, "aws")
	before, ended := old.issue("app"), old.issue("app")
	key := sim.newKey(account, "vault-iam", corePolicy)
	guide, err := os.ReadFile(migrationGuide)
	require.NoError(t, err)
	blocks := shellBlock.FindAllStringSubmatch(string(guide), -1)
	require.Len(t, blocks, 7)
	require.Equal(t, 2*len(blocks), strings.Count(string(guide), "```"), "commands that are not run")
	shell := newGuideShell(t, server, key.AccessKeyID, key.SecretAccessKey)
	m := &mount{t: t, server: server, path: "aws-iam", aws: sim, key: key}
	t.Cleanup(m.disable)

	shell.run(blocks[0][1])
	require.Contains(t, shell.run(blocks[1][1]), "Nothing was written. To write: 2;")
	require.Empty(t, m.list("config"))
	require.Contains(t, shell.run(blocks[2][1]), "Written: 2, refused: 0")
	require.Contains(t, shell.run(blocks[3][1]), "iam:CreateUser")
	require.Contains(t, shell.run(blocks[4][1]), "access_key")
	m.userPath = m.read("config")["issued_user_path"].(string)
	require.Len(t, m.users(), 1)

	// The same fields, of keys that may do the same, with the same TTL.
	after := m.issue("app")
	require.Equal(t, before.lease.LeaseDuration, after.lease.LeaseDuration)
	for _, field := range []string{"access_key", "secret_key"} {
		require.IsType(t, before.lease.Data[field], after.lease.Data[field])
	}
	for _, c := range []credential{before, ended, after} {
		require.Empty(t, c.listGroups())
		require.Equal(t, "AccessDenied", c.listUsers())
	}

	// The old role is gone, the old leases go on, each to its own end.
	listed := shell.run(blocks[5][1])
	for _, c := range []credential{before, ended} {
		require.Contains(t, listed, strings.TrimPrefix(c.lease.LeaseID, "aws/creds/app/"))
	}
	renewed, err := server.Client.Sys().RenewWithContext(t.Context(), before.lease.LeaseID, 0)
	require.NoError(t, err)
	require.Equal(t, 60*60, renewed.LeaseDuration)
	require.NoError(t, m.revoke(ended))
	require.Equal(t, "InvalidClientTokenId", ended.listGroups())
	require.Empty(t, before.listGroups())

	shell.run(blocks[6][1])
	eventually(t, soon, "the end of what the old mount had issued", func() bool { return before.listGroups() == "InvalidClientTokenId" })
	require.Empty(t, after.listGroups())
}

// TestMigrationGuideNamesEveryField compares the guide's table with the schema of the
// built-in engine that the tests' Vault has: what can be written has a row, and what a
// reader can send is spoken of. Break it by dropping a row.
func TestMigrationGuideNamesEveryField(t *testing.T) {
	t.Parallel()
	old := newBuiltIn(t, shared, newSimulation(t), "builtin-schema")
	guide, err := os.ReadFile(migrationGuide)
	require.NoError(t, err)
	var rows strings.Builder
	for _, match := range firstColumn.FindAllStringSubmatch(string(guide), -1) {
		rows.WriteString(match[1])
	}
	fields := 0
	for _, path := range []string{"config/root", "config/lease", "roles/app", "static-roles/app"} {
		for _, field := range old.fields(path) {
			fields++
			require.Contains(t, rows.String(), "`"+field+"`", "%s of %s", field, path)
		}
	}
	require.Greater(t, fields, 35)
	for _, field := range old.fields("creds/app") {
		require.Contains(t, string(guide), "`"+field+"`")
	}
}

// fields are those of a path's requests and answers, as Vault's help has them.
func (b *builtIn) fields(path string) []string {
	b.t.Helper()
	answer, err := b.server.Client.Logical().ReadRawWithDataWithContext(b.t.Context(), b.path+"/"+path, map[string][]string{"help": {"1"}})
	require.NoError(b.t, err)
	defer answer.Body.Close()
	var help struct {
		OpenAPI struct {
			Components struct {
				Schemas map[string]struct{ Properties map[string]any }
			}
		}
	}
	require.NoError(b.t, json.NewDecoder(answer.Body).Decode(&help))
	var fields []string
	for _, schema := range help.OpenAPI.Components.Schemas {
		for field := range schema.Properties {
			if field != "name" { // of a static role, as in its path
				fields = append(fields, field)
			}
		}
	}
	return fields
}
