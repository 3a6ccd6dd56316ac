package main

import "time"

// sampleResults is a run in which this engine keeps some goals and misses others.
func sampleResults() results {
	r := results{
		Command: "make bench", Date: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), Took: 45 * time.Minute,
		Machine: machine{CPU: "an example", Cores: 2, Memory: 8 << 30, Sync: 1.25, OS: "Linux", Vault: "Vault v1.21.1", Go: "go1.25.7", Commit: "0123456789ab"},
		Timings: []timing{{"a, calls", 3}}, Failures: []string{"section x: it\nfailed"},
		Memory: []memoryRow{
			{Engine: builtIn, Users: 0, Server: footprint{RSS: 100e6}},
			{Engine: builtIn, Users: 20_000, Server: footprint{RSS: 200e6}},
			{Engine: ours, Users: 0, Server: footprint{RSS: 100e6}, Plugin: &footprint{RSS: 40e6}, Goroutines: 20},
			{Engine: ours, Users: 20_000, Server: footprint{RSS: 180e6}, Plugin: &footprint{RSS: 90e6, Peak: 95e6}, Goroutines: 60},
		},
		Pass: []passRow{{0, []float64{100}}, {20_000, []float64{500, 700, 600}}},
		Restarts: []restartRow{
			{Engine: builtIn, What: restartedVault, Users: 20_000, First: []float64{0.2}, Whole: []float64{2}},
			{Engine: ours, What: restartedVault, Users: 20_000, First: []float64{0.3, 1.5}, Whole: []float64{2, 3}},
			{Engine: ours, What: restartedPlugin, Users: 20_000, First: []float64{0.1}, Whole: []float64{0.1}},
		},
		Soak: &soakResult{
			Seconds: 600, Clients: 4, Leases: 1000, Before: atRest{footprint{Connections: 2, Files: 20}, 21},
			After:   atRest{footprint{Connections: 3, Files: 20}, 23},
			Samples: []soakSample{{0, footprint{RSS: 40e6}}, {300, footprint{RSS: 41e6}}, {600, footprint{RSS: 42e6}}},
		},
	}
	for _, slower := range []float64{1, 1.1} {
		r.Runs = append(r.Runs, sampleRun(slower))
	}
	return r
}

func sampleRun(slower float64) run {
	mass := func(engine string, seconds float64, calls, throttled int) massRow {
		return massRow{
			Engine: engine, Leases: 300, Rate: 20, Burst: 20, Seconds: seconds * slower, Floor: 44, Calls: calls, Throttled: throttled,
			Remaining: []timedCount{{0, 300}, {10, 200}, {seconds, 0}}, Fresh: freshLeases{Asked: 10, Max: 4000 * slower, Median: 300},
		}
	}
	return run{
		Calls: []callsRow{
			{Engine: builtIn, Operation: revoking, Calls: map[string]int{"ListAccessKeys": 6, "DeleteUser": 1}, RoundTrips: 7, Latency: 150, Took: 1070},
			{Engine: ours, Operation: revoking, Calls: map[string]int{"DeleteUser": 1, "DeleteAccessKey": 1, "DeleteUserPolicy": 1}, RoundTrips: 2, Latency: 150, Took: 310},
		},
		Latency: []latencyRow{
			{Engine: builtIn, Operation: issuing, Latency: 50, Leases: 60, P50: 165, P95: 170, P99: 180},
			{Engine: ours, Operation: issuing, Latency: 50, Leases: 60, P50: 110 * slower, P95: 112, P99: 113},
			{Engine: builtIn, Operation: issuing, Latency: 50, Distant: true, Leases: 25, P50: 600, P95: 610, P99: 620},
			{Engine: ours, Operation: issuing, Latency: 50, Distant: true, Leases: 25, P50: 1000, P95: 1010, P99: 1020},
		},
		Throughput: []throughputRow{
			{Engine: builtIn, Clients: 16, Leases: 100, Issued: []float64{200, 210, 190}, Revoked: []float64{100}},
			{Engine: ours, Clients: 16, Leases: 100, Issued: []float64{220, 230, 210}, Revoked: []float64{150}},
		},
		Mass: []massRow{mass(builtIn, 226, 8355, 5284), mass(ours, 46, 910, 20)},
	}
}
