package main

import (
	"context"
	"time"
)

// measureLatency has one client make and revoke leases one after the other. The
// engines take turns lease by lease, so that whatever else the machine does falls
// on both.
func (b *bench) measureLatency(ctx context.Context, s *stage, engines []engine, size latencySize) ([]latencyRow, error) {
	s.cloud.SetLatency(size.latency)
	defer s.cloud.SetLatency(0)
	if size.distant {
		s.cloud.away.Store(int64(size.latency))
		defer s.cloud.away.Store(0)
	}
	took := map[string]map[string][]float64{issuing: {}, revoking: {}}
	for range size.leases {
		for _, e := range engines {
			start := time.Now()
			id, err := s.issue(ctx, e.sites[0].creds(steadyRole))
			if err != nil {
				return nil, err
			}
			issued := time.Now()
			if err := s.revoke(ctx, id); err != nil {
				return nil, err
			}
			took[issuing][e.name] = append(took[issuing][e.name], millis(issued.Sub(start)))
			took[revoking][e.name] = append(took[revoking][e.name], millis(time.Since(issued)))
		}
	}
	var rows []latencyRow
	for _, operation := range []string{issuing, revoking} {
		for _, e := range engines {
			values := took[operation][e.name]
			rows = append(rows, latencyRow{
				Engine: e.name, Operation: operation, Latency: millis(size.latency), Distant: size.distant, Leases: len(values),
				P50: percentile(values, 50), P95: percentile(values, 95), P99: percentile(values, 99),
			})
		}
	}
	return rows, nil
}
