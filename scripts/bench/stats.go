package main

import (
	"math"
	"slices"
	"time"
)

// percentile is the smallest value that p percent of the values do not exceed
// (nearest rank). Of no values it is NaN.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// spread is what several runs found.
type spread struct{ min, median, max float64 }

// spreadOf is the spread of values; the median of an even number of values lies
// in the middle between two. Of no values all are NaN.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return spread{sorted[0], median, sorted[len(sorted)-1]}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// callsPerUser is how many calls it takes at least to delete a user with an
// access key and an inline policy: one for each of these, and DeleteUser.
const callsPerUser = 3

// massFloor is how long so many calls take at least where a bucket that is full
// at the beginning holds burst calls and is filled at rate a second.
func massFloor(calls, rate, burst int) time.Duration {
	return time.Duration(max(calls-burst, 0)) * time.Second / time.Duration(rate)
}
