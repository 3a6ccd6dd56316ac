package main

import (
	"fmt"
	"math"
)

// goal is a limit that the engine is to keep, and the worst that any run found.
// Whether it is met decides nothing: timing depends on the machine.
type goal struct {
	what  string
	limit float64
	least bool // the limit is the least, not the most
	found float64
	unit  string
}

func (g goal) met() bool {
	if g.least {
		return g.found >= g.limit
	}
	return g.found <= g.limit
}

func (g goal) limitText() string {
	bound := "at most "
	if g.least {
		bound = "at least "
	}
	return bound + number(g.limit) + g.unit
}

// goals are those of which something was measured.
func (r results) goals() []goal {
	var all []goal
	add := func(g goal, values []float64) {
		if len(values) == 0 {
			return
		}
		worst := spreadOf(values)
		g.found = worst.max
		if g.least {
			g.found = worst.min
		}
		if !math.IsNaN(g.found) {
			all = append(all, g)
		}
	}
	r.latencyGoals(add)
	r.massGoals(add)
	for _, clients := range r.throughputSizes() {
		add(goal{what: fmt.Sprintf("issue throughput at %d clients, to the built-in engine", clients), limit: 1, least: true},
			ratios(r.throughput(ours, clients, issued), r.throughput(builtIn, clients, issued)))
	}
	r.scaleGoals(add)
	r.soakGoals(add)
	return all
}

func (r results) latencyGoals(add func(goal, []float64)) {
	const judgedAt = 50 // milliseconds
	for _, of := range []struct {
		operation string
		faster    float64
	}{{issuing, 1.5}, {revoking, 3.4}} {
		at := awsLatency{ms: judgedAt}
		mine, theirs := r.latency(ours, of.operation, at, p50), r.latency(builtIn, of.operation, at, p50)
		add(goal{what: of.operation + " at 50 ms, p50", limit: 2.3, unit: " round trips"}, divided(mine, judgedAt))
		add(goal{what: of.operation + " at 50 ms, p50, times faster than the built-in engine", limit: of.faster, least: true}, ratios(theirs, mine))
	}
}

func (r results) massGoals(add func(goal, []float64)) {
	for _, size := range r.massSizes() {
		what := fmt.Sprintf("revoking %d at %d calls/s: ", size.leases, size.rate)
		of := func(get func(massRow) float64) []float64 { return r.mass(ours, size.leases, get) }
		add(goal{what: what + "time, to the floor", limit: 1.10}, of(massTimeToFloor))
		add(goal{what: what + "calls, to the floor", limit: 1.05}, of(massCallsToFloor))
		add(goal{what: what + "throttled", limit: 3, unit: "%"}, divided(of(throttledShare), 0.01))
		add(goal{what: what + "irrevocable leases", limit: 0}, of(func(m massRow) float64 { return float64(m.Irrevocable) }))
		add(goal{what: what + "new leases that failed", limit: 0}, of(func(m massRow) float64 { return float64(m.Fresh.Failed) }))
		add(goal{what: what + "longest wait for a new lease", limit: 5, unit: " s"}, of(freshMax))
	}
}

func goalsTable(goals []goal) table {
	t := table{header: []string{"goal", "limit", "found", ""}}
	for _, g := range goals {
		verdict := "met"
		if !g.met() {
			verdict = "NOT met"
		}
		t.add(g.what, g.limitText(), number(g.found)+g.unit, verdict)
	}
	return t
}
