package main

import (
	"context"
	"fmt"
	"time"
)

// measureThroughput has so many clients make leases, and then revoke them, as
// fast as they can. The engines take turns round by round.
func (b *bench) measureThroughput(ctx context.Context, s *stage, engines []engine, size throughputSize) ([]throughputRow, error) {
	rows := make([]throughputRow, len(engines))
	for i, e := range engines {
		rows[i] = throughputRow{Engine: e.name, Clients: size.clients, Leases: size.leases}
		// Opens the connections that so many clients need.
		if _, _, err := s.round(ctx, e, throughputSize{size.clients, 2 * size.clients}); err != nil {
			return nil, err
		}
	}
	for range b.rounds {
		for i, e := range engines {
			before := s.cloud.opened.Load()
			issued, revoked, err := s.round(ctx, e, size)
			if err != nil {
				return nil, fmt.Errorf("%s, %d clients: %w", e.name, size.clients, err)
			}
			rows[i].Issued = append(rows[i].Issued, issued)
			rows[i].Revoked = append(rows[i].Revoked, revoked)
			rows[i].Connections = append(rows[i].Connections, float64(s.cloud.opened.Load()-before)/float64(size.leases))
		}
	}
	return rows, nil
}

// round makes and revokes leases and returns how many a second.
func (s *stage) round(ctx context.Context, e engine, size throughputSize) (issued, revoked float64, err error) {
	ids := make([]string, size.leases)
	start := time.Now()
	err = share(ctx, size.clients, size.leases, func(ctx context.Context, i int) (err error) {
		ids[i], err = s.issue(ctx, e.sites[0].creds(steadyRole))
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	issued = float64(size.leases) / time.Since(start).Seconds()
	start = time.Now()
	err = share(ctx, size.clients, size.leases, func(ctx context.Context, i int) error { return s.revoke(ctx, ids[i]) })
	return issued, float64(size.leases) / time.Since(start).Seconds(), err
}
