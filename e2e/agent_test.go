package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

// agentExamples are the configurations that users are pointed to. The tests
// run them as they are.
const agentExamples = "../examples/agent"

// TestAgent runs one case after the other, because the examples name the mount.
func TestAgent(t *testing.T) {
	t.Parallel()
	t.Run("template", testAgentTemplate)
	t.Run("exec", testAgentExec)
}

// newAgentMount has a role "app" with short leases where the examples read.
func newAgentMount(t *testing.T, ttl, maxTTL string) *mount {
	t.Helper()
	m := newMountAt(t, shared, newSimulation(t), "aws-iam", "vault-agent")
	m.write("roles/app", map[string]any{"policy_document": listGroups, "default_ttl": ttl, "max_ttl": maxTTL})
	return m
}

func testAgentTemplate(t *testing.T) {
	m := newAgentMount(t, "6s", "12s")
	folder := startAgent(t, m, "template.hcl")

	first := nextCredentials(t, m, folder, "")
	require.Empty(t, first.listGroups())
	require.Equal(t, "AccessDenied", first.listUsers())
	info, err := os.Stat(filepath.Join(folder, "credentials"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	second := nextCredentials(t, m, folder, first.AccessKeyID)
	require.Empty(t, second.listGroups())
	require.NotEqual(t, first.Username, second.Username)
	eventually(t, soon, "the end of the first user", func() bool { return !first.exists() })
	require.Equal(t, "InvalidClientTokenId", first.listGroups())
}

// nextCredentials waits for the file to have another key than the last.
func nextCredentials(t *testing.T, m *mount, folder, lastKey string) credential {
	t.Helper()
	c := credential{AccountID: account, aws: m.aws}
	eventually(t, soon, "a file with new credentials", func() bool {
		content, err := os.ReadFile(filepath.Join(folder, "credentials"))
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(content)) {
			if name, value, found := strings.Cut(strings.TrimSpace(line), " = "); found {
				switch name {
				case "aws_access_key_id":
					c.AccessKeyID = value
				case "aws_secret_access_key":
					c.SecretAccessKey = value
				}
			} else if comment, found := strings.CutPrefix(line, "# "); found {
				c.Username, _, _ = strings.Cut(comment, ",")
			}
		}
		return c.AccessKeyID != lastKey
	})
	return c
}

// app stands for a user's program: it leaves what it sees in a file named after
// its process and runs until it is stopped. It holds the file back until it is
// complete.
const app = `#!/bin/sh
env >"unfinished.$$" && mv "unfinished.$$" "env.$$" && exec sleep 600
`

func testAgentExec(t *testing.T) {
	m := newAgentMount(t, "8s", "16s")
	folder := startAgent(t, m, "exec.hcl")

	first := nextEnvironment(t, folder, 1)
	require.Equal(t, 1, m.aws.Count("CreateUser"), "eight variables, one user")
	requireOneLease(t, m, first)

	// At max_ttl the program is started again with those of another lease.
	second := nextEnvironment(t, folder, 2)
	require.Equal(t, 2, m.aws.Count("CreateUser"), "one user for each start")
	requireOneLease(t, m, second)
	for name := range first {
		require.NotEqual(t, first[name], second[name], name)
	}
}

// nextEnvironment waits until the program was started so many times, and
// returns the variables of the last start.
func nextEnvironment(t *testing.T, folder string, starts int) map[string]string {
	t.Helper()
	var files []string
	eventually(t, soon, "the start of the program", func() bool {
		var err error
		files, err = filepath.Glob(filepath.Join(folder, "env.*"))
		require.NoError(t, err)
		return len(files) == starts
	})
	latest, made := "", time.Time{}
	for _, file := range files {
		info, err := os.Stat(file)
		require.NoError(t, err)
		if info.ModTime().After(made) {
			latest, made = file, info.ModTime()
		}
	}
	content, err := os.ReadFile(latest)
	require.NoError(t, err)
	variables := make(map[string]string)
	for line := range strings.Lines(string(content)) {
		if name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "="); strings.HasPrefix(name, "AWS_") {
			variables[name] = value
		}
	}
	return variables
}

// requireOneLease checks that the eight variables are of one IAM user and of
// the lease that it was issued under.
func requireOneLease(t *testing.T, m *mount, variables map[string]string) {
	t.Helper()
	require.Len(t, variables, 8)
	user, found := m.aws.Account(account).User(variables["AWS_USER_USERNAME"])
	require.True(t, found)
	require.Equal(t, user.ARN, variables["AWS_USER_ARN"])
	require.Equal(t, user.ID, variables["AWS_USER_USER_ID"])
	require.Equal(t, user.AccessKeys[0].ID, variables["AWS_USER_ACCESS_KEY_ID"])
	require.Contains(t, user.Policies, variables["AWS_USER_POLICY_NAME"])
	c := credential{
		AccountID: account, aws: m.aws,
		AccessKeyID: variables["AWS_USER_ACCESS_KEY_ID"], SecretAccessKey: variables["AWS_USER_SECRET_ACCESS_KEY"],
	}
	require.Empty(t, c.listGroups())

	require.Contains(t, m.leases("app"), variables["AWS_USER_LEASE_ID"])
	lease := m.storedLease(variables["AWS_USER_LEASE_ID"])
	require.Equal(t, user.Name, lease.internalData(t)["user"].(map[string]any)["username"])
	expiration, err := time.Parse(time.RFC3339, variables["AWS_USER_LEASE_EXPIRATION"])
	require.NoError(t, err)
	require.WithinDuration(t, lease.IssueTime.Add(8*time.Second), expiration, 2*time.Second)
}

// startAgent runs Vault Agent on an example, in a folder of its own that has
// what the example names, until the test's end.
func startAgent(t *testing.T, m *mount, example string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	config, err := filepath.Abs(filepath.Join(agentExamples, example))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "app"), []byte(app), 0o700))
	writeLogin(t, m, folder)

	output, err := os.Create(filepath.Join(folder, "agent.log"))
	require.NoError(t, err)
	agent := m.server.Command(context.WithoutCancel(t.Context()), "", "agent", "-config="+config, "-log-level=trace")
	agent.Dir, agent.Stdout, agent.Stderr = folder, output, output
	require.NoError(t, agent.Start())
	t.Cleanup(func() {
		require.NoError(t, agent.Process.Signal(syscall.SIGTERM), "Agent ended by itself")
		_ = agent.Wait() // it was told to end
		require.NoError(t, output.Close())
		log, err := os.ReadFile(output.Name())
		require.NoError(t, err)
		require.Zero(t, handedOut.find(log, true), "secrets in Agent's log")
		if t.Failed() {
			t.Logf("Agent's log:\n%s", log)
		}
	})
	return folder
}

// writeLogin makes an AppRole that may read the mount's credentials, and leaves
// the files in the folder that Agent logs in with.
func writeLogin(t *testing.T, m *mount, folder string) {
	t.Helper()
	name := "agent-" + filepath.Base(folder) + "-" + filepath.Base(filepath.Dir(folder))
	policy := newPolicy(t, m.server, name, `path "`+m.path+`/creds/app" { capabilities = ["read"] }`)
	login := clientWith(t, m.server, m.server.RootToken).Logical()
	call := func(secret *api.Secret, err error) *api.Secret {
		t.Helper()
		require.NoError(t, err)
		return secret
	}
	path := "auth/approle/role/" + name
	call(login.WriteWithContext(t.Context(), path, map[string]any{"token_policies": policy, "token_period": "1h"}))
	roleID := call(login.ReadWithContext(t.Context(), path+"/role-id"))
	secretID := call(login.WriteWithContext(t.Context(), path+"/secret-id", nil))
	for file, value := range map[string]any{"role_id": roleID.Data["role_id"], "secret_id": secretID.Data["secret_id"]} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, file), []byte(value.(string)), 0o600))
	}
}
