package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// drawn is the beginning of a schedule.
func drawn[T any](next func() T) []T {
	var all []T
	for range 200 {
		all = append(all, next())
	}
	return all
}

// TestScheduleOfASeed: a seed is a schedule, and another seed another one.
//
// Break it by drawing from the global random source in stream.
func TestScheduleOfASeed(t *testing.T) {
	servers, clouds := drawn(newServerSchedule(7, 3).next), drawn(newCloudSchedule(7).next)
	require.Equal(t, servers, drawn(newServerSchedule(7, 3).next))
	require.NotEqual(t, servers, drawn(newServerSchedule(8, 3).next))
	require.Equal(t, clouds, drawn(newCloudSchedule(7).next))
	require.NotEqual(t, clouds, drawn(newCloudSchedule(8).next))
}

// TestEveryKindComesUp: no seed leaves a kind out, however short the run.
func TestEveryKindComesUp(t *testing.T) {
	for seed := range uint64(20) {
		schedule := newServerSchedule(seed, 3)
		seen := make(map[serverKind]int)
		for range schedule.kinds.content {
			seen[schedule.next().kind]++
		}
		require.Len(t, seen, 11)
		require.Equal(t, 6, seen[killLeader])

		skies := newCloudSchedule(seed)
		kinds := make(map[cloudKind]bool)
		for range skies.kinds.content {
			kinds[skies.next().kind] = true
		}
		require.Len(t, kinds, 10)
	}
}

// TestFaultsEnd: every fault is over in time for the leases of a run to outlive
// it, and there is nothing that a single node cannot have.
func TestFaultsEnd(t *testing.T) {
	for _, f := range drawn(newServerSchedule(1, 1).next) {
		require.NotContains(t, []serverKind{killStandby, pauseStandby, isolateLeader, isolateStandby, killAll}, f.kind)
	}
	for _, f := range drawn(newServerSchedule(1, 5).next) {
		require.Positive(t, f.after)
		require.LessOrEqual(t, f.lasts, 20*time.Second, f)
		require.Less(t, f.standby, 4)
	}
	for _, w := range drawn(newCloudSchedule(1).next) {
		require.Positive(t, w.after)
		require.Positive(t, w.lasts)
		require.LessOrEqual(t, w.lasts, 15*time.Second, w)
	}
}

// TestWeatherIsWhatItSays: each kind does what it is counted as.
func TestWeatherIsWhatItSays(t *testing.T) {
	for _, w := range drawn(newCloudSchedule(3).next) {
		require.Equal(t, w.kind == lostAfter, w.fault.Lost)
		require.Equal(t, w.kind == lostBefore, w.fault.LostBefore)
		require.Equal(t, w.kind == failAfter, w.fault.FailAfter)
		require.Equal(t, w.kind == failBefore, w.fault.Status > 0)
		require.Equal(t, w.kind == garbled, w.fault.Garbled)
		require.Equal(t, w.kind == delayed, w.fault.Delay > 0)
		require.Equal(t, w.kind == denied || w.kind == throttled, w.fault.Code != "")
		require.Equal(t, w.kind == rateLimited, w.rate > 0)
		require.Equal(t, w.kind == lagging, w.lag.User > 0)
	}
}

func TestOptions(t *testing.T) {
	valid := Options{Seed: 1, Duration: time.Minute, Nodes: 3}
	require.NoError(t, valid.validate())
	for _, spoil := range []func(*Options){
		func(o *Options) { o.Duration = 0 },
		func(o *Options) { o.Nodes = 0 },
		func(o *Options) { o.Nodes = 2 },
		func(o *Options) { o.Kills = -1 },
		func(o *Options) { o.Faults = -1 },
	} {
		spoilt := valid
		spoil(&spoilt)
		require.Error(t, spoilt.validate())
	}
}
