package governor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// paced has learned that AWS admits 200 calls a second.
func paced(now time.Time) *pace {
	p := &throttledGovernor(200).pace
	p.throttledAt = now
	return p
}

// TestCatchingUp: calls that were let go late are made up for, up to a bound.
func TestCatchingUp(t *testing.T) {
	now := time.Now()
	p := paced(now)
	let := func() (n int) {
		for p.admit(now) == 0 {
			n++
		}
		return n
	}
	let()
	now = now.Add(40 * time.Millisecond)
	require.InDelta(t, 8, let(), 1)
	now = now.Add(time.Second)
	require.InDelta(t, 200*lateness.Seconds(), let(), 1)
}

// TestThrottledWithoutAMeasurement: a pace that is too high is taken back even
// where calls come too seldom to measure what is right.
//
// Break it by leaving backOff out.
func TestThrottledWithoutAMeasurement(t *testing.T) {
	now := time.Now()
	p := paced(now)
	for p.measured > 20 {
		before := p.measured
		p.rest(now)
		now = now.Add(time.Second)
		p.learn(now.Add(-time.Millisecond), now, Throttled)
		require.LessOrEqual(t, p.measured, backOff*before)
	}
}
