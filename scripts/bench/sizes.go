package main

import "time"

// scaleAccounts is over how many accounts the many live users are spread. IAM
// allows 5,000 users in one, the integration's own among them.
const scaleAccounts = 5

// sizes is how much is measured.
type sizes struct {
	latencies      []latencySize
	throughput     []throughputSize
	rounds         int // of throughput, of which the median counts
	masses         []massSize
	freshEvery     time.Duration // pause between new leases during a mass revocation
	users          []int         // live users to measure memory and restarts at; the last is the most
	fillClients    int
	settle         time.Duration // from the last lease to the look at the memory
	soakClients    int
	soakWarmUp     time.Duration
	soakRest       time.Duration // longer than connections at rest are kept
	benchTime      string        // of the Go benchmarks
	benchCount     int
	callsLeases    int           // leases whose calls are looked at one by one
	callsLatency   time.Duration // at which round trips stand out from everything else
	restartRepeats int
}

// latencySize is how many leases are made and revoked at one latency of AWS.
type latencySize struct {
	latency time.Duration
	leases  int
	distant bool // the latency is the way's: opening a connection takes it, too
}

func (s latencySize) describe() string {
	if s.distant {
		return "is " + s.latency.String() + " away"
	}
	return "answers in " + s.latency.String()
}

// throughputSize is how many leases how many clients ask for in one round.
type throughputSize struct{ clients, leases int }

// massSize is how many leases are revoked at once where IAM allows so many calls
// a second. The bucket holds one second's worth of calls.
type massSize struct {
	leases int
	rate   int
}

// fullSizes takes about 45 minutes, most of which the built-in engine's mass
// revocations and the soak need. Fewer leases at higher latencies, so that each
// latency takes as long as the others.
func fullSizes() sizes {
	return sizes{
		latencies: []latencySize{
			{0, 400, false}, {20 * time.Millisecond, 100, false}, {50 * time.Millisecond, 60, false}, {150 * time.Millisecond, 25, false},
			{50 * time.Millisecond, 25, true},
		},
		throughput:     []throughputSize{{1, 300}, {16, 1200}, {64, 1600}},
		rounds:         3,
		masses:         []massSize{{300, 20}, {2000, 200}},
		freshEvery:     5 * time.Second,
		users:          []int{0, 5000, 20_000},
		fillClients:    32,
		settle:         5 * time.Second,
		soakClients:    4,
		soakWarmUp:     15 * time.Second,
		soakRest:       100 * time.Second, // the AWS SDK keeps them for 90 s
		benchTime:      "1s",
		benchCount:     5,
		callsLeases:    5,
		callsLatency:   150 * time.Millisecond,
		restartRepeats: 3,
	}
}

// quickSizes shows in about two minutes that every part works.
func quickSizes() sizes {
	return sizes{
		latencies: []latencySize{
			{0, 20, false}, {20 * time.Millisecond, 5, false}, {50 * time.Millisecond, 5, false}, {150 * time.Millisecond, 2, false},
			{50 * time.Millisecond, 2, true},
		},
		throughput:     []throughputSize{{1, 10}, {16, 64}, {64, 128}},
		rounds:         1,
		masses:         []massSize{{20, 20}, {100, 200}},
		freshEvery:     time.Second,
		users:          []int{0, 100, 300},
		fillClients:    16,
		settle:         500 * time.Millisecond,
		soakClients:    4,
		soakWarmUp:     2 * time.Second,
		soakRest:       time.Second,
		benchTime:      "10x",
		benchCount:     2,
		callsLeases:    2,
		callsLatency:   150 * time.Millisecond,
		restartRepeats: 1,
	}
}
