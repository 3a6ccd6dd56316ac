package main

import (
	"fmt"
	"time"
)

// Sections e to h.

func (r results) memoryChapter() (chapter, bool) {
	c := chapter{
		title: "Memory and goroutines",
		text: fmt.Sprintf("Live users spread over %d accounts; megabytes of resident memory some seconds after the last lease. ", scaleAccounts) +
			"Vault keeps each lease in its storage and some of it in memory, whichever engine it is of; the built-in engine " +
			"has no process of its own. Each engine was measured in a server of its own. Goroutines are those of the " +
			"plugin's own process, which writes them when it is ended with SIGQUIT, so that each row is of another process.",
		charts: r.memoryCharts(),
	}
	t := table{header: []string{"users", "engine", "Vault server", "grown by", "plugin", "its peak", "its goroutines", "server and plugin grown by, to the built-in"}}
	for _, row := range r.Memory {
		cells := []string{number(float64(row.Users)), row.Engine, megabytes(row.Server.RSS), number(r.grown(row.Engine, row.Users, false)), "", "", "", ""}
		if row.Plugin != nil {
			cells[4], cells[5], cells[6] = megabytes(row.Plugin.RSS), megabytes(row.Plugin.Peak), number(float64(row.Goroutines))
		}
		if row.Users > 0 {
			cells[7] = number(r.grown(row.Engine, row.Users, true) / r.grown(builtIn, row.Users, true))
		}
		t.add(cells...)
	}
	c.tables = []table{t}
	return c, len(t.rows) > 0
}

// grown is by how many megabytes the server, and the plugin if that is to be
// counted, are greater with so many users than with the fewest.
func (r results) grown(engine string, users int, all bool) float64 {
	base, now := -1.0, 0.0
	for _, row := range r.Memory {
		if row.Engine != engine {
			continue
		}
		size := float64(row.Server.RSS)
		if all && row.Plugin != nil {
			size += float64(row.Plugin.RSS)
		}
		if base < 0 {
			base = size
		}
		if row.Users == users {
			now = size
		}
	}
	return (now - base) / 1e6
}

func megabytes(bytes uint64) string { return number(float64(bytes) / 1e6) }

func (r results) passChapter() (chapter, bool) {
	c := chapter{
		title: "The periodic pass",
		text: "What Vault's callback of every minute costs while no user is due, in microseconds, by the Go benchmark " +
			"`BenchmarkReaperPass`. The built-in engine has nothing that it could be compared with: it does not look after its users.",
	}
	t := table{header: []string{"users", "µs"}}
	for _, row := range r.Pass {
		t.add(number(float64(row.Users)), across(divided(row.Took, float64(time.Microsecond))))
	}
	c.tables = []table{t}
	return c, len(t.rows) > 0
}

func (r results) restartChapter() (chapter, bool) {
	c := chapter{
		title: "The first lease after a restart",
		text: "Seconds. After a crash of Vault: from when the server is unsealed and active, and from when the crashed process was " +
			"gone, which includes the start of Vault itself. After a crash of the plugin alone both are the same.",
	}
	t := table{header: []string{"", "users", "engine", "first lease", "to the built-in", "since the end of the process"}}
	for _, row := range r.Restarts {
		var theirs []float64
		for _, other := range r.Restarts {
			if other.Engine == builtIn && other.What == row.What {
				theirs = other.First
			}
		}
		t.add(row.What, number(float64(row.Users)), row.Engine, across(row.First),
			number(spreadOf(row.First).median/spreadOf(theirs).median), across(row.Whole))
	}
	c.tables = []table{t}
	return c, len(t.rows) > 0
}

func (r results) soakChapter() (chapter, bool) {
	if r.Soak == nil || len(r.Soak.Samples) == 0 {
		return chapter{}, false
	}
	c := chapter{
		title: "Soak",
		text: fmt.Sprintf("%d clients issued, renewed and revoked %d leases without a pause in %s; %d attempts failed. "+
			"The plugin's process under that load, and at rest: when the clients have stopped for longer than it keeps connections "+
			"for them, after a short load before and after this one. What is at rest after it and was not before is a leak.",
			r.Soak.Clients, r.Soak.Leases, shortDuration(time.Duration(r.Soak.Seconds)*time.Second), r.Soak.Failed),
		charts: r.soakCharts(),
	}
	t := table{header: []string{"", "MB resident", "open files", "TCP connections", "threads", "goroutines"}}
	add := func(when string, f footprint, goroutines string) {
		t.add(when, megabytes(f.RSS), fmt.Sprint(f.Files), fmt.Sprint(f.Connections), fmt.Sprint(f.Threads), goroutines)
	}
	add("at rest before", r.Soak.Before.footprint, fmt.Sprint(r.Soak.Before.Goroutines))
	last := len(r.Soak.Samples) - 1
	for _, i := range []int{0, last / 2, last} {
		add(number(r.Soak.Samples[i].At)+" s", r.Soak.Samples[i].footprint, "")
	}
	add("at rest after", r.Soak.After.footprint, fmt.Sprint(r.Soak.After.Goroutines))
	c.tables = []table{t}
	return c, true
}
