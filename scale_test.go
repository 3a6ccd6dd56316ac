package awsiam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// The reaper with as many users as four AWS accounts can hold. Figures of time
// and memory are in the benchmarks of scale_bench_test.go.

const (
	manyUsers    = 20_000 // AWS's quota is 5,000 for an account
	manyAccounts = 4
	// patience is for what has to happen at all, on a loaded machine, and shorter than
	// storageTimeout, which would end what is held up.
	patience = 20 * time.Second
)

// promptly fails the test if the work does not end, or ends with an error.
func promptly(t *testing.T, what string, work func() error) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- work() }()
	select {
	case err := <-ended:
		require.NoError(t, err, what)
	case <-time.After(patience):
		t.Fatalf("%s: it is held up", what)
	}
}

// tick is Vault's periodic callback.
func (e *env) tick() error {
	_, err := e.b.HandleRequest(e.t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: e.storage})
	return err
}

// serve issues, renews and revokes, as requests do.
func (e *env) serve(role string) error {
	resp, err := e.do(logical.ReadOperation, "creds/"+role, nil)
	if err != nil {
		return err
	}
	l := newLease(e.t, resp)
	_, err = e.renew(l, time.Hour)
	return errors.Join(err, e.revoke(l))
}

// reload unloads the plugin, as before another version is started.
func (e *env) reload() error {
	e.b.Cleanup(context.Background())
	return nil
}

// connect adds an account, and an integration and a role of the name for it.
func (e *env) connect(name, account, policy string) *awsfake.Account {
	e.t.Helper()
	acct := e.aws.Account(account)
	_, key := acct.AddUser("/", "integration-"+name, policy)
	e.write("config/"+name, e.connection(key))
	e.write("roles/"+name, map[string]any{"integration": name, "policy_document": testPolicy})
	return acct
}

// connectMany connects accounts with integrations named a0, a1, …
func (e *env) connectMany() []*awsfake.Account {
	e.t.Helper()
	accounts := make([]*awsfake.Account, manyAccounts)
	for i := range accounts {
		accounts[i] = e.connect(fmt.Sprintf("a%d", i), fmt.Sprintf("20000000000%d", i), corePolicy)
	}
	return accounts
}

// healthyRecord is the record of a live user. Username and account are for the
// caller to fill in.
func (e *env) healthyRecord(integration string) *userRecord {
	return &userRecord{
		Version: recordVersion, State: stateActive,
		Expires: e.clock.now().Add(time.Hour), Deadline: e.clock.now().Add(24 * time.Hour),
		issuedUser: issuedUser{
			Path: testPath, Role: integration, Integration: integration, Created: e.clock.now(),
			UserID: "AIDAEXAMPLE", AccessKeyID: "AKIAIOSFODNN7EXAMPLE",
		},
	}
}

// store writes a record past the engine, as an earlier process may have left it.
func (e *env) store(tb testing.TB, u *userRecord) {
	tb.Helper()
	entry, err := logical.StorageEntryJSON(userPrefix+u.Username, u)
	require.NoError(tb, err)
	require.NoError(tb, e.storage.Storage.Put(tb.Context(), entry))
}

// storeMany writes records of live users, spread over the integrations of connectMany.
func (e *env) storeMany(tb testing.TB, n int) {
	tb.Helper()
	for i := range n {
		u := e.healthyRecord(fmt.Sprintf("a%d", i%manyAccounts))
		u.Username, u.AccountID = fmt.Sprintf("vault-app-%05d", i), fmt.Sprintf("20000000000%d", i%manyAccounts)
		e.store(tb, u)
	}
}

// countOperations counts storage operations from now on, by kind and folder.
func (e *env) countOperations() func() map[string]int {
	var mu sync.Mutex
	operations := make(map[string]int)
	e.storage.on(func(op, key string) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		folder, _, _ := strings.Cut(key, "/")
		operations[op+" "+folder]++
		return true, nil
	})
	return func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		seen := operations
		operations = make(map[string]int)
		return seen
	}
}

// Each record is read once in the life of the process; after that a pass costs
// what is due. Break it by not setting reaper.listed.
func TestReaperReadsHealthyRecordsOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.storeMany(t, manyUsers)
	due := e.issue("app", nil)
	e.start()
	e.aws.ResetCalls()
	operations := e.countOperations()

	e.reap()
	require.Equal(t, map[string]int{
		"list users": 1, "get users": manyUsers + 1, "list tidy": 1,
		"list config": 1, "get config": 1, "list pool": 1, "list roles": 1, "get roles": 1,
	}, operations())
	e.reap()
	e.advance(20 * time.Minute)
	e.reap()
	require.Empty(t, operations())
	require.Empty(t, e.aws.Calls())

	e.advance(15 * time.Minute)
	e.reap() // one of them has become due
	require.Equal(t, map[string]int{"get users": 2, "put users": 1, "get config": 1, "delete users": 1}, operations(),
		"read and marked under its lock, read again for its deletion, removed")
	_, found := e.acct.User(due.username())
	require.False(t, found)
	require.Equal(t, manyUsers, len(e.records())) //nolint:testifylint // Len would print them all
}

// Neither a slow start nor a failover to a node with thousands of records may
// keep anybody waiting. Break it by making the pass in backend.periodic itself.
func TestRequestsAreServedWhileTheReaperLearns(t *testing.T) {
	for _, hangs := range []string{"list", "get"} {
		t.Run(hangs, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			before := e.issue("app", nil)
			e.storeMany(t, 100)
			reached, release := make(chan struct{}, 1000), make(chan struct{})
			letGo := sync.OnceFunc(func() { close(release) })
			e.storage.on(func(op, key string) (bool, error) {
				if op == hangs && (key == userPrefix || matchesKey(userPrefix+"vault-app-0", key)) {
					reached <- struct{}{}
					<-release
				}
				return true, nil
			})
			e.start()
			t.Cleanup(letGo) // before the backend is stopped
			promptly(t, "the tick", e.tick)
			<-reached
			promptly(t, "a new lease", func() error { return e.serve("app") })
			promptly(t, "an older lease", func() error { return e.revoke(before) })
			promptly(t, "the next tick", e.tick)
			e.issue("app", nil) // and is never revoked
			letGo()
			e.b.reaper.done.Wait()
			e.finish()
			require.Empty(t, e.issuedUsers())
		})
	}
}

// heldReads answers the reading of a record only once it is let go, with what
// was there before.
type heldReads struct {
	logical.Storage
	seen     atomic.Bool
	hold     string
	held     chan struct{}
	released chan struct{}
}

func (s *heldReads) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	entry, err := s.Storage.Get(ctx, key)
	if key == s.hold && s.seen.CompareAndSwap(false, true) {
		close(s.held)
		<-s.released
	}
	return entry, err
}

// What is written while the reaper reads the record for the first time is newer
// than what it read. Break it by taking "unchanged" out of reaper.learn.
func TestReaperDoesNotPutAnOlderReadingOverANewerAppointment(t *testing.T) {
	for name, meanwhile := range map[string]func(*env, lease){
		"a deletion failed": func(e *env, l lease) {
			defer e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500})()
			require.Error(e.t, e.revoke(l))
		},
		"renewed": func(e *env, l lease) {
			_, err := e.renew(l, 5*time.Hour)
			require.NoError(e.t, err)
		},
		"revoked": func(e *env, l lease) { require.NoError(e.t, e.revoke(l)) },
		"renewed on another node": func(e *env, l lease) {
			record := e.records()[l.username()]
			record.Expires = record.Expires.Add(time.Hour)
			e.store(e.t, record)
			e.b.InvalidateKey(e.t.Context(), userPrefix+l.username())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			l := e.issue("app", nil)
			storage := &heldReads{
				Storage: e.storage, hold: userPrefix + l.username(),
				held: make(chan struct{}), released: make(chan struct{}),
			}
			letGo := sync.OnceFunc(func() { close(storage.released) })
			e.start()
			t.Cleanup(letGo)
			e.b.reaper.start(storage)
			<-storage.held
			meanwhile(e, l)
			letGo()
			e.b.reaper.done.Wait()

			noted := e.b.reaper.agenda.byName[l.username()]
			if record := e.records()[l.username()]; record != nil {
				require.NotNil(t, noted)
				require.WithinDuration(t, record.due(e.b.now()), noted.at, 0)
			} else {
				require.Nil(t, noted)
			}
		})
	}
}

// storeDue makes users in the accounts, with records that are due. It returns
// their names.
func (e *env) storeDue(accounts []*awsfake.Account, n int) {
	e.t.Helper()
	for i := range n {
		acct := accounts[i%len(accounts)]
		user, key := acct.AddUser(testPath, fmt.Sprintf("due-%04d", i), testPolicy)
		u := e.healthyRecord(fmt.Sprintf("a%d", i%len(accounts)))
		u.Username, u.AccountID, u.UserID, u.ARN = user.Name, acct.ID(), user.ID, user.ARN
		u.AccessKeyID, u.PolicyName = key.AccessKeyID, "policy-0"
		u.Created, u.Expires = e.clock.now().Add(-time.Hour), e.clock.now()
		e.store(e.t, u)
	}
}

// atOnce is how many users of an account were worked on at the same time at most.
func atOnce(calls []awsfake.Call) map[string]int {
	type span struct {
		account    string
		start, end time.Time
	}
	users := make(map[string]*span)
	for _, call := range calls {
		end := call.End
		if end.IsZero() {
			end = time.Now()
		}
		if s := users[call.User]; s == nil {
			users[call.User] = &span{call.Account, call.Start, end}
		} else if end.After(s.end) {
			s.end = end
		}
	}
	type event struct {
		at      time.Time
		account string
		change  int
	}
	var events []event
	for _, s := range users {
		events = append(events, event{s.start, s.account, 1}, event{s.end, s.account, -1})
	}
	slices.SortFunc(events, func(a, b event) int { return cmp.Or(a.at.Compare(b.at), a.change-b.change) })
	now, most := make(map[string]int), make(map[string]int)
	for _, e := range events {
		now[e.account] += e.change
		most[e.account] = max(most[e.account], now[e.account])
	}
	return most
}

// A thousand users due at once are a few at a time for each account, keep nobody
// waiting, and are left to the next process when the plugin is reloaded.
// Break it by starting more than reaperWorkers in reaper.run, by not looking at
// queue.busy in reaper.workOff, or by taking the lifetime out of backend.alone.
func TestAThousandUsersDueAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	accounts := e.connectMany()
	bystander := e.issue("app", nil)
	e.storeDue(accounts, 1000)
	e.start()
	e.aws.ResetCalls()

	// After some hundred deletions AWS answers none any more.
	var hanging atomic.Int32
	release := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Skip: 300, Hook: func(c awsfake.Call) {
		if strings.HasPrefix(c.User, "due-") {
			hanging.Add(1)
			<-release
		}
	}})
	e.b.reaper.start(e.storage)
	promptly(t, "a request", func() error { return e.serve("a0") })
	require.Eventually(t, func() bool { return hanging.Load() == manyAccounts*reaperWorkers }, patience, 5*time.Millisecond,
		"all workers of all integrations are at work")
	for account, most := range atOnce(e.aws.Calls()) {
		if account != testAccount && account != accounts[0].ID() { // where requests are served as well
			require.Equal(t, reaperWorkers, most, "in account %s", account)
		}
	}
	promptly(t, "the next tick, which adds no workers", e.tick)
	promptly(t, "a request", func() error { return e.serve("a0") })
	require.EqualValues(t, manyAccounts*reaperWorkers, hanging.Load())
	promptly(t, "a reload", e.reload)
	require.Greater(t, len(e.records()), 600, "most are left to the next process")
	remove()
	letGo()

	e.start()
	e.reap()
	e.advance(2 * minRetryPause) // for those that were interrupted
	e.reap()
	require.Equal(t, []string{bystander.username()}, slices.Collect(maps.Keys(e.records())))
	for _, acct := range accounts {
		require.Equal(t, 1, acct.UserCount(), "but for the integration's own")
	}
	require.NoError(t, e.revoke(bystander))
	e.requireNothingLeft()
}
