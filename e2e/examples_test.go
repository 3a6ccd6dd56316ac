package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const examples = "../examples"

// TestExamples runs the commands of each example's README, and so the example. They
// take turns, because they name the mount. Those of Vault Agent are in TestAgent.
func TestExamples(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	for _, example := range []struct {
		folder string
		test   func(*testing.T, *mount)
	}{
		{"agent", testAgentReadme},
		{"aws-cli", testAWSCLI},
		{"go", testGo},
		{"kubernetes", testKubernetes},
		{"node", testNode},
		{"systemd", testSystemd},
		{"terraform", testTerraform},
	} {
		t.Run(example.folder, func(t *testing.T) {
			example.test(t, newMountAt(t, server, newSimulation(t), "aws-iam", "vault-examples"))
		})
	}
}

// exampleShell runs the commands of an example's README as a reader would, in a copy
// of its folder, with a vault and a login.
type exampleShell struct {
	t      *testing.T
	dir    string
	env    []string
	fill   *strings.Replacer
	blocks []string
	// exports are those of the blocks so far.
	exports string
}

// newExampleShell expects every block to be run, or to be skipped, by the test's end.
func newExampleShell(t *testing.T, m *mount, example string, env ...string) *exampleShell {
	t.Helper()
	s := &exampleShell{t: t, dir: t.TempDir()}
	require.NoError(t, os.CopyFS(s.dir, os.DirFS(filepath.Join(examples, example))))
	readme, err := os.ReadFile(filepath.Join(s.dir, "README.md"))
	require.NoError(t, err)
	for _, block := range shellBlock.FindAllStringSubmatch(string(readme), -1) {
		s.blocks = append(s.blocks, block[1])
	}
	require.NotEmpty(t, s.blocks)

	home := t.TempDir()
	vault := m.server.Command(t.Context(), m.server.RootToken)
	require.NoError(t, os.WriteFile(filepath.Join(home, ".vault-token"), []byte(m.server.RootToken), 0o600))
	bin, err := filepath.Abs(vault.Path)
	require.NoError(t, err)
	require.NoError(t, os.Symlink(bin, filepath.Join(home, "vault")))
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	s.fill = strings.NewReplacer("../..", root, "https://vault.example.com:8200", m.server.Addr)
	// Nothing of the caller's Vault and AWS; but where Go and npm find and keep packages
	// does not move with the home folder.
	s.env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "VAULT_") || strings.HasPrefix(variable, "AWS_") || strings.HasPrefix(variable, "XDG_")
	})
	for _, name := range []string{"GOENV", "GOPATH", "GOCACHE"} {
		s.env = append(s.env, name+"="+goEnv(t, name))
	}
	if before, err := os.UserHomeDir(); err == nil {
		s.env = append(s.env, "npm_config_userconfig="+filepath.Join(before, ".npmrc"), "npm_config_cache="+filepath.Join(before, ".npm"))
	}
	s.env = append(s.env, "HOME="+home, "PATH="+home+":"+os.Getenv("PATH"))
	s.env = append(s.env, env...)
	t.Cleanup(func() {
		if !t.Failed() && !t.Skipped() {
			require.Empty(t, s.blocks, "commands that are not run")
		}
	})
	return s
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(output))
}

// next runs the README's next block, in which these words are, and returns what it
// printed.
func (s *exampleShell) next(words string) string {
	s.t.Helper()
	cmd := s.command(words)
	output, err := cmd.CombinedOutput()
	require.NoError(s.t, err, "%s\n%s", cmd.Args[2], output)
	return string(output)
}

// command prepares the next block.
func (s *exampleShell) command(words string) *exec.Cmd {
	s.t.Helper()
	block := s.fill.Replace(s.take(words))
	cmd := exec.CommandContext(s.t.Context(), "bash", "-euc", s.exports+block)
	cmd.Dir, cmd.Env = s.dir, s.env
	for line := range strings.Lines(block) {
		if strings.HasPrefix(line, "export ") {
			s.exports += strings.TrimSuffix(line, "\n") + "\n"
		}
	}
	return cmd
}

func (s *exampleShell) take(words string) string {
	s.t.Helper()
	require.NotEmpty(s.t, s.blocks, "there are no more commands, %q was expected", words)
	block := s.blocks[0]
	s.blocks = s.blocks[1:]
	require.Contains(s.t, block, words)
	return block
}

// skip leaves the next block out, where what it needs is not there.
func (s *exampleShell) skip(words string) {
	s.t.Helper()
	s.take(words)
}

// onPath says whether a program is there that is not needed to build and test this
// project, and says loudly if it is not, and what is therefore not run.
func onPath(t *testing.T, program, what string) bool {
	t.Helper()
	_, err := exec.LookPath(program)
	if err != nil {
		notRun(t, program+" is not on the PATH: "+what+" is NOT run.")
	}
	return err == nil
}

func notRun(t *testing.T, why string) {
	t.Helper()
	fmt.Fprintf(os.Stderr, "%s: %s\n", t.Name(), why)
}
