package main

import (
	"fmt"
	"math"
	"strconv"
)

// What the runs found, value by value, in the order of the runs.

func (r results) latency(engine, operation string, at awsLatency, get func(latencyRow) float64) []float64 {
	var values []float64
	for _, run := range r.Runs {
		for _, row := range run.Latency {
			if row.Engine == engine && row.Operation == operation && row.at() == at {
				values = append(values, get(row))
			}
		}
	}
	return values
}

// throughput is the median of each run's rounds.
func (r results) throughput(engine string, clients int, get func(throughputRow) []float64) []float64 {
	var values []float64
	for _, run := range r.Runs {
		for _, row := range run.Throughput {
			if row.Engine == engine && row.Clients == clients {
				values = append(values, spreadOf(get(row)).median)
			}
		}
	}
	return values
}

func (r results) mass(engine string, leases int, get func(massRow) float64) []float64 {
	var values []float64
	for _, run := range r.Runs {
		for _, row := range run.Mass {
			if row.Engine == engine && row.Leases == leases {
				values = append(values, get(row))
			}
		}
	}
	return values
}

func p50(row latencyRow) float64 { return row.P50 }
func p95(row latencyRow) float64 { return row.P95 }
func p99(row latencyRow) float64 { return row.P99 }

func issued(row throughputRow) []float64  { return row.Issued }
func revoked(row throughputRow) []float64 { return row.Revoked }
func opened(row throughputRow) []float64  { return row.Connections }

// massCallsToFloor, massTimeToFloor and throttledShare are what a mass revocation
// is judged by.
func massCallsToFloor(row massRow) float64 {
	return row.ifDone(float64(row.Calls) / float64(callsPerUser*row.Leases))
}

func massTimeToFloor(row massRow) float64 { return row.ifDone(row.Seconds / row.Floor) }

// ifDone is the value, or, where the revocation has not come to its end, more than
// any goal allows.
func (m massRow) ifDone(value float64) float64 {
	if m.UsersLeft > 0 || m.LeasesLeft > 0 {
		return math.Inf(1)
	}
	return value
}

func throttledShare(row massRow) float64 {
	return float64(row.Throttled) / float64(max(row.Calls, 1))
}

// ratios divides run by run.
func ratios(dividends, divisors []float64) []float64 {
	var values []float64
	for i := range min(len(dividends), len(divisors)) {
		values = append(values, dividends[i]/divisors[i])
	}
	return values
}

func divided(values []float64, by float64) []float64 {
	quotients := make([]float64, len(values))
	for i, value := range values {
		quotients[i] = value / by
	}
	return quotients
}

// number writes three digits that count, or all before the point; of small ones
// two.
func number(value float64) string {
	switch size := math.Abs(value); {
	case math.IsNaN(value), math.IsInf(value, 0):
		return "–"
	case value == math.Trunc(value), size >= 100:
		return strconv.FormatFloat(value, 'f', 0, 64)
	case size < 0.01:
		return strconv.FormatFloat(value, 'g', 2, 64)
	case size >= 10:
		return strconv.FormatFloat(value, 'f', 1, 64)
	default:
		return strconv.FormatFloat(value, 'f', 2, 64)
	}
}

// across writes the median of several runs, with the least and the greatest
// where they differ.
func across(values []float64) string {
	all := spreadOf(values)
	if number(all.min) == number(all.max) {
		return number(all.median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(all.median), number(all.min), number(all.max))
}

func acrossPercent(values []float64) string { return across(divided(values, 0.01)) + "%" }
