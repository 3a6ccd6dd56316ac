package main

import (
	"context"
	"errors"
	"fmt"
)

// comparison is sections a to d: both engines in one server.
type comparison struct {
	*bench
	stage   *stage
	engines []engine
	found   run
}

// compare runs sections a to d on a server of their own, and notes what they
// found even if they do not come to their end.
func (b *bench) compare(ctx context.Context) error {
	c := &comparison{bench: b}
	defer func() { b.found.Runs = append(b.found.Runs, c.found) }()
	return b.with(ctx, func(s *stage) error {
		c.stage = s
		if err := c.mount(ctx); err != nil {
			return err
		}
		b.section(ctx, "a", func() error { return c.calls(ctx) })
		b.section(ctx, "b", func() error { return c.latency(ctx) })
		b.section(ctx, "c", func() error { return c.throughput(ctx) })
		b.section(ctx, "d", func() error { return c.mass(ctx) })
		return nil
	})
}

// mount mounts and warms up both engines, each with an account.
func (c *comparison) mount(ctx context.Context) error {
	theirs, err := c.stage.mountBuiltIn(ctx, accountIDs(1, 1))
	if err != nil {
		return err
	}
	mine, err := c.stage.mountOurs(ctx, accountIDs(2, 1))
	if err != nil {
		return err
	}
	c.engines = []engine{theirs, mine}
	for _, e := range c.engines {
		if _, _, err := c.stage.round(ctx, e, throughputSize{1, 5}); err != nil {
			return fmt.Errorf("warming up %s: %w", e.name, err)
		}
	}
	return nil
}

func (c *comparison) calls(ctx context.Context) error {
	for _, e := range c.engines {
		rows, err := c.measureCalls(ctx, c.stage, e)
		if err != nil {
			return err
		}
		c.found.Calls = append(c.found.Calls, rows...)
	}
	return nil
}

func (c *comparison) latency(ctx context.Context) error {
	for _, size := range c.latencies {
		c.say("  %d leases of each engine, AWS %s", size.leases, size.describe())
		rows, err := c.measureLatency(ctx, c.stage, c.engines, size)
		if err != nil {
			return err
		}
		c.found.Latency = append(c.found.Latency, rows...)
	}
	return nil
}

func (c *comparison) throughput(ctx context.Context) error {
	for _, size := range c.sizes.throughput {
		c.say("  %d clients, %d rounds of %d leases of each engine", size.clients, c.rounds, size.leases)
		rows, err := c.measureThroughput(ctx, c.stage, c.engines, size)
		if err != nil {
			return err
		}
		c.found.Throughput = append(c.found.Throughput, rows...)
	}
	return nil
}

// mass goes on with the other sizes and the other engine when one fails: what a
// mass revocation was like until then is worth knowing.
func (c *comparison) mass(ctx context.Context) error {
	var errs []error
	for _, size := range c.masses {
		for _, e := range c.engines {
			c.say("  %d leases of %s at %d calls a second", size.leases, e.name, size.rate)
			row, err := c.measureMass(ctx, c.stage, e, size)
			if err != nil {
				errs = append(errs, fmt.Errorf("%d leases of %s: %w", size.leases, e.name, err))
			}
			if ctx.Err() != nil {
				return errors.Join(errs...)
			}
			if row.Seconds > 0 {
				c.found.Mass = append(c.found.Mass, row)
			}
		}
	}
	return errors.Join(errs...)
}
