package awsiam

import (
	"context"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// TestTheAgendaOfWhatAnotherNodeChanged, where core does not say what that was: all
// records are looked at again, those that it added are found, and lists know again.
//
// Break it by leaving listed, or the appointments, alone in reaper.doubtAll.
func TestTheAgendaOfWhatAnotherNodeChanged(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", map[string]any{"ttl": "20h"})
	e.reap()
	here := e.b
	e.start()
	added := e.issue("app", map[string]any{"ttl": "1h"})
	require.NoError(t, e.b.condemnForTest(t.Context(), e.storage, l.username()))
	e.b = here
	e.b.InvalidateKey(t.Context(), "")
	e.reap()
	require.NotContains(t, e.records(), l.username(), "the other node has put on record that it has to go")
	e.advance(settlingTime)
	e.reap()
	operations := e.countOperations()
	e.must(logical.ListOperation, "users/", map[string]any{"state": "active"})
	require.Zero(t, operations()["get users"], "what was in doubt is known again")
	e.storage.on(nil)
	e.advance(2 * time.Hour)
	e.reap()
	require.NotContains(t, e.records(), added.username())
	e.requireNothingLeft()
}

// condemnForTest puts on record that the user has to go, and does nothing about it.
func (b *backend) condemnForTest(ctx context.Context, s logical.Storage, username string) error {
	_, err := b.condemn(ctx, s, username, func(*userRecord) bool { return true })
	return err
}

// TestNothingIsKeptWhereNobodyWorks: on a node that only reads, what another has changed
// is dropped, since nothing would ever remove it.
//
// Break it by having invalidate only doubt the record there.
func TestNothingIsKeptWhereNobodyWorks(t *testing.T) {
	e := newEnv(t, corePolicy)
	users := []lease{e.issue("app", nil), e.issue("app", nil)}
	e.system.ReplicationStateVal = consts.ReplicationPerformanceStandby
	e.start()
	for _, key := range []string{userPrefix + users[0].username(), ""} {
		e.read("users/" + users[0].username())
		require.Len(t, e.b.reaper.agenda.byName, 1)
		e.b.InvalidateKey(t.Context(), key)
		require.Empty(t, e.b.reaper.agenda.byName)
		require.Empty(t, e.b.reaper.agenda.byKey)
	}
}

// TestARemovalThatOnlySeemedToFail makes room at once, however long the next attempt
// had been put off.
//
// Break it by leaving forgotten out of changeUser.
func TestARemovalThatOnlySeemedToFail(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.cap("app", 1, 0)
	l := e.issue("app", nil)
	heal := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500})
	require.Error(t, e.revoke(l))
	heal()
	e.storage.on(func(op, key string) (bool, error) {
		return true, failIf(op == "delete" && matchesKey(userPrefix, key))
	})
	require.ErrorContains(t, e.revoke(l), errInjected.Error())
	e.storage.on(nil)
	require.Empty(t, e.records())
	e.issue("app", nil)
	require.Equal(t, 1, e.read("status")[fieldUsers])
	_, kept := e.b.condemned.Load(l.username())
	require.False(t, kept)
}

// TestTheAgendaAgreesWithStorage: whatever is done to users, in whatever order, and
// whatever fails meanwhile, no record is without an appointment in time, what is not in
// doubt is as storage has it, and no live lease is cut. In the end nothing is kept.
func TestTheAgendaAgreesWithStorage(t *testing.T) {
	t.Parallel()
	for seed := range int64(agendaSeeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.connect("far", otherAccount, corePolicy)
			m := &agendaModel{env: e, random: rand.New(rand.NewSource(seed)), damaged: make(map[string]string)}
			for range agendaSteps {
				m.step()
			}
			m.end()
		})
	}
}

const agendaSeeds, agendaSteps = 16, 120

// agendaModel does things at random, and knows which leases are alive.
type agendaModel struct {
	*env
	random  *rand.Rand
	leases  []*modelLease
	damaged map[string]string // records as they were
	did     []string
}

type modelLease struct {
	lease
	ends time.Time
}

// chance is true once in n times.
func (m *agendaModel) chance(n int) bool { return m.random.Intn(n) == 0 }

// fault has storage, or AWS, or both fail for a step. It returns what ends that.
func (m *agendaModel) fault() (what string, heal func()) {
	heal = func() {}
	if m.chance(2) {
		faults := []awsfake.Fault{{Action: "CreateUser", Code: "LimitExceeded", Status: 409}}
		for _, action := range []string{"CreateUser", "CreateAccessKey", "PutUserPolicy", "DeleteAccessKey", "DeleteUser"} {
			faults = append(faults, awsfake.Fault{Action: action, Status: 500})
		}
		fault := faults[m.random.Intn(len(faults))]
		what, heal = fmt.Sprintf(" while AWS answers %s with %d", fault.Action, fault.Status), m.aws.Inject(fault)
	}
	if !m.chance(2) {
		return what, heal
	}
	operation, happens := []string{"get", "put", "delete"}[m.random.Intn(3)], m.chance(2)
	skip := m.random.Intn(2) // so that also what comes later in a step fails
	what += fmt.Sprintf(" while %s fails (%t) after %d", operation, happens, skip)
	var mu sync.Mutex
	m.storage.on(func(op, key string) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if op != operation || !matchesKey(userPrefix, key) {
			return true, nil
		}
		skip--
		return skip >= 0 || happens, failIf(skip < 0)
	})
	end := heal
	return what, func() { m.storage.on(nil); end() }
}

func (m *agendaModel) step() {
	what, heal := m.fault()
	m.did = append(m.did, m.act()+what)
	m.settle()
	heal()
	m.check()
}

// act does something, which may fail.
func (m *agendaModel) act() string {
	ctx := m.t.Context()
	var some *modelLease
	if len(m.leases) > 0 {
		some = m.leases[m.random.Intn(len(m.leases))]
	}
	n := m.random.Intn(20)
	switch {
	case n < 5 || some == nil:
		ttl := time.Duration(1+m.random.Intn(120)) * time.Minute
		resp, err := m.do(logical.ReadOperation, "creds/"+[]string{"app", "far"}[m.random.Intn(2)], map[string]any{"ttl": ttl.String()})
		if err == nil && !resp.IsError() {
			m.leases = append(m.leases, &modelLease{newLease(m.t, resp), m.clock.now().Add(ttl)})
		}
		return fmt.Sprint("issue ", err)
	case n < 7:
		if _, err := m.renew(some.lease, time.Hour); err == nil {
			if ends := m.clock.now().Add(time.Hour); m.clock.now().Before(some.ends) && ends.After(some.ends) {
				some.ends = ends
			}
		}
		return "renew " + some.username()
	case n < 9:
		some.ends = time.Time{}
		return fmt.Sprint("revoke ", some.username(), m.revoke(some.lease))
	case n < 10:
		some.ends = time.Time{}
		_, err := m.do(logical.DeleteOperation, "users/"+some.username(), nil)
		return fmt.Sprint("delete ", some.username(), err)
	case n < 11:
		_, _ = m.do(logical.ReadOperation, "users/"+some.username(), nil)
		return "read " + some.username()
	case n < 12:
		_, _ = m.do(logical.ListOperation, "users/", map[string]any{"state": "active"})
		return "list"
	case n < 13:
		_, _ = m.do(logical.ReadOperation, "lookup/"+some.data["access_key_id"].(string), nil)
		return "look up " + some.username()
	case n < 14:
		m.start()
		return "start"
	case n < 15:
		key := ""
		if m.chance(2) {
			key = userPrefix + some.username()
		}
		m.b.InvalidateKey(ctx, key)
		return "invalidate " + key
	case n < 16: // damaged, or mended, by what tells
		if record, ok := m.damaged[some.username()]; ok {
			if m.entry(some.username()) == "{" {
				m.damage(userPrefix+some.username(), record)
			}
			delete(m.damaged, some.username())
		} else if record := m.entry(some.username()); record != "" {
			m.damaged[some.username()] = record
			m.damage(userPrefix+some.username(), "{")
		}
		m.b.InvalidateKey(ctx, userPrefix+some.username())
		return "damage " + some.username()
	case n < 18:
		m.advance([]time.Duration{20 * time.Second, 3 * time.Minute, 20 * time.Minute}[m.random.Intn(3)])
		return "advance"
	}
	m.reap()
	return "reap"
}

// check compares the agenda with storage.
func (m *agendaModel) check() {
	m.t.Helper()
	now, did := m.clock.now(), m.did[max(0, len(m.did)-25):]
	r := m.b.reaper
	r.mu.Lock()
	defer r.mu.Unlock()
	g := &r.agenda
	names, err := m.storage.Storage.List(m.t.Context(), userPrefix)
	require.NoError(m.t, err)
	for _, name := range names {
		u, err := getUser(m.t.Context(), m.storage.Storage, name)
		a := g.byName[name]
		switch {
		case a == nil:
			require.False(m.t, r.listed, "no appointment: %s %v", name, did)
		case a.group.kind == kind{} || unreadable(err):
			require.False(m.t, a.at.After(now.Add(unreadablePause)), "%s %v", name, did)
		default:
			due := u.due(now)
			if soon := now.Add(minRetryPause); due.Before(soon) {
				due = soon
			}
			if a.group.kind == unreadableKind {
				due = now.Add(unreadablePause)
			}
			require.False(m.t, a.at.After(due), "late for %s: %s instead of %s %v", name, a.at, due, did)
		}
		if a != nil && !a.doubtful && a.group.kind != (kind{}) && !unreadable(err) {
			require.Equal(m.t, userFacts{a.group.kind, a.accessKeyID}, u.facts(), "%s %v", name, did)
		}
	}
	groups, leased := make(map[kind]int), make(map[string]int)
	for name, a := range g.byName {
		groups[a.group.kind]++
		if !a.group.ahead {
			leased[a.group.role]++
		}
		require.Same(m.t, a, a.group.queue.waiting[a.index])
		require.Same(m.t, g.queues[a.group.integration], a.group.queue)
		if !a.doubtful && a.group.kind != (kind{}) {
			require.True(m.t, slices.Contains(names, name), "an appointment for nothing: %s %v", name, did)
		}
	}
	for _, q := range g.queues {
		require.NotEmpty(m.t, q.waiting)
		require.False(m.t, q.busy)
		for i := range q.waiting {
			require.False(m.t, q.waiting[i].at.Before(q.waiting[(i-1)/2*min(i, 1)].at) && i > 0, "no heap")
		}
	}
	require.Equal(m.t, leased, g.leased)
	require.Len(m.t, g.groups, len(groups))
	for k, n := range groups {
		require.Equal(m.t, n, g.groups[k].n)
	}
	for name := range g.failing {
		require.Contains(m.t, g.byName, name)
	}
	for key, a := range g.byKey {
		require.Equal(m.t, key, a.accessKeyID)
		require.Same(m.t, a, g.byName[a.username])
	}
	require.Empty(m.t, g.readings)
	there := make(map[string]bool)
	for _, acct := range []*awsfake.Account{m.acct, m.aws.Account(otherAccount)} {
		for _, user := range acct.Users() {
			there[user.Name] = true
		}
	}
	for _, l := range m.leases {
		if now.Before(l.ends) {
			require.True(m.t, there[l.username()], "a live lease was cut: %s %v", l.username(), did)
		}
	}
}

// end has all leases end, as Vault does.
func (m *agendaModel) end() {
	m.t.Helper()
	m.advance(25 * time.Hour)
	m.finish()
	for _, l := range m.leases {
		if err := m.revoke(l.lease); err != nil {
			require.ErrorContains(m.t, err, "not settled yet") // of a record that was damaged
			m.finish()
			require.NoError(m.t, m.revoke(l.lease))
		}
	}
	m.finish()
	m.requireNothingLeft()
	require.Empty(m.t, m.b.reaper.census().byIntegration)
	m.check()
	require.Empty(m.t, m.b.reaper.agenda.byName)
	require.Empty(m.t, m.b.reaper.agenda.byKey)
	require.Empty(m.t, m.b.reaper.agenda.queues)
	m.b.condemned.Range(func(username, _ any) bool {
		require.Fail(m.t, "kept", username)
		return true
	})
	for _, user := range m.aws.Account(otherAccount).Users() {
		require.NotEqual(m.t, testPath, user.Path)
	}
}
