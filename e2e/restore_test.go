package e2e

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// listingPolicy is the core's and what tidy needs.
var listingPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*"},` +
	corePolicy[len(`{"Version":"2012-10-17","Statement":[`):]

// tidy runs a tidy to its end and returns its status.
func (m *mount) tidy(data map[string]any) map[string]any {
	m.t.Helper()
	m.write("tidy", data)
	var status map[string]any
	eventually(m.t, time.Minute, "the end of tidy", func() bool {
		status = m.read("tidy-status")
		return status["state"] != "running"
	})
	return status
}

// TestRestoredSnapshot goes back to a snapshot: users issued since are unknown
// and tidy finds exactly them, leases of users that are long gone end quietly,
// and an integration's key that was changed since is called that. Break it by
// taking the mount's segment out of tidying.list, or the records out of
// tidying.tidy.
func TestRestoredSnapshot(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	m := newMountOn(t, server, newSimulation(t))
	m.key = m.aws.newKey(account, "vault-listing", listingPolicy)
	m.write("config", m.aws.integration(m.key))
	other := newMountOn(t, server, m.aws)
	kept, gone, others := m.issue("app"), m.issue("app"), other.issue("app")

	var snapshot bytes.Buffer
	require.NoError(t, server.SaveSnapshot(t.Context(), &snapshot))
	require.NoError(t, m.revoke(gone))
	lost := []any{m.issue("app").Username, m.issue("app").Username}
	othersSince := other.issue("app")
	m.aws.Account(account).AddUser("/vault/", "by-hand")
	require.NoError(t, server.RestoreSnapshot(t.Context(), &snapshot))

	status := m.tidy(map[string]any{"safety_buffer": 0})
	require.Equal(t, "done", status["state"], "%v", status)
	require.ElementsMatch(t, lost, status["unknown_users"])
	require.Len(t, m.users(), 3, "a dry run deletes nothing")
	require.Equal(t, json.Number("2"), m.tidy(map[string]any{"dry_run": false})["users_young"])
	status = m.tidy(map[string]any{"dry_run": false, "safety_buffer": 0})
	require.Equal(t, json.Number("2"), status["users_deleted"], "%v", status)
	require.Equal(t, []string{kept.Username}, m.userNames())
	require.True(t, others.exists())
	require.True(t, othersSince.exists(), "another mount's is not touched")
	_, found := m.aws.Account(account).User("by-hand")
	require.True(t, found)

	// So young a user may only not be known to IAM yet: its record stays, also
	// when an operator ends the lease, which is what lets the mount be disabled.
	require.ErrorContains(t, m.revoke(gone), "not settled yet")
	cli(t, server, "lease", "revoke", "-force", "-prefix", strings.TrimSuffix(gone.lease.LeaseID, "/"))
	require.Contains(t, m.storedRecords(), gone.Username)
	require.NoError(t, m.revoke(kept))

	other.write("config", other.aws.integration(other.aws.newKey(account, "vault-tidying", listingPolicy)))
	require.Equal(t, json.Number("1"), other.tidy(map[string]any{"dry_run": false, "safety_buffer": 0})["users_deleted"])
}

// TestRestoredPool: a user that waited for a lease when the snapshot was taken, and
// was leased since, is not leased a second time, but deleted.
//
// Break it by having pools.isBare return true for whoever is there.
func TestRestoredPool(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	m := newMountOn(t, server, newSimulation(t))
	m.write("roles/app", map[string]any{"pool_size": 1})
	waiting := m.untilPooled(1)
	// No other user is made that the snapshot would not know.
	refill := m.aws.Inject(awsfake.Fault{Action: "CreateUser", Code: "LimitExceeded"})
	var snapshot bytes.Buffer
	require.NoError(t, server.SaveSnapshot(t.Context(), &snapshot))
	lost := m.issue("app")
	require.Equal(t, waiting[0], lost.Username)
	require.NoError(t, server.RestoreSnapshot(t.Context(), &snapshot))
	refill()

	require.NotEqual(t, lost.Username, m.issue("app").Username) // perhaps before anything is known
	eventually(t, 2*soon, "the end of a user whose lease nobody knows of", func() bool { return !lost.exists() })
	require.NotContains(t, m.untilPooled(1), lost.Username)
	require.NotEqual(t, lost.Username, m.issue("app").Username)
	m.untilPooled(1) // nobody is being made any more
	m.write("roles/app", map[string]any{"pool_size": 0})
	eventually(t, 2*soon, "the end of the pool", func() bool { return len(m.users()) == 2 })
}

// TestRestoredKey: the snapshot has a key that AWS does not know any more.
func TestRestoredKey(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	m := newMountOn(t, server, newSimulation(t))
	var snapshot bytes.Buffer
	require.NoError(t, server.SaveSnapshot(t.Context(), &snapshot))
	old := m.key
	m.key = m.aws.newKey(account, "vault-next", listingPolicy)
	m.write("config", m.aws.integration(m.key))
	lost := m.issue("app")
	m.aws.deleteKey(t, old)
	require.NoError(t, server.RestoreSnapshot(t.Context(), &snapshot))

	status := m.tidy(map[string]any{"dry_run": false, "safety_buffer": 0})
	require.Equal(t, "failed", status["state"])
	require.Contains(t, status["error"], "rotated since the snapshot")
	require.True(t, lost.exists())
	m.write("config", m.aws.integration(m.key))
	require.Equal(t, json.Number("1"), m.tidy(map[string]any{"dry_run": false, "safety_buffer": 0})["users_deleted"])
}

// deleteKey deletes the key of an integration's user.
func (s simulation) deleteKey(t *testing.T, key awsfake.Credentials) {
	t.Helper()
	root := s.Account(account).Root()
	_, err := iam.New(iam.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(s.url),
		Credentials: credentials.NewStaticCredentialsProvider(root.AccessKeyID, root.SecretAccessKey, ""),
	}).DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: aws.String(s.ownerOf(key)), AccessKeyId: &key.AccessKeyID})
	require.NoError(t, err)
}

func (s simulation) ownerOf(key awsfake.Credentials) string {
	for _, user := range s.Account(account).Users() {
		for _, k := range user.AccessKeys {
			if k.ID == key.AccessKeyID {
				return user.Name
			}
		}
	}
	return ""
}

func (m *mount) userNames() (names []string) {
	m.t.Helper()
	for _, user := range m.users() {
		names = append(names, user.Name)
	}
	return names
}
