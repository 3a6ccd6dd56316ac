package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

// running is a command of an example that goes on until it is told to end.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	output lockedBuffer
	ended  bool
}

// lockedBuffer can be read while it is written to.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// start runs the README's next block, which is one command, and does not wait.
func (s *exampleShell) start(words string) *running {
	s.t.Helper()
	cmd := s.command(words)
	lines := strings.Split(strings.TrimSpace(strings.TrimPrefix(cmd.Args[2], s.exports)), "\n")
	require.Len(s.t, lines, 1)
	cmd.Args[2] = s.exports + "exec " + lines[0]
	return start(s.t, cmd)
}

// start starts the command, and ends it with the test at the latest.
func start(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{t: t}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r.cmd = exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	r.cmd.Dir, r.cmd.Env = cmd.Dir, cmd.Env
	r.cmd.Stdout, r.cmd.Stderr = &r.output, &r.output
	r.cmd.Cancel = func() error { return r.cmd.Process.Signal(syscall.SIGTERM) }
	r.cmd.WaitDelay = soon // then it is killed, and what it has started is not waited for
	require.NoError(t, r.cmd.Start())
	t.Cleanup(func() {
		cancel()
		if !r.ended {
			_ = r.cmd.Wait() // the test has failed already
		}
		require.Zero(t, handedOut.find([]byte(r.output.String()), true), "secrets in what was printed")
		if t.Failed() {
			t.Logf("%s printed:\n%s", cmd.Args, r.output.String())
		}
	})
	return r
}

// end tells the program to end, as a service manager does, and expects it to do so.
func (r *running) end() {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Process.Signal(syscall.SIGTERM))
	r.ended = true
	require.NoError(r.t, r.cmd.Wait(), r.output.String())
}

// testProgram runs one that says what it does to its leases: it has a key that works
// for as long as it runs, and gives the last one back.
func testProgram(t *testing.T, m *mount, shell *exampleShell, command string) {
	t.Helper()
	m.write("roles/app", map[string]any{"policy_document": listGroups, "default_ttl": "4s", "max_ttl": "9s"})
	program := shell.start(command)
	eventually(t, soon, "a second key", func() bool { return strings.Count(program.output.String(), "issued") == 2 })
	require.Len(t, m.users(), 2, "the first ends by itself")
	program.end()

	printed := program.output.String()
	require.Regexp(t, `(?s)^issued (vault-app-\S+)\nworking with AKIA\S+ until \S+ at least\nrenewed (vault-app-\S+)\n.*issued vault-app-\S+\n.*revoked\n$`, printed)
	require.NotContains(t, printed, "failed")
	eventually(t, soon, "the end of the first", func() bool { return len(m.users()) == 0 })
	require.Equal(t, 2, m.aws.Count("CreateUser"))
}

func testNode(t *testing.T, m *mount) {
	t.Helper()
	if !onPath(t, "node", "examples/node") || !onPath(t, "npm", "examples/node") {
		t.SkipNow()
	}
	shell := newExampleShell(t, m, "node", "npm_config_fund=false", "npm_config_audit=false", "npm_config_update_notifier=false")
	install := shell.command("npm ci")
	if output, err := install.CombinedOutput(); err != nil {
		registry := exec.CommandContext(t.Context(), "npm", "view", "node-vault", "version")
		registry.Dir, registry.Env = install.Dir, install.Env
		require.Error(t, registry.Run(), "packages can be had, but not these: %s", output)
		notRun(t, "npm packages cannot be had: examples/node is NOT run.")
		t.SkipNow()
	}
	shell.next("VAULT_TOKEN")
	testProgram(t, m, shell, "node app.mjs")
}

func testGo(t *testing.T, m *mount) {
	t.Helper()
	shell := newExampleShell(t, m, "go")
	shell.next("go build")
	testProgram(t, m, shell, "go-example")
}

// testAgentReadme is about the commands. What the configurations do is in TestAgent.
func testAgentReadme(t *testing.T, m *mount) {
	t.Helper()
	t.Cleanup(func() { _ = m.server.Client.Sys().DisableAuth("approle") })
	m.write("roles/app", map[string]any{"policy_document": listGroups, "default_ttl": "8s", "max_ttl": "16s"})
	shell := newExampleShell(t, m, "agent")
	require.NoError(t, os.WriteFile(filepath.Join(shell.dir, "app"), []byte(app), 0o700))
	shell.next("approle")
	agent := shell.start("template.hcl")
	require.Empty(t, nextCredentials(t, m, shell.dir, "").listGroups())
	agent.end()
	agent = shell.start("exec.hcl")
	requireOneLease(t, m, nextEnvironment(t, shell.dir, 1))
	agent.end()
}

// enableAppRole is for the tests of the server of the examples.
func enableAppRole(t *testing.T, m *mount) {
	t.Helper()
	sys := m.server.Client.Sys()
	require.NoError(t, sys.EnableAuthWithOptionsWithContext(t.Context(), "approle", &api.EnableAuthOptions{Type: "approle"}))
	t.Cleanup(func() { _ = sys.DisableAuth("approle") })
}
