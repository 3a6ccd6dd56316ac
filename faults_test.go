package awsiam

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// The table of this file makes each storage operation and each AWS call of a
// creation and of a deletion go wrong in turn, in every way it can. After the
// reaper's turn nothing may be left, and what was handed out must work.

var errInjected = errors.New("injected")

func failIf(fail bool) error {
	if fail {
		return errInjected
	}
	return nil
}

// breakage is one way in which a step goes wrong. arm makes the next run of
// the step fail; what it leaves behind is undone by env.heal.
type breakage struct {
	name string
	arm  func(e *env)
}

func storageBreakages(op, key string, nth int) []breakage {
	// at is a fault that hits the nth such operation only.
	at := func(e *env, perform bool, then func()) {
		var seen atomic.Int64
		e.storage.on(func(o, k string) (bool, error) {
			if o != op || !matchesKey(key, k) {
				return true, nil
			}
			if seen.Add(1) != int64(nth) {
				return true, nil
			}
			then()
			return perform, errInjected
		})
	}
	step := fmt.Sprintf("storage %s %s #%d", op, key, nth)
	nothing := func() {}
	return []breakage{
		{step + " refused", func(e *env) { at(e, false, nothing) }},
		{step + " answer lost", func(e *env) { at(e, true, nothing) }},
		{step + " process gone before", func(e *env) { at(e, false, e.kill) }},
		{step + " process gone after", func(e *env) { at(e, true, e.kill) }},
	}
}

func matchesKey(prefix, key string) bool {
	return len(key) >= len(prefix) && key[:len(prefix)] == prefix
}

func awsBreakages(action string) []breakage {
	inject := func(f awsfake.Fault) func(*env) {
		f.Action = action
		return func(e *env) { e.healers = append(e.healers, e.aws.Inject(f)) }
	}
	dying := func(f awsfake.Fault) func(*env) {
		return func(e *env) {
			deadly := f // tests that run at once share the table
			deadly.Hook = func(awsfake.Call) { e.kill() }
			inject(deadly)(e)
		}
	}
	step := "AWS " + action
	return []breakage{
		{step + " refused", inject(awsfake.Fault{Status: 403, Code: "AccessDenied"})},
		{step + " limit exceeded", inject(awsfake.Fault{Status: 409, Code: "LimitExceeded"})},
		{step + " not found for a moment", inject(awsfake.Fault{Status: 404, Code: "NoSuchEntity", Count: 1})},
		{step + " not found", inject(awsfake.Fault{Status: 404, Code: "NoSuchEntity"})},
		{step + " modified concurrently", inject(awsfake.Fault{Status: 409, Code: "ConcurrentModification", Count: 1})},
		{step + " throttled once", inject(awsfake.Fault{Status: 400, Code: "Throttling", Count: 1})},
		{step + " throttled for good", inject(awsfake.Fault{Status: 400, Code: "Throttling"})},
		{step + " fails", inject(awsfake.Fault{Status: 500, Code: "ServiceFailure"})},
		{step + " fails after its effect, once", inject(awsfake.Fault{FailAfter: true, Count: 1})},
		{step + " fails after its effect", inject(awsfake.Fault{FailAfter: true})},
		{step + " answered with half an answer, once", inject(awsfake.Fault{Garbled: true, Count: 1})},
		{step + " answered with half an answer", inject(awsfake.Fault{Garbled: true})},
		{step + " request lost", inject(awsfake.Fault{LostBefore: true})},
		{step + " answer lost once", inject(awsfake.Fault{Lost: true, Count: 1})},
		{step + " answer lost", inject(awsfake.Fault{Lost: true})},
		{step + " process gone before", dying(awsfake.Fault{LostBefore: true, Count: 1})},
		{step + " process gone after", dying(awsfake.Fault{Lost: true, Count: 1})},
	}
}

// kill makes the process as good as gone: nothing it does has an effect.
func (e *env) kill() {
	e.storage.on(func(string, string) (bool, error) { return false, errInjected })
	e.mu.Lock()
	defer e.mu.Unlock()
	e.healers = append(e.healers, e.aws.Inject(awsfake.Fault{LostBefore: true}))
	e.killed = true
}

// heal ends all faults. A process that is gone is followed by another.
func (e *env) heal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.storage.on(nil)
	for _, healer := range e.healers {
		healer()
	}
	e.healers = nil
	if e.killed {
		e.start()
	}
}

// finish lets time pass and the reaper work until everything must be over.
func (e *env) finish() {
	e.t.Helper()
	for range 8 {
		e.advance(10 * time.Minute)
		e.reap()
	}
}

// policies are what the integration may do: only the core, or also what tells
// more about a user that is gone.
var policies = map[string]string{"core": corePolicy, "wide": widePolicy}

func TestEveryStepOfACreationGoesWrong(t *testing.T) {
	t.Parallel()
	var table []breakage
	for _, action := range []string{"CreateUser", "CreateAccessKey", "PutUserPolicy"} {
		table = append(table, awsBreakages(action)...)
	}
	table = append(table, storageBreakages("get", rolePrefix, 1)...)
	table = append(table, storageBreakages("get", integrationPrefix, 1)...)
	table = append(table, storageBreakages("get", userPrefix, 1)...) // the name is free
	table = append(table, storageBreakages("put", userPrefix, 1)...) // creating
	table = append(table, storageBreakages("get", userPrefix, 2)...) // still creating
	table = append(table, storageBreakages("put", userPrefix, 2)...) // active
	for name, policy := range policies {
		for _, broken := range table {
			t.Run(name+"/"+broken.name, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, policy)
				e.issue("app", nil) // connects; and is live all the time
				bystander := e.issuedUsers()[0].Name

				e.b.invalidate(t.Context(), "") // so that role and integration are read again
				broken.arm(e)
				resp, err := e.do(logical.ReadOperation, "creds/app", nil)
				e.heal()
				if err == nil && !resp.IsError() {
					e.requireServiceable(newLease(t, resp))
				}
				e.advance(6 * time.Minute)
				e.reap()
				require.Contains(t, e.records(), bystander, "a live user was deleted")
				e.finish()
				e.requireNothingLeft()
			})
		}
	}
}

// requireServiceable checks that a lease survives the reaper, that its key
// works, and that it can be revoked.
func (e *env) requireServiceable(l lease) {
	e.t.Helper()
	e.advance(6 * time.Minute)
	e.reap()
	user, ok := e.acct.User(l.username())
	require.True(e.t, ok, "the user of a lease is gone")
	require.Len(e.t, user.AccessKeys, 1)
	require.Equal(e.t, l.data["access_key_id"], user.AccessKeys[0].ID)
	require.Equal(e.t, testPolicyUntil(e.t, user), user.Policies[l.username()])
	require.NoError(e.t, e.revoke(l))
	_, ok = e.acct.User(l.username())
	require.False(e.t, ok, "a revoked user is still there")
}

// Break it by removing the record ahead of deleteInAWS in backend.retire.
func TestEveryStepOfADeletionGoesWrong(t *testing.T) {
	t.Parallel()
	var table []breakage
	for _, action := range []string{"DeleteAccessKey", "DeleteUserPolicy", "DeleteUser"} {
		table = append(table, awsBreakages(action)...)
	}
	table = append(table, storageBreakages("get", userPrefix, 1)...)
	table = append(table, storageBreakages("put", userPrefix, 1)...) // condemned
	table = append(table, storageBreakages("get", integrationPrefix, 1)...)
	table = append(table, storageBreakages("delete", userPrefix, 1)...)
	ages := map[string]time.Duration{"young": 0, "settled": 10 * time.Minute}
	for name, policy := range policies {
		for age, passed := range ages {
			for _, broken := range table {
				t.Run(name+"/"+age+"/"+broken.name, func(t *testing.T) {
					t.Parallel()
					e := newEnv(t, policy)
					l := e.issue("app", nil)
					e.advance(passed)

					e.b.invalidate(t.Context(), "") // so that the integration is read again
					broken.arm(e)
					err := e.revoke(l)
					e.heal()
					if err == nil {
						e.requireNothingLeft()
					}
					e.finish()
					e.requireNothingLeft()
					require.NoError(t, e.revoke(l), "Vault's own next attempt")
				})
			}
		}
	}
}

// Vault's six attempts alone must end a lease, too: after the first, the others
// come at pauses that double from 10 s (core's expiration manager).
func TestRevocationIsRepeatedUntilItSucceeds(t *testing.T) {
	t.Parallel()
	for name, policy := range policies {
		for _, broken := range awsBreakages("DeleteUser") {
			t.Run(name+"/"+broken.name, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, policy)
				l := e.issue("app", nil)
				broken.arm(e)
				err := e.revoke(l)
				e.heal()
				for pause := 10 * time.Second; err != nil && pause <= 160*time.Second; pause *= 2 {
					e.advance(pause)
					err = e.revoke(l)
				}
				require.NoError(t, err)
				e.requireNothingLeft()
			})
		}
	}
}
