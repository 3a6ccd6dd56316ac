package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// soakSamples is how often a soak looks at the plugin's process: every five seconds
// in ten minutes, and no more often than every second in a short one, since looking
// takes the machine some time too.
func soakSamples(over time.Duration) int { return min(max(int(over/time.Second), 4), 120) }

// soakResult is what became of the plugin's process under steady load.
type soakResult struct {
	Seconds float64 `json:"seconds"`
	Clients int     `json:"clients"`
	Leases  int64   `json:"leases"` // issued, renewed and revoked
	Failed  int64   `json:"failed"`

	// Before is the process at rest after a short load, After the same after the
	// whole of it. They are two processes: counting goroutines ends one.
	Before atRest `json:"before"`
	After  atRest `json:"after"`

	Samples []soakSample `json:"samples"`
}

// soakSample is the process at a time, in seconds since the beginning.
type soakSample struct {
	At float64 `json:"at"`
	footprint
}

// atRest is the plugin's process when its clients have stopped, and connections
// that were kept for them have been closed.
type atRest struct {
	footprint
	Goroutines int `json:"goroutines"`
}

// steadyLoad is clients that issue, renew and revoke until they are stopped.
type steadyLoad struct {
	leases, failed atomic.Int64
	cancel         context.CancelFunc
	clients        sync.WaitGroup
}

func (s *stage) startLoad(ctx context.Context, e engine, clients int) *steadyLoad {
	ctx, cancel := context.WithCancel(ctx)
	l := &steadyLoad{cancel: cancel}
	for range clients {
		l.clients.Go(func() {
			for ctx.Err() == nil {
				// What is under way when the load is stopped is finished.
				if err := s.live(context.WithoutCancel(ctx), e); err != nil {
					l.failed.Add(1)
					pause(ctx, 10*time.Millisecond)
					continue
				}
				l.leases.Add(1)
			}
		})
	}
	return l
}

func (l *steadyLoad) stop() {
	l.cancel()
	l.clients.Wait()
}

// live is the life of one lease.
func (s *stage) live(ctx context.Context, e engine) error {
	id, err := s.issue(ctx, e.sites[0].creds(steadyRole))
	if err != nil {
		return err
	}
	if err := s.write(ctx, "sys/leases/renew", map[string]any{"lease_id": id}); err != nil {
		return err
	}
	return s.revoke(ctx, id)
}

// measureSoak puts the engine under steady load. It begins to look when the
// process has all the connections that so many clients need.
func (b *bench) measureSoak(ctx context.Context) error {
	return b.with(ctx, func(s *stage) error {
		e, err := s.mountOurs(ctx, accountIDs(2, 1))
		if err != nil {
			return err
		}
		found := &soakResult{Seconds: b.soak.Seconds(), Clients: b.soakClients}
		found.Before, err = b.rest(ctx, s, s.startLoad(ctx, e, b.soakClients))
		if err != nil {
			return err
		}
		if _, err := s.firstLease(ctx, e.sites[0].creds(steadyRole)); err != nil {
			return err
		}
		steady := s.startLoad(ctx, e, b.soakClients)
		pause(ctx, b.soakWarmUp)
		err = s.sample(ctx, b.soak, found)
		if err == nil {
			found.After, err = b.rest(ctx, s, steady)
		}
		steady.stop()
		found.Leases, found.Failed = steady.leases.Load(), steady.failed.Load()
		if err == nil {
			b.found.Soak = found
		}
		return err
	})
}

// rest lets a load go on for a moment, stops it, and looks at the plugin's process
// when it has had the time to come to rest. This ends the process.
func (b *bench) rest(ctx context.Context, s *stage, under *steadyLoad) (atRest, error) {
	pause(ctx, b.soakWarmUp)
	under.stop()
	var found atRest
	if !pause(ctx, b.soakRest) {
		return found, ctx.Err()
	}
	pid, err := s.pluginPID()
	if err != nil {
		return found, err
	}
	if found.footprint, err = footprintOf(pid); err != nil {
		return found, err
	}
	found.Goroutines, err = s.goroutines(ctx)
	return found, err
}

// sample looks at the plugin's process at equal intervals.
func (s *stage) sample(ctx context.Context, over time.Duration, found *soakResult) error {
	pid, err := s.pluginPID()
	if err != nil {
		return err
	}
	start, samples := time.Now(), soakSamples(over)
	for i := range samples + 1 {
		if !pause(ctx, time.Until(start.Add(over*time.Duration(i)/time.Duration(samples)))) {
			return ctx.Err()
		}
		now, err := footprintOf(pid)
		if err != nil {
			return fmt.Errorf("the plugin's process: %w", err)
		}
		found.Samples = append(found.Samples, soakSample{time.Since(start).Seconds(), now})
	}
	return nil
}
