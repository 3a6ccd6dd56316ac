package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// get is a request as curl sends it.
func (m *mount) get(url string) (status int, body map[string]any) {
	m.t.Helper()
	request, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, m.server.Client.Address()+"/v1/"+m.path+"/"+url, http.NoBody)
	require.NoError(m.t, err)
	request.Header.Set("X-Vault-Token", m.server.RootToken)
	response, err := http.DefaultClient.Do(request)
	require.NoError(m.t, err)
	defer func() { require.NoError(m.t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(m.t, err)
	require.NoError(m.t, json.Unmarshal(text, &body), "%s", text)
	return response.StatusCode, body
}

// TestUsersAreFoundWithTheCLI: vault list has no parameters; vault read sends them,
// and curl.
func TestUsersAreFoundWithTheCLI(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/other", map[string]any{"policy_document": listUsers})
	one, two, other := m.issue("app"), m.issue("app"), m.issue("other")
	names := []string{one.Username, two.Username}
	slices.Sort(names)

	listed := func(args ...string) []string {
		t.Helper()
		var answer struct{ Data struct{ Keys []string } }
		require.NoError(t, json.Unmarshal([]byte(cli(t, m.server, append([]string{"read", "-format=json", m.path + "/users", "list=true"}, args...)...)), &answer))
		return answer.Data.Keys
	}
	require.Equal(t, names, listed("role=app"))
	require.Equal(t, names[:1], listed("role=app", "state=active", "integration=default", "limit=1"))
	require.Equal(t, names[1:], listed("role=app", "limit=1", "after="+names[0]))
	require.Len(t, listed(), 3)
	require.Contains(t, cli(t, m.server, "list", m.path+"/users"), other.Username)

	status, body := m.get("users?list=true&role=other&limit=10")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, []any{other.Username}, body["data"].(map[string]any)["keys"])
	status, _ = m.get("users?list=true&role=app&after=" + names[1])
	require.Equal(t, http.StatusNotFound, status, "after the last page")
	status, body = m.get("users?list=true&state=dead")
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body["errors"].([]any)[0], "unreadable")
}

// TestAKeyIsLookedUpAndEnded is what an operator does about a key that leaked, of
// which the log has the id, and core never tells the plugin the lease.
func TestAKeyIsLookedUpAndEnded(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	c, bystander := m.issue("app"), m.issue("app")

	require.Equal(t, c.Username+"\n", cli(t, m.server, "read", "-field=username", m.path+"/lookup/"+c.AccessKeyID)+"\n")
	require.Contains(t, cli(t, m.server, "delete", m.path+"/users/"+c.Username), "Success")
	m.requireGone(c)
	missing := cliAs(t, m.server, m.server.RootToken, "read", m.path+"/lookup/"+c.AccessKeyID)
	require.Equal(t, vaultdev.Result{ExitCode: 2, Stderr: "No value found at " + m.path + "/lookup/" + c.AccessKeyID + "\n"}, missing)
	refused := cliAs(t, m.server, m.server.RootToken, "lease", "renew", c.lease.LeaseID)
	require.Contains(t, refused.Stderr, "was deleted")
	cli(t, m.server, "lease", "revoke", "-sync", c.lease.LeaseID)
	eventually(t, soon, "the lease's end", func() bool { return len(m.leases("app")) == 1 })
	require.Empty(t, bystander.listGroups())
}

// TestARecordThatNobodyCanReadIsEnded: the way to be rid of it without the lease.
func TestARecordThatNobodyCanReadIsEnded(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	c := m.issue("app")
	_, err := m.server.Client.Logical().WriteWithContext(t.Context(), "sys/raw/"+m.records()+c.Username, map[string]any{"value": "{"})
	require.NoError(t, err)
	unreadable := cliAs(t, m.server, m.server.RootToken, "read", m.path+"/users/"+c.Username)
	require.Contains(t, unreadable.Stderr, "the record is damaged")
	var answer struct{ Data struct{ Keys []string } }
	require.NoError(t, json.Unmarshal([]byte(cli(t, m.server, "read", "-format=json", m.path+"/users", "list=true", "state=unreadable")), &answer))
	require.Equal(t, []string{c.Username}, answer.Data.Keys)

	cli(t, m.server, "delete", m.path+"/users/"+c.Username, "integration=default")
	m.requireGone(c)
	require.Empty(t, m.storedRecords())
	require.NoError(t, m.revoke(c))
}

// TestUsersAfterAFailover asks every node, of which none but the leader knows
// anything, and the leader has just become one: what it says is right at once.
func TestUsersAfterAFailover(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	m := newClusterMount(t, cluster)
	c, bystander := m.issue("app"), m.issue("app")
	require.NoError(t, leader(t, cluster).StepDown(t.Context()))
	next := leader(t, cluster)
	require.Equal(t, c.Username, m.at(next).read("lookup/" + c.AccessKeyID)["username"])
	names := []any{c.Username, bystander.Username}
	slices.SortFunc(names, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	for _, node := range cluster.Nodes {
		require.Equal(t, c.Username, m.at(node).read("lookup/" + c.AccessKeyID)["username"])
		_, listed := m.at(node).get("users?list=true&role=app")
		require.Equal(t, names, listed["data"].(map[string]any)["keys"])
		require.Equal(t, json.Number("2"), m.at(node).read("status")["users_active"])
	}
	for _, node := range cluster.Nodes {
		if node != next {
			cli(t, node, "delete", m.path+"/users/"+c.Username)
			m.requireGone(c)
		}
	}
	require.NoError(t, m.revoke(c), "whose user is gone")
	m.requireOnly(bystander)
	require.NoError(t, m.revoke(bystander))
}
