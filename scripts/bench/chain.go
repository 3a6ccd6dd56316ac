package main

import (
	"slices"
	"time"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// roundTrips is the length of the longest chain of calls of which each began when
// the one before had ended: how often somebody waited for AWS one after the other,
// however many calls went out at once. Always taking the call that ends first
// gives the longest such chain.
func roundTrips(calls []awsfake.Call) int {
	byEnd := slices.SortedFunc(slices.Values(calls), func(a, b awsfake.Call) int { return a.End.Compare(b.End) })
	chain := 0
	var end time.Time
	for _, call := range byEnd {
		if chain == 0 || !call.Start.Before(end) {
			chain, end = chain+1, call.End
		}
	}
	return chain
}
