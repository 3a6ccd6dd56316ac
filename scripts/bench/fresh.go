package main

import (
	"context"
	"time"
)

// freshPatience is how long a new lease is waited for during a mass revocation.
const freshPatience = time.Minute

// asker asks for new leases at a slow pace, one at a time.
type asker struct {
	cancel context.CancelFunc
	found  chan freshLeases
}

// askForFresh begins at once and goes on until it is stopped.
func (s *stage) askForFresh(ctx context.Context, creds string, every time.Duration) *asker {
	ctx, cancel := context.WithCancel(ctx)
	a := &asker{cancel: cancel, found: make(chan freshLeases, 1)}
	go func() { a.found <- s.freshLeases(ctx, creds, every) }()
	return a
}

// stop waits for the request under way and returns what was found.
func (a *asker) stop() freshLeases {
	a.cancel()
	return <-a.found
}

func (s *stage) freshLeases(ctx context.Context, creds string, every time.Duration) freshLeases {
	var found freshLeases
	var took []float64
	for {
		start := time.Now()
		// The end of the measurement does not end a request: it would be a failure.
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), freshPatience)
		_, err := s.issue(asking, creds)
		cancel()
		found.Asked++
		took = append(took, millis(time.Since(start)))
		if err != nil {
			found.Failed++
			found.LastError = err.Error()
		}
		if !pause(ctx, every-time.Since(start)) {
			all := spreadOf(took)
			found.Max, found.Median = all.max, all.median
			return found
		}
	}
}
