package main

import (
	"fmt"
	"slices"
)

func (r results) massChapter() (chapter, bool) {
	c := chapter{
		title: "Mass revocation",
		text: "All leases of a role revoked by prefix, not synchronously: Vault's expiration manager works them off. " +
			"IAM allows so many calls a second and account, and one second's worth at once. The floor is three calls " +
			"for each user, at that rate, less what the bucket holds at the beginning. The time ends when no user is left " +
			"and Vault has none of the leases. Meanwhile new leases of the same account are asked for; their calls are not " +
			"among those of the revocation, but take from the same bucket, which the floor makes no allowance for.",
		charts: r.massCharts(),
	}
	revocation := table{header: []string{
		"leases", "calls/s", "engine", "seconds", "floor", "to the floor", "to the built-in",
		"calls", "to the floor", "throttled", "irrevocable leases", "users left",
	}}
	fresh := table{header: []string{"leases", "calls/s", "engine", "new leases", "failed", "median s", "max s", "calls", "throttled"}}
	for _, size := range r.massSizes() {
		theirs := r.mass(builtIn, size.leases, func(m massRow) float64 { return m.Seconds })
		for _, engine := range []string{builtIn, ours} {
			of := func(get func(massRow) float64) []float64 { return r.mass(engine, size.leases, get) }
			seconds := of(func(m massRow) float64 { return m.Seconds })
			if len(seconds) == 0 {
				continue
			}
			head := []string{fmt.Sprint(size.leases), fmt.Sprint(size.rate), engine}
			revocation.add(append(slices.Clone(head),
				across(seconds), across(of(func(m massRow) float64 { return m.Floor })), across(of(massTimeToFloor)), across(ratios(seconds, theirs)),
				across(of(func(m massRow) float64 { return float64(m.Calls) })), across(of(massCallsToFloor)),
				acrossPercent(of(throttledShare)),
				across(of(func(m massRow) float64 { return float64(m.Irrevocable) })),
				across(of(func(m massRow) float64 { return float64(m.UsersLeft) })))...)
			fresh.add(append(head,
				across(of(func(m massRow) float64 { return float64(m.Fresh.Asked) })),
				across(of(func(m massRow) float64 { return float64(m.Fresh.Failed) })),
				across(of(func(m massRow) float64 { return m.Fresh.Median / 1000 })),
				across(of(freshMax)),
				across(of(func(m massRow) float64 { return float64(m.Fresh.Calls) })),
				across(of(func(m massRow) float64 { return float64(m.Fresh.Throttled) })))...)
		}
	}
	c.tables = []table{revocation, fresh}
	return c, len(revocation.rows) > 0
}

// freshMax is the longest wait for a new lease, in seconds.
func freshMax(row massRow) float64 { return row.Fresh.Max / 1000 }

// massSizes are the mass revocations that were measured.
func (r results) massSizes() []massSize {
	var sizes []massSize
	for _, run := range r.Runs {
		for _, row := range run.Mass {
			if size := (massSize{row.Leases, row.Rate}); !slices.Contains(sizes, size) {
				sizes = append(sizes, size)
			}
		}
	}
	return sizes
}
