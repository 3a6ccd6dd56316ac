package awsiam

import (
	"context"
	"sync"

	"github.com/hashicorp/vault/sdk/logical"
)

// cacheLimit is how many entries of a kind are kept, so that a mount with any
// number of roles stays within some megabytes. A role has about 3 kB at most.
const cacheLimit = 2000

// cacheable is what a cache can hold: a pointer, nil for what is not there,
// whose clone shares no memory with it.
type cacheable[T any] interface {
	comparable
	clone() T
}

// cache keeps what storage has of one kind, decoded, by name. What is not there
// and what cannot be read is not kept: it is asked for again each time.
//
// It has no lock that is held while storage is read or written. A reading that
// began before a change ended may have the old value or the new one; it is
// handed to its caller, who asked before that end, but not kept.
//
// All storage that a mount's requests bring is the same: only a backend that
// sets logical.Paths.AllowSnapshotRead is given a snapshot's.
type cache[T cacheable[T]] struct {
	read func(ctx context.Context, s logical.Storage, name string) (T, error)

	mu   sync.Mutex
	kept map[string]T // never changed, so that they can be cloned without the lock
	// changes counts what has made readings under way stale.
	changes uint64
	// doubtful are the names of which a write has failed. It may be under way all
	// the same, and happen after whatever is read meanwhile, at any later time:
	// in this process they are not kept any more.
	doubtful map[string]bool
}

func newCache[T cacheable[T]](read func(context.Context, logical.Storage, string) (T, error)) *cache[T] {
	return &cache[T]{read: read, kept: make(map[string]T), doubtful: make(map[string]bool)}
}

// get returns the entry, for the caller to do with as it likes, or nil.
func (c *cache[T]) get(ctx context.Context, s logical.Storage, name string) (T, error) {
	c.mu.Lock()
	kept, ok := c.kept[name]
	changes := c.changes
	c.mu.Unlock()
	if ok {
		return kept.clone(), nil
	}
	found, err := c.read(ctx, s, name)
	var none T
	if err == nil && found != none {
		c.keep(name, found.clone(), changes)
	}
	return found, err
}

// keep keeps what was read, unless there were changes since.
func (c *cache[T]) keep(name string, found T, changes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes != changes || c.doubtful[name] {
		return
	}
	if len(c.kept) >= cacheLimit {
		for other := range c.kept { // any: which one hardly matters, it is read again
			delete(c.kept, other)
			break
		}
	}
	c.kept[name] = found
}

// change writes or deletes the entry in storage, and forgets what was known.
func (c *cache[T]) change(name string, write func() error) error {
	err := write()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.doubtful[name] = true
	}
	c.changes++
	delete(c.kept, name)
	return err
}

// forget is for an entry that another node changed.
func (c *cache[T]) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	delete(c.kept, name)
}

func (c *cache[T]) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	clear(c.kept)
}
