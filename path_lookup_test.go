package awsiam

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// notFound checks that there is nothing at the path, of which Vault makes a 404.
func (e *env) notFound(path string) {
	e.t.Helper()
	resp, err := e.do(logical.ReadOperation, path, nil)
	require.NoError(e.t, err)
	require.Nil(e.t, resp)
}

// A key id tells its user: in the process that made it, in the next one before and
// after its reaper has read the records, and until the user is gone. Break it by
// having findHolder trust the directory alone.
func TestLookup(t *testing.T) {
	e := newEnv(t, corePolicy)
	l, other := e.issue("app", nil), e.issue("app", nil)
	path := "lookup/" + l.data["access_key_id"].(string)
	record := e.read("users/" + l.username())
	require.Equal(t, l.username(), record["username"])
	require.Equal(t, record, e.read(path))
	e.start()
	require.Equal(t, record, e.read(path))
	e.start()
	e.reap()
	require.Equal(t, record, e.read(path))
	require.NotContains(t, e.read(path), "secret_access_key")

	e.notFound("lookup/AKIAIOSFODNN7EXAMPLE")
	e.notFound("lookup/" + e.key.AccessKeyID) // the integration's own
	require.NoError(t, e.revoke(l))
	e.notFound(path)
	require.Equal(t, other.username(), e.read("lookup/" + other.data["access_key_id"].(string))["username"])
}

// The directory is behind storage where somebody has changed that beneath Vault:
// what it says is not believed. Break it by leaving the comparison of the key out of
// findHolder.
func TestLookupBelievesStorage(t *testing.T) {
	e := newEnv(t, corePolicy)
	l, other := e.issue("app", nil), e.issue("app", nil)
	swap := e.records()[l.username()]
	swap.AccessKeyID = "AKIAIOSFODNN7EXAMPLE"
	e.store(t, swap)
	e.notFound("lookup/" + l.data["access_key_id"].(string))
	require.Equal(t, l.username(), e.read("lookup/AKIAIOSFODNN7EXAMPLE")["username"])
	require.NoError(t, e.storage.Storage.Delete(t.Context(), userPrefix+other.username()))
	e.notFound("lookup/" + other.data["access_key_id"].(string))
}

// Where a record cannot be read, "nobody" would be a guess. Break it by leaving the
// damaged ones out of findHolder.
func TestLookupNamesRecordsThatCannotBeRead(t *testing.T) {
	e := newEnv(t, corePolicy)
	l, sound := e.issue("app", nil), e.issue("app", nil)
	e.damage(userPrefix+l.username(), "{")
	for range 2 {
		e.refused(logical.ReadOperation, "lookup/"+l.data["access_key_id"].(string), nil, l.username(), "cannot be read")
		require.Equal(t, sound.username(), e.read("lookup/" + sound.data["access_key_id"].(string))["username"])
		e.start()
	}
	require.NoError(t, e.revoke(l))
	e.notFound("lookup/" + l.data["access_key_id"].(string))
}

// A user whose deletion fails still has its record, by which its key is found.
func TestLookupOfAUserThatCouldNotBeDeleted(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500})
	require.Error(t, e.revoke(l))
	require.Equal(t, "deleting", e.read("lookup/" + l.data["access_key_id"].(string))["state"])
}

func TestLookupBadInput(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.refused(logical.ReadOperation, "lookup/AKIA", nil, "access_key_id")
	e.refused(logical.ReadOperation, "lookup/AKIAIOSFODNN7EXAM*LE", nil, "access_key_id")
	e.refused(logical.ReadOperation, "lookup/ASIAIOSFODNN7EXAMPLE", nil, "access_key_id", "session")
	e.refused(logical.ReadOperation, "lookup/AKIAIOSFODNN7EXAMPLE", map[string]any{"colour": "red"}, "colour")
}
