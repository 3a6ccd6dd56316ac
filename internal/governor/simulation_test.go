package governor

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// TestMassRevocation holds the governor to its figures in simulated time: how
// much longer than the floor (three calls a user at AWS's rate) a revocation of
// many leases takes, and what share of its calls is throttled.
//
// Break it by starting with a larger window, with a caution of a quarter, or
// without the geometric mean of measure.
func TestMassRevocation(t *testing.T) {
	for _, of := range []struct {
		users       int
		rate, burst float64
		time, share float64 // bounds
	}{
		{users: 300, rate: 20, burst: 20, time: 1.05, share: 0.03},
		{users: 2000, rate: 200, burst: 200, time: 1.05, share: 0.03},
		// AWS does not say how large its buckets are.
		{users: 300, rate: 20, burst: 5, time: 1.10, share: 0.03},
		{users: 300, rate: 20, burst: 100, time: 1.05, share: 0.04},
		{users: 2000, rate: 200, burst: 20, time: 1.35, share: 0.03},
		{users: 2000, rate: 200, burst: 1000, time: 1.05, share: 0.03},
		{users: 100, rate: 5, burst: 5, time: 1.10, share: 0.07},
		{users: 100, rate: 5, burst: 50, time: 1.05, share: 0.09},
		// A bucket of one token, as good as none, is not made full use of.
		{users: 300, rate: 20, burst: 1, time: 2.2, share: 0.03},
	} {
		for _, latency := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 150 * time.Millisecond} {
			t.Run(fmt.Sprintf("%d at %v a second, bucket of %v, %s a call", of.users, of.rate, of.burst, latency), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, g := newCloud(of.rate, of.burst, latency), new(Governor)
					took, err := revoke(t.Context(), g, c, of.users)
					require.NoError(t, err)
					calls, throttled := c.counts()
					share := float64(throttled) / float64(calls)
					floor := float64(3*of.users) / of.rate
					t.Logf("%.1f s, %.3f of the floor; %d of %d calls throttled, %.1f%%", took.Seconds(), took.Seconds()/floor, throttled, calls, 100*share)
					require.Less(t, took.Seconds(), of.time*floor)
					require.Less(t, share, of.share)
					require.LessOrEqual(t, c.peak, maxWindow)
				})
			})
		}
	}
}

// TestCreationsDuringRevocation: new leases can be had within 5 s while
// everything is being revoked.
//
// Break it by having next always prefer deletions.
func TestCreationsDuringRevocation(t *testing.T) {
	for _, limit := range []float64{20, 200} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, g := newCloud(limit, limit, 50*time.Millisecond), new(Governor)
				revoked := make(chan error, 1)
				go func() {
					_, err := revoke(t.Context(), g, c, int(15*limit))
					revoked <- err
				}()
				issued := 0
				for {
					select {
					case err := <-revoked:
						require.NoError(t, err)
						require.Greater(t, issued, 8)
						return
					case <-time.After(3 * time.Second):
					}
					start := time.Now()
					require.NoError(t, create(t.Context(), g, c))
					require.Less(t, time.Since(start), 5*time.Second)
					issued++
				}
			})
		})
	}
}

// TestRecovery: the pace rises once AWS allows more, and falls when it allows
// less without having many calls throttled.
func TestRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, g := newCloud(20, 20, 50*time.Millisecond), new(Governor)
		ctx, cancel := context.WithCancel(t.Context())
		revoked := make(chan error, 1)
		go func() {
			_, err := revoke(ctx, g, c, 20000)
			revoked <- err
		}()
		during := func(d time.Duration) (perSecond, share float64) {
			calls, throttled := c.counts()
			time.Sleep(d)
			callsAfter, throttledAfter := c.counts()
			return float64(callsAfter-calls) / d.Seconds(), float64(throttledAfter-throttled) / float64(callsAfter-calls)
		}
		time.Sleep(20 * time.Second)
		perSecond, _ := during(20 * time.Second)
		require.InDelta(t, 20, perSecond, 1)

		c.limit(200)
		time.Sleep(40 * time.Second)
		perSecond, _ = during(20 * time.Second)
		require.InDelta(t, 200, perSecond, 20)

		c.limit(10)
		_, share := during(time.Minute)
		require.Less(t, share, 0.15, "of a fall to a twentieth")
		perSecond, share = during(time.Minute)
		require.InDelta(t, 10, perSecond, 1)
		require.Less(t, share, 0.05)
		cancel()
		require.ErrorIs(t, <-revoked, context.Canceled)
	})
}

// TestLargeCreationsAreRefusedAtOnce: of creations that take many calls those that could
// not be finished in their time are refused before their first, and the others finish.
// Break it by reckoning with callsPerCreation for each in Governor.hopeless.
func TestLargeCreationsAreRefusedAtOnce(t *testing.T) {
	const calls = 13 // inline policy, ten managed policies, key
	synctest.Test(t, func(t *testing.T) {
		c, g := newCloud(20, 20, 50*time.Millisecond), new(Governor)
		_, err := revoke(t.Context(), g, c, 100) // so that the rate is known
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		revoked := make(chan struct{})
		go func() {
			defer close(revoked)
			_, _ = revoke(ctx, g, c, 5000)
		}()
		time.Sleep(5 * time.Second)
		var creations sync.WaitGroup
		var made, refused atomic.Int64
		for i := range 10 {
			creations.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond) // one after the other
				start := time.Now()
				ctx, cancel := context.WithTimeout(WithCreation(t.Context(), start, calls), 50*time.Second)
				defer cancel()
				if call(ctx, g, c) != nil {
					refused.Add(1)
					assert.Zero(t, time.Since(start))
					return
				}
				var rest errgroup.Group
				for range calls - 1 {
					rest.Go(func() error { return call(ctx, g, c) })
				}
				if err := rest.Wait(); err != nil {
					t.Errorf("after %s: %s", time.Since(start), err)
				}
				made.Add(1)
			})
		}
		creations.Wait()
		cancel()
		<-revoked
		require.EqualValues(t, 10, made.Load()+refused.Load())
		require.Positive(t, made.Load())
		require.Positive(t, refused.Load())
	})
}
