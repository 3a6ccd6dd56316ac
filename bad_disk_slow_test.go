package awsiam

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// Storage that fails for long, hangs, or is slow.

// hangingStorage lets operations that are picked end only with their context, as
// Vault's storage does; some of them happen all the same.
type hangingStorage struct {
	logical.Storage

	mu sync.Mutex
	// pick is asked ahead of each operation; nil picks none.
	pick func(op, key string) (hang, perform bool)
}

func (s *hangingStorage) on(pick func(op, key string) (hang, perform bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pick = pick
}

// wait returns the context to go on with, or an error and whether to go on all
// the same.
func (s *hangingStorage) wait(ctx context.Context, op, key string) (onward context.Context, perform bool, err error) {
	s.mu.Lock()
	pick := s.pick
	s.mu.Unlock()
	if pick == nil {
		return ctx, true, nil
	}
	hang, perform := pick(op, key)
	if !hang {
		return ctx, true, nil
	}
	<-ctx.Done()
	return context.WithoutCancel(ctx), perform, ctx.Err()
}

func (s *hangingStorage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	ctx, _, err := s.wait(ctx, "get", key)
	if err != nil {
		return nil, err
	}
	return s.Storage.Get(ctx, key)
}

func (s *hangingStorage) List(ctx context.Context, prefix string) ([]string, error) {
	ctx, _, err := s.wait(ctx, "list", prefix)
	if err != nil {
		return nil, err
	}
	return s.Storage.List(ctx, prefix)
}

func (s *hangingStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	ctx, perform, err := s.wait(ctx, "put", entry.Key)
	if perform {
		if fault := s.Storage.Put(ctx, entry); fault != nil {
			return fault
		}
	}
	return err
}

func (s *hangingStorage) Delete(ctx context.Context, key string) error {
	ctx, perform, err := s.wait(ctx, "delete", key)
	if perform {
		if fault := s.Storage.Delete(ctx, key); fault != nil {
			return fault
		}
	}
	return err
}

// hangable puts a hangingStorage beneath the environment's, of which what setting the
// environment up has left in the background is not to see the change.
func (e *env) hangable() *hangingStorage {
	e.b.reaper.done.Wait()
	s := &hangingStorage{Storage: e.storage.Storage}
	e.storage.Storage = s
	return s
}

// nth picks the nth operation of the kind on keys with the prefix. It tells
// through reached when it did.
func nth(op, prefix string, n int, perform bool, reached chan<- struct{}) func(string, string) (bool, bool) {
	var mu sync.Mutex
	seen := 0
	return func(o, key string) (bool, bool) {
		mu.Lock()
		defer mu.Unlock()
		if o != op || !matchesKey(prefix, key) {
			return false, false
		}
		seen++
		if seen != n {
			return false, false
		}
		close(reached)
		return true, perform
	}
}

// Whichever operation hangs until the caller is out of time, and whether or not
// it happens in the end: the caller is told in time, and nothing is left. Break
// it by not returning activateUser's error.
func TestCredsWhileStorageHangs(t *testing.T) {
	type step struct {
		op, prefix string
		n          int
	}
	for _, s := range []step{
		{"get", rolePrefix, 1},
		{"get", integrationPrefix, 1},
		{"get", userPrefix, 1}, // the name is free
		{"put", userPrefix, 1}, // creating
		{"put", userPrefix, 2}, // active
	} {
		for _, perform := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %s #%d, performed: %t", s.op, s.prefix, s.n, perform), func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, corePolicy)
				storage := e.hangable()
				bystander := e.issue("app", map[string]any{"ttl": "20h"})
				e.b.invalidate(t.Context(), "") // so that role and integration are read again
				reached := make(chan struct{})
				storage.on(nth(s.op, s.prefix, s.n, perform, reached))
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				promptly(t, "the caller", func() error {
					_, err := e.doCtx(ctx, logical.ReadOperation, "creds/app", nil)
					if err == nil {
						return fmt.Errorf("a lease was granted that may not be on record")
					}
					return nil
				})
				<-reached
				e.finish()
				require.Len(t, e.issuedUsers(), 1)
				require.Len(t, e.records(), 1)
				require.NoError(t, e.revoke(bystander))
			})
		}
	}
}

// A reload ends what waits for storage, and the next process goes on with it.
// Break it by taking the lifetime out of backend.alone, or by giving the reaper's
// workers a context without an end.
func TestReloadWhileStorageHangs(t *testing.T) {
	type step struct {
		op, prefix string
		n          int
	}
	for name, steps := range map[string][]step{
		"revoke": {{"get", userPrefix, 1}, {"put", userPrefix, 1}, {"get", integrationPrefix, 1}, {"delete", userPrefix, 1}},
		"reap":   {{"list", userPrefix, 1}, {"get", userPrefix, 1}, {"get", userPrefix, 2}, {"put", userPrefix, 1}, {"delete", userPrefix, 1}},
	} {
		for _, s := range steps {
			for _, perform := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s %s #%d, performed: %t", name, s.op, s.prefix, s.n, perform), func(t *testing.T) {
					t.Parallel()
					e := newEnv(t, corePolicy)
					storage := e.hangable()
					l := e.issue("app", nil)
					e.start()
					e.advance(time.Hour)
					reached := make(chan struct{})
					storage.on(nth(s.op, s.prefix, s.n, perform, reached))
					revoked := make(chan error, 1)
					if name == "revoke" {
						go func() { revoked <- e.revoke(l) }()
					} else {
						promptly(t, "the tick", e.tick)
					}
					<-reached
					promptly(t, "a reload", e.reload)
					if name == "revoke" {
						require.Error(t, <-revoked)
					}
					storage.on(nil)
					e.start()
					e.finish()
					e.requireNothingLeft()
				})
			}
		}
	}
}

// Storage that fails is one problem, however many users are due and however
// often Vault's clock ticks; afterwards all of them go. Break it by complaining
// of each failure in reaper.complainOfStorage.
func TestTheLogSaysOnceThatStorageFails(t *testing.T) {
	for _, failing := range []string{"list", "get", "put", "delete", "any"} {
		t.Run(failing, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, widePolicy)
			for range 10 {
				e.issue("app", map[string]any{"ttl": "1m"})
			}
			bystander := e.issue("app", map[string]any{"ttl": "20h"})
			book := e.startLogged()
			e.advance(10 * time.Minute)
			e.storage.on(func(op, _ string) (bool, error) {
				fails := failing == "any" || op == failing
				return !fails, failIf(fails)
			})
			for range 59 {
				e.reap()
				e.advance(time.Minute)
			}
			require.Len(t, book.lines(""), 1, "%s", book.lines(""))
			require.Contains(t, book.lines("")[0], "injected")
			e.storage.on(nil)
			e.finish()
			require.Len(t, e.issuedUsers(), 1)
			require.Len(t, e.records(), 1)
			require.NoError(t, e.revoke(bystander))
		})
	}
}

// A record that cannot be removed is tried again after pauses: AWS is not asked
// every minute about a user that is known to be gone. Break it by not noting the
// failure in backend.retire.
func TestARecordThatCannotBeRemovedIsNotRetriedEveryMinute(t *testing.T) {
	e := newEnv(t, widePolicy)
	l := e.issue("app", nil)
	e.advance(time.Hour)
	e.storage.on(func(op, _ string) (bool, error) { return op != "delete", failIf(op == "delete") })
	e.aws.ResetCalls()
	for range 60 {
		e.reap()
		e.advance(time.Minute)
	}
	require.Less(t, len(e.aws.Calls()), 120)
	require.Contains(t, e.records()[l.username()].LastError, "removing the record")
	require.Empty(t, e.issuedUsers())
	e.storage.on(nil)
	e.finish()
	e.requireNothingLeft()
}
