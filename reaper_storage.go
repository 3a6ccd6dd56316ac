package awsiam

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// storageTimeout bounds each operation of storage that no request waits for. It is
// shorter than the 60 s that Vault's clients wait, since a request may wait for a lock
// that is held meanwhile.
const storageTimeout = 30 * time.Second

// limitedStorage is storage for work that has no deadline of its own. An operation
// that is never answered would otherwise hold up that work, and whoever waits for its
// locks, until the process ends. One that is not answered in time has failed, like
// any other whose effect is not known.
type limitedStorage struct {
	logical.Storage
	limit time.Duration
}

// limited is the storage with a limit on each operation.
func (r *reaper) limited(s logical.Storage) logical.Storage {
	if _, ok := s.(limitedStorage); ok {
		return s // work begins other work
	}
	return limitedStorage{s, r.storageTimeout}
}

func (s limitedStorage) within(ctx context.Context, operation func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	err := operation(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("there was no answer within %s: %w", s.limit, err)
	}
	return err
}

// List implements logical.Storage.
func (s limitedStorage) List(ctx context.Context, prefix string) (names []string, err error) {
	err = s.within(ctx, func(ctx context.Context) error {
		names, err = s.Storage.List(ctx, prefix)
		return err
	})
	return names, err
}

// Get implements logical.Storage.
func (s limitedStorage) Get(ctx context.Context, key string) (entry *logical.StorageEntry, err error) {
	err = s.within(ctx, func(ctx context.Context) error {
		entry, err = s.Storage.Get(ctx, key)
		return err
	})
	return entry, err
}

// Put implements logical.Storage.
func (s limitedStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	return s.within(ctx, func(ctx context.Context) error { return s.Storage.Put(ctx, entry) })
}

// Delete implements logical.Storage.
func (s limitedStorage) Delete(ctx context.Context, key string) error {
	return s.within(ctx, func(ctx context.Context) error { return s.Storage.Delete(ctx, key) })
}
