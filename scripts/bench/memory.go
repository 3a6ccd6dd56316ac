package main

import (
	"context"
	"fmt"
)

// memoryRow is what an engine holds with so many live users.
type memoryRow struct {
	Engine string    `json:"engine"`
	Users  int       `json:"users"`
	Server footprint `json:"server"`
	// Plugin is of the plugin's process; nil for the built-in engine, which is a
	// part of the server.
	Plugin     *footprint `json:"plugin,omitempty"`
	Goroutines int        `json:"goroutines,omitempty"` // of the plugin's process
}

// populate is sections e and g for both engines, each in a server of its own: what
// one has taken of memory must not be there for the other.
func (b *bench) populate(ctx context.Context) error {
	for _, mount := range []func(*stage) (engine, error){
		func(s *stage) (engine, error) { return s.mountBuiltIn(ctx, accountIDs(1, scaleAccounts)) },
		func(s *stage) (engine, error) { return s.mountOurs(ctx, accountIDs(2, scaleAccounts)) },
	} {
		err := b.with(ctx, func(s *stage) error {
			e, err := mount(s)
			if err != nil {
				return err
			}
			if err := b.grow(ctx, s, e); err != nil || !b.wants("g") {
				return err
			}
			return b.measureRestarts(ctx, s, e)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// grow makes users and looks at the memory on the way.
func (b *bench) grow(ctx context.Context, s *stage, e engine) error {
	have := 0
	for _, users := range b.users {
		b.say("  %d users of %s, in %d accounts", users, e.name, len(e.sites))
		err := share(ctx, b.fillClients, users-have, func(ctx context.Context, i int) error {
			_, err := s.issue(ctx, e.sites[i%len(e.sites)].creds(steadyRole))
			return err
		})
		if err != nil {
			return err
		}
		have = users
		if !b.wants("e") {
			continue
		}
		if !pause(ctx, b.settle) {
			return ctx.Err()
		}
		row, err := s.measureMemory(ctx, e, users)
		if err != nil {
			return err
		}
		b.found.Memory = append(b.found.Memory, row)
	}
	return nil
}

// measureMemory looks at the processes. It ends the plugin's, since that is how
// it is asked for its goroutines, and returns when Vault has started it again.
func (s *stage) measureMemory(ctx context.Context, e engine, users int) (memoryRow, error) {
	row := memoryRow{Engine: e.name, Users: users}
	var err error
	if row.Server, err = footprintOf(s.vault.PID()); err != nil || e.name == builtIn {
		return row, err
	}
	pid, err := s.pluginPID()
	if err != nil {
		return row, err
	}
	plugin, err := footprintOf(pid)
	if err != nil {
		return row, err
	}
	row.Plugin = &plugin
	if row.Goroutines, err = s.goroutines(ctx); err != nil {
		return row, err
	}
	id, err := s.firstLease(ctx, e.sites[0].creds(freshRole))
	if err != nil {
		return row, fmt.Errorf("after the plugin was ended: %w", err)
	}
	return row, s.revoke(ctx, id)
}
