package awsiam

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// hold has reads or lists of users' records wait until release is called, and tells
// when the first does. It is called after start, so that the backend can end.
func (e *env) hold(operation string) (reached <-chan struct{}, release func()) {
	first, let := make(chan struct{}), make(chan struct{})
	arrive := sync.OnceFunc(func() { close(first) })
	e.storage.on(func(op, key string) (bool, error) {
		if op == operation && (key == userPrefix || matchesKey(userPrefix, key)) {
			arrive()
			<-let
		}
		return true, nil
	})
	release = sync.OnceFunc(func() { close(let) })
	e.t.Cleanup(release)
	return first, release
}

// leave stores records of live users of the role, as an earlier process has.
func (e *env) leave(role string, n int) {
	for i := range n {
		u := e.healthyRecord(defaultIntegration)
		u.Username, u.AccountID, u.Role = fmt.Sprintf("vault-%s-%05d", role, i), testAccount, role
		e.store(e.t, u)
	}
}

// TestMaxUsersAfterARestart: of 64 readers at once, the first of the process, no more
// are served than there is room for beside what the process before has left; they
// wait for the records to be read, once, and nobody lists anything later.
//
// Break it by taking r.listed or unknown for no matter in reaper.roomFor.
func TestMaxUsersAfterARestart(t *testing.T) {
	t.Parallel()
	for _, held := range []string{"list", "get"} {
		t.Run(held, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.cap("app", 50, 0)
			e.leave("app", 43)
			e.leave("other", 20)
			require.NoError(t, e.reload())
			e.start()
			reached, release := e.hold(held)
			var leases []lease
			var readers sync.WaitGroup
			readers.Go(func() { leases = e.readAtOnce(64, "app") })
			<-reached
			require.Empty(t, e.issuedUsers())
			release()
			readers.Wait()
			require.Len(t, leases, 7)
			operations := e.countOperations()
			e.refusedReading("app", "has 50 user(s)")
			require.Empty(t, operations())
		})
	}
}

// TestMaxUsersIsKnownBeforeAllIsRead: where even all that is unread would leave room,
// or what has been read takes it already, nobody waits.
//
// Break it by having roomFor wait for all records.
func TestMaxUsersIsKnownBeforeAllIsRead(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.cap("app", 50, 0)
	e.leave("other", 20)
	require.NoError(t, e.reload())
	e.start()
	reached, release := e.hold("get")
	promptly(t, "the tick", e.tick)
	<-reached
	e.storage.on(func(op, key string) (bool, error) { // new names need not be looked up
		require.NotEqual(t, "get users", op+" "+key)
		return true, nil
	})
	for range 29 {
		e.issue("app", nil)
	}
	e.write("roles/app", map[string]any{fieldMaxUsers: 29})
	e.refusedReading("app", "has 29 user(s)")
	release()
	e.settle()
	e.write("roles/app", map[string]any{fieldMaxUsers: 30})
	e.issue("app", nil)
}

// TestMaxUsersWhileRecordsCannotBeRead: a reader is told to come again, with a status
// that Vault's clients do so by themselves on, soon; and is served when storage is well.
//
// Break it by answering errUncounted like any refusal, or by taking the announcement
// out of reaper.pass: then readers wait for all of countTimeout.
func TestMaxUsersWhileRecordsCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, failing := range []string{"list", "get"} {
		t.Run(failing, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.cap("app", 2, 0)
			e.leave("app", 1)
			e.leave("other", 1)
			e.start()
			e.storage.on(func(op, key string) (bool, error) {
				fails := op == failing && (key == userPrefix || matchesKey(userPrefix, key))
				return true, failIf(fails)
			})
			for range 2 {
				begun := time.Now()
				_, err := e.do(logical.ReadOperation, "creds/app", nil)
				require.ErrorContains(t, err, "still being read")
				var coded logical.HTTPCodedError
				require.ErrorAs(t, err, &coded)
				require.Equal(t, http.StatusServiceUnavailable, coded.Code())
				require.Less(t, time.Since(begun), countTimeout)
			}
			require.Empty(t, e.issuedUsers())
			e.storage.on(nil)
			e.advance(minRetryPause)
			e.issue("app", nil)
			e.refusedReading("app", "has 2 user(s)")
		})
	}
}

// TestMaxUsersBoundsTheWait, also where storage does not answer, the caller goes
// away, or the backend ends.
//
// Break it by taking ctx.Done out of reaper.awaitRoom.
func TestMaxUsersBoundsTheWait(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.cap("app", 2, 0)
	e.leave("app", 1)
	e.leave("other", 1)
	e.start()
	reached, release := e.hold("get")
	ctx, cancel := context.WithCancel(t.Context())
	answers := make(chan error, 2)
	for _, ctx := range []context.Context{ctx, t.Context()} {
		go func() {
			_, err := e.doCtx(ctx, logical.ReadOperation, "creds/app", nil)
			answers <- err
		}()
	}
	<-reached
	cancel()
	answered := func() error { return <-answers }
	require.ErrorContains(t, errAsResult(t, answered), "still being read")
	e.b.reaper.end()
	require.ErrorContains(t, errAsResult(t, answered), "still being read")
	release()
}

// errAsResult is the error that the work ends with, in time.
func errAsResult(t *testing.T, work func() error) (result error) {
	t.Helper()
	promptly(t, "the answer", func() error { result = work(); return nil })
	return result
}

// TestMaxUsersAndADamagedRecord: nobody knows whose it is, so that it may be one of
// any; the refusal says so.
//
// Break it by noting unreadable records as kind{}, or not counting them.
func TestMaxUsersAndADamagedRecord(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.cap("app", 2, 0)
	require.NoError(t, e.storage.Put(t.Context(), &logical.StorageEntry{Key: userPrefix + "vault-app-x", Value: []byte("{")}))
	e.start()
	l := e.issue("app", nil)
	e.refusedReading("app", "has 2 user(s), and max_users=2 (1 leased, 1 on record that cannot be read and may be among them)")
	require.NoError(t, e.storage.Delete(t.Context(), userPrefix+"vault-app-x"))
	e.advance(unreadablePause)
	require.NoError(t, e.revoke(l))
	e.reap()
	e.issue("app", nil)
	e.issue("app", nil)
}

// TestMaxUsersOfManyUsers: with 20,000 records the first reader waits for the reading
// of them and is served; and a refusal is quick.
func TestMaxUsersOfManyUsers(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.cap("app", 1, 0)
	e.storeMany(t, manyUsers)
	e.start()
	var err error
	for range 5 { // a machine may be so slow that the reader is told to come again
		if err = e.serve("app"); err == nil || !strings.Contains(err.Error(), errUncounted.Error()) {
			break
		}
	}
	require.NoError(t, err)
	e.issue("app", nil)
	e.refusedReading("app", "has 1 user(s)")
}
