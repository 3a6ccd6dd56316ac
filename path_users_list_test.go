package awsiam

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// listed are the names that a list has.
func (e *env) listed(data map[string]any) []string {
	e.t.Helper()
	names, _ := e.must(logical.ListOperation, "users/", data).Data["keys"].([]string)
	return names
}

// Each filter, alone and together, in the process that made the users, in the next
// one before its reaper has read anything, and after that. Break it by leaving a
// comparison out of userSelection.has, or the reading out of factsOf.
func TestUsersAreListedByRoleIntegrationAndState(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.connect("other", otherAccount, corePolicy)
	e.write("roles/second", map[string]any{"policy_document": testPolicy})
	app, second, other := e.issue("app", nil), e.issue("second", nil), e.issue("other", nil)
	gone := e.issue("app", nil)
	require.NoError(t, e.revoke(gone))
	held := e.issue("app", nil)
	require.NoError(t, dependentsByHand["login profile"](t.Context(), e.byHand(), e.acct, held.username()))
	require.Error(t, e.revoke(held))
	damaged := e.issue("app", nil)
	e.damage(userPrefix+damaged.username(), "{")

	names := func(leases ...lease) []string {
		var names []string
		for _, l := range leases {
			names = append(names, l.username())
		}
		slices.Sort(names)
		return names
	}
	check := func(t *testing.T) {
		t.Helper()
		require.Equal(t, names(app, second, other, held, damaged), e.listed(nil))
		require.Equal(t, names(app, held), e.listed(map[string]any{"role": "app"}))
		require.Equal(t, names(app, second, held), e.listed(map[string]any{"integration": "default"}))
		require.Equal(t, names(other), e.listed(map[string]any{"integration": "other"}))
		require.Equal(t, names(held), e.listed(map[string]any{"state": "deleting"}))
		require.Equal(t, names(app), e.listed(map[string]any{"state": "active", "role": "app", "integration": "default"}))
		require.Equal(t, names(damaged), e.listed(map[string]any{"state": "unreadable"}))
		require.Empty(t, e.listed(map[string]any{"state": "creating"}))
		require.Empty(t, e.listed(map[string]any{"role": "nobodys"}))
	}
	_, err := e.renew(damaged, time.Hour) // this process knew the record before it was damaged, and meets it again
	require.Error(t, err)
	check(t)
	e.start()
	check(t)
	e.start()
	e.reap()
	check(t)
	require.Empty(t, e.listed(map[string]any{"state": "pooled"}))

	// What this process does is seen at once.
	require.NoError(t, e.revoke(app))
	e.advance(time.Hour)
	fresh := e.issue("app", map[string]any{"ttl": "3h"})
	e.reap() // those whose leases are over
	require.Equal(t, names(fresh), e.listed(map[string]any{"state": "active"}))
	require.Equal(t, names(held, fresh), e.listed(map[string]any{"role": "app"}))
}

// Pages have all names once, in order. Break it by taking the page to begin with
// the name that it is to come after.
func TestUsersAreListedInPages(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.storeMany(t, 2*surveyChunk+7)
	all := e.listed(nil)
	require.Len(t, all, 2*surveyChunk+7)
	require.True(t, slices.IsSorted(all))
	for _, narrowed := range []map[string]any{{}, {"state": "active"}, {"role": "a1"}} {
		whole := e.listed(narrowed)
		var paged []string
		for after := ""; ; after = paged[len(paged)-1] {
			page := map[string]any{"limit": 100, "after": after}
			maps.Copy(page, narrowed)
			names := e.listed(page)
			paged = append(paged, names...)
			if len(names) < 100 {
				break
			}
		}
		require.Equal(t, whole, paged)
	}
	require.Equal(t, all[:3], e.listed(map[string]any{"limit": "3"}), "as a query parameter")
	require.Equal(t, all[len(all)-1:], e.listed(map[string]any{"after": all[len(all)-2] + "!"}), "a name that is not there")
	require.Empty(t, e.listed(map[string]any{"after": all[len(all)-1]}))
}

// A list of many is narrowed without reading a record, once they were read. Break
// it by not keeping in readUser what was read.
func TestANarrowedListReadsRecordsOnce(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.storeMany(t, 3000)
	operations := e.countOperations()
	require.Len(t, e.listed(map[string]any{"role": "a1", "limit": 10}), 10)
	require.Equal(t, surveyChunk, operations()["get users"], "no more than it takes to fill the page")
	require.Len(t, e.listed(map[string]any{"role": "a1"}), 750)
	require.Equal(t, 3000-surveyChunk, operations()["get users"])
	require.Len(t, e.listed(map[string]any{"role": "a2", "state": "active"}), 750)
	require.Equal(t, map[string]int{"list users": 1}, operations())

	e.start()
	operations = e.countOperations()
	e.reap()
	require.Len(t, e.listed(map[string]any{"role": "a2"}), 750)
	require.Equal(t, 3000, operations()["get users"], "the reaper has read them")
}

// A list is right, or fails: it never leaves out what storage does not give. Break
// it by leaving cancel out of readFacts.
func TestAListFailsWhileStorageFails(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.storeMany(t, 20)
	for _, failing := range []string{"list", "get"} {
		e.storage.on(func(op, key string) (bool, error) {
			return true, failIf(op == failing && (key == userPrefix || key == userPrefix+"vault-app-00007"))
		})
		_, err := e.do(logical.ListOperation, "users/", map[string]any{"state": "active"})
		require.ErrorIs(t, err, errInjected)
		_, err = e.do(logical.ReadOperation, "lookup/AKIAIOSFODNN7NOBODY", nil)
		require.ErrorIs(t, err, errInjected)
	}
	e.storage.on(nil)
	require.Len(t, e.listed(map[string]any{"state": "active"}), 20)
}

// After a write that failed nobody knows which record is there: it is read again.
// Break it by calling reaper.wrote in putUser where the write fails.
func TestAListAfterAWriteThatFailed(t *testing.T) {
	e := newEnv(t, corePolicy)
	for _, happens := range []bool{false, true} {
		l := e.issue("app", nil)
		e.storage.on(func(op, key string) (bool, error) {
			fails := op == "put" && key == userPrefix+l.username()
			return happens || !fails, failIf(fails)
		})
		require.Error(t, e.revoke(l))
		e.storage.on(nil)
		state := map[bool]string{false: "active", true: "deleting"}[happens]
		require.Equal(t, []string{l.username()}, e.listed(map[string]any{"state": state}))
		require.NoError(t, e.revoke(l))
	}
}

// A reading that a change has overtaken is not kept. Break it by leaving delete of
// the readings out of reaper.wrote, expect, forget or doubt, or the comparison out of end.
func TestNoOlderReadingIsKept(t *testing.T) {
	r := newReaper(&backend{now: time.Now})
	record := func(username string, state userState) *userRecord {
		return &userRecord{State: state, issuedUser: issuedUser{Username: username, Role: "app", Integration: "a", AccessKeyID: "AKIA1", Created: time.Now()}}
	}
	old, written := record("u", stateActive), record("u", stateDeleting)
	for name, change := range map[string]func(){
		"written":       func() { r.wrote(written) },
		"perhaps":       func() { r.failed(written) },
		"removed":       func() { r.forget("u") },
		"doubted":       func() { r.doubt("u") },
		"damaged":       func() { r.illegible("u") },
		"another began": func() { r.beginReading("u") },
		"all doubted":   func() { r.doubtAll(true) },
		"all forgotten": func() { r.doubtAll(false) },
	} {
		r.forget("u")
		this := r.beginReading("u")
		change()
		r.endReading("u", this, old, nil)
		require.NotEqual(t, old.facts(), r.known([]string{"u"})["u"], name)
	}
	copied := record("copy", stateDeleting) // a record that has got under another's key
	r.wrote(written)
	r.wrote(copied)
	r.wrote(old)
	r.forget("copy")
	holder, ok := r.holder("AKIA1")
	require.True(t, ok)
	require.Equal(t, "u", holder)
}

// While a write is under way, or has failed, counts go by what was to be written, and
// what is read meanwhile is neither kept nor does it change them. Break it by leaving
// doubtful out of reaper.endReading, or by having expect or failed leave it alone.
func TestAReadingDoesNotChangeWhatIsInDoubt(t *testing.T) {
	r := newReaper(&backend{now: time.Now})
	waiting := &userRecord{State: statePooled, Ahead: new(madeAhead), issuedUser: issuedUser{Username: "u", Role: "app", Integration: "a", Created: time.Now()}}
	r.wrote(waiting)
	taken := *waiting
	taken.State, taken.Ahead = stateCreating, &madeAhead{Taken: time.Now()}
	for name, doubtful := range map[string]func(){
		"under way": func() { r.mu.Lock(); r.expect(&taken, taken.due(r.b.now())); r.mu.Unlock() },
		"failed":    func() { r.failed(&taken) },
	} {
		doubtful()
		for _, read := range []*userRecord{waiting, nil} {
			r.endReading("u", r.beginReading("u"), read, nil)
			require.Equal(t, 1, r.agenda.leased["app"], name)
			require.Empty(t, r.known([]string{"u"}), "storage is asked: %s", name)
		}
		r.wrote(&taken)
		require.Equal(t, taken.facts(), r.known([]string{"u"})["u"], name)
		r.wrote(waiting)
		require.Zero(t, r.agenda.leased["app"], name)
	}
}

func TestUsersListBadInput(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.refused(logical.ListOperation, "users/", map[string]any{"limit": -1}, "limit")
	e.refused(logical.ListOperation, "users/", map[string]any{"limit": "many"}, "limit")
	e.refused(logical.ListOperation, "users/", map[string]any{"state": "dead"}, "state", "creating, pooled, active, deleting, unreadable")
	e.refused(logical.ListOperation, "users/", map[string]any{"role": "a b"}, "role")
	e.refused(logical.ListOperation, "users/", map[string]any{"integration": "a/b"}, "integration")
	e.refused(logical.ListOperation, "users/", map[string]any{"roles": "app"}, "roles")
	require.Empty(t, e.listed(nil))
	require.Empty(t, e.listed(map[string]any{"state": "active", "limit": 5, "after": "a"}))
}

// Who has not enough time is told to ask again, and gets further then. Break it by
// leaving surveyError out of userList.
func TestAListThatTakesTooLong(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.storeMany(t, 10)
	hanging := e.hangable()
	hanging.on(func(op, key string) (bool, bool) { return op == "get" && key == userPrefix+"vault-app-00009", true })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // it has to pass: one record hangs
	defer cancel()
	_, err := e.doCtx(ctx, logical.ListOperation, "users/", map[string]any{"state": "active"})
	var coded logical.HTTPCodedError
	require.ErrorAs(t, err, &coded)
	require.Equal(t, 503, coded.Code())
	require.ErrorContains(t, err, "try again")
	hanging.on(nil)
	operations := e.countOperations()
	require.Len(t, e.listed(map[string]any{"state": "active"}), 10)
	require.Less(t, operations()["get users"], 10)
}

// An empty list is a list, which a client can go through. Break it by returning the
// names as storage lists them.
func TestAnEmptyListOfUsersHasKeys(t *testing.T) {
	e := newEnv(t, corePolicy)
	resp := e.must(logical.ListOperation, "users/", nil)
	require.Equal(t, []string{}, resp.Data["keys"])
}
