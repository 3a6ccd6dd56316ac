package main

import (
	"encoding/json"
	"os"
	"time"
)

// results is all that a run found. Stored as JSON beside the charts, the document
// can be written from it again without a run. Times are in milliseconds where a
// name says nothing else, sizes in bytes.
type results struct {
	Command  string        `json:"command"`
	Date     time.Time     `json:"date"`
	Took     time.Duration `json:"took_ns"`
	Machine  machine       `json:"machine"`
	Runs     []run         `json:"runs,omitempty"`
	Memory   []memoryRow   `json:"memory,omitempty"`
	Pass     []passRow     `json:"pass,omitempty"`
	Restarts []restartRow  `json:"restarts,omitempty"`
	Soak     *soakResult   `json:"soak,omitempty"`
	Timings  []timing      `json:"timings,omitempty"`
	Failures []string      `json:"failures,omitempty"`
}

// run is one repetition of sections a to d.
type run struct {
	Calls      []callsRow      `json:"calls,omitempty"`
	Latency    []latencyRow    `json:"latency,omitempty"`
	Throughput []throughputRow `json:"throughput,omitempty"`
	Mass       []massRow       `json:"mass,omitempty"`
}

// timing is how long a section took.
type timing struct {
	Section string  `json:"section"`
	Seconds float64 `json:"seconds"`
}

// callsRow is what one lease takes of AWS.
type callsRow struct {
	Engine     string         `json:"engine"`
	Operation  string         `json:"operation"`
	Calls      map[string]int `json:"calls"` // by action
	RoundTrips int            `json:"round_trips"`
	// Latency is that of AWS while the operation took Took, a check of
	// RoundTrips by the clock.
	Latency float64 `json:"latency_ms"`
	Took    float64 `json:"took_ms"`
}

func (c callsRow) total() int {
	sum := 0
	for _, n := range c.Calls {
		sum += n
	}
	return sum
}

// latencyRow is how long one client waited, at one latency of AWS.
type latencyRow struct {
	Engine    string  `json:"engine"`
	Operation string  `json:"operation"`
	Latency   float64 `json:"latency_ms"`
	// Distant says that each handshake of a new connection took as long as a call.
	Distant bool    `json:"distant,omitempty"`
	Leases  int     `json:"leases"`
	P50     float64 `json:"p50_ms"`
	P95     float64 `json:"p95_ms"`
	P99     float64 `json:"p99_ms"`
}

// awsLatency is how long AWS takes to answer, in milliseconds, and whether it is the
// way that takes it.
type awsLatency struct {
	ms      float64
	distant bool
}

func (a awsLatency) String() string {
	if a.distant {
		return number(a.ms) + " ms away"
	}
	return number(a.ms) + " ms"
}

func (l latencyRow) at() awsLatency { return awsLatency{l.Latency, l.Distant} }

// throughputRow is how many leases a second were made and revoked.
type throughputRow struct {
	Engine  string    `json:"engine"`
	Clients int       `json:"clients"`
	Leases  int       `json:"leases"` // in a round
	Issued  []float64 `json:"issued_per_second"`
	Revoked []float64 `json:"revoked_per_second"`
	// Connections to AWS that were opened for a lease made and revoked.
	Connections []float64 `json:"connections_per_lease"`
}

// massRow is one mass revocation.
type massRow struct {
	Engine string `json:"engine"`
	Leases int    `json:"leases"`
	Rate   int    `json:"rate"`
	Burst  int    `json:"burst"`

	Seconds     float64      `json:"seconds"` // until the last user was gone, and Vault had none of the leases
	Floor       float64      `json:"floor_seconds"`
	Calls       int          `json:"calls"`
	Throttled   int          `json:"throttled"` // of the calls
	Irrevocable int          `json:"irrevocable"`
	LeasesLeft  int          `json:"leases_left"`
	UsersLeft   int          `json:"users_left"`
	Remaining   []timedCount `json:"remaining"` // users, over time
	Fresh       freshLeases  `json:"fresh"`
}

// timedCount is a count at a time, in seconds since the beginning.
type timedCount struct {
	At    float64 `json:"at"`
	Count int     `json:"count"`
}

// freshLeases is what became of new leases that were asked for meanwhile. Their
// calls are not among the mass revocation's.
type freshLeases struct {
	Asked     int     `json:"asked"`
	Failed    int     `json:"failed"`
	Max       float64 `json:"max_ms"`
	Median    float64 `json:"median_ms"`
	Calls     int     `json:"calls"`
	Throttled int     `json:"throttled"`
	LastError string  `json:"last_error,omitempty"`
}

func load(path string) (results, error) {
	var r results
	content, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	err = json.Unmarshal(content, &r)
	return r, err
}

func (r results) store(path string) error {
	content, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o600)
}
