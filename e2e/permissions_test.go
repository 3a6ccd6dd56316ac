package e2e

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"
)

// TestPermissions has AWS allow the integration exactly what `vault read
// aws-iam/policy` shows, and then an action less: what the README says needs it
// works, and then does not and says which action is missing. The subtests bear the
// names of the statements in the README's tables, and there is one for each.
//
// Break it by taking an action out of a statement, by adding one, or by adding a row.
func TestPermissions(t *testing.T) {
	t.Parallel()
	rows := readmePermissions(t)
	require.ElementsMatch(t, slices.Collect(maps.Keys(rows)), slices.Collect(maps.Keys(permissionScenes)))
	for sid, actions := range rows {
		t.Run(sid, func(t *testing.T) {
			t.Parallel()
			t.Run("all of it", func(t *testing.T) {
				t.Parallel()
				require.NoError(t, playScene(t, sid, actions, ""))
			})
			for _, action := range actions {
				t.Run(action, func(t *testing.T) {
					t.Parallel()
					err := playScene(t, sid, actions, action)
					require.ErrorContains(t, err, cmp.Or(withoutAWord[sid], action))
				})
			}
		})
	}
}

// playScene says what does not work in the statement's scene where the integration
// may do what the engine says it needs, without one action of the statement.
func playScene(t *testing.T, sid string, actions []string, without string) error {
	t.Helper()
	// The integration's user is not called like those that it makes.
	m := newMountAt(t, shared, newSimulation(t), fmt.Sprintf("aws-iam-%d", mounts.Add(1)), "integration")
	m.mayDo(widePolicy)
	works := permissionScenes[sid](m)
	defer m.cleanUp()
	documents := m.documentsWith(sid)
	for i := range documents {
		documents[i].take(t, sid, actions, without)
	}
	m.mayDo(encode(t, documents)...)
	// What the engine has learnt when it was allowed everything is forgotten.
	if _, err := m.tryWrite("config", map[string]any{"max_retries": 2}); err != nil {
		return err
	}
	return works()
}

var (
	readmeTable  = regexp.MustCompile(`(?s)<!-- (?:required|optional) permissions, from the code -->\n(.*?)<!--`)
	readmeCore   = regexp.MustCompile("(?s)<!-- core policy, from the code -->\n```json\n(.*?)```")
	tableRow     = regexp.MustCompile("(?m)^\\| [^|]+ \\| `(\\w+)` \\| ([^|]+) \\|")
	quotedAction = regexp.MustCompile("`([^`]+)`")
)

// readmePermissions are the actions that the README shows, by the name of the
// statement.
func readmePermissions(t *testing.T) map[string][]string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	rows := make(map[string][]string)
	var core policyDocument
	shown := readmeCore.FindSubmatch(readme)
	require.NotNil(t, shown)
	require.NoError(t, json.Unmarshal(shown[1], &core))
	for _, s := range core.Statement {
		rows[s.Sid] = s.Action
	}
	tables := readmeTable.FindAllSubmatch(readme, -1)
	require.Len(t, tables, 2)
	for _, table := range tables {
		found := tableRow.FindAllStringSubmatch(string(table[1]), -1)
		require.Len(t, found, strings.Count(string(table[1]), "\n")-2, "a row that cannot be read")
		for _, row := range found {
			for _, action := range quotedAction.FindAllStringSubmatch(row[2], -1) {
				rows[row[1]] = append(rows[row[1]], action[1])
			}
		}
	}
	return rows
}

// policyDocument is an IAM policy, of which the tests take actions away.
type policyDocument struct {
	Version   string
	Statement []statement
}

type statement struct {
	Sid, Effect      string
	Action, Resource []string
	Condition        map[string]any `json:",omitempty"`
}

func (d *policyDocument) find(sid string) int {
	return slices.IndexFunc(d.Statement, func(s statement) bool { return s.Sid == sid })
}

// take takes an action away from the statement, if it is in this document, which has
// to have the actions that the README shows.
func (d *policyDocument) take(t *testing.T, sid string, actions []string, without string) {
	t.Helper()
	i := d.find(sid)
	if i < 0 {
		return
	}
	require.ElementsMatch(t, actions, d.Statement[i].Action)
	d.Statement[i].Action = slices.DeleteFunc(d.Statement[i].Action, func(a string) bool { return a == without })
	if len(d.Statement[i].Action) == 0 { // which AWS does not take
		d.Statement = slices.Delete(d.Statement, i, i+1)
	}
}

// documentsWith are the policies of the integration's user: the optional one if the
// statement is of that, and if the user has but to assume a role, the one for that.
func (m *mount) documentsWith(sid string) []policyDocument {
	m.t.Helper()
	shown := make(map[string]policyDocument)
	for field, text := range m.read("policy") {
		if text != "" {
			var document policyDocument
			require.NoError(m.t, json.Unmarshal([]byte(text.(string)), &document))
			shown[field] = document
		}
	}
	required, optional, source := shown["policy_document"], shown["optional_policy_document"], shown["source_policy_document"]
	switch {
	case source.find(sid) >= 0:
		return []policyDocument{source}
	case required.find(sid) >= 0:
		return []policyDocument{required}
	}
	require.GreaterOrEqual(m.t, optional.find(sid), 0, "%s is in no policy: %v", sid, shown)
	return []policyDocument{required, optional}
}

func encode(t *testing.T, documents []policyDocument) (encoded []string) {
	t.Helper()
	for _, document := range documents {
		if len(document.Statement) > 0 {
			text, err := json.Marshal(document)
			require.NoError(t, err)
			encoded = append(encoded, string(text))
		}
	}
	return encoded
}

// mayDo allows the integration's user exactly this, by managed policies, whose size
// limit is the one that counts.
func (m *mount) mayDo(documents ...string) {
	m.t.Helper()
	acct, name := m.aws.Account(account), m.aws.ownerOf(m.key)
	user, found := acct.User(name)
	require.True(m.t, found)
	m.takeAllPolicies(user)
	for _, document := range documents {
		arn := acct.AddManagedPolicy("/", rand.Text(), document)
		_, err := m.aws.byHand(account).AttachUserPolicy(m.t.Context(), &iam.AttachUserPolicyInput{UserName: &name, PolicyArn: &arn})
		require.NoError(m.t, err)
	}
}

// cleanUp ends all leases with an integration that may do everything again, and
// deletes by hand what a scene leaves without one.
func (m *mount) cleanUp() {
	m.t.Helper()
	m.mayDo(widePolicy)
	for _, id := range m.leases("app") {
		require.NoError(m.t, m.revoke(leaseOnly(id)))
	}
	for _, name := range m.userNames() {
		m.deleteByHand(name)
	}
}

// age has the record of a user say that it was made a day ago: of a young one AWS is
// not believed that it is gone.
func (m *mount) age(c credential) {
	m.t.Helper()
	record, found := m.record(c.Username)
	require.True(m.t, found)
	record["created"] = time.Now().AddDate(0, 0, -1)
	encoded, err := json.Marshal(record)
	require.NoError(m.t, err)
	_, err = m.server.Client.Logical().WriteWithContext(m.t.Context(), "sys/raw/"+m.records()+c.Username, map[string]any{"value": string(encoded)})
	require.NoError(m.t, err)
}

// forget takes the lease and the record of a user away, as going back to a snapshot
// from before does.
func (m *mount) forget(c credential) {
	m.t.Helper()
	for _, key := range []string{m.records() + c.Username, "sys/expire/id/" + c.lease.LeaseID} {
		_, err := m.server.Client.Logical().DeleteWithContext(m.t.Context(), "sys/raw/"+key)
		require.NoError(m.t, err)
	}
}
