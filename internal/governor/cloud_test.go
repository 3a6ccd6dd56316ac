package governor

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// cloud imitates AWS's bucket of tokens, in simulated time.
type cloud struct {
	latency time.Duration

	mu        sync.Mutex
	random    *rand.Rand
	rate      float64 // tokens a second; 0: no limit
	burst     float64
	tokens    float64
	filled    time.Time
	calls     int
	throttled int
	underWay  int
	peak      int // of underWay
}

func newCloud(rate, burst float64, latency time.Duration) *cloud {
	return &cloud{
		rate: rate, burst: burst, latency: latency, tokens: burst, filled: time.Now(),
		random: rand.New(rand.NewPCG(1, 2)),
	}
}

// limit changes the rate.
func (c *cloud) limit(rate float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fill()
	c.rate = rate
}

func (c *cloud) fill() {
	now := time.Now()
	c.tokens = min(c.burst, c.tokens+c.rate*now.Sub(c.filled).Seconds())
	c.filled = now
}

// call takes the latency, a quarter more or less, and AWS decides in its midst.
func (c *cloud) call() Outcome {
	c.mu.Lock()
	latency := time.Duration(float64(c.latency) * (0.75 + c.random.Float64()/2))
	c.underWay++
	c.peak = max(c.peak, c.underWay)
	c.mu.Unlock()
	time.Sleep(latency / 2)
	outcome := c.decide()
	time.Sleep(latency / 2)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.underWay--
	return outcome
}

func (c *cloud) decide() Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fill()
	c.calls++
	if c.rate > 0 && c.tokens < 1 {
		c.throttled++
		return Throttled
	}
	c.tokens--
	return Admitted
}

// counts returns how many calls there were, and how many of them were throttled.
func (c *cloud) counts() (calls, throttled int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls, c.throttled
}

// call makes one call until it is admitted.
func call(ctx context.Context, g *Governor, c *cloud) error {
	for {
		done, err := g.Acquire(ctx)
		if err != nil {
			return err
		}
		outcome := c.call()
		done(outcome)
		if outcome == Admitted {
			return nil
		}
	}
}

// remove deletes a user: two calls at once, then one more.
func remove(ctx context.Context, g *Governor, c *cloud) error {
	return removeSince(ctx, g, c, time.Time{})
}

// removeSince is remove for what has failed before, at that time.
func removeSince(ctx context.Context, g *Governor, c *cloud, since time.Time) error {
	if since.IsZero() {
		since = time.Now()
	}
	ctx = WithTask(ctx, Deleting, since)
	if err := both(ctx, g, c); err != nil {
		return err
	}
	return call(ctx, g, c)
}

// create makes a user: one call, then two at once.
func create(ctx context.Context, g *Governor, c *cloud) error {
	ctx = WithTask(ctx, Creating, time.Now())
	if err := call(ctx, g, c); err != nil {
		return err
	}
	return both(ctx, g, c)
}

func both(ctx context.Context, g *Governor, c *cloud) error {
	var calls errgroup.Group
	for range 2 {
		calls.Go(func() error { return call(ctx, g, c) })
	}
	return calls.Wait()
}

// revoke deletes users as Vault does, 200 at a time, and returns how long it took.
func revoke(ctx context.Context, g *Governor, c *cloud, users int) (time.Duration, error) {
	start := time.Now()
	var all errgroup.Group
	all.SetLimit(200)
	for range users {
		all.Go(func() error { return remove(ctx, g, c) })
	}
	err := all.Wait()
	return time.Since(start), err
}
