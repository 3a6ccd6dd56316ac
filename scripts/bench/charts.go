package main

import (
	"fmt"
	"math"
	"slices"
)

func (r results) latencyCharts() []chart {
	var all []chart
	for _, operation := range []string{issuing, revoking} {
		c := chart{
			file: "latency-" + operation + ".svg", title: "Median latency of " + operation + ", ms, by AWS's latency",
			series: []string{builtIn, ours, "floor"}, values: make([][]float64, 3),
		}
		for _, aws := range r.latencySizes() {
			c.labels = append(c.labels, aws.String())
			for i, engine := range []string{builtIn, ours} {
				c.values[i] = append(c.values[i], spreadOf(r.latency(engine, operation, aws, p50)).median)
			}
			c.values[2] = append(c.values[2], floorRoundTrips*aws.ms)
		}
		all = append(all, c)
	}
	return all
}

func (r results) throughputCharts() []chart {
	var all []chart
	for _, of := range []struct {
		operation string
		get       func(throughputRow) []float64
	}{{issuing, issued}, {revoking, revoked}} {
		c := chart{
			file: "throughput-" + of.operation + ".svg", title: "Throughput of " + of.operation + ", leases a second, by clients",
			series: []string{builtIn, ours}, values: make([][]float64, 2),
		}
		for _, clients := range r.throughputSizes() {
			c.labels = append(c.labels, fmt.Sprint(clients))
			for i, engine := range c.series {
				c.values[i] = append(c.values[i], spreadOf(r.throughput(engine, clients, of.get)).median)
			}
		}
		all = append(all, c)
	}
	return all
}

// massCharts show the users left over time, of the last run.
func (r results) massCharts() []chart {
	var all []chart
	for _, size := range r.massSizes() {
		c := chart{
			file: fmt.Sprintf("mass-%d.svg", size.leases), lines: true,
			title: fmt.Sprintf("Revoking %d leases at %d calls/s: users left, by seconds", size.leases, size.rate),
		}
		longest := 0.0
		var rows []massRow
		for _, engine := range []string{builtIn, ours} {
			if row, found := r.lastMass(engine, size); found {
				rows = append(rows, row)
				longest = max(longest, row.Seconds)
			}
		}
		steps := int(math.Ceil(longest)) + 1
		for i := range steps {
			c.labels = append(c.labels, fmt.Sprint(i))
		}
		for _, row := range rows {
			c.series = append(c.series, row.Engine)
			c.values = append(c.values, perSecond(row.Remaining, steps))
		}
		c.series = append(c.series, "floor")
		c.values = append(c.values, floorLine(size, steps))
		all = append(all, c)
	}
	return all
}

func (r results) lastMass(engine string, size massSize) (massRow, bool) {
	for _, run := range slices.Backward(r.Runs) {
		for _, row := range run.Mass {
			if row.Engine == engine && row.Leases == size.leases && row.Rate == size.rate {
				return row, true
			}
		}
	}
	return massRow{}, false
}

// perSecond has for each second the last count seen until then, and nothing any
// more once that has been zero.
func perSecond(seen []timedCount, steps int) []float64 {
	values := make([]float64, steps)
	next, last := 0, math.NaN()
	for i := range values {
		if last == 0 {
			values[i] = math.NaN()
			continue
		}
		for next < len(seen) && seen[next].At <= float64(i) {
			last = float64(seen[next].Count)
			next++
		}
		values[i] = last
	}
	if len(seen) > 0 && steps > 0 {
		values[0] = float64(seen[0].Count)
	}
	return values
}

// floorLine is the fewest users that can be left by then.
func floorLine(size massSize, steps int) []float64 {
	values := make([]float64, steps)
	for i := range values {
		left := size.leases - (size.rate*(i+1))/callsPerUser
		values[i] = float64(max(left, 0))
		if left < 0 {
			values[i] = math.NaN()
		}
	}
	return values
}
