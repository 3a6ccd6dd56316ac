package governor

import (
	"cmp"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// TestAlternatives revokes many leases in simulated time with what the AWS SDK has
// of its own, and with the governor: why there is a governor. Its log is the table
// in docs/benchmarks.md.
func TestAlternatives(t *testing.T) {
	patient := func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff = 11, 5*time.Second // as the engine
		o.RateLimiter = ratelimit.None
	}
	alternatives := []struct {
		name    string
		retryer func() aws.Retryer
	}{
		{"SDK, standard mode", func() aws.Retryer { return retry.NewStandard() }},
		{"SDK, standard mode, no quota, 10 retries", func() aws.Retryer { return retry.NewStandard(patient) }},
		{"SDK, adaptive mode", func() aws.Retryer { return newAdaptive() }},
		{"SDK, adaptive mode, no quota, 10 retries", func() aws.Retryer { return newAdaptive(patient) }},
		{"the governor", nil},
	}
	for _, of := range []struct {
		users int
		rate  float64
	}{{300, 20}, {2000, 200}} {
		var last revocation
		for _, alternative := range alternatives {
			var r revocation
			synctest.Test(t, func(t *testing.T) {
				c := newCloud(of.rate, of.rate, 50*time.Millisecond)
				does := governedWork(new(Governor), c)
				if alternative.retryer != nil {
					does = retriedWork(alternative.retryer(), c)
				}
				r = does.revoke(t.Context(), c, of.users)
			})
			floor := float64(3*of.users)/of.rate - 1 // the bucket is full at first
			t.Logf("| %d at %.0f/s | %s | %.2f | %.1f%% | %d | %s |",
				of.users, of.rate, alternative.name, r.took.Seconds()/floor, 100*r.throttled, r.failed, r.slowest.Round(100*time.Millisecond))
			if alternative.retryer != nil {
				last.throttled = min(cmp.Or(last.throttled, 1), r.throttled)
				continue
			}
			require.Zero(t, r.failed)
			require.Less(t, r.throttled, last.throttled/2)
		}
	}
}

// adaptive waits for its turn by asking again and again: for a pause that rounds to
// nothing the SDK's own wait would do so without simulated time going on.
type adaptive struct{ *retry.AdaptiveMode }

func newAdaptive(options ...func(*retry.StandardOptions)) adaptive {
	return adaptive{retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
		o.FailOnNoAttemptTokens, o.StandardOptions = true, options
	})}
}

// GetAttemptToken implements aws.RetryerV2.
func (a adaptive) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	for {
		if release, err := a.AdaptiveMode.GetAttemptToken(ctx); err == nil {
			return release, nil
		}
		time.Sleep(25 * time.Millisecond)
	}
}

// work is how users are deleted and made.
type work struct{ remove, create func(context.Context) error }

func governedWork(g *Governor, c *cloud) work {
	return work{
		remove: func(ctx context.Context) error { return remove(ctx, g, c) },
		create: func(ctx context.Context) error { return create(ctx, g, c) },
	}
}

// retriedWork makes calls as the SDK's clients do that share the retryer.
func retriedWork(retryer aws.Retryer, c *cloud) work {
	attempts := retry.NewAttemptMiddleware(retryer, func(request any) any { return request })
	send := middleware.FinalizeHandlerFunc(func(context.Context, middleware.FinalizeInput) (out middleware.FinalizeOutput, metadata middleware.Metadata, err error) {
		if c.call() == Throttled {
			err = &smithy.GenericAPIError{Code: "Throttling", Message: "Rate exceeded"}
		}
		return out, metadata, err
	})
	one := func(ctx context.Context) error {
		_, _, err := attempts.HandleFinalize(ctx, middleware.FinalizeInput{}, send)
		return err
	}
	two := func(ctx context.Context) error {
		var calls errgroup.Group
		calls.Go(func() error { return one(ctx) })
		calls.Go(func() error { return one(ctx) })
		return calls.Wait()
	}
	return work{
		remove: func(ctx context.Context) error { return cmp.Or(two(ctx), one(ctx)) },
		create: func(ctx context.Context) error { return cmp.Or(one(ctx), two(ctx)) },
	}
}

type revocation struct {
	took      time.Duration
	slowest   time.Duration // of the creations meanwhile
	throttled float64       // share of all calls
	failed    int           // deletions
}

// revoke deletes users, 200 at a time as Vault does, and makes one every 3 s.
func (does work) revoke(ctx context.Context, c *cloud, users int) (r revocation) {
	start := time.Now()
	revoked := make(chan int)
	go func() {
		var all errgroup.Group
		all.SetLimit(200)
		errs := make([]error, users)
		for i := range users {
			all.Go(func() error { errs[i] = does.remove(ctx); return nil })
		}
		_ = all.Wait()
		failed := 0
		for _, err := range errs {
			if err != nil {
				failed++
			}
		}
		revoked <- failed
	}()
	for {
		select {
		case r.failed = <-revoked:
			r.took = time.Since(start)
			calls, throttled := c.counts()
			r.throttled = float64(throttled) / float64(calls)
			return r
		case <-time.After(3 * time.Second):
		}
		begun := time.Now()
		if err := does.create(ctx); err == nil {
			r.slowest = max(r.slowest, time.Since(begun))
		}
	}
}
