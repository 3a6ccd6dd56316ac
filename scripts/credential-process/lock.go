package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// lockPause is between two attempts at a lock that somebody else has.
const lockPause = 25 * time.Millisecond

var errLocked = errors.New("locked")

// lock waits for the cache's lock, which ends with release or with the process, however
// that dies.
func (c *cache) lock(ctx context.Context) (release func(), err error) {
	for {
		release, err := tryLock(c.lockFile())
		if err == nil {
			return release, nil
		}
		if !errors.Is(err, errLocked) {
			return nil, fmt.Errorf("locking the key that is kept: %w", err)
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another process that asks Vault for the same key: %w", ctx.Err())
		}
	}
}
