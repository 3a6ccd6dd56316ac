package main

import (
	"context"
	"time"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

const (
	issuing  = "issue"
	revoking = "revoke"
)

// measureCalls looks at single leases: which calls they take, and how many of
// them one after the other. Of several leases the one with the most calls is
// reported, so that no exception hides behind the rule.
func (b *bench) measureCalls(ctx context.Context, s *stage, e engine) ([]callsRow, error) {
	s.cloud.SetLatency(b.callsLatency)
	defer s.cloud.SetLatency(0)
	most := map[string]callsRow{}
	observe := func(operation string, act func() error) error {
		s.cloud.ResetCalls()
		start := time.Now()
		if err := act(); err != nil {
			return err
		}
		row := callsRow{Engine: e.name, Operation: operation, Latency: millis(b.callsLatency), Took: millis(time.Since(start))}
		row.count(s.cloud.Calls())
		if known, ok := most[operation]; !ok || row.total() > known.total() {
			most[operation] = row
		}
		return nil
	}
	for range b.callsLeases {
		var id string
		err := observe(issuing, func() (err error) {
			id, err = s.issue(ctx, e.sites[0].creds(steadyRole))
			return err
		})
		if err == nil {
			err = observe(revoking, func() error { return s.revoke(ctx, id) })
		}
		if err != nil {
			return nil, err
		}
	}
	return []callsRow{most[issuing], most[revoking]}, nil
}

func (c *callsRow) count(calls []awsfake.Call) {
	c.RoundTrips, c.Calls = roundTrips(calls), map[string]int{}
	for _, call := range calls {
		c.Calls[call.Action]++
	}
}
