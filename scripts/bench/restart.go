package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	restartedVault  = "Vault killed and started again"
	restartedPlugin = "plugin killed"

	// restartPatience bounds a restart, and restartPoll is the pause between two
	// attempts to use what has been restarted.
	restartPatience = 2 * time.Minute
	restartPoll     = 5 * time.Millisecond
)

// restartRow is how soon there was a lease again, in seconds by repetition.
type restartRow struct {
	Engine string    `json:"engine"`
	What   string    `json:"what"`
	Users  int       `json:"users"`
	First  []float64 `json:"first_lease_seconds"` // since Vault served again
	Whole  []float64 `json:"whole_seconds"`       // since the process was gone
}

// measureRestarts counts the users as they are meant to be: there are a few more,
// of the first leases themselves.
func (b *bench) measureRestarts(ctx context.Context, s *stage, e engine) error {
	users := b.users[len(b.users)-1]
	vault := restartRow{Engine: e.name, What: restartedVault, Users: users}
	plugin := restartRow{Engine: e.name, What: restartedPlugin, Users: users}
	for range b.restartRepeats {
		b.say("  %s: %s", e.name, restartedVault)
		first, whole, err := s.restartVault(ctx, e.sites[0].creds(freshRole))
		if err != nil {
			return err
		}
		vault.First, vault.Whole = append(vault.First, first.Seconds()), append(vault.Whole, whole.Seconds())
		if e.name == builtIn {
			continue
		}
		b.say("  %s: %s", e.name, restartedPlugin)
		if err := s.vault.KillPlugins(); err != nil {
			return err
		}
		start := time.Now()
		if _, err := s.firstLease(ctx, e.sites[0].creds(freshRole)); err != nil {
			return err
		}
		took := time.Since(start).Seconds()
		plugin.First, plugin.Whole = append(plugin.First, took), append(plugin.Whole, took)
	}
	b.found.Restarts = append(b.found.Restarts, vault)
	if e.name != builtIn {
		b.found.Restarts = append(b.found.Restarts, plugin)
	}
	return nil
}

// restartVault returns how long after Vault served again, and after it was gone,
// there was a lease.
func (s *stage) restartVault(ctx context.Context, creds string) (first, whole time.Duration, err error) {
	if err := s.vault.Kill(); err != nil {
		return 0, 0, err
	}
	start := time.Now()
	restarted := make(chan error, 1)
	go func() { restarted <- s.vault.Restart(ctx) }()
	defer func() { err = errors.Join(err, <-restarted) }()
	// Restart itself looks too seldom to be timed by.
	served, err := s.awaitService(ctx)
	if err != nil {
		return 0, 0, err
	}
	_, err = s.firstLease(ctx, creds)
	return time.Since(served), time.Since(start), err
}

// awaitService waits until Vault is active and returns when that was seen.
func (s *stage) awaitService(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, restartPatience)
	defer cancel()
	for {
		health, err := s.client.Sys().HealthWithContext(ctx)
		if err == nil && health.Initialized && !health.Sealed && !health.Standby {
			return time.Now(), nil
		}
		if !pause(ctx, restartPoll) {
			return time.Time{}, fmt.Errorf("waiting for Vault to serve: %w", errors.Join(ctx.Err(), err))
		}
	}
}

// firstLease asks until there is a lease, and returns its id.
func (s *stage) firstLease(ctx context.Context, creds string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, restartPatience)
	defer cancel()
	for {
		id, err := s.issue(ctx, creds)
		if err == nil {
			return id, nil
		}
		if !pause(ctx, restartPoll) {
			return "", fmt.Errorf("waiting for a first lease: %w", errors.Join(ctx.Err(), err))
		}
	}
}
