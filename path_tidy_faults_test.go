package awsiam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// A live user that somebody has renamed, and whose record is damaged, is known to
// nobody. Break it by ignoring userIndex.unreadable.
func TestTidyDeletesNothingWhileARecordCannotBeRead(t *testing.T) {
	e := newEnv(t, listingPolicy)
	l := e.issue("app", map[string]any{"ttl": "20h"})
	e.rename(l.username(), "renamed")
	require.NoError(t, e.storage.Put(t.Context(), &logical.StorageEntry{Key: userPrefix + l.username(), Value: []byte(`{"version":2,"username":"` + l.username() + `"}`)}))
	e.advance(2 * time.Hour)
	_ = e.tidy(forReal)
	_, ok := e.acct.User("renamed")
	require.True(t, ok, "a user with a live lease")
}

// Break it by not reading the names before the list of AWS.
func TestTidyKnowsAUserWhoseDeletionEndsMeanwhile(t *testing.T) {
	e := newEnv(t, listingPolicy)
	l := e.issue("app", map[string]any{"ttl": "20h"})
	e.advance(2 * time.Hour)
	lists := 0
	e.storage.on(func(op, key string) (bool, error) {
		if op == "list" && key == userPrefix {
			lists++
			if lists == 2 { // after the list of AWS
				require.NoError(t, e.revoke(l))
			}
		}
		return true, nil
	})
	require.Equal(t, 0, e.tidy(nil)["users_unknown"])
	require.Empty(t, e.records())
}

// Break it by dropping the comparison with UserPath in tidying.list.
func TestTidyLeavesUsersToTheirIntegration(t *testing.T) {
	e := newEnv(t, listingPolicy)
	_, key := e.acct.AddUser("/", "team", strings.Replace(listingPolicy, "user/vault/*", "user/team/*", 1))
	e.write("config/team", changed(e.connection(key), map[string]any{"user_path": "/team/"}))
	e.acct.AddUser("/team/1a2b3c4d/", "lost", testPolicy)
	e.advance(2 * time.Hour)
	status := e.tidy(forReal) // of the default integration
	require.Equal(t, []any{1, 0, "done"}, []any{status["users_elsewhere"], status["users_unknown"], status["state"]})
	e.write("tidy/team", forReal)
	e.b.reaper.done.Wait()
	require.Equal(t, 1, e.read("tidy-status/team")["users_deleted"])
	_, ok := e.acct.User("lost")
	require.False(t, ok)
}

// Break it by looking at runs of this process alone in tidies.cancel.
func TestTidyIsCancelledAfterAFailover(t *testing.T) {
	e := newEnv(t, listingPolicy)
	release := e.held()
	e.b.reaper.end()
	release()
	e.b.Cleanup(t.Context())
	e.start()
	require.Equal(t, "running", e.read("tidy-status")["state"])
	e.must(logical.UpdateOperation, "tidy-cancel", nil)
	e.reap()
	require.Equal(t, "cancelled", e.read("tidy-status")["state"])
	require.NotEmpty(t, e.issuedUsers())
}

// Break it by returning the error of a damaged run in tidies.resume.
func TestADamagedTidyHurtsOnlyItself(t *testing.T) {
	for _, damaged := range []string{`{"integ`, rotten} {
		t.Run(damaged, func(t *testing.T) {
			e := newEnv(t, listingPolicy)
			e.write("config/aaa", e.connection(e.anotherKey(listingPolicy)))
			release := e.held()
			e.b.reaper.end()
			release()
			e.b.Cleanup(t.Context())
			require.NoError(t, e.storage.Put(t.Context(), &logical.StorageEntry{Key: "tidy/aaa", Value: []byte(damaged)}))
			e.start()
			e.reap()
			require.Equal(t, "done", e.read("tidy-status")["state"])
		})
	}
}

// The integration is missing at the first look of a run that is resumed.
func TestTidyOfAnIntegrationThatIsGone(t *testing.T) {
	e := newEnv(t, listingPolicy)
	// It looks at an integration that was written, too: not among the looks below.
	require.NoError(t, e.b.rotations.pass(t.Context(), e.storage))
	e.b.reaper.done.Wait()
	require.NoError(t, putTidyRun(t.Context(), e.storage, &tidyRun{Integration: "default", State: tidyRunning, DryRun: true, Started: e.b.now()}))
	entry, err := e.storage.Get(t.Context(), integrationPrefix+"default")
	require.NoError(t, err)
	require.NoError(t, e.storage.Delete(t.Context(), integrationPrefix+"default"))
	looks := 0
	e.storage.on(func(op, key string) (bool, error) {
		if op == "get" && key == integrationPrefix+"default" {
			looks++
			if looks == 2 { // written again in between
				require.NoError(t, e.storage.Storage.Put(t.Context(), entry))
			}
		}
		return true, nil
	})
	e.reap()
	status := e.read("tidy-status")
	require.Equal(t, "failed", status["state"])
	require.Contains(t, status["error"], "there is no integration")
}

// Storage keys cannot hold every name that IAM can.
func TestTidyReportsAUserThatCannotBeOnRecord(t *testing.T) {
	e := newEnv(t, listingPolicy)
	e.acct.AddUser(testPath, "a..b", testPolicy)
	e.advance(2 * time.Hour)
	e.storage.on(func(_, key string) (bool, error) { // as logical.StorageView does
		if strings.Contains(key, "..") {
			return false, errors.New("relative paths not supported")
		}
		return true, nil
	})
	e.acct.AddUser(testPath, "lost", testPolicy)
	e.advance(2 * time.Hour)
	status := e.tidy(forReal)
	require.Equal(t, []any{"failed", 1, 1}, []any{status["state"], status["users_deleted"], status["users_failed"]})
	require.Contains(t, status["error"], `user "a..b": it cannot be put on record`)
}

// TestARestoredTidy: a snapshot that was taken during a tidy is restored. The run goes
// on by itself, and ends none of those who were issued since: they may have live leases,
// in a restored copy of a cluster those of the original. AWS's clock is behind Vault's.
//
// Break it by having spare count from now, or by leaving skewAllowance out of resume.
func TestARestoredTidy(t *testing.T) {
	t.Parallel()
	e := newEnv(t, listingPolicy)
	release := e.held()
	e.b.reaper.end()
	release()
	e.b.Cleanup(t.Context())
	snapshot := e.snapshot()
	e.start()
	e.aws.Advance(-skewAllowance / 2)
	live := e.issue("app", map[string]any{"ttl": "20h"})
	e.advance(3 * time.Hour)
	e.restore(snapshot)
	e.reap()
	status := e.read("tidy-status")
	require.Equal(t, []any{"done", 1, 0}, []any{status["state"], status["users_young"], status["users_failed"]})
	users := e.issuedUsers()
	require.Len(t, users, 1)
	require.Equal(t, live.username(), users[0].Name)
}

// TestATidyOfLongAgo is not gone on with, and asking again is up to somebody.
//
// Break it by leaving the look at the run's age out of tidies.resume.
func TestATidyOfLongAgo(t *testing.T) {
	t.Parallel()
	e := newEnv(t, listingPolicy)
	e.acct.AddUser(testPath, "lost", testPolicy)
	e.advance(2 * time.Hour)
	require.NoError(t, putTidyRun(t.Context(), e.storage, &tidyRun{Integration: "default", State: tidyRunning, Started: e.b.now()}))
	e.advance(tidyResumable + time.Minute)
	e.start()
	e.storage.on(func(op, key string) (bool, error) { return false, failIf(op == "put" && matchesKey(tidyPrefix, key)) })
	e.reap()
	require.Equal(t, "running", e.read("tidy-status")["state"], "that it failed could not be stored")
	e.storage.on(nil)
	e.reap()
	status := e.read("tidy-status")
	require.Equal(t, "failed", status["state"])
	require.Contains(t, status["error"], "start it again")
	require.NotEmpty(t, status["finished"])
	require.Len(t, e.issuedUsers(), 1)
	require.Equal(t, 1, e.tidy(forReal)["users_deleted"])
}

// TestATidyThatLostWhatWasAskedFor only reports, and spares the young.
//
// Break it by decoding into an empty run in getTidyRun.
func TestATidyThatLostWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	e := newEnv(t, listingPolicy)
	e.acct.AddUser(testPath, "lost", testPolicy)
	e.advance(2 * time.Hour)
	require.NoError(t, e.storage.Put(t.Context(), &logical.StorageEntry{
		Key: tidyPrefix + "default", Value: fmt.Appendf(nil, `{"integration":"default","state":"running","started":%q}`, timestamp(e.b.now())),
	}))
	e.reap()
	status := e.read("tidy-status")
	require.Equal(t, []any{"done", true, int64(3600)}, []any{status["state"], status["dry_run"], status["safety_buffer"]})
	require.Len(t, e.issuedUsers(), 1)
}

// Nobody who asks about runs waits while those of earlier processes are looked for.
// Break it by holding the lock over the list in tidies.resume.
func TestAListOfRunsThatHangsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"list", "get"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, listingPolicy)
			storage := e.hangable()
			left := &tidyRun{Integration: "other", State: tidyDone}
			require.NoError(t, putTidyRun(t.Context(), e.storage, left))
			e.issue("app", map[string]any{"ttl": "1m"})
			e.advance(30 * time.Minute)
			reached := make(chan struct{})
			storage.on(nth(op, tidyPrefix, 1, false, reached))
			promptly(t, "the tick", e.tick)
			<-reached
			promptly(t, "status", func() error { _, err := e.do(logical.ReadOperation, "status", nil); return err })
			promptly(t, "tidy-status", func() error { _, err := e.do(logical.ReadOperation, "tidy-status", nil); return err })
			promptly(t, "tidy", func() error { _, err := e.do(logical.UpdateOperation, "tidy", nil); return err })
			require.Eventually(t, func() bool { return len(e.issuedUsers()) == 0 }, patience, 10*time.Millisecond, "the reaper works on")
			promptly(t, "a reload", e.reload)
		})
	}
}

// answeredLate holds back what it has read from under the prefix.
type answeredLate struct {
	logical.Storage
	prefix        string
	read, release chan struct{}
	once          sync.Once
}

func (s *answeredLate) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	entry, err := s.Storage.Get(ctx, key)
	if matchesKey(s.prefix, key) {
		s.once.Do(func() {
			close(s.read)
			<-s.release
		})
	}
	return entry, err
}

// What is decided while the next process reads what was left is what is so. Break it
// by leaving the look at decided out of tidies.again.
func TestARunIsDecidedAboutWhileItIsRead(t *testing.T) {
	t.Parallel()
	for name, decide := range map[string]struct {
		path string
		data map[string]any
		then string
	}{
		"cancelled":   {"tidy-cancel", nil, "cancelled"},
		"begun again": {"tidy", map[string]any{"safety_buffer": "5h"}, "done"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, listingPolicy)
			e.b.reaper.done.Wait()
			e.acct.AddUser(testPath, "lost", testPolicy)
			e.advance(2 * time.Hour)
			left := &tidyRun{Integration: defaultIntegration, State: tidyRunning, DryRun: false, Started: e.b.now()}
			require.NoError(t, putTidyRun(t.Context(), e.storage, left))
			late := &answeredLate{Storage: e.storage, prefix: tidyPrefix, read: make(chan struct{}), release: make(chan struct{})}
			e.b.reaper.start(late)
			<-late.read
			e.must(logical.UpdateOperation, decide.path, decide.data)
			require.Eventually(t, func() bool { return !e.b.tidies.busy(defaultIntegration) }, patience, time.Millisecond)
			close(late.release)
			e.idle()
			require.Equal(t, decide.then, e.read("tidy-status")["state"])
			require.Len(t, e.issuedUsers(), 1, "only the run of the process before was to delete")
		})
	}
}

// A run that was asked for by a clock that was ahead spares the young all the same.
// Break it by leaving Started as it is in tidies.again.
func TestATidyAskedForByAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	e := newEnv(t, listingPolicy)
	e.acct.AddUser(testPath, "lost", testPolicy)
	run := &tidyRun{Integration: defaultIntegration, State: tidyRunning, SafetyBuffer: time.Hour, Started: e.b.now().Add(6 * time.Hour)}
	require.NoError(t, putTidyRun(t.Context(), e.storage, run))
	e.start()
	e.reap()
	require.Equal(t, 1, e.read("tidy-status")["users_young"])
	require.Len(t, e.issuedUsers(), 1)
}
