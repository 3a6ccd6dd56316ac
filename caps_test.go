package awsiam

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// cap gives the role and the integration "default" a max_users each.
func (e *env) cap(role string, ofRole, ofIntegration int) {
	e.t.Helper()
	e.write("config", map[string]any{fieldMaxUsers: ofIntegration})
	e.write("roles/"+role, map[string]any{fieldMaxUsers: ofRole})
	e.settle()
}

// refusedReading checks that a reader of the role is refused with each of the texts.
func (e *env) refusedReading(role string, texts ...string) {
	e.t.Helper()
	e.refused(logical.ReadOperation, "creds/"+role, nil, texts...)
}

// slowWrites has storage take its time to write a record, as a cluster does, so that
// readers at once meet between the look at the caps and the end of the write.
func (e *env) slowWrites() {
	e.storage.on(func(op, key string) (bool, error) {
		if op == "put" && matchesKey(userPrefix, key) {
			time.Sleep(20 * time.Millisecond)
		}
		return true, nil
	})
}

// readAtOnce has so many readers at a time, and returns the leases of those who
// were served.
func (e *env) readAtOnce(readers int, roles ...string) []lease {
	e.t.Helper()
	var mu sync.Mutex
	var leases []lease
	var all sync.WaitGroup
	for i := range readers {
		all.Go(func() {
			resp, err := e.do(logical.ReadOperation, "creds/"+roles[i%len(roles)], nil)
			switch {
			case err != nil:
				e.t.Errorf("a reader was neither served nor told that there is no room: %v", err)
			case resp.IsError():
				if !strings.Contains(resp.Error().Error(), fieldMaxUsers+"=") {
					e.t.Errorf("refused for something else: %v", resp.Error())
				}
			default:
				mu.Lock()
				defer mu.Unlock()
				leases = append(leases, newLease(e.t, resp))
			}
		})
	}
	all.Wait()
	return leases
}

// TestMaxUsersIsExact: of 64 readers at once exactly as many are served as the cap
// allows, of the role or of the integration; AWS never has more users than that; and
// each user that goes makes room for one.
//
// Break it by taking r.expect out of reaper.admit, so that nothing is reserved.
func TestMaxUsersIsExact(t *testing.T) {
	t.Parallel()
	const limit, readers = 7, 64
	for name, scene := range map[string]struct {
		ofRole, ofIntegration int
		roles                 []string
	}{
		"a role":         {limit, 0, []string{"app"}},
		"an integration": {0, limit, []string{"app", "other"}},
		"both":           {limit, limit, []string{"app"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.write("roles/other", map[string]any{"policy_document": testPolicy})
			e.cap("app", scene.ofRole, scene.ofIntegration)
			e.slowWrites()
			var live, most atomic.Int64
			e.aws.Inject(awsfake.Fault{Action: "CreateUser", Hook: func(awsfake.Call) {
				for n := live.Add(1); n > most.Load(); {
					most.Store(n)
				}
			}})
			leases := e.readAtOnce(readers, scene.roles...)
			require.Len(t, leases, limit)
			require.Len(t, e.issuedUsers(), limit)
			require.Len(t, e.records(), limit)
			require.EqualValues(t, limit, most.Load(), "no user was made that had to go again")
			for _, l := range leases[:3] {
				require.NoError(t, e.revoke(l))
			}
			again := e.readAtOnce(readers, scene.roles...)
			require.Len(t, again, 3)
			for _, l := range append(leases[3:], again...) {
				require.NoError(t, e.revoke(l))
			}
			e.requireNothingLeft()
		})
	}
}

// TestMaxUsersSaysWhoTakesTheRoom, and asks neither AWS nor storage for that.
//
// Break it by taking the subtraction of clockAllowance out of agenda.full, or
// awaitRoom out of issueUser: then the record's name is drawn, and more.
func TestMaxUsersSaysWhoTakesTheRoom(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.cap("app", 2, 0)
	first := e.issue("app", map[string]any{"ttl": "3h"})
	e.advance(time.Minute)
	second := e.issue("app", map[string]any{"ttl": "1h"})
	records := e.records()
	e.aws.ResetCalls()
	operations := e.countOperations()
	e.refusedReading("app", `role "app" has 2 user(s), and max_users=2 (2 leased)`,
		"the oldest was made at "+timestamp(records[first.username()].Created),
		"the first lease to end does so at "+timestamp(records[second.username()].Expires.Add(-clockAllowance)),
		"revoke leases that nobody needs, or raise max_users")
	require.Empty(t, operations())
	require.Empty(t, e.aws.Calls())

	e.cap("app", 0, 2)
	e.refusedReading("app", `integration "default" has 2 user(s), and max_users=2 (2 leased)`)
	e.cap("app", 3, 0)
	e.issue("app", nil)
	e.cap("app", 1, 0) // applies to who comes next
	e.refusedReading("app", `role "app" has 3 user(s), and max_users=1 (3 leased)`)
	e.cap("app", 0, 0)
	e.issue("app", nil)
}

// TestMaxUsersCountsWhatIsNotGone: users whose deletion fails, and whose making does,
// take room until they are confirmed gone.
//
// Break it by counting no deleting users in agenda.join.
func TestMaxUsersCountsWhatIsNotGone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.cap("app", 1, 1)
	l := e.issue("app", nil)
	heal := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: codeAccessDenied, Status: 403})
	require.Error(t, e.revoke(l))
	e.refusedReading("app", "(1 being deleted)")
	e.start()
	e.refusedReading("app", "(1 being deleted)")
	heal()
	require.NoError(t, e.revoke(l))

	// The key of another cannot be made, nor its user be deleted.
	healers := []func(){
		e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Status: 500}),
		e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500}),
	}
	_, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.Error(t, err)
	e.refusedReading("app", "(1 being deleted)")
	for _, heal := range healers {
		heal()
	}
	e.finish()
	e.requireNothingLeft()

	// AWS refuses to make one: nothing came of it.
	heal = e.aws.Inject(awsfake.Fault{Action: "CreateUser", Code: "LimitExceeded", Status: 409, Count: 1})
	e.refusedReading("app", "LimitExceeded")
	heal()
	e.issue("app", nil)
}

// TestMaxUsersAfterAFailedWrite: a record that could not be written may be there, and
// counts until the reaper has looked.
//
// Break it by having putUser forget the user whose record it could not write.
func TestMaxUsersAfterAFailedWrite(t *testing.T) {
	t.Parallel()
	for name, written := range map[string]bool{"not written": false, "written": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.cap("app", 1, 0)
			e.storage.on(func(op, key string) (bool, error) {
				fails := op == "put" && matchesKey(userPrefix, key)
				return !fails || written, failIf(fails)
			})
			_, err := e.do(logical.ReadOperation, "creds/app", nil)
			require.ErrorIs(t, err, errInjected)
			e.storage.on(nil)
			e.refusedReading("app", "(1 being made)")
			e.finish()
			e.requireNothingLeft()
			e.issue("app", nil)
		})
	}
}

// TestMaxUsersAndPools: users that wait count for the integration and not for the
// role; taking one is a lease like any other.
//
// Break it by taking admit out of claim, or by leaving kind.ahead out of kindOf.
func TestMaxUsersAndPools(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.cap("app", 2, 5)
	e.pool("app", 4)
	e.slowWrites()
	leases := e.readAtOnce(64, "app")
	require.Len(t, leases, 2)
	e.settle()
	require.Len(t, e.pooled(), 3, "as many as the integration has room for")
	e.refusedReading("app", `role "app" has 2 user(s), and max_users=2 (2 leased)`)

	// A waiting user has its place already.
	e.write("roles/app", map[string]any{fieldMaxUsers: 0})
	e.settle()
	leases = append(leases, e.issue("app", nil))
	require.Len(t, e.records(), 5)
	e.leaveShort("app")
	e.write("roles/other", map[string]any{"policy_document": testPolicy})
	e.refusedReading("other", `integration "default" has 5 user(s), and max_users=5 (3 leased, 2 waiting for a lease)`)

	// Retiring them makes room only once they are gone.
	heal := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500})
	e.write("roles/app", map[string]any{"pool_size": 0})
	e.settle()
	e.refusedReading("other", "(3 leased, 2 being deleted)")
	heal()
	e.advance(maxRetryPause)
	e.reap()
	leases = append(leases, e.issue("other", nil), e.issue("other", nil))
	for _, l := range leases {
		require.NoError(t, e.revoke(l))
	}
	e.requireEmptied("app")
}

// TestMaxUsersOfARoleThatMoved: users that it made through another integration are
// the role's all the same.
//
// Break it by counting g.leased by integration.
func TestMaxUsersOfARoleThatMoved(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.connect("b", otherAccount, corePolicy)
	e.cap("app", 2, 1)
	l := e.issue("app", nil)
	e.write("roles/app", map[string]any{"integration": "b"})
	e.issue("app", nil)
	e.refusedReading("app", `role "app" has 2 user(s)`)
	require.NoError(t, e.revoke(l))
	e.issue("app", nil)
	e.issue("b", nil)
}

// TestMaxUsersIsChecked when it is written.
func TestMaxUsersIsChecked(t *testing.T) {
	e := newEnv(t, corePolicy)
	for _, path := range []string{"roles/app", "config"} {
		for _, n := range []int{-1, accountUsers + 1} {
			e.refused(logical.UpdateOperation, path, map[string]any{fieldMaxUsers: n}, fmt.Sprintf("max_users (%d) must be 0", n))
		}
		e.write(path, map[string]any{fieldMaxUsers: accountUsers})
		require.Equal(t, accountUsers, e.read(path)[fieldMaxUsers])
	}
}
