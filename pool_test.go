package awsiam

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// pool gives the role a pool and waits until it is full.
func (e *env) pool(role string, size int) {
	e.t.Helper()
	e.reap() // learns what there is
	e.write("roles/"+role, map[string]any{"pool_size": size})
	e.settle()
	require.Len(e.t, e.pooled(), size)
}

// settle waits for all work in the background.
func (e *env) settle() { e.b.reaper.done.Wait() }

// pooled are the users that wait, by their records.
func (e *env) pooled() []string {
	e.t.Helper()
	records := e.records()
	maps.DeleteFunc(records, func(_ string, u *userRecord) bool { return u.State != statePooled })
	return slices.Sorted(maps.Keys(records))
}

// secrets are the names under which there are secrets in storage.
func (e *env) secrets() []string {
	e.t.Helper()
	names, err := e.storage.Storage.List(e.t.Context(), poolPrefix)
	require.NoError(e.t, err)
	return names
}

// leaveShort has the role's pool not filled up again.
func (e *env) leaveShort(role string) {
	e.t.Helper()
	p := e.b.pools
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(role).resume = e.b.now().Add(1000 * time.Hour)
}

// requireEmptied deletes the role and checks that nothing is left of anything.
func (e *env) requireEmptied(role string) {
	e.t.Helper()
	e.must(logical.DeleteOperation, "roles/"+role, nil)
	e.finish()
	e.requireNothingLeft()
	require.Empty(e.t, e.secrets())
}

// callsOn are the actions that AWS was asked for on the user.
func (e *env) callsOn(username string) (actions []string) {
	for _, call := range e.aws.Calls() {
		if call.User == username {
			actions = append(actions, call.Action)
		}
	}
	return actions
}

// TestPool: a lease is made of a user that waited, in one round trip, and its key
// is let in at once, though AWS takes five seconds and more for new keys. Until
// then the user can do nothing; and it is replaced by another.
//
// Break it by leaving out the seam in issueUser, or the refill in pools.take.
func TestPool(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	stop := e.hurry()
	e.aws.SetLag(awsfake.Lag{Key: 5 * time.Second, KeySpread: 5 * time.Second})
	e.waitingRole("45s")
	e.pool("app", 2)
	waiting := e.pooled()
	for _, name := range waiting {
		user, ok := e.acct.User(name)
		require.True(t, ok)
		require.Empty(t, user.Policies)
		require.Len(t, user.AccessKeys, 1)
		require.Equal(t, "pooled", e.read("users/" + name)["state"])
		require.Empty(t, e.read("users/" + name)["deadline"])
	}

	e.aws.ResetCalls()
	l := e.issue("app", nil)
	require.Contains(t, waiting, l.username())
	require.Equal(t, []string{"PutUserPolicy"}, e.callsOn(l.username()))
	require.Empty(t, l.warnings)
	require.Zero(t, l.data["propagation_seconds"])
	require.Equal(t, 8, e.authenticates(l, 8))
	require.True(t, e.mayList(l.key()))
	require.NotContains(t, e.secrets(), l.username())
	record := e.records()[l.username()]
	require.Equal(t, stateActive, record.State)
	require.Nil(t, record.Ahead)
	require.Equal(t, "test-entity", record.EntityID)
	require.Equal(t, "test-display", record.DisplayName)

	e.settle()
	require.Len(t, e.pooled(), 2, "filled up again")
	require.Equal(t, e.pooled(), e.secrets())
	stop()
	require.NoError(t, e.revoke(l))
	e.requireEmptied("app")
}

// TestPoolGivesEverythingAtOnce: whatever a role gives is given in one round trip.
//
// Break it by taking the steps of concurrently one by one.
func TestPoolGivesEverythingAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	e.fullRole()
	e.pool("full", 1)
	name := e.pooled()[0]
	user, _ := e.acct.User(name)
	require.Equal(t, "payments", user.Tags["team"])
	require.Empty(t, user.AttachedPolicies)
	require.Empty(t, user.Groups)
	e.leaveShort("full")
	e.aws.ResetCalls()
	actions := []string{"PutUserPolicy", "AttachUserPolicy", "AddUserToGroup", "TagUser"}
	var begun atomic.Int32
	all := make(chan struct{})
	for _, action := range actions {
		e.aws.Inject(awsfake.Fault{Action: action, Count: 1, Hook: func(awsfake.Call) {
			if int(begun.Add(1)) == len(actions) {
				close(all)
			}
			select { // none ends before all have begun
			case <-all:
			case <-time.After(20 * time.Second):
			}
		}})
	}
	l := e.issue("full", nil)
	require.Equal(t, name, l.username())
	require.ElementsMatch(t, actions, e.callsOn(name))
	select {
	case <-all:
	default:
		require.Fail(t, "one began after another had ended")
	}
	require.NoError(t, e.revoke(l))
	e.requireEmptied("full")
}

// TestPoolLeasesAUserOnce, also where the pool has a wrong idea of who waits.
//
// Break it by leaving out the look at the state in claim.
func TestPoolLeasesAUserOnce(t *testing.T) {
	t.Parallel()
	const size, readers = 12, 64
	e := newEnv(t, corePolicy)
	e.pool("app", size)
	p := e.b.pools
	p.mu.Lock()
	q := p.of("app")
	q.ready = append(q.ready, q.ready...) // each of them twice
	q.busy = true                         // nobody looks at that
	p.mu.Unlock()
	waiting := e.pooled()
	e.meetAtSecrets(waiting)

	leases := make([]lease, readers)
	var all sync.WaitGroup
	for i := range leases {
		all.Go(func() { leases[i] = e.issue("app", nil) })
	}
	all.Wait()
	users, keys := make(map[string]bool), make(map[any]bool)
	ahead := 0
	for _, l := range leases {
		users[l.username()], keys[l.data["access_key_id"]] = true, true
		if slices.Contains(waiting, l.username()) {
			ahead++
		}
		require.Equal(t, 1, e.authenticates(l, 1))
	}
	require.Len(t, users, readers)
	require.Len(t, keys, readers)
	require.Equal(t, size, ahead)
	require.Empty(t, e.secrets())
	e.settle() // what the pool thought to be left over is undone
	for _, l := range leases {
		require.Equal(t, 1, e.authenticates(l, 1))
		require.NoError(t, e.revoke(l))
	}
	p.mu.Lock()
	q.busy = false
	p.mu.Unlock()
	e.requireEmptied("app")
}

// meeting is storage of which two requests each read a user's secret before
// either goes on.
type meeting struct {
	logical.Storage
	readers map[string]*sync.WaitGroup // by key
}

func (m meeting) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	entry, err := m.Storage.Get(ctx, key)
	if readers := m.readers[key]; readers != nil {
		readers.Done()
		readers.Wait()
	}
	return entry, err
}

func (e *env) meetAtSecrets(usernames []string) {
	met := meeting{Storage: e.storage.Storage, readers: make(map[string]*sync.WaitGroup)}
	for _, name := range usernames {
		met.readers[poolPrefix+name] = new(sync.WaitGroup)
		met.readers[poolPrefix+name].Add(2)
	}
	e.storage.Storage = met
}

// TestPoolIsLearntAfterARestart: who waited before does so after it, the oldest
// first, and no request lists anything.
//
// Break it by leaving out the sorting in pools.admit, or what pools.stored does
// about a secret without a record.
func TestPoolIsLearntAfterARestart(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.pool("app", 6)
	waiting := e.pooled()
	records := e.records()
	require.NoError(t, putPooledSecret(t.Context(), e.storage, "vault-app-gone", "of nobody on record"))
	e.start()
	before := e.issue("app", nil) // served although nothing is known yet
	require.NotContains(t, waiting, before.username())
	e.reap()
	require.Equal(t, waiting, e.pooled())
	require.Equal(t, waiting, e.secrets())
	e.leaveShort("app")
	e.aws.ResetCalls()
	operations := e.countOperations()
	l := e.issue("app", nil)
	seen := operations()
	e.storage.on(nil)
	slices.SortFunc(waiting, func(a, b string) int { return records[a].Expires.Compare(records[b].Expires) })
	require.Equal(t, waiting[0], l.username())
	require.Equal(t, []string{"PutUserPolicy"}, e.callsOn(l.username()))
	require.Zero(t, seen["list users"]+seen["list pool"]+seen["list roles"])
	require.NoError(t, e.revoke(l))
	require.NoError(t, e.revoke(before))
	e.requireEmptied("app")
}

// TestPoolDeadline: AWS's own denial comes when the last lease could have ended,
// not when one could have that was made with the user, whatever the clocks say.
//
// Break it by reckoning from the user's date, or from b.now() alone.
func TestPoolDeadline(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.clock.advance(skew)
			e.write("roles/app", map[string]any{"max_ttl": "10m", "default_ttl": "10m"})
			e.pool("app", 1)
			e.leaveShort("app")
			e.advance(20 * time.Hour)
			waiting := e.pooled()
			l := e.issue("app", nil)
			require.Equal(t, []string{l.username()}, waiting)
			e.aws.Advance(10*time.Minute + clockAllowance - 10*time.Second)
			require.True(t, e.mayList(l.key()))
			e.aws.Advance(12 * time.Second) // AWS's dates are whole seconds
			require.False(t, e.mayList(l.key()))
		})
	}
}

// TestPoolUsersGrowOld: they are replaced before they are too old, and those that
// cannot be are gone in time, with their secrets.
func TestPoolUsersGrowOld(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.pool("app", 2)
	first := e.pooled()
	e.advance(poolAge - poolRenewal + time.Minute)
	e.reap()
	require.Subset(t, e.pooled(), first)
	require.Len(t, e.pooled(), 4, "others are there before the old ones go")
	e.reap()
	require.Len(t, e.pooled(), 2)
	require.NotContains(t, e.pooled(), first[0])
	require.NotContains(t, e.pooled(), first[1])
	require.Equal(t, e.pooled(), e.secrets())
	// What one costs that waits in vain: the operations guide has the number.
	require.ElementsMatch(t, []string{"CreateUser", "CreateAccessKey", "DeleteAccessKey", "DeleteUser"}, e.callsOn(first[0]))

	e.aws.Inject(awsfake.Fault{Action: "CreateUser", Code: "LimitExceeded"})
	e.start() // nothing but the records is left of them
	e.advance(poolAge + time.Minute)
	e.reap()
	e.requireNothingLeft()
	require.Empty(t, e.secrets())
}

// TestPoolBacksOff: a full account, say, is not asked for users all the time, and
// the log has it once an hour. Leases are made as without a pool.
//
// Break it by leaving out the look at resume in pool.short.
func TestPoolBacksOff(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	book := e.startLogged()
	remove := e.aws.Inject(awsfake.Fault{Action: "CreateUser", Code: "LimitExceeded"})
	e.reap()
	e.write("roles/app", map[string]any{"pool_size": 50})
	e.aws.ResetCalls()
	for range 55 {
		e.reap()
		e.advance(time.Minute)
	}
	require.Less(t, e.aws.Count("CreateUser"), 25*poolMakers)
	require.Greater(t, e.aws.Count("CreateUser"), 5)
	require.Len(t, book.lines("cannot be filled"), 1)
	require.Empty(t, e.records())
	remove()
	require.NoError(t, e.serve("app"))
	e.write("roles/app", map[string]any{"pool_size": 2}) // may have mended it
	e.settle()
	require.Len(t, e.pooled(), 2)
}

// TestPoolIsFilledWhenNothingElseWaits: leases that are asked for later than users
// for a pool, but wait for their turn with AWS, come first.
//
// Break it by giving makeAhead the class Creating.
func TestPoolIsFilledWhenNothingElseWaits(t *testing.T) {
	t.Parallel()
	const turns = 8 // how many calls AWS is asked at once, at first
	e := newEnv(t, corePolicy)
	e.reap()
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	e.aws.Inject(awsfake.Fault{Action: "CreateUser", Count: turns, Hook: func(awsfake.Call) { <-held }})
	var readers sync.WaitGroup
	ask := func() {
		for range turns {
			readers.Go(func() { _, _ = e.do(logical.ReadOperation, "creds/app", nil) })
		}
	}
	in, err := getIntegration(t.Context(), e.storage, "default")
	require.NoError(t, err)
	inLine := func(n int) {
		require.Eventually(t, func() bool { return in.governor(testAccount).Load().Waiting == n }, patience, time.Millisecond)
	}
	ask()
	require.Eventually(t, func() bool { return e.aws.Count("CreateUser") == turns }, patience, time.Millisecond)
	e.write("roles/later", map[string]any{"policy_document": testPolicy, "pool_size": poolMakers})
	inLine(poolMakers)
	ask()
	inLine(turns + poolMakers)
	release()
	readers.Wait()
	e.settle()

	require.Len(t, e.pooled(), poolMakers)
	leased := 0 // before the first of the pool
	for _, call := range e.aws.Calls() {
		if slices.Contains(e.pooled(), call.User) {
			break
		}
		if call.Action == "CreateUser" {
			leased++
		}
	}
	require.Greater(t, leased, turns) // calls let go at the same moment arrive in any order
}

// TestPoolTakesOnlyKeysThatWork: a key of which that is not known is undone.
//
// Break it by dropping the warning in connection.proveAhead.
func TestPoolTakesOnlyKeysThatWork(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", LostBefore: true})
	e.reap()
	e.write("roles/app", map[string]any{"pool_size": 1})
	e.settle()
	require.Positive(t, e.aws.Count("CreateAccessKey"))
	e.requireNothingLeft()
	require.Empty(t, e.secrets())
}
