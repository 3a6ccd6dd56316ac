package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	// massPatience bounds a mass revocation. Vault's own attempts at a lease are
	// over after a few minutes.
	massPatience = 20 * time.Minute
	// massSample is the pause between two looks at how far it is.
	massSample = 100 * time.Millisecond
	// lookSeldom is after how many of these the leases are looked at: it costs
	// Vault time that it needs for the revocation.
	lookSeldom = 100
	// massIdle is how long nothing may have been deleted where Vault has given up
	// all leases that are left.
	massIdle = time.Minute
)

// measureMass makes leases unhindered and then has Vault revoke all of them by
// prefix where IAM allows few calls a second, while somebody asks for a new lease
// now and then. Vault's expiration manager does the work, many leases at a time:
// a synchronous revocation by prefix would go through them one by one.
func (b *bench) measureMass(ctx context.Context, s *stage, e engine, size massSize) (massRow, error) {
	at := e.sites[0]
	row := massRow{
		Engine: e.name, Leases: size.leases, Rate: size.rate, Burst: size.rate, LeasesLeft: size.leases,
		Floor:     massFloor(callsPerUser*size.leases, size.rate, size.rate).Seconds(),
		Remaining: []timedCount{{0, size.leases}},
	}
	err := share(ctx, b.fillClients, size.leases, func(ctx context.Context, _ int) error {
		_, err := s.issue(ctx, at.creds(massRole))
		return err
	})
	if err != nil {
		return row, err
	}
	m := newMeter(at)
	s.cloud.Watch(m.watch)
	s.cloud.SetThrottle(float64(row.Rate), row.Burst)
	defer s.cloud.Watch(nil)
	defer s.cloud.SetThrottle(0, 0)

	start := time.Now()
	err = s.client.Sys().RevokeWithOptionsWithContext(ctx, &api.RevokeOptions{LeaseID: at.creds(massRole), Prefix: true})
	if err != nil {
		return row, err
	}
	asker := s.askForFresh(ctx, at.creds(freshRole), b.freshEvery)
	err = s.awaitMass(ctx, at, m, start, &row)
	row.Fresh = asker.stop()
	mass, fresh := m.counts()
	row.Calls, row.Throttled = mass.total, mass.throttled
	row.Fresh.Calls, row.Fresh.Throttled = fresh.total, fresh.throttled
	s.cloud.SetThrottle(0, 0)
	return row, errors.Join(err, s.sweep(ctx, at))
}

// awaitMass waits until all users and leases are gone, or all that will go, and
// notes the way there.
func (s *stage) awaitMass(ctx context.Context, at site, m *meter, start time.Time, row *massRow) error {
	ctx, cancel := context.WithTimeout(ctx, massPatience)
	defer cancel()
	for i := 1; ; i++ {
		deleted, last := m.progress()
		row.UsersLeft = row.Leases - deleted
		row.Seconds = time.Since(start).Seconds()
		row.note(time.Since(start))
		if row.UsersLeft == 0 || i%lookSeldom == 0 {
			over, err := s.lookAtLeases(ctx, at, row)
			if err != nil {
				return err
			}
			if over && (row.UsersLeft == 0 || time.Since(last) > massIdle) {
				return nil
			}
		}
		if !pause(ctx, massSample) {
			return fmt.Errorf("%d users and %d leases were left after %s: %w",
				row.UsersLeft, row.LeasesLeft, time.Since(start).Round(time.Second), ctx.Err())
		}
	}
}

// note keeps a point for the chart, at most every second and when all are gone.
func (m *massRow) note(at time.Duration) {
	last := m.Remaining[len(m.Remaining)-1]
	if at.Seconds()-last.At >= 1 || m.UsersLeft == 0 && last.Count > 0 {
		m.Remaining = append(m.Remaining, timedCount{at.Seconds(), m.UsersLeft})
	}
}

// lookAtLeases counts what Vault has left, and says whether it has given up all
// of it.
func (s *stage) lookAtLeases(ctx context.Context, at site, row *massRow) (over bool, err error) {
	if row.LeasesLeft, err = s.leases(ctx, at.creds(massRole)); err != nil {
		return false, err
	}
	counted, err := s.client.Logical().ReadWithDataWithContext(ctx, "sys/leases/count", map[string][]string{"type": {"irrevocable"}})
	if err != nil {
		return false, err
	}
	if counted != nil {
		if number, ok := counted.Data["lease_count"].(json.Number); ok {
			n, err := number.Int64()
			if err != nil {
				return false, err
			}
			row.Irrevocable = int(n)
		}
	}
	return row.LeasesLeft <= row.Irrevocable, nil
}

// sweep removes what is left of the leases of both roles, unhindered now, so that
// the next measurement begins with nothing.
func (s *stage) sweep(ctx context.Context, at site) error {
	var errs []error
	for _, role := range []string{massRole, freshRole} {
		errs = append(errs, s.client.Sys().RevokeWithOptionsWithContext(ctx,
			&api.RevokeOptions{LeaseID: at.creds(role), Prefix: true, Sync: true}))
	}
	return errors.Join(errs...)
}
