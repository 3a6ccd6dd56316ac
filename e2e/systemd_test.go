package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unitLine is what a line of a unit can be, but for comments and empty ones.
var unitLine = regexp.MustCompile(`^(\[[A-Z][a-z]+\]|([A-Z][A-Za-z]+)=(.*))$`)

// testSystemd runs what the unit runs, with its environment, as far as that can be done
// without systemd.
func testSystemd(t *testing.T, m *mount) {
	t.Helper()
	enableAppRole(t, m)
	shell := newExampleShell(t, m, "systemd", "DESTDIR="+t.TempDir())
	root := strings.TrimPrefix(shell.env[len(shell.env)-1], "DESTDIR=")
	writeLogin(t, m, shell.dir)
	shell.next("install")
	for _, file := range []string{"role_id", "secret_id"} {
		info, err := os.Stat(filepath.Join(root, "etc", "app", file))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}

	unit := readUnit(t, filepath.Join(root, "etc", "systemd", "system", "app.service"))
	require.Equal(t, []string{"notify"}, unit["Type"])
	verifyUnit(t, m, shell)

	agent := newUnitProcess(t, m, unit, root)
	notified := agent.listen(t)
	run := start(t, agent.cmd)
	require.Equal(t, "READY=1", <-notified)
	variables := nextEnvironment(t, agent.cmd.Dir, 1)
	c := credential{
		AccessKeyID: variables["AWS_ACCESS_KEY_ID"], SecretAccessKey: variables["AWS_SECRET_ACCESS_KEY"],
		AccountID: account, aws: m.aws,
	}
	require.Empty(t, c.listGroups())
	require.Len(t, m.users(), 1)

	files, err := filepath.Glob(filepath.Join(agent.cmd.Dir, "env.*"))
	require.NoError(t, err)
	run.end()
	require.Equal(t, "STOPPING=1", <-notified)
	_, err = os.Stat("/proc/" + strings.TrimPrefix(filepath.Ext(files[0]), "."))
	require.ErrorIs(t, err, os.ErrNotExist, "the program ends with the service")
}

// readUnit returns the values of each setting.
func readUnit(t *testing.T, path string) map[string][]string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	settings := make(map[string][]string)
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		match := unitLine.FindStringSubmatch(line)
		require.NotNil(t, match, "%q", line)
		if match[2] != "" {
			settings[match[2]] = append(settings[match[2]], match[3])
		}
	}
	return settings
}

// verifyUnit has systemd look at the unit, with a vault where it looks for one.
func verifyUnit(t *testing.T, m *mount, shell *exampleShell) {
	t.Helper()
	if !onPath(t, "systemd-analyze", "the check of examples/systemd/app.service") {
		shell.skip("systemd-analyze")
		return
	}
	path := filepath.Join(shell.dir, "app.service")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	vault, err := filepath.Abs(m.server.Command(t.Context(), "").Path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(content), "/usr/bin/vault", vault)), 0o600))
	require.Empty(t, shell.next("systemd-analyze verify"))
}

// unitProcess is the command of a unit.
type unitProcess struct {
	cmd *exec.Cmd
}

// newUnitProcess puts the test's files where the unit and Agent's configuration name
// those of the machine.
func newUnitProcess(t *testing.T, m *mount, unit map[string][]string, root string) *unitProcess {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "app"), []byte(app), 0o700))
	credentials := filepath.Join(folder, "credentials")
	require.NoError(t, os.Mkdir(credentials, 0o700))
	for _, load := range unit["LoadCredential"] {
		name, source, found := strings.Cut(load, ":")
		require.True(t, found)
		content, err := os.ReadFile(filepath.Join(root, source))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(credentials, name), content, 0o400))
	}

	command := strings.Fields(unit["ExecStart"][0])
	config := filepath.Join(root, strings.TrimPrefix(command[2], "-config="))
	content, err := os.ReadFile(config)
	require.NoError(t, err)
	filled := strings.NewReplacer("/run/credentials/app.service", credentials, "/usr/local/bin/app", filepath.Join(folder, "app")).Replace(string(content))
	require.NoError(t, os.WriteFile(config, []byte(filled), 0o600))

	cmd := m.server.Command(context.WithoutCancel(t.Context()), "", command[1], "-config="+config)
	cmd.Dir = folder
	require.Equal(t, []string{"VAULT_ADDR=https://vault.example.com:8200"}, unit["Environment"])
	return &unitProcess{cmd: cmd}
}

// listen takes the place of systemd's socket.
func (p *unitProcess) listen(t *testing.T) <-chan string {
	t.Helper()
	folder, err := os.MkdirTemp("", "notify-") //nolint:usetesting // a socket's path must be short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	path := filepath.Join(folder, "socket")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	require.NoError(t, socket.SetReadDeadline(time.Now().Add(2*soon)))
	p.cmd.Env = append(p.cmd.Env, "NOTIFY_SOCKET="+path)
	messages := make(chan string, 8)
	go func() {
		defer close(messages)
		buffer := make([]byte, 4096)
		for {
			n, err := socket.Read(buffer)
			if err != nil {
				return
			}
			messages <- string(buffer[:n])
		}
	}()
	t.Cleanup(func() { _ = socket.Close() })
	return messages
}
