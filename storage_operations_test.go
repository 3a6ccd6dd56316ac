package awsiam

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// What a request costs in storage is pinned: on integrated storage each write is
// agreed on by a majority of the nodes, and each operation crosses to Vault and back.

// operationsOf adds up; those that were not seen are left out.
func operationsOf(kinds ...map[string]int) map[string]int {
	sum := make(map[string]int)
	for _, kind := range kinds {
		for operation, n := range kind {
			sum[operation] += n
		}
	}
	return sum
}

var (
	// A user's record is looked for under its name, written, and written as active.
	coldIssue = map[string]int{"get users": 1, "put users": 2}
	// Once the reaper has listed all records a new name needs no looking.
	warmIssue = map[string]int{"put users": 2}
	renewal   = map[string]int{"get users": 1, "put users": 1}
	// The write tells a deposed leader from the active node.
	revocation = map[string]int{"get users": 1, "put users": 1, "delete users": 1}
	// The secret is read, and removed while AWS is asked; between these the record is
	// read and written by the claim. It is not read again when it is written as active.
	pooledIssue      = map[string]int{"get pool": 1, "get users": 1, "put users": 2, "delete pool": 1}
	readsRole        = map[string]int{"get roles": 1}
	readsIntegration = map[string]int{"get config": 1}
)

// Break it by reading a role or an integration past its cache, by reading the
// record in the revocation before condemn does, or by having mayKnow say yes.
func TestStorageOperationsOfALease(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.b.reaper.done.Wait() // what writing the integration has begun
	operations := e.countOperations()

	l := e.issue("app", nil)
	require.Equal(t, operationsOf(coldIssue, readsRole, readsIntegration), operations())
	_, err := e.renew(l, time.Hour)
	require.NoError(t, err)
	require.Equal(t, renewal, operations())
	require.NoError(t, e.revoke(l))
	require.Equal(t, revocation, operations())

	e.reap() // learns all names
	operations()
	for range 3 {
		l = e.issue("app", nil)
		require.Equal(t, warmIssue, operations())
		_, err = e.renew(l, time.Hour)
		require.NoError(t, err)
		require.Equal(t, renewal, operations())
		require.NoError(t, e.revoke(l))
		require.Equal(t, revocation, operations())
	}
}

// Break it by having activateUser look at the record of a user that was claimed.
func TestStorageOperationsOfAPooledLease(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.pool("app", 2)
	e.leaveShort("app")
	e.advance(time.Hour)
	for range 2 {
		operations := e.countOperations()
		l := e.issue("app", nil)
		require.Equal(t, pooledIssue, operations())
		require.NoError(t, e.revoke(l))
		require.Equal(t, revocation, operations())
	}
}

// After a restart, which is where the first of a mass of revocations come from.
func TestStorageOperationsOfALeaseOfAnEarlierProcess(t *testing.T) {
	e := newEnv(t, corePolicy)
	operations := e.countOperations()
	first, second := e.issue("app", nil), e.issue("app", nil)

	e.start()
	operations()
	_, err := e.renew(first, time.Hour)
	require.NoError(t, err)
	require.Equal(t, operationsOf(renewal, readsRole), operations())
	require.NoError(t, e.revoke(first))
	require.Equal(t, operationsOf(revocation, readsIntegration), operations())
	require.NoError(t, e.revoke(second))
	require.Equal(t, revocation, operations())
}

// A revocation that comes again, as Vault's own next attempt does.
func TestStorageOperationsOfARepeatedRevocation(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	require.NoError(t, e.revoke(l))
	operations := e.countOperations()
	require.NoError(t, e.revoke(l))
	require.Equal(t, map[string]int{"get users": 1}, operations())
}

// Writing an integration reads the records of deletions that have failed, and none of
// the many users that are alive, however soon they end. Break it by having reaper.failing
// return all.
func TestWritingAnIntegrationReadsNoHealthyRecords(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.reap()
	for range 3 {
		e.issue("app", nil)
	}
	e.b.reaper.done.Wait()
	operations := e.countOperations()
	e.write("config", map[string]any{"max_retries": 2})
	e.b.reaper.done.Wait()
	require.Zero(t, operations()["get users"])

	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500})
	require.Error(t, e.revoke(e.issue("app", nil)))
	operations()
	require.True(t, e.b.reaper.hasten(e.storage, defaultIntegration))
	require.Equal(t, map[string]int{"get users": 1, "put users": 1}, operations())
}
