package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// floorRoundTrips is how often one has to wait for AWS at least, to make or to
// delete a user with a key and an inline policy: CreateUser before everything
// else, DeleteUser after it.
const floorRoundTrips = 2

// chapters is the document but for its head.
func (r results) chapters() []chapter {
	var all []chapter
	for _, add := range []func() (chapter, bool){
		r.callsChapter, r.latencyChapter, r.throughputChapter, r.massChapter,
		r.memoryChapter, r.passChapter, r.restartChapter, r.soakChapter,
	} {
		if c, found := add(); found {
			all = append(all, c)
		}
	}
	return all
}

func (r results) callsChapter() (chapter, bool) {
	c := chapter{
		title: "Calls and round trips per lease",
		text: "For a role with one inline policy. Round trips are the longest chain of calls that did not " +
			"overlap, and, as a check, the time that the operation took over the latency of AWS.",
	}
	t := table{header: []string{"", "engine", "calls", "to the floor", "to the built-in", "round trips", "by the clock", "which"}}
	if len(r.Runs) == 0 || len(r.Runs[0].Calls) == 0 {
		return c, false
	}
	rows := r.Runs[len(r.Runs)-1].Calls
	for _, operation := range []string{issuing, revoking} {
		theirs := 0
		for _, row := range rows {
			if row.Operation != operation {
				continue
			}
			if row.Engine == builtIn {
				theirs = row.total()
			}
			t.add(operation, row.Engine, number(float64(row.total())), number(float64(row.total())/callsPerUser),
				number(float64(row.total())/float64(max(theirs, 1))), number(float64(row.RoundTrips)),
				number(row.Took/row.Latency), actions(row.Calls))
		}
	}
	t.add(issuing+", "+revoking, "floor", number(callsPerUser), "1", "", number(floorRoundTrips), "", "")
	c.tables = []table{t}
	return c, true
}

// actions lists calls by name.
func actions(calls map[string]int) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		if n := calls[name]; n > 1 {
			name = fmt.Sprintf("%s ×%d", name, n)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

func (r results) latencyChapter() (chapter, bool) {
	c := chapter{
		title: "Latency",
		text: "One client, milliseconds. The floor is two round trips. Each lease of one engine was followed by " +
			"one of the other. Of fewer than 100 leases, p99 is the slowest. Where AWS is said to be away, it is the way " +
			"that takes the time: opening a connection costs two round trips more, as over a network. The built-in engine " +
			"opens one for each call. Elsewhere connections cost nothing.",
		charts: r.latencyCharts(),
	}
	t := table{header: []string{
		"", "AWS", "leases", "floor", "built-in p50", "p95", "p99", "this p50", "p95", "p99", "round trips", "to the floor", "times faster",
	}}
	for _, operation := range []string{issuing, revoking} {
		for _, aws := range r.latencySizes() {
			at := func(engine string, get func(latencyRow) float64) []float64 {
				return r.latency(engine, operation, aws, get)
			}
			cells := []string{operation, aws.String(), across(at(ours, func(l latencyRow) float64 { return float64(l.Leases) })), number(floorRoundTrips * aws.ms)}
			for _, engine := range []string{builtIn, ours} {
				cells = append(cells, across(at(engine, p50)), across(at(engine, p95)), across(at(engine, p99)))
			}
			t.add(append(cells,
				across(divided(at(ours, p50), aws.ms)), across(divided(at(ours, p50), floorRoundTrips*aws.ms)),
				across(ratios(at(builtIn, p50), at(ours, p50))))...)
		}
	}
	c.tables = []table{t}
	return c, len(t.rows) > 0
}

// latencySizes are the latencies of AWS that were measured at.
func (r results) latencySizes() []awsLatency {
	var sizes []awsLatency
	for _, run := range r.Runs {
		for _, row := range run.Latency {
			if !slices.Contains(sizes, row.at()) {
				sizes = append(sizes, row.at())
			}
		}
	}
	return sizes
}

func (r results) throughputChapter() (chapter, bool) {
	c := chapter{
		title: "Throughput",
		text: "Leases a second with an AWS that answers at once: what the engines themselves cost. " +
			"This engine is a process of its own, the built-in one a part of Vault's. Median of the rounds of a run; " +
			"the clients and the simulated AWS share the machine with Vault. Connections are those opened to AWS for a lease made and " +
			"revoked: on one machine each costs a TLS handshake's computing at most, against AWS two round trips more.",
		charts: r.throughputCharts(),
	}
	t := table{header: []string{"clients", "issue: built-in", "this", "ratio", "revoke: built-in", "this", "ratio", "connections: built-in", "this"}}
	for _, clients := range r.throughputSizes() {
		cells := []string{number(float64(clients))}
		for _, get := range []func(throughputRow) []float64{issued, revoked} {
			theirs, mine := r.throughput(builtIn, clients, get), r.throughput(ours, clients, get)
			cells = append(cells, across(theirs), across(mine), across(ratios(mine, theirs)))
		}
		cells = append(cells, across(r.throughput(builtIn, clients, opened)), across(r.throughput(ours, clients, opened)))
		t.add(cells...)
	}
	c.tables = []table{t}
	return c, len(t.rows) > 0
}

// throughputSizes are the numbers of clients that were measured with.
func (r results) throughputSizes() []int {
	var sizes []int
	for _, run := range r.Runs {
		for _, row := range run.Throughput {
			sizes = append(sizes, row.Clients)
		}
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}
