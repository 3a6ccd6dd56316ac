package awsiam

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// Those who borrow a key issue, renew and revoke leases while it is rotated and old
// keys go, and none fails. Break it by having them go on with keys that are gone: leave
// the source's revision out of integration.borrow, and borrowers out of connections.drop.
func TestBorrowersWhileTheirKeyIsRotated(t *testing.T) {
	t.Parallel()
	e, roles := newHub(t, otherAccount, "777788889999")
	e.lend("far0", map[string]any{"role_arn": roles[0]})
	e.lend("far1", map[string]any{"role_arn": roles[1]})
	e.lend("near", map[string]any{"user_path": "/vault/near/"})
	e.aws.SetLag(awsfake.Lag{Key: 500 * time.Millisecond})
	e.aws.SetLatency(10 * time.Millisecond)
	names := []string{"app", "far0", "far1", "near"}
	for _, name := range names {
		e.write("roles/"+name, map[string]any{"default_ttl": "20h"}) // the clock is moved
	}
	e.rotateUnderLoad(names...)
	for _, name := range names[1:] {
		require.Equal(t, true, e.read("config/" + name)["verified"])
	}
	require.Empty(t, e.records())
	e.reap()
	e.requireOneKey()
}

// manyBorrowers is how many accounts rest on one key.
const manyBorrowers = 100

// A hundred accounts rest on one key, in one mount, whose user assumes a role of its
// own first. Each is a call to assume its role, once, and no more; the source's session
// is made once for all; connections and goroutines are those of what is going on at a
// time. Break it by building the source's configuration anew for each borrower in
// originOf, or by giving each integration an HTTP client of its own.
func TestAHundredAccountsOnOneKey(t *testing.T) {
	e := newEnv(t, corePolicy)
	var opened atomic.Int64
	server := httptest.NewUnstartedServer(e.aws)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	e.url = server.URL
	user, key := e.acct.AddUser("/", "hub", mayAssume(corePolicy, "arn:aws:iam::*:role/hub"))
	hub := e.acct.AddRole("hub", user.ARN, mayAssume(corePolicy, "arn:aws:iam::*:role/vault"))
	e.write("config/hub", changed(e.connection(key), map[string]any{"role_arn": hub}))
	for i := range manyBorrowers {
		name := fmt.Sprintf("account%d", i)
		far := e.aws.Account(fmt.Sprintf("3000000%05d", i)).AddRole("vault", hub, corePolicy)
		e.write("config/"+name, e.borrowing("hub", map[string]any{"role_arn": far, "verify_connection": false}))
		e.write("roles/"+name, map[string]any{"integration": name, "policy_document": testPolicy})
	}
	e.aws.ResetCalls()
	before, connectionsBefore := runtime.NumGoroutine(), opened.Load()
	leases := e.cycleAll(t, manyBorrowers, 8)
	require.Equal(t, manyBorrowers, leases)
	require.Equal(t, manyBorrowers, e.aws.Count("CreateUser"))
	require.Equal(t, manyBorrowers+1, e.aws.Count("AssumeRole"), "one for each, and the source's")
	require.Equal(t, manyBorrowers, e.aws.Count("GetCallerIdentity"), "whose account nobody has asked for yet")
	require.LessOrEqual(t, opened.Load()-connectionsBefore, int64(3*8), "as many as calls at a time")
	require.Less(t, runtime.NumGoroutine()-before, manyBorrowers, "those of connections")

	e.aws.ResetCalls()
	e.cycleAll(t, manyBorrowers, 8)
	require.Zero(t, e.aws.Count("AssumeRole")+e.aws.Count("GetCallerIdentity"), "all is known now")
	require.LessOrEqual(t, opened.Load()-connectionsBefore, int64(3*8))

	e.aws.ResetCalls()
	e.write("config/account7", map[string]any{"max_retries": 2, "verify_connection": false})
	e.cycleAll(t, manyBorrowers, 8)
	require.Equal(t, 1, e.aws.Count("AssumeRole"), "of the one that was written")
	require.Zero(t, e.aws.Account("300000000007").UserCount())
}

// cycleAll issues and revokes a lease of each account, some at a time, and returns how
// many that were.
func (e *env) cycleAll(t *testing.T, accounts, atOnce int) int {
	t.Helper()
	next := make(chan int)
	var done atomic.Int64
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := range next {
				if err := e.leaseCycle(fmt.Sprintf("account%d", i)); err != nil {
					t.Error(err)
					continue
				}
				done.Add(1)
			}
		})
	}
	for i := range accounts {
		next <- i
	}
	close(next)
	workers.Wait()
	return int(done.Load())
}
