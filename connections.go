package awsiam

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/singleflight"
)

// connectTimeout bounds the making of a connection, which asks AWS at most who
// the credentials belong to. It leaves time for the user it is made for.
const connectTimeout = 30 * time.Second

// connections keeps the connection of each integration, made from one revision
// of it. No lock is held while one is being made.
type connections struct {
	mu     sync.Mutex
	byName map[string]*connectionSlot
	// making lets one be made at a time, however many requests wait for it.
	making singleflight.Group
}

// connectionSlot is where a connection is put once it is made.
type connectionSlot struct {
	revision string
	// source is the integration that it borrows from, if any, at its revision.
	source, sourceRevision string
	conn                   *connection // nil until then
}

// get returns the connection made from this revision of the integration.
func (c *connections) get(in *integration) *connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slot := c.byName[in.Name]; slot != nil && slot.revision == in.Revision {
		return slot.conn
	}
	return nil
}

// reserve makes the slot for a connection that is about to be made, and returns
// the connection if there is one.
func (c *connections) reserve(in *integration) *connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slot := c.byName[in.Name]; slot != nil && slot.revision == in.Revision {
		return slot.conn
	}
	if c.byName == nil {
		c.byName = make(map[string]*connectionSlot)
	}
	slot := &connectionSlot{revision: in.Revision}
	if in.source != nil {
		slot.source, slot.sourceRevision = in.SourceIntegration, in.source.Revision
	}
	c.byName[in.Name] = slot
	return nil
}

// fill keeps the connection, unless the integration was changed or deleted while
// it was being made: nothing would ever drop it, and it holds a secret key.
func (c *connections) fill(name string, conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slot := c.byName[name]; slot != nil && slot.revision == conn.revision {
		slot.conn = conn
	}
}

// drop also drops those of integrations that borrow from it: they hold its
// credentials.
func (c *connections) drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.byName, func(other string, slot *connectionSlot) bool {
		return other == name || slot.source == name
	})
}

// outdate drops what was made from other revisions of the integration as it is stored.
func (c *connections) outdate(stored *integration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.byName, func(name string, slot *connectionSlot) bool {
		return name == stored.Name && slot.revision != stored.Revision ||
			slot.source == stored.Name && slot.sourceRevision != stored.Revision
	})
}

func (c *connections) dropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.byName)
}

// connect returns the integration's connection, made now if need be.
func (b *backend) connect(ctx context.Context, s logical.Storage, name string) (*connection, error) {
	_, conn, err := b.connected(ctx, s, name)
	return conn, err
}

// connected is connect for who needs the integration as well.
func (b *backend) connected(ctx context.Context, s logical.Storage, name string) (*integration, *connection, error) {
	in, err := b.integrationCache.get(ctx, s, name)
	if err != nil {
		return nil, nil, storageError{err}
	}
	if in == nil {
		return nil, nil, refuse("there is no integration %q: write %s%s", name, integrationPrefix, name)
	}
	conn := b.connections.get(in)
	if conn == nil {
		conn, err = b.makeConnection(ctx, s, in)
	}
	return in, conn, err
}

// makeConnection makes the connection for all who wait for it at once. It does
// not end with one of them, but in time, or with the backend.
func (b *backend) makeConnection(ctx context.Context, s logical.Storage, in *integration) (*connection, error) {
	made := b.connections.making.DoChan(in.Name+"/"+in.Revision, func() (any, error) {
		// Another flight may have ended since the caller looked.
		if conn := b.connections.reserve(in); conn != nil {
			return conn, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		defer context.AfterFunc(b.reaper.lifetime, cancel)() //nolint:contextcheck // two lifetimes meet here
		from, err := b.originOf(ctx, s, in)
		if err != nil {
			return nil, err
		}
		conn, err := newConnection(ctx, in, b.httpClients.of(in), from, b.calls.of(in.Name))
		// What was changed before the slot was reserved has dropped nothing.
		if now, _ := b.integrationCache.get(ctx, s, in.Name); err == nil && now != nil && now.Revision == in.Revision {
			b.connections.fill(in.Name, conn)
		}
		return conn, err
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case result := <-made:
		conn, _ := result.Val.(*connection)
		return conn, result.Err
	}
}
