package e2e

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tableOf takes apart what vault read prints for people: a field in a line. A value
// that took more lines, or a map of maps, would not be for people.
func tableOf(t *testing.T, printed string) map[string]string {
	t.Helper()
	fields := make(map[string]string)
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	require.Regexp(t, `^Key\s+Value$`, lines[0])
	for _, line := range lines[2:] {
		name, value, _ := strings.Cut(line, " ")
		require.Regexp(t, `^[a-z_]+$`, name, "in %q", line)
		require.NotContains(t, value, "map[map", "in %q", line)
		require.NotContains(t, value, "<nil>", "in %q", line)
		fields[name] = strings.TrimSpace(value)
	}
	return fields
}

// TestFourQuestions is what somebody who has never seen the project asks with vault
// alone: how many users are live and how old; whose a key is; why the last revocation
// failed; what to grant to put that right. It is then put right by what was answered.
//
// Break it by taking anything out of the status that answers one of them.
func TestFourQuestions(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config/other", m.aws.integration(m.aws.newKey(otherAccount, "vault-other", corePolicy)))
	live, leaked := m.issue("app"), m.issue("app")
	vault := func(args ...string) (stdout, stderr string) {
		t.Helper()
		result := cliAs(t, m.server, m.server.RootToken, args...)
		require.Zero(t, result.ExitCode, "vault %v: %s%s", args, result.Stdout, result.Stderr)
		return result.Stdout, result.Stderr
	}

	// How many users are live, and how old?
	stdout, stderr := vault("read", m.path+"/status")
	t.Logf("\n%s", stdout)
	require.Empty(t, stderr, "there is nothing to warn of")
	status := tableOf(t, stdout)
	require.Equal(t, "2", status["users_active"])
	require.Contains(t, []string{live.Username, leaked.Username}, status["users_oldest"])
	require.Regexp(t, `^(\d+m)?\d+s$`, status["users_oldest_age"])
	require.Equal(t, "true", status["healthy"])
	require.Equal(t, "[default other]", status["integrations"])
	require.NotContains(t, status, "account_headroom", "the integration may not ask for it")

	// Whose is this key?
	stdout, _ = vault("read", m.path+"/lookup/"+leaked.AccessKeyID)
	require.Equal(t, leaked.Username, tableOf(t, stdout)["username"])

	// Why did the last revocation fail? Somebody gave the user a password.
	require.NoError(t, hang["login profile"](t.Context(), m.aws.byHand(account), &leaked.Username))
	failed := cliAs(t, m.server, m.server.RootToken, "lease", "revoke", "-sync", leaked.lease.LeaseID)
	require.NotZero(t, failed.ExitCode)
	for _, path := range []string{"/status", "/status/default", "/status/other"} {
		failing := map[bool]string{true: "0", false: "1"}[path == "/status/other"]
		stdout, stderr = vault("read", m.path+path)
		status = tableOf(t, stdout)
		require.Equal(t, failing, status["deletions_failing"], path)
		if failing == "0" {
			require.Empty(t, stderr)
			continue
		}
		t.Logf("\n%s%s", stderr, stdout)
		require.Equal(t, "1", status["users_deleting"])
		require.Equal(t, leaked.Username, status["deletions_last_user"])
		require.Contains(t, status["deletions_last_error"], "login profile may hold it: grant iam:DeleteLoginProfile")
		require.Contains(t, status["deletions_grant"], "iam:DeleteLoginProfile")
		warned := strings.Join(strings.Fields(stderr), " ") // the CLI breaks lines
		require.Contains(t, warned, `integration "default": 1 user(s) could not be deleted yet`)
		require.Contains(t, warned, "iam:DeleteLoginProfile")
		require.Contains(t, warned, "to arn:aws:iam::"+account+":user/")
	}
	stdout, _ = vault("list", "-detailed", m.path+"/status")
	t.Logf("\n%s", stdout)
	require.Regexp(t, `(?m)^Keys\s+account\s+active\s+deleting\s+failing\s+healthy\s+oldest\s+users$`, stdout)
	require.Regexp(t, `(?m)^default\s+`+account+`\s+1\s+1\s+1\s+false\s+\S+\s+2\s*$`, stdout)
	require.Regexp(t, `(?m)^other\s+`+otherAccount+`\s+0\s+0\s+0\s+true\s+n/a\s+0\s*$`, stdout)

	// What has to be granted? The command that the warning has shows it.
	command := regexp.MustCompile(`"vault read (\S+)"`).FindStringSubmatch(strings.Join(strings.Fields(stderrOf(t, m, "status")), " "))
	require.NotNil(t, command)
	required, _ := vault("read", "-field=policy_document", command[1])
	optional, _ := vault("read", "-field=optional_policy_document", command[1])
	require.Contains(t, optional, "iam:DeleteLoginProfile")
	m.mayDo(required, optional)
	vault("write", "-f", m.path+"/config") // or a minute's patience
	eventually(t, soon, "the end of the user", func() bool { return !leaked.exists() })
	var answer struct {
		Data     map[string]any
		Warnings []string
	}
	eventually(t, soon, "health", func() bool {
		stdout, _ = vault("read", "-format=json", m.path+"/status")
		answer.Warnings = nil
		require.NoError(t, json.Unmarshal([]byte(stdout), &answer))
		return answer.Data["healthy"] == true
	})
	require.Empty(t, answer.Warnings)
	require.InDelta(t, 1, answer.Data["users_active"], 0)
	require.IsType(t, map[string]any{}, answer.Data["calls_failed"])
	require.InDelta(t, 4998, answer.Data["account_headroom"], 0, "which it may ask for now: of its own user and a live one")
	require.Empty(t, live.listGroups())
}

// stderrOf is what vault read warns of.
func stderrOf(t *testing.T, m *mount, path string) string {
	t.Helper()
	return cliAs(t, m.server, m.server.RootToken, "read", m.path+"/"+path).Stderr
}
