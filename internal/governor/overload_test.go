package governor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// expirations imitates Vault's expiration manager: 200 workers, six attempts of
// 75 s each, with a pause that doubles in between.
type expirations struct {
	random *rand.Rand

	mu          sync.Mutex
	irrevocable int
}

func (x *expirations) pauseAfter(failures int) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	return time.Duration((0.5 + x.random.Float64()) * float64(int(10)<<failures) * float64(time.Second))
}

// revoke ends so many leases, and returns how long it took.
func (x *expirations) revoke(g *Governor, c *cloud, leases int) time.Duration {
	start := time.Now()
	workers := make(chan struct{}, 200)
	var all sync.WaitGroup
	for range leases {
		all.Go(func() {
			var since time.Time // of the first failure
			for failures := 1; ; failures++ {
				workers <- struct{}{}
				ctx, cancel := context.WithTimeout(context.Background(), 75*time.Second)
				err := removeSince(ctx, g, c, since)
				cancel()
				<-workers
				if err == nil {
					return
				}
				if since.IsZero() {
					since = time.Now()
				}
				if failures == 6 {
					x.mu.Lock()
					x.irrevocable++
					x.mu.Unlock()
					return
				}
				time.Sleep(x.pauseAfter(failures))
			}
		})
	}
	all.Wait()
	return time.Since(start)
}

// TestRevocationBeyondCapacity: where AWS admits so few calls that most attempts
// run out of time, no lease is given up, and few calls are made for nothing.
//
// Break it by giving every attempt the time of its own as its place in the line.
func TestRevocationBeyondCapacity(t *testing.T) {
	for _, of := range []struct {
		leases int
		rate   float64
		calls  float64 // bound, to the floor
	}{{1000, 5, 1.1}, {5000, 5, 1.09}, {2000, 3, 1.2}} {
		t.Run(fmt.Sprintf("%d at %v a second", of.leases, of.rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, g := newCloud(of.rate, of.rate, 50*time.Millisecond), new(Governor)
				x := &expirations{random: rand.New(rand.NewPCG(1, 2))}
				took := x.revoke(g, c, of.leases)
				calls, _ := c.counts()
				floor := float64(3 * of.leases)
				t.Logf("%.2f of the floor in time, %.2f in calls, %d irrevocable", took.Seconds()*of.rate/floor, float64(calls)/floor, x.irrevocable)
				require.Zero(t, x.irrevocable)
				require.Less(t, float64(calls), of.calls*floor)
			})
		})
	}
}

// TestSecondRevocation: what was learned from the first is not held against the
// account, nor is AWS flooded, however much later the second comes.
//
// Break it by resetting the window only where no limit is known.
func TestSecondRevocation(t *testing.T) {
	for _, later := range []time.Duration{5 * time.Second, 45 * time.Second, 2 * time.Minute, time.Hour} {
		t.Run(later.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, g := newCloud(20, 20, 50*time.Millisecond), new(Governor)
				for range 2 {
					calls, throttled := c.counts()
					took, err := revoke(t.Context(), g, c, 300)
					require.NoError(t, err)
					after, throttledAfter := c.counts()
					require.Less(t, took, 49*time.Second)
					require.Less(t, float64(throttledAfter-throttled)/float64(after-calls), 0.03)
					time.Sleep(later)
				}
			})
		})
	}
}

// TestOutage: soon after AWS has throttled everything for a while, its rate is
// made full use of again.
//
// Break it by leaving out slowest.
func TestOutage(t *testing.T) {
	for _, outage := range []time.Duration{30 * time.Second, 5 * time.Minute, time.Hour} {
		t.Run(outage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, g := newCloud(20, 20, 50*time.Millisecond), new(Governor)
				ctx, cancel := context.WithCancel(t.Context())
				revoked := make(chan error, 1)
				go func() {
					_, err := revoke(ctx, g, c, 100_000)
					revoked <- err
				}()
				time.Sleep(20 * time.Second)
				c.limit(0.0001)
				time.Sleep(outage)
				_, throttled := c.counts()
				require.Less(t, float64(throttled), 60+4*outage.Seconds(), "asked now and then")
				c.limit(20)
				time.Sleep(40 * time.Second)
				calls, _ := c.counts()
				time.Sleep(20 * time.Second)
				after, _ := c.counts()
				require.InDelta(t, 20, float64(after-calls)/20, 2)
				cancel()
				require.ErrorIs(t, <-revoked, context.Canceled)
			})
		})
	}
}

// TestNeighbour: beside another consumer that takes more than AWS admits and
// never backs off, a lease now and then still comes about.
func TestNeighbour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, g := newCloud(20, 20, 50*time.Millisecond), new(Governor)
		_, err := revoke(t.Context(), g, c, 100)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var neighbour sync.WaitGroup
		neighbour.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(33 * time.Millisecond)
				c.decide()
			}
		})
		for range 50 {
			start := time.Now()
			require.NoError(t, create(t.Context(), g, c))
			require.Less(t, time.Since(start), 30*time.Second)
			time.Sleep(3 * time.Second)
		}
		cancel()
		neighbour.Wait()
	})
}

// TestCrowdOfCreations: as many as AWS can serve in their time are not refused
// for the deletions that come in between now and then.
//
// Break it by reckoning with nine deletions a creation if any deletion waits.
func TestCrowdOfCreations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, g := newCloud(20, 20, 50*time.Millisecond), new(Governor)
		_, err := revoke(t.Context(), g, c, 100)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var deletions errgroup.Group
		go func() {
			for ctx.Err() == nil {
				deletions.Go(func() error { return remove(context.WithoutCancel(ctx), g, c) })
				time.Sleep(time.Second)
			}
		}()
		var creations errgroup.Group
		for i := range 150 { // 23 s worth, and the deletions' 4
			creations.Go(func() error {
				time.Sleep(time.Duration(i) * 5 * time.Second / 150)
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
				defer cancel()
				return create(ctx, g, c)
			})
		}
		require.NoError(t, creations.Wait())
		cancel()
		time.Sleep(time.Second)
		require.NoError(t, deletions.Wait())
	})
}

// TestForgetting: an hour after the last throttling there is no limit any more.
//
// Break it by leaving out what admit, or limit, does after forgetPeriods.
func TestForgetting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttledGovernor(20)
		require.InDelta(t, 20, g.Load().Rate, 1)
		throttled := g.Load().Throttled
		time.Sleep(time.Hour)
		require.Equal(t, Load{Throttled: throttled}, g.Load(), "nobody has called since")
		c := newCloud(0, 0, 0)
		require.NoError(t, call(t.Context(), g, c))
		require.Zero(t, g.pace.rate(time.Now()))
	})
}
