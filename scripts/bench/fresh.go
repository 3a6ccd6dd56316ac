package main

import (
	"context"
	"time"
)

// freshPatience is how long a new lease is waited for during a mass revocation.
const freshPatience = time.Minute

// asker asks for new leases at a slow pace, one at a time.
type asker struct {
	stopping chan struct{}
	found    chan freshLeases
}

// askForFresh begins at once and goes on until it is stopped.
func (s *stage) askForFresh(ctx context.Context, creds string, every time.Duration) *asker {
	a := &asker{stopping: make(chan struct{}), found: make(chan freshLeases, 1)}
	go func() { a.found <- s.freshLeases(ctx, creds, every, a.stopping) }()
	return a
}

// stop waits for the request under way and returns what was found.
func (a *asker) stop() freshLeases {
	close(a.stopping)
	return <-a.found
}

func (s *stage) freshLeases(ctx context.Context, creds string, every time.Duration, stopping <-chan struct{}) freshLeases {
	var found freshLeases
	var took []float64
	for {
		start := time.Now()
		asking, cancel := context.WithTimeout(ctx, freshPatience)
		_, err := s.issue(asking, creds)
		cancel()
		found.Asked++
		took = append(took, millis(time.Since(start)))
		if err != nil {
			found.Failed++
			found.LastError = err.Error()
		}
		select {
		case <-time.After(every - time.Since(start)):
			continue
		case <-stopping:
		case <-ctx.Done():
		}
		all := spreadOf(took)
		found.Max, found.Median = all.max, all.median
		return found
	}
}
