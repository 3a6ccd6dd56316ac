package awsiam

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// A lease may never have been stored: its user goes when the lease would have
// ended, and not before. Break it by making userRecord.due ignore Expires.
func TestReaperDeletesAUserWhoseLeaseWasNeverStored(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.issue("app", nil)
	e.start() // what was in memory is gone

	e.advance(defaultTTL + clockAllowance - time.Minute)
	e.reap()
	require.Len(t, e.issuedUsers(), 1)
	e.advance(time.Minute + time.Second)
	e.reap()
	e.requireNothingLeft()
}

// A node that keeps failing may not live to its first periodic callback. Break it by
// leaving InitializeFunc out of newBackend.
func TestReaperBeginsWithTheProcess(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		state consts.ReplicationState
		left  int
	}{
		"active node":         {0, 0},
		"performance standby": {consts.ReplicationPerformanceStandby, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.issue("app", nil)
			e.advance(time.Hour)
			e.system.ReplicationStateVal = test.state
			e.start()
			require.NoError(t, e.b.Initialize(t.Context(), &logical.InitializationRequest{Storage: e.storage}))
			e.b.reaper.done.Wait()
			require.Len(t, e.issuedUsers(), test.left)
			require.Len(t, e.records(), test.left)
		})
	}
}

// Core waits for it before it serves anybody.
func TestInitializationWaitsForNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.issue("app", nil)
	e.start()
	release := make(chan struct{})
	defer close(release)
	e.storage.on(func(string, string) (bool, error) { <-release; return true, nil })
	done := make(chan error, 1)
	go func() { done <- e.b.Initialize(t.Context(), &logical.InitializationRequest{Storage: e.storage}) }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		require.Fail(t, "it waits for storage")
	}
}

// Break it by taking the second reading of the record out of reaper.reap.
func TestReaperSparesARenewedUser(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.reap() // knows all records now
	e.advance(20 * time.Minute)
	_, err := e.renew(l, time.Hour)
	require.NoError(t, err)
	e.b.reaper.schedule(l.username(), time.Time{}) // as if it was found due before the renewal
	e.advance(30 * time.Minute)
	e.reap()
	require.Len(t, e.issuedUsers(), 1)
	require.Equal(t, stateActive, e.records()[l.username()].State)
}

// Once the reaper has begun, a renewal must not be answered.
func TestRenewalLosesToTheReaper(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500, Code: "ServiceFailure"})
	e.advance(time.Hour)
	e.reap()
	require.Equal(t, stateDeleting, e.records()[l.username()].State)
	_, err := e.renew(l, time.Hour)
	require.ErrorContains(t, err, "being deleted")
}

// An unfinished creation may still be another node's work for a while. Break
// it by shortening settlingTime.
func TestReaperLeavesAYoungCreationAlone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", LostBefore: true, Count: 1, Hook: func(awsfake.Call) { e.kill() }})
	_, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.Error(t, err)
	e.heal()
	require.Len(t, e.issuedUsers(), 1)

	e.advance(4 * time.Minute)
	e.aws.ResetCalls()
	e.reap()
	require.Empty(t, e.aws.Calls())
	require.Len(t, e.records(), 1)

	e.advance(2 * time.Minute)
	e.reap()
	e.requireNothingLeft()
}

func TestReaperGoesOnAfterVaultHasGivenUp(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500, Code: "ServiceFailure"})
	for range 6 {
		require.Error(t, e.revoke(l))
	}
	e.start()
	e.reap() // learns of the record
	remove()
	e.finish()
	e.requireNothingLeft()
	require.NoError(t, e.revoke(l))
}

func TestReaperPausesBetweenAttempts(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 403, Code: "AccessDenied"})
	require.Error(t, e.revoke(l))
	e.aws.ResetCalls()
	e.reap()
	require.Empty(t, e.aws.Calls(), "it was not due yet")
	e.advance(minRetryPause + time.Second)
	e.reap()
	require.NotEmpty(t, e.aws.Calls())
	require.Equal(t, 2, e.records()[l.username()].Attempts)

	require.Equal(t, minRetryPause, retryPause(0, true))
	require.Equal(t, 3*time.Minute, retryPause(3*time.Minute, true))
	require.Equal(t, maxRetryPause, retryPause(time.Hour, true))
	require.Equal(t, maxRetryPause, retryPause(40*time.Minute, false), "it may pass")
	require.Equal(t, time.Hour, retryPause(time.Hour, false))
	require.Equal(t, time.Hour, retryPause(24*time.Hour, false))
}

// One damaged record must not hide the others.
func TestReaperSkipsWhatItCannotRead(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.issue("app", nil)
	require.NoError(t, e.storage.Put(t.Context(), &logical.StorageEntry{Key: userPrefix + "damaged", Value: []byte("{")}))
	e.start()
	e.advance(time.Hour)
	e.reap()
	require.Empty(t, e.issuedUsers())
	keys, err := e.storage.List(t.Context(), userPrefix)
	require.NoError(t, err)
	require.Equal(t, []string{"damaged"}, keys)
}

func TestReaperTriesAgainWhenStorageFails(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.issue("app", nil)
	e.start()
	e.advance(time.Hour)
	e.storage.on(func(string, string) (bool, error) { return false, errInjected })
	e.reap()
	e.storage.on(nil)
	e.reap()
	e.requireNothingLeft()
}

// Core holds locks during the callback: it must not wait for AWS. Break it by
// running the pass in periodic itself.
func TestPeriodicCallbackDoesNotWaitForAWS(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.issue("app", nil)
	e.advance(time.Hour)
	reached, release := make(chan struct{}), make(chan struct{})
	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Count: 1, Hook: func(awsfake.Call) { close(reached); <-release }})

	tick := func() {
		_, err := e.b.HandleRequest(t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: e.storage})
		require.NoError(t, err)
	}
	tick()
	<-reached // and yet the callback has returned
	tick()    // a second tick meets the running pass
	close(release)
	require.Eventually(t, func() bool { return len(e.records()) == 0 }, 10*time.Second, 10*time.Millisecond)
	require.Empty(t, e.issuedUsers())
	require.Equal(t, 1, e.aws.Count("DeleteUser"))
}

// Unloading the plugin ends a pass and waits for it.
func TestCleanStopsTheReaper(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.issue("app", nil)
	e.advance(time.Hour)
	reached := make(chan struct{})
	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", LostBefore: true, Count: 1, Hook: func(awsfake.Call) { close(reached) }})
	e.b.reaper.start(e.storage)
	<-reached
	e.b.Cleanup(t.Context())
	for _, q := range e.b.reaper.agenda.queues {
		require.False(t, q.busy, "a run of %q goes on", q.integration)
	}
	e.b.reaper.start(e.storage)
	require.False(t, e.b.reaper.passing, "no pass begins after it")
	require.Len(t, e.records(), 1, "the record stays for the next process")
}

func TestReaperLeavesTheWorkToTheNodeThatMayWrite(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.issue("app", nil)
	e.advance(time.Hour)
	e.system.ReplicationStateVal = consts.ReplicationPerformanceStandby
	e.aMomentLater()
	_, err := e.b.HandleRequest(t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: e.storage})
	require.NoError(t, err)
	e.b.reaper.done.Wait() // for a pass, if there is one
	require.Len(t, e.records(), 1)
}

// A creation that was held up so long that the reaper took it for abandoned
// must not be handed out. Break it by activating whatever the record says.
func TestReaperWinsOverACreationThatWasHeldUp(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500, Code: "ServiceFailure"})
	e.aws.Inject(awsfake.Fault{Action: "PutUserPolicy", Count: 1, Hook: func(awsfake.Call) {
		e.advance(6 * time.Minute)
		e.reap()
	}})
	_, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.ErrorContains(t, err, "given up")
	remove()
	e.finish()
	e.requireNothingLeft()
}

func TestReaperCostsNothingForHealthyUsers(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.issue("app", nil)
	e.reap()
	operations := 0
	e.storage.on(func(string, string) (bool, error) { operations++; return true, nil })
	e.reap()
	require.Zero(t, operations)
}

// What decides that a creation is given up must not end with the record of the user
// that comes of it after all. Break it by taking in undoUser what a deletion that was
// under way has come to for the end of this user.
func TestACreationThatWasGivenUpTooSoonLeavesNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	making, made := make(chan struct{}), make(chan struct{})
	asking, answered := make(chan struct{}), make(chan struct{})
	e.aws.Inject(awsfake.Fault{Action: "CreateUser", Count: 1, Hook: func(awsfake.Call) { close(making); <-made }})
	e.aws.Inject(awsfake.Fault{
		Action: "GetUser", Count: 1, FailAfter: true, Status: 404, Code: "NoSuchEntity",
		Hook: func(awsfake.Call) { close(asking); <-answered },
	})
	issued := make(chan error, 1)
	go func() {
		_, err := e.do(logical.ReadOperation, "creds/app", nil)
		issued <- err
	}()
	<-making
	e.advance(6 * time.Minute)
	require.NoError(t, e.tick())
	<-asking
	var reads atomic.Int32 // of the creation, which finds itself given up
	e.storage.on(func(op, key string) (bool, error) {
		if op == "get" && strings.HasPrefix(key, userPrefix) {
			reads.Add(1)
		}
		return true, nil
	})
	close(made)
	require.Eventually(t, func() bool { return reads.Load() > 0 }, 20*time.Second, time.Millisecond)
	close(answered)
	require.ErrorContains(t, <-issued, "given up")
	e.finish()
	e.requireNothingLeft()
}

// Nor where the backend ends before it is undone: the next process finds a record.
// Break it by storing the record in undoAlone with the context that ends with the backend.
func TestACreationThatWasGivenUpTooSoonAndAReload(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	e.aws.Inject(awsfake.Fault{Action: "CreateUser", Count: 1, Hook: func(awsfake.Call) {
		e.advance(6 * time.Minute)
		e.reap()
	}})
	e.aws.Inject(awsfake.Fault{Action: "PutUserPolicy", Count: 1, Hook: func(awsfake.Call) {
		e.b.Cleanup(t.Context())
		e.storage.Storage = slowWrites{e.storage.Storage}
	}})
	_, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.ErrorContains(t, err, "given up")
	require.Len(t, e.issuedUsers(), 1)
	require.Len(t, e.records(), 1)
	e.start()
	e.finish()
	e.requireNothingLeft()
}

// slowWrites is storage whose writes take long enough to meet the end of a context
// that is about to end.
type slowWrites struct{ logical.Storage }

func (s slowWrites) Put(ctx context.Context, entry *logical.StorageEntry) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(200 * time.Millisecond):
		return s.Storage.Put(ctx, entry)
	}
}

// A clock that was ahead and is set right puts nothing off. Break it by leaving
// mindClock out of reaper.pass, or, for what the next process reads, what lies far
// ahead out of userRecord.due.
func TestAClockThatIsSetBackPutsNothingOff(t *testing.T) {
	for name, restart := range map[string]bool{"in this process": false, "in the next one": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			l := e.issue("app", map[string]any{"ttl": "20h"})
			bystander := e.issue("app", map[string]any{"ttl": "20h"})
			e.advance(10 * time.Minute)
			e.clock.advance(6 * time.Hour)
			heal := e.aws.Inject(awsfake.Fault{Service: "iam", LostBefore: true})
			require.Error(t, e.revoke(l))
			heal()
			e.reap()
			e.clock.advance(-6 * time.Hour)
			if restart {
				e.start()
			}
			for range 3 {
				e.reap()
				e.advance(time.Minute)
			}
			require.Equal(t, []string{bystander.username()}, slices.Collect(maps.Keys(e.records())))
			_, err := e.renew(bystander, time.Hour)
			require.NoError(t, err)
		})
	}
}

// Nor does it keep a run at work that began before: what is due by the time that was
// is not due any more. Break it by leaving the look at the clock out of reaper.take.
func TestAClockThatIsSetBackDuringARunEndsIt(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	healthy := e.issue("app", map[string]any{"ttl": "5h"})
	stuck := e.issue("app", map[string]any{"ttl": "20h"})
	e.advance(10 * time.Minute)
	e.clock.advance(6 * time.Hour)
	remove := e.aws.Inject(awsfake.Fault{Service: "iam", Status: 500})
	require.Error(t, e.revoke(stuck))
	remove()
	e.clock.advance(5 * time.Minute)
	reached, release := make(chan struct{}), make(chan struct{})
	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", User: stuck.username(), Count: 1, Hook: func(awsfake.Call) { close(reached); <-release }})
	failing := e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", User: healthy.username(), Status: 500})
	require.NoError(t, e.tick())
	<-reached
	e.clock.advance(-6 * time.Hour)
	close(release)
	e.idle()
	failing()
}
