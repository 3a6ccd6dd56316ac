package main

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// Break it by counting ranks from zero in percentile.
func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i) // 1 to 100, not in order
	}
	for p, want := range map[float64]float64{1: 1, 50: 50, 95: 95, 99: 99, 100: 100} {
		require.InDelta(t, want, percentile(hundred, p), 0, "p%v", p)
	}
	require.InDelta(t, 7, percentile([]float64{7}, 50), 0)
	require.InDelta(t, 2, percentile([]float64{3, 1, 2}, 50), 0)
	require.InDelta(t, 3, percentile([]float64{3, 1, 2}, 99), 0, "the slowest of few")
	require.True(t, math.IsNaN(percentile(nil, 50)))
}

// Break it by taking the upper middle of an even number of values.
func TestSpread(t *testing.T) {
	require.Equal(t, spread{1, 2, 9}, spreadOf([]float64{9, 1, 2}))
	require.Equal(t, spread{1, 2.5, 9}, spreadOf([]float64{9, 3, 1, 2}))
	require.True(t, math.IsNaN(spreadOf(nil).median))
}

// Break it by leaving the burst out of massFloor.
func TestMassFloor(t *testing.T) {
	require.Equal(t, 44*time.Second, massFloor(3*300, 20, 20))
	require.Equal(t, 29*time.Second, massFloor(3*2000, 200, 200))
	require.Equal(t, time.Duration(0), massFloor(10, 20, 20), "the bucket holds all of them")
}

// Break it by going through the calls in order of arrival.
func TestRoundTrips(t *testing.T) {
	origin := time.Now()
	call := func(from, to int) awsfake.Call {
		return awsfake.Call{
			Start: origin.Add(time.Duration(from) * time.Millisecond),
			End:   origin.Add(time.Duration(to) * time.Millisecond),
		}
	}
	for name, c := range map[string]struct {
		calls []awsfake.Call
		want  int
	}{
		"none":                           {nil, 0},
		"one":                            {[]awsfake.Call{call(0, 50)}, 1},
		"one after the other":            {[]awsfake.Call{call(0, 50), call(51, 100), call(101, 150)}, 3},
		"two at once, after one":         {[]awsfake.Call{call(0, 50), call(51, 100), call(52, 101)}, 2},
		"two at once, before one":        {[]awsfake.Call{call(0, 50), call(1, 52), call(53, 100)}, 2},
		"a long one beside two":          {[]awsfake.Call{call(0, 200), call(1, 50), call(51, 100)}, 2},
		"the next begins as one ends":    {[]awsfake.Call{call(0, 50), call(50, 100)}, 2},
		"all at once":                    {[]awsfake.Call{call(0, 50), call(0, 51), call(1, 49)}, 1},
		"a long one that ends after all": {[]awsfake.Call{call(0, 10), call(11, 20), call(5, 100), call(21, 30)}, 3},
	} {
		require.Equal(t, c.want, roundTrips(c.calls), name)
	}
}
