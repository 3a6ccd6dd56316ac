package awsiam

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// impatient has the background wait for storage no longer than a test can.
func (e *env) impatient() {
	e.b.reaper.done.Wait()
	e.b.reaper.storageTimeout = 100 * time.Millisecond
}

// idle waits for the end of all work of the background.
func (e *env) idle() {
	e.t.Helper()
	promptly(e.t, "the background", func() error { e.b.reaper.done.Wait(); return nil })
}

// One operation of storage that is never answered costs the background the time that
// it waits for it: the log says so, and the next passes do the work. Break it by
// leaving reaper.limited out of reaper.pass, or of reaper.spawn.
func TestStorageThatNeverAnswersHoldsNothingUpForGood(t *testing.T) {
	t.Parallel()
	for _, s := range []struct {
		op, prefix string
		n          int
	}{
		{"list", userPrefix, 1},
		{"list", tidyPrefix, 1},
		{"list", poolPrefix, 1},
		{"list", rolePrefix, 1}, // of those that have a pool
		{"list", integrationPrefix, 1},
		{"get", tidyPrefix, 1},
		{"get", userPrefix, 1}, // learning
		{"get", userPrefix, 2}, // reaping
		{"put", userPrefix, 1}, // of a user that has to go
	} {
		t.Run(fmt.Sprintf("%s %s #%d", s.op, s.prefix, s.n), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, listingPolicy)
			storage := e.hangable()
			e.issue("app", nil)
			left := &tidyRun{Integration: "gone", State: tidyRunning} // which reads no record
			require.NoError(t, putTidyRun(t.Context(), e.storage, left))
			e.b.Cleanup(t.Context())
			book := e.startLogged()
			e.impatient()
			e.advance(2 * time.Hour)
			reached := make(chan struct{})
			storage.on(nth(s.op, s.prefix, s.n, false, reached))
			promptly(t, "the tick", e.tick)
			<-reached
			e.idle()
			lines := book.lines("storage fails the reaper")
			require.Len(t, lines, 1)
			require.Contains(t, lines[0], "there was no answer within")
			for range 3 {
				e.advance(10 * time.Minute)
				promptly(t, "the tick", e.tick)
				e.idle()
			}
			e.requireNothingLeft()
			require.Equal(t, "failed", e.read("tidy-status/gone")["state"], "it went on")
		})
	}
}

// Nor is it when a request began the work. Break it by leaving reaper.limited out of
// reaper.spawn.
func TestStorageThatNeverAnswersWhatARequestBegan(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	storage := e.hangable()
	e.impatient()
	reached := make(chan struct{})
	storage.on(nth("list", integrationPrefix, 2, false, reached)) // by hastenThrough
	e.write("config", map[string]any{"max_users": 7})
	<-reached
	e.idle()
}

// What the reaper waits for in storage with a lock of users held keeps requests that
// need it waiting no longer than the reaper itself. Break it by leaving reaper.limited
// out of reaper.pass.
func TestAReadingThatHangsHoldsUpNoRequestForGood(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	storage := e.hangable()
	due := e.issue("app", map[string]any{"ttl": "1m"})
	l := e.issue("app", map[string]any{"ttl": "20h"})
	for locksutil.LockForKey(e.b.userLocks, l.username()) != locksutil.LockForKey(e.b.userLocks, due.username()) {
		require.NoError(t, e.revoke(l))
		l = e.issue("app", map[string]any{"ttl": "20h"})
	}
	e.reap() // so that no record but the one that is due is read
	e.impatient()
	e.advance(30 * time.Minute)
	reached := make(chan struct{})
	storage.on(nth("get", userPrefix, 1, false, reached))
	promptly(t, "the tick", e.tick)
	<-reached
	promptly(t, "a renewal", func() error { _, err := e.renew(l, time.Hour); return err })
}

// Writing down what came of some work ends with the backend, soon, if storage hangs.
// Break it by leaving the lifetime out of backend.noting.
func TestReloadWhileTheEndOfWorkIsWrittenDown(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prefix string
		n      int
		began  func(e *env, l lease) // what is written down
	}{
		"a deletion that failed": {userPrefix, 2, func(e *env, l lease) {
			e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500})
			_ = e.revoke(l)
		}},
		"a tidy": {tidyPrefix, 2, func(e *env, _ lease) {
			_, _ = e.do(logical.UpdateOperation, "tidy", nil)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, listingPolicy)
			storage := e.hangable()
			heard := &overheard{Storage: e.storage.Storage}
			e.storage.Storage = heard
			l := e.issue("app", nil)
			reached := make(chan struct{})
			storage.on(nth("put", test.prefix, test.n, false, reached))
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				test.began(e, l)
			}()
			<-reached
			promptly(t, "a reload", e.reload)
			<-ended
			require.ErrorIs(t, heard.last(), context.Canceled, "rather than that its own time was over")
		})
	}
}

// overheard is what storage has said of writes.
type overheard struct {
	logical.Storage

	mu     sync.Mutex
	failed error
}

func (s *overheard) Put(ctx context.Context, entry *logical.StorageEntry) error {
	err := s.Storage.Put(ctx, entry)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.failed = err
	}
	return err
}

func (s *overheard) last() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}
