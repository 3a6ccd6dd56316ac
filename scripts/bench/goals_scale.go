package main

import "fmt"

const (
	// judgedUsers is the number of live users that the goals are set for.
	judgedUsers = 20_000
	// goroutinesToEnd is how many goroutines of a process at rest may still be about
	// to end: a connection has two.
	goroutinesToEnd = 2
)

func (r results) scaleGoals(add func(goal, []float64)) {
	at := fmt.Sprintf("%d users: ", judgedUsers)
	for _, row := range r.Memory {
		if row.Users == judgedUsers && row.Plugin != nil {
			add(goal{what: at + "memory of the plugin", limit: 100, unit: " MB"}, []float64{float64(row.Plugin.RSS) / 1e6})
		}
	}
	for _, row := range r.Pass {
		if row.Users == judgedUsers {
			add(goal{what: at + "the periodic pass", limit: 50, unit: " ms"}, divided(row.Took, 1e6))
		}
	}
	for _, row := range r.Restarts {
		if row.Users == judgedUsers && row.Engine == ours {
			add(goal{what: at + "first lease, " + row.What, limit: 1, unit: " s"}, row.First)
		}
	}
}

func (r results) soakGoals(add func(goal, []float64)) {
	if r.Soak == nil || len(r.Soak.Samples) == 0 {
		return
	}
	before, after := r.Soak.Before, r.Soak.After
	one := func(n int) []float64 { return []float64{float64(n)} }
	add(goal{what: "soak: goroutines left over", limit: goroutinesToEnd}, one(after.Goroutines-before.Goroutines))
	add(goal{what: "soak: TCP connections left over", limit: 0}, one(after.Connections-before.Connections))
	add(goal{what: "soak: open files left over", limit: 0}, one(after.Files-before.Files))
}
