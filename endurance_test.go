package awsiam

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// Situations in which several things go wrong together, or go wrong in the
// order that hurts.

// Break it by scheduling nothing for a record that load cannot read.
func TestAReadThatFailsOnceDoesNotHideARecord(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.issue("app", nil)
	e.start()
	var failed atomic.Bool
	e.storage.on(func(op, key string) (bool, error) {
		first := op == "get" && matchesKey(userPrefix, key) && failed.CompareAndSwap(false, true)
		return !first, failIf(first)
	})
	e.reap()
	require.True(t, failed.Load())
	e.finish()
	e.requireNothingLeft()
}

// Break it by comparing AWS's dates with Vault's to the minute.
func TestAClockThatRunsAheadDoesNotDisownAUser(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{-30 * time.Minute, -5 * time.Minute, 5 * time.Minute, 30 * time.Minute} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, widePolicy)
			e.clock.advance(ahead)
			e.aws.Inject(awsfake.Fault{Action: "CreateUser", Lost: true, Count: 1, Hook: func(awsfake.Call) { e.kill() }})
			_, err := e.do(logical.ReadOperation, "creds/app", nil)
			require.Error(t, err)
			e.heal()
			require.Len(t, e.issuedUsers(), 1)
			e.finish()
			e.requireNothingLeft()
		})
	}
}

// A date alone must not end in forgetting the user. Break it by letting
// checkOwnership end with errGone whatever is known of the user's id.
func TestClocksFarApartKeepTheRecord(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	e.clock.advance(3 * time.Hour)
	e.aws.Inject(awsfake.Fault{Action: "CreateUser", Lost: true, Count: 1, Hook: func(awsfake.Call) { e.kill() }})
	_, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.Error(t, err)
	e.heal()
	e.finish()
	require.Len(t, e.issuedUsers(), 1)
	require.Len(t, e.records(), 1)
	for _, record := range e.records() {
		require.Contains(t, record.LastError, "by hand")
	}
}

// Keys that the user, or a lost answer, has made of itself must not keep the
// user alive, once it was proven ours. Break it by not keeping deletion.proven.
func TestTheProofThatAUserIsOursOutlivesAnAttempt(t *testing.T) {
	t.Parallel()
	t.Run("emptying fails", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, corePolicy)
		l := e.issue("app", nil)
		require.NoError(t, dependentsByHand["access key"](t.Context(), e.byHand(), e.acct, l.username()))
		remove := e.aws.Inject(awsfake.Fault{Action: "ListAccessKeys", Status: 500, Code: "ServiceFailure"})
		require.Error(t, e.revoke(l))
		remove()
		require.NoError(t, e.revoke(l))
		e.requireNothingLeft()
	})
	t.Run("the user's own deletion is throttled", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, corePolicy)
		l := e.issue("app", nil)
		require.NoError(t, dependentsByHand["access key"](t.Context(), e.byHand(), e.acct, l.username()))
		remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 400, Code: "Throttling"})
		require.Error(t, e.revoke(l))
		remove()
		require.NoError(t, e.revoke(l))
		e.requireNothingLeft()
	})
	t.Run("the process goes while emptying", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, corePolicy)
		l := e.issue("app", nil)
		require.NoError(t, dependentsByHand["access key"](t.Context(), e.byHand(), e.acct, l.username()))
		e.aws.Inject(awsfake.Fault{Action: "ListAccessKeys", LostBefore: true, Count: 1, Hook: func(awsfake.Call) { e.kill() }})
		require.Error(t, e.revoke(l))
		e.heal()
		require.NoError(t, e.revoke(l))
		e.requireNothingLeft()
	})
	t.Run("a stray key of a lost answer, and an undo that fails", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, corePolicy)
		e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", FailAfter: true, Count: 1})
		remove := e.aws.Inject(awsfake.Fault{Action: "ListAccessKeys", Status: 400, Code: "Throttling"})
		_, err := e.do(logical.ReadOperation, "creds/app", nil)
		require.Error(t, err)
		remove()
		e.finish()
		e.requireNothingLeft()
	})
}

// Core may fail to store a renewal that shortens the lease. Break it by moving
// Expires back.
func TestAShorteningRenewalDoesNotBringTheReaperEarlier(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", map[string]any{"ttl": "3h"})
	e.reap()
	_, err := e.renew(l, time.Minute)
	require.NoError(t, err)
	e.advance(10 * time.Minute)
	e.b.reaper.schedule(l.username(), time.Time{})
	e.reap()
	require.Len(t, e.issuedUsers(), 1)
}

// Break it by waiting less than visibilityTimeout.
func TestCredsOutlivesALongLagOfANewUser(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.aws.SetLag(awsfake.Lag{User: 5 * time.Second})
	e.issue("app", nil)
}

func TestCredsDoesNotWaitForAPolicyThatIsNotThere(t *testing.T) {
	e := newEnv(t, widePolicy)
	e.write("roles/typo", map[string]any{"policy_arns": "arn:aws:iam::aws:policy/NoSuchPolicy"})
	e.refused(logical.ReadOperation, "creds/typo", nil, "NoSuchPolicy")
	require.Equal(t, 1, e.aws.Count("AttachUserPolicy"))
	e.requireNothingLeft()
}

// A proxy may answer with nothing in the envelope. Break it by dropping the
// checks for nil.
func TestCredsSurvivesAnAnswerWithoutContent(t *testing.T) {
	for _, action := range []string{"CreateUser", "CreateAccessKey"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := r.ParseForm(); err == nil && r.PostForm.Get("Action") == action {
					_, _ = w.Write([]byte("<" + action + "Response><" + action + "Result></" + action + "Result></" + action + "Response>"))
					return
				}
				http.Error(w, "not now", http.StatusServiceUnavailable)
			}))
			t.Cleanup(proxy.Close)
			conn, err := newConnection(t.Context(), &integration{
				AccessKey: "AKIAIOSFODNN7EXAMPLE", SecretKey: "secret", AccountID: testAccount, IAMEndpoint: proxy.URL,
			}, newHTTPClient(), origin{}, new(calls).of(defaultIntegration))
			require.NoError(t, err)
			c := &creation{conn: conn, role: newRole("app"), user: &issuedUser{Username: "someone", Path: testPath}}
			if action == "CreateUser" {
				require.ErrorIs(t, c.run(t.Context()), errNoContent)
			} else {
				require.ErrorIs(t, c.createAccessKey(t.Context()), errNoContent)
			}
		})
	}
}

// A lease has all that its revocation needs. Break it by returning the error of
// the damaged record.
func TestRevocationReplacesADamagedRecord(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	damage := func() {
		require.NoError(t, e.storage.Put(t.Context(), &logical.StorageEntry{Key: userPrefix + l.username(), Value: []byte(`{"vers`)}))
	}
	damage()
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

func TestRevocationLeavesARecordOfANewerPluginAlone(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	newer := []byte(`{"version":99,"username":"` + l.username() + `"}`)
	require.NoError(t, e.storage.Put(t.Context(), &logical.StorageEntry{Key: userPrefix + l.username(), Value: newer}))
	require.ErrorContains(t, e.revoke(l), "newer plugin")
	entry, err := e.storage.Get(t.Context(), userPrefix+l.username())
	require.NoError(t, err)
	require.Equal(t, newer, entry.Value)
}

// Replacing a compromised key must not depend on records, nor wait for them.
func TestANewKeyOfTheSameAccountReadsNoRecords(t *testing.T) {
	e := newEnv(t, corePolicy)
	require.NoError(t, e.storage.Put(t.Context(), &logical.StorageEntry{Key: userPrefix + "damaged", Value: []byte("{")}))
	_, key := e.acct.AddUser("/", "next", corePolicy)
	e.write("config", e.connection(key))
}

func TestReconnectingChecksTheRolesAgain(t *testing.T) {
	e := newEnv(t, widePolicy)
	managed := e.acct.AddManagedPolicy("/", "managed", testPolicy)
	e.write("roles/managed", map[string]any{"policy_arns": managed})
	_, key := e.aws.Account("444455556666").AddUser("/", "elsewhere", widePolicy)
	e.refused(logical.UpdateOperation, "config", e.connection(key), "managed", "444455556666")
}

// An account that does not answer must not hold up the others. Break it by
// giving all integrations the same workers.
func TestReaperServesAnAccountWhileAnotherHangs(t *testing.T) {
	e := newEnv(t, corePolicy)
	healthy := e.aws.Account("444455556666")
	_, key := healthy.AddUser("/", "integration", corePolicy)
	e.write("config/healthy", e.connection(key))
	e.write("roles/healthy", map[string]any{"integration": "healthy", "policy_document": testPolicy})
	e.issue("app", nil)
	e.advance(time.Hour)
	hanging, release := make(chan struct{}), make(chan struct{})
	hang, letGo := sync.OnceFunc(func() { close(hanging) }), sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	e.aws.Inject(awsfake.Fault{Account: testAccount, Hook: func(awsfake.Call) { hang(); <-release }})
	e.b.reaper.start(e.storage)
	<-hanging

	l := e.issue("healthy", nil)
	require.NoError(t, e.b.changeUser(t.Context(), e.storage, l.username(), func(u *userRecord) (bool, error) {
		u.Expires = e.clock.now()
		return true, nil
	}))
	require.Eventually(t, func() bool {
		e.b.reaper.start(e.storage)
		_, ok := healthy.User(l.username())
		return !ok
	}, 10*time.Second, 10*time.Millisecond)
	letGo()
	e.b.reaper.done.Wait()
	e.requireNothingLeft()
}

// The connection is at hand: an undo needs nothing of storage.
func TestUndoWorksWhileStorageFails(t *testing.T) {
	e := newEnv(t, corePolicy)
	require.NoError(t, e.revoke(e.issue("app", nil)))
	puts := 0
	e.storage.on(func(op, _ string) (bool, error) {
		if op == "put" {
			puts++
		}
		return puts < 2, failIf(puts >= 2)
	})
	_, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.ErrorIs(t, err, errInjected)
	require.Empty(t, e.issuedUsers())
	e.storage.on(nil)
	e.finish()
	e.requireNothingLeft()
}

// Break it by tracking the attempts of each round for itself.
func TestAStrayKeyIsLookedForWhateverTheNextAnswerWas(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", FailAfter: true, Count: 1})
	e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Status: 404, Code: "NoSuchEntity", Count: 1})
	l := e.issue("app", nil)
	user, _ := e.acct.User(l.username())
	require.Len(t, user.AccessKeys, 1)
}

// A deletion is shared: it must not end with the caller who began it. Break it
// by giving the deletion the caller's context.
func TestRevocationGoesOnWithoutTheCallerWhoBeganIt(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	reached, release := make(chan struct{}), make(chan struct{})
	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Count: 1, Hook: func(awsfake.Call) { close(reached); <-release }})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- e.b.retire(ctx, e.storage, l.username(), ending{}) }()
	<-reached
	second := make(chan error, 1)
	go func() { second <- e.revoke(l) }()
	cancel()
	close(release)
	require.NoError(t, <-first)
	require.NoError(t, <-second)
	e.requireNothingLeft()
}

// Core looks up a policy for the path as it was sent.
func TestASlashAtTheEndIsAnotherPath(t *testing.T) {
	e := newEnv(t, corePolicy)
	for _, path := range []string{"creds/app/", "roles/app/", "config/default/", "config/", "roles/"} {
		for _, op := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation, logical.DeleteOperation} {
			_, err := e.b.HandleRequest(t.Context(), &logical.Request{Operation: op, Path: path, Storage: e.storage})
			require.True(t, err == logical.ErrUnsupportedPath || err == logical.ErrUnsupportedOperation, "%s %s: %v", op, path, err) //nolint:errorlint // core compares so, too
		}
	}
}

// A write that failed may have happened. Break it by scheduling only what was
// written.
func TestReaperLooksAfterAWriteThatFailed(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.reap() // has read all records there are
	e.storage.on(func(op, _ string) (bool, error) { return true, failIf(op == "put") })
	_, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.ErrorIs(t, err, errInjected)
	e.storage.on(nil)
	require.Len(t, e.records(), 1, "it was written all the same")
	e.finish()
	e.requireNothingLeft()
}

func TestReaperLooksAtWhatAnotherNodeWrote(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.reap()
	here := e.b
	e.start()
	l := e.issue("app", nil)
	e.b = here
	e.b.InvalidateKey(t.Context(), userPrefix+l.username())
	e.finish()
	e.requireNothingLeft()
}

// Before a user has settled, asking again is of no use. Break it by not looking
// at errUnsettled in noteFailure.
func TestReaperWaitsUntilAUserHasSettled(t *testing.T) {
	e := newEnv(t, widePolicy)
	l := e.issue("app", nil)
	e.deleteByHand(l.username())
	require.Error(t, e.revoke(l))
	record := e.records()[l.username()]
	require.Equal(t, record.Created.Add(settlingTime), record.NextAttempt)
}

// An integration cannot change between the moment its account is looked at and
// the moment the record that names it is written. Break it by not locking in
// recordUser.
func TestAnIntegrationStaysAsItIsUntilTheRecordIsWritten(t *testing.T) {
	e := newEnv(t, corePolicy)
	written := false
	e.storage.on(func(op, key string) (bool, error) {
		if op == "put" && matchesKey(userPrefix, key) && !written {
			written = true
			if e.b.integrations.TryLock() {
				e.b.integrations.Unlock()
				t.Error("the integration could be changed meanwhile")
			}
		}
		return true, nil
	})
	e.issue("app", nil)
	require.True(t, written)
}

// The caller is told before Vault's clients give up; the reaper does the rest.
func TestCredsLeavesAHangingAWSToTheReaper(t *testing.T) {
	e := newEnv(t, corePolicy)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	remove := e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Delay: time.Minute})
	_, err := e.doCtx(ctx, logical.ReadOperation, "creds/app", nil)
	var coded logical.HTTPCodedError
	require.ErrorAs(t, err, &coded)
	require.Equal(t, http.StatusBadGateway, coded.Code())
	require.Zero(t, e.aws.Count("DeleteUser"), "the caller has waited long enough")
	remove()
	e.reap()
	e.requireNothingLeft()
}

// One integration that does not answer must not keep others from being written.
// Break it by giving all integrations one lock.
func TestAHangingVerificationHoldsUpNoOtherIntegration(t *testing.T) {
	e := newEnv(t, corePolicy)
	reached, release := make(chan struct{}), make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Count: 1, Hook: func(awsfake.Call) { close(reached); <-release }})
	hanging := make(chan error, 1)
	go func() {
		_, err := e.do(logical.UpdateOperation, "config/a", e.connection(e.key))
		hanging <- err
	}()
	<-reached
	e.write("config/b", e.connection(e.anotherKey(corePolicy)))
	letGo()
	require.NoError(t, <-hanging)
}

// Where there is no record there is no user: it is removed only when the user is
// confirmed gone. So Vault's retry after the reaper finds nothing to do.
func TestRevocationWithoutARecordAsksNobody(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.advance(time.Hour)
	e.reap()
	e.requireNothingLeft()
	e.aws.ResetCalls()
	require.NoError(t, e.revoke(l))
	require.Empty(t, e.aws.Calls())
}
