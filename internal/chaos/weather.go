package chaos

import (
	"context"
	"sync"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// rateBurst is how many calls a rate limit lets through at once.
const rateBurst = 5

// sky lets the weather of a schedule come and go.
type sky struct {
	cloud *cloud
	tally *tally
}

// run goes through the schedule until the context ends, and returns with all
// trouble over.
func (s *sky) run(ctx context.Context, schedule *cloudSchedule) {
	var up sync.WaitGroup
	for {
		w := schedule.next()
		if !pause(ctx, w.after) {
			break
		}
		up.Go(func() { s.let(ctx, w) })
	}
	up.Wait()
	s.cloud.heal()
}

// let has one weather come, last and go. Of rate limits and lags there is one
// at a time: the last to come counts until the first one goes.
func (s *sky) let(ctx context.Context, w weather) {
	switch w.kind {
	case rateLimited:
		refused := s.cloud.Throttled()
		s.cloud.SetThrottle(w.rate, rateBurst)
		pause(ctx, w.lasts)
		s.cloud.SetThrottle(0, 0)
		s.count(string(w.kind), s.cloud.Throttled()-refused)
	case lagging:
		s.tally.add(string(w.kind))
		s.cloud.SetLag(w.lag)
		pause(ctx, w.lasts)
		s.cloud.SetLag(awsfake.Lag{})
	default:
		fault := w.fault
		fault.Hook = func(c awsfake.Call) {
			if !s.cloud.isRoot(c) {
				s.count(string(w.kind), 1)
			}
		}
		remove := s.cloud.Inject(fault)
		pause(ctx, w.lasts)
		remove()
	}
}

// count takes note of calls that a fault has met.
func (s *sky) count(kind string, calls int) {
	s.tally.addN(kind, calls)
	s.tally.addN(faultsInAWS, calls)
}
