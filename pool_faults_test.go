package awsiam

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// TestEveryStepOfFillingAPoolGoesWrong: whatever was begun is finished or undone,
// and the pool is full in the end.
//
// Break it by recording that the user waits before its secret is stored, or by
// taking a role that could not be read for one without a pool in pools.goesOn.
func TestEveryStepOfFillingAPoolGoesWrong(t *testing.T) {
	t.Parallel()
	var table []breakage
	for _, action := range []string{"CreateUser", "CreateAccessKey"} {
		table = append(table, awsBreakages(action)...)
	}
	table = append(table, storageBreakages("list", poolPrefix, 1)...)
	table = append(table, storageBreakages("get", rolePrefix, 1)...)
	table = append(table, storageBreakages("get", rolePrefix, 2)...)
	table = append(table, storageBreakages("get", integrationPrefix, 1)...)
	table = append(table, storageBreakages("get", userPrefix, 1)...) // the name is free
	table = append(table, storageBreakages("put", userPrefix, 1)...) // creating
	table = append(table, storageBreakages("put", poolPrefix, 1)...)
	table = append(table, storageBreakages("get", userPrefix, 2)...) // still creating
	table = append(table, storageBreakages("put", userPrefix, 2)...) // pooled
	for name, policy := range policies {
		for _, broken := range table {
			t.Run(name+"/"+broken.name, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, policy)
				bystander := e.issue("app", nil).username() // is live all the time
				e.storePool("app", 1)
				e.start()
				broken.arm(e)
				e.b.pools.tend(e.storage)
				e.settle()
				e.heal()
				for range 2 { // learns after a restart, and fills it again
					e.advance(6 * time.Minute)
					e.reap()
				}
				require.Contains(t, e.records(), bystander, "a live user was deleted")
				require.Len(t, e.pooled(), 1)
				require.Equal(t, e.pooled(), e.secrets())
				e.requirePooled("app")
				e.requireEmptied("app")
			})
		}
	}
}

// TestPoolHasNobodyWithAStrayKey: whose key may not be the only one is undone, and
// another takes its place at once.
//
// Break it by leaving takesAnotherName out of makeAhead, or by returning nil from
// creation.checkOnlyKey where there are other keys.
func TestPoolHasNobodyWithAStrayKey(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Lost: true, Count: 1})
	e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", Code: "NoSuchEntity", Count: 1})
	e.pool("app", 1)
	user, _ := e.acct.User(e.pooled()[0])
	require.Len(t, user.AccessKeys, 1)
	e.leaveShort("app")
	e.requirePooled("app")
	e.requireEmptied("app")
}

// storePool has the role stored with a pool, past the engine.
func (e *env) storePool(name string, size int) {
	e.t.Helper()
	r, err := getRole(e.t.Context(), e.storage, name)
	require.NoError(e.t, err)
	r.PoolSize = size
	entry, err := logical.StorageEntryJSON(rolePrefix+name, r)
	require.NoError(e.t, err)
	require.NoError(e.t, e.storage.Storage.Put(e.t.Context(), entry))
}

// requirePooled checks that the role's next lease is made of a user that waits.
func (e *env) requirePooled(role string) {
	e.t.Helper()
	waiting := e.pooled()
	l := e.issue(role, nil)
	require.Contains(e.t, waiting, l.username())
	e.requireWorks(l)
}

// requireWorks checks that a lease survives the reaper, does what its role
// allows, and can be revoked.
func (e *env) requireWorks(l lease) {
	e.t.Helper()
	e.advance(6 * time.Minute)
	e.reap()
	require.Equal(e.t, 1, e.authenticates(l, 1))
	require.True(e.t, e.mayList(l.key()))
	require.NoError(e.t, e.revoke(l))
	_, ok := e.acct.User(l.username())
	require.False(e.t, ok, "a revoked user is still there")
}

// TestEveryStepOfTakingFromAPoolGoesWrong: whoever is handed out works and lives;
// the others of the pool wait on; and nobody is left over.
//
// Break it by removing the secret after the lease is recorded.
func TestEveryStepOfTakingFromAPoolGoesWrong(t *testing.T) {
	t.Parallel()
	table := awsBreakages("PutUserPolicy")
	table = append(table, storageBreakages("get", poolPrefix, 1)...)
	table = append(table, storageBreakages("get", userPrefix, 1)...)
	table = append(table, storageBreakages("put", userPrefix, 1)...) // claimed
	table = append(table, storageBreakages("delete", poolPrefix, 1)...)
	table = append(table, storageBreakages("put", userPrefix, 2)...) // active
	for name, policy := range policies {
		for _, broken := range table {
			t.Run(name+"/"+broken.name, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, policy)
				e.pool("app", 2)
				waiting := e.pooled()
				e.leaveShort("app")
				e.advance(time.Hour)
				broken.arm(e)
				resp, err := e.do(logical.ReadOperation, "creds/app", nil)
				e.settle()
				e.heal()
				if err == nil && !resp.IsError() {
					l := newLease(t, resp)
					require.NotContains(t, e.secrets(), l.username())
					e.requireWorks(l)
				}
				e.advance(6 * time.Minute)
				e.reap()
				waits := func(name string) bool { return slices.Contains(e.pooled(), name) }
				require.True(t, slices.ContainsFunc(waiting, waits), "the other one")
				require.Equal(t, e.pooled(), e.secrets())
				e.requirePooled("app")
				e.requireEmptied("app")
			})
		}
	}
}

// TestEveryStepOfEmptyingAPoolGoesWrong: in the end there is neither a user, nor a
// record, nor a secret.
//
// Break it by forgetting the secret after the record in forgetUser.
func TestEveryStepOfEmptyingAPoolGoesWrong(t *testing.T) {
	t.Parallel()
	var table []breakage
	for _, action := range []string{"DeleteAccessKey", "DeleteUser"} {
		table = append(table, awsBreakages(action)...)
	}
	table = append(table, storageBreakages("get", userPrefix, 1)...)
	table = append(table, storageBreakages("put", userPrefix, 1)...)
	table = append(table, storageBreakages("get", userPrefix, 2)...)
	table = append(table, storageBreakages("delete", poolPrefix, 1)...)
	table = append(table, storageBreakages("delete", userPrefix, 1)...)
	for name, policy := range policies {
		for _, broken := range table {
			t.Run(name+"/"+broken.name, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, policy)
				e.pool("app", 1)
				broken.arm(e)
				_, err := e.do(logical.DeleteOperation, "roles/app", nil)
				require.NoError(t, err)
				e.settle()
				e.heal()
				e.finish()
				e.requireNothingLeft()
				require.Empty(t, e.secrets())
			})
		}
	}
}

// TestPoolReaperLeavesATakingAlone: that the user was made long ago does not make
// its lease an abandoned creation.
//
// Break it by leaving Taken out of userRecord.begun.
func TestPoolReaperLeavesATakingAlone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.pool("app", 1)
	e.leaveShort("app")
	e.advance(10 * time.Hour)
	waiting := e.pooled()
	e.aws.Inject(awsfake.Fault{Action: "PutUserPolicy", Count: 1, Hook: func(c awsfake.Call) {
		e.b.reaper.schedule(c.User, time.Time{})
		e.reap()
	}})
	l := e.issue("app", nil)
	require.Equal(t, []string{l.username()}, waiting)
	e.requireWorks(l)
}

// refusingWrites is the storage of a node that is not active any more.
type refusingWrites struct{ logical.Storage }

func (refusingWrites) Put(context.Context, *logical.StorageEntry) error { return errInjected }
func (refusingWrites) Delete(context.Context, string) error             { return errInjected }

// TestPoolOfADeposedNode: it leases nobody and deletes nobody, whatever it takes
// for waiting, while the node that is active leases its users.
//
// Break it by having retireWaiting go on where it could not write, or pools.take
// undo a user that it could not claim.
func TestPoolOfADeposedNode(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	e.pool("app", 2)
	waiting := e.pooled()
	deposed := e.b
	e.start()
	e.reap() // learns who waits
	e.leaveShort("app")
	first := e.issue("app", nil)

	for range 3 {
		_, err := deposed.HandleRequest(t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: "creds/app", Storage: refusingWrites{e.storage}})
		require.Error(t, err)
		deposed.pools.roleChanged(refusingWrites{e.storage}, "app", 0)
		deposed.reaper.done.Wait()
	}
	second := e.issue("app", nil)
	require.ElementsMatch(t, waiting, []string{first.username(), second.username()})
	e.requireWorks(first)
	e.requireWorks(second)
	e.requireEmptied("app")
}

// deposed is the storage of a node that is deposed while it puts a user on record as
// waiting: it is told that this write has failed when the next node has been at work,
// and can write nothing after that.
type deposed struct {
	logical.Storage
	writes   atomic.Int32 // of records
	happens  bool
	met, end chan struct{}
}

func (s *deposed) Put(ctx context.Context, entry *logical.StorageEntry) error {
	if !strings.HasPrefix(entry.Key, userPrefix) {
		return s.Storage.Put(ctx, entry)
	}
	write := s.writes.Add(1)
	if write == 1 || write == 2 && s.happens {
		if err := s.Storage.Put(ctx, entry); err != nil || write == 1 {
			return err
		}
	}
	if write == 2 {
		close(s.met)
		<-s.end
	}
	return errInjected
}

func (s *deposed) Delete(context.Context, string) error { return errInjected }

// TestPoolOfANodeDeposedWhileItFillsIt: the user that it made may wait by what the next
// node reads, and be leased there. So it is not undone by whom that node has replaced.
//
// Break it by leaving errMayWait out of backend.undoAlone.
func TestPoolOfANodeDeposedWhileItFillsIt(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]bool{"the write happened": true, "the write did not happen": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.storePool("app", 1)
			e.start()
			s := &deposed{Storage: e.storage, happens: happens, met: make(chan struct{}), end: make(chan struct{})}
			replaced := e.b
			replaced.pools.tend(s)
			<-s.met
			made := e.issuedUsers()[0].Name
			e.start()
			e.reap() // learns who waits
			require.Equal(t, happens, slices.Contains(e.pooled(), made))
			e.leaveShort("app")
			l := e.issue("app", nil)
			require.Equal(t, happens, l.username() == made)
			close(s.end)
			replaced.reaper.done.Wait()
			require.GreaterOrEqual(t, s.writes.Load(), int32(3), "it had to be undone")
			e.requireWorks(l)
			e.requireEmptied("app")
		})
	}
}
