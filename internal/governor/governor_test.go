package governor

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// TestUnthrottled: an AWS that never throttles is held back by nothing but the
// number of calls under way.
func TestUnthrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, g := newCloud(0, 0, 100*time.Millisecond), new(Governor)
		start := time.Now()
		var all errgroup.Group
		for range 200 {
			all.Go(func() error {
				for range 20 {
					if err := create(t.Context(), g, c); err != nil {
						return err
					}
				}
				return nil
			})
		}
		require.NoError(t, all.Wait())
		require.Equal(t, maxWindow, c.peak)
		require.Less(t, time.Since(start), 22*time.Second, "12,000 calls, 64 at a time")
	})
}

// throttledGovernor has learned that AWS admits so many calls a second.
func throttledGovernor(perSecond float64) *Governor {
	g := new(Governor)
	now := time.Now()
	g.pace.measured, g.pace.period, g.pace.throttledAt = perSecond, longPeriod, now
	g.pace.slowDown(now)
	g.pace.measured, g.pace.period = perSecond, longPeriod
	return g
}

// TestWeights: of ten calls nine are deletions' where both kinds wait, and none
// is idle.
func TestWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttledGovernor(20)
		var turns [classes]atomic.Int64
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var all sync.WaitGroup
		for class := range classes {
			for range 300 {
				all.Go(func() {
					// Without the deadline, or creations would be refused at once.
					ctx, cancel := context.WithCancel(WithTask(context.WithoutCancel(ctx), class, time.Now()))
					defer cancel()
					time.AfterFunc(5*time.Second, cancel)
					if done, err := g.Acquire(ctx); err == nil {
						turns[class].Add(1)
						done(Admitted)
					}
				})
			}
		}
		all.Wait()
		require.Greater(t, turns[Creating].Load(), int64(8))
		require.Zero(t, turns[Idle].Load())
		require.InDelta(t, deletionsPerCreation, float64(turns[Deleting].Load())/float64(turns[Creating].Load()), 1)
	})
}

// TestOldestTaskFirst: what was begun first is finished before the next begins.
//
// Break it by comparing nothing in line.Less.
func TestOldestTaskFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttledGovernor(10)
		var order []int
		contexts := make([]context.Context, 20)
		for i := range contexts {
			contexts[i] = WithTask(t.Context(), Deleting, time.Now())
		}
		var all sync.WaitGroup
		for i := range contexts {
			i = len(contexts) - 1 - i // the newest asks first
			all.Go(func() {
				done, err := g.Acquire(contexts[i])
				require.NoError(t, err)
				order = append(order, i) // one at a time, by the pace
				done(Admitted)
			})
		}
		all.Wait()
		require.IsIncreasing(t, order)
	})
}

// TestIdle: what nobody waits for has all turns that nobody else wants; creations
// that come meanwhile are not held up by it; and what is begun is finished.
//
// Break it by having next prefer the idle line to that of creations, or by
// leaving the task's class as it is in done.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttledGovernor(10)
		var order []string
		acquire := func(ctx context.Context, what string) {
			done, err := g.Acquire(ctx)
			require.NoError(t, err)
			order = append(order, what) // one at a time, by the pace
			done(Admitted)
		}
		var all sync.WaitGroup
		begun := WithTask(t.Context(), Idle, time.Now())
		acquire(begun, "begin")
		for range 2 {
			all.Go(func() { acquire(WithTask(t.Context(), Idle, time.Now()), "begin") })
		}
		synctest.Wait()
		for range 5 {
			all.Go(func() { acquire(WithTask(t.Context(), Creating, time.Now()), "lease") })
		}
		all.Go(func() { acquire(WithTask(t.Context(), Deleting, time.Now()), "delete") })
		synctest.Wait()
		all.Go(func() { acquire(begun, "finish") })
		all.Wait()
		require.Equal(t, []string{"begin", "finish"}, slices.DeleteFunc(slices.Clone(order[:3]), func(what string) bool { return what == "lease" || what == "delete" }))
		require.Equal(t, []string{"begin", "begin"}, order[8:])
	})
}

// TestNoTimeLeft: a creation that cannot have its turn in time is refused before
// it has made a call; a deletion waits for as long as it can.
func TestNoTimeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttledGovernor(10)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range 600 { // what waits is more than a minute's worth
			go func() { _, _ = g.Acquire(WithTask(ctx, Deleting, time.Now())) }()
		}
		synctest.Wait()
		start := time.Now()
		creating, cancel := context.WithTimeout(WithTask(t.Context(), Creating, time.Now()), 2*time.Second)
		defer cancel()
		_, err := g.Acquire(creating)
		var busy *BusyError
		require.ErrorAs(t, err, &busy)
		require.Zero(t, time.Since(start))
		require.InDelta(t, 10, busy.Rate, 1)
		require.Greater(t, busy.Waiting, 500)
		require.False(t, busy.RetryableError())
		require.ErrorContains(t, err, "try again later")

		// One that has begun is not given up for that.
		_, err = g.Acquire(WithRest(creating, time.Now()))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		start = time.Now()

		deleting, cancel := context.WithTimeout(WithTask(t.Context(), Deleting, time.Now()), 2*time.Second)
		defer cancel()
		_, err = g.Acquire(deleting)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 2*time.Second, time.Since(start))
	})
}

// TestCallersThatGiveUp: whoever goes away takes no turn with them.
//
// Break it by leaving out what Acquire does for a context that has ended, and
// then the giving back of a turn that came at the same moment.
func TestCallersThatGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttledGovernor(50)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			_, err := g.Acquire(WithTask(ended, Deleting, time.Now()))
			require.ErrorIs(t, err, context.Canceled)
		}
		require.Zero(t, g.underWay)

		g = new(Governor)
		for range 100 { // both at once, so that either may be seen first
			var busy []func(Outcome)
			for range firstWindow {
				done, err := g.Acquire(t.Context())
				require.NoError(t, err)
				busy = append(busy, done)
			}
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				if done, err := g.Acquire(ctx); err == nil {
					done(Unanswered)
				}
			}()
			synctest.Wait()
			cancel()
			for _, done := range busy {
				done(Unanswered)
			}
			synctest.Wait()
			require.Zero(t, g.underWay)
		}

		g = throttledGovernor(50)
		var all sync.WaitGroup
		for i := range 1000 {
			all.Go(func() {
				// Many end at the very moment of a turn.
				ctx, cancel := context.WithTimeout(WithTask(t.Context(), Deleting, time.Now()), time.Duration(i)*20*time.Millisecond)
				defer cancel()
				if done, err := g.Acquire(ctx); err == nil {
					time.Sleep(10 * time.Millisecond)
					done(Admitted)
				}
			})
		}
		all.Wait()
		require.Zero(t, g.underWay)
		require.Empty(t, g.waiting[Deleting])
	})
}

// TestUnansweredCalls says nothing about AWS's rate, but ends the call.
func TestUnansweredCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Governor)
		for range 1000 {
			done, err := g.Acquire(t.Context())
			require.NoError(t, err)
			done(Unanswered)
		}
		require.Equal(t, firstWindow, g.pace.window())
		require.Zero(t, g.pace.admitted)
	})
}

// TestQuietAccount: after a while without calls the window is small again, since
// AWS may allow less than it did.
func TestQuietAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, g := newCloud(0, 0, time.Millisecond), new(Governor)
		_, err := revoke(t.Context(), g, c, 1000)
		require.NoError(t, err)
		require.Equal(t, maxWindow, g.pace.window())
		time.Sleep(2 * quiet)
		require.NoError(t, call(t.Context(), g, c))
		require.Equal(t, firstWindow, g.pace.window())
	})
}

func TestGovernors(t *testing.T) {
	var all Governors
	one := all.Of("a")
	require.Same(t, one, all.Of("a"))
	require.NotSame(t, one, all.Of("b"))
}

// TestForgottenRateIsNotTold: where AWS hangs, calls are given up when its rate has long
// been forgotten, since none is let go that would have noticed. Break it by telling
// pace.rate in Governor.busy.
func TestForgottenRateIsNotTold(t *testing.T) {
	g := &Governor{pace: pace{measured: 20, period: time.Second, throttledAt: time.Now().Add(-35 * time.Second)}}
	var busy *BusyError
	require.ErrorAs(t, g.busy(context.DeadlineExceeded), &busy)
	require.Zero(t, busy.Rate)
}
