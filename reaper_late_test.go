package awsiam

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// lateStorage tells that the n-th write of a record has failed, and has it happen when
// it is told to.
type lateStorage struct {
	logical.Storage

	mu   sync.Mutex
	n    int
	late *logical.StorageEntry
}

func (s *lateStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if matchesKey(userPrefix, entry.Key) {
		s.n--
		if s.n == 0 {
			s.late = entry
			return errInjected
		}
	}
	return s.Storage.Put(ctx, entry)
}

// happen has the write happen.
func (s *lateStorage) happen(t *testing.T) {
	t.Helper()
	require.NotNil(t, s.late)
	require.NoError(t, s.Storage.Put(t.Context(), s.late))
}

// holdBack has the n-th write of a record from now on come late.
func (e *env) holdBack(n int) *lateStorage {
	late := &lateStorage{Storage: e.storage.Storage, n: n}
	e.storage.Storage = late
	return late
}

// TestAWriteThatHappensLate, after the reaper has found out that it did not, is found
// all the same. Nothing is left, and nothing counts for ever.
//
// Break it by leaving writeFailed alone in reaper.failed.
func TestAWriteThatHappensLate(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"creating": 1, "active": 2} {
		for _, after := range []time.Duration{time.Minute, lateWrites - time.Minute} {
			t.Run(name+" after "+after.String(), func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, corePolicy)
				e.reap()
				late := e.holdBack(n)
				_, err := e.do(logical.ReadOperation, "creds/app", nil)
				require.ErrorIs(t, err, errInjected)
				e.reap()
				e.advance(after)
				e.reap()
				require.Empty(t, e.records())
				require.Empty(t, e.b.reaper.agenda.byName)
				late.happen(t)
				e.advance(relistPause)
				e.reap()
				e.advance(time.Hour) // the end of a lease that nobody has
				e.reap()
				e.requireNothingLeft()
				require.Empty(t, e.b.reaper.agenda.byName)
				e.must(logical.DeleteOperation, "roles/app", nil)
				e.must(logical.DeleteOperation, "config", nil)
			})
		}
	}
}

// TestAWriteThatUndoesADeletion: a record that was to be active becomes that after all,
// when it was deleting. Nobody was given the user, which goes at once.
//
// Break it by leaving overwritten out of reaper.reap.
func TestAWriteThatUndoesADeletion(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	late := e.holdBack(2)
	heal := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500})
	_, err := e.do(logical.ReadOperation, "creds/app", map[string]any{"ttl": "20h"})
	require.ErrorIs(t, err, errInjected)
	heal()
	for _, u := range e.records() {
		require.Equal(t, stateDeleting, u.State)
	}
	late.happen(t)
	for _, u := range e.records() {
		require.Equal(t, stateActive, u.State)
	}
	e.advance(settlingTime)
	e.reap()
	e.requireNothingLeft()
}

// TestRecordsAreListedAgainForAWhile, and no more once no late write is to be expected.
//
// Break it by leaving the pause, or the end, out of reaper.awaitsLateWrites.
func TestRecordsAreListedAgainForAWhile(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.reap()
	e.holdBack(1)
	_, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.ErrorIs(t, err, errInjected)
	operations := e.countOperations()
	for range 2 * int(lateWrites/time.Minute) {
		e.advance(time.Minute)
		e.reap()
	}
	require.Equal(t, int(lateWrites/relistPause), operations()["list users"])
}
