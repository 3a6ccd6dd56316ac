package main

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

func TestOptions(t *testing.T) {
	from := func(environment map[string]string) (options, error) {
		return optionsFrom(func(name string) string { return environment[name] })
	}
	all, err := from(nil)
	require.NoError(t, err)
	require.True(t, all.full())
	require.Equal(t, "make bench SOAK=10m", all.command())

	some, err := from(map[string]string{"QUICK": "1", "RUNS": "3", "SECTIONS": "d, a", "SOAK": "90s"})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "d"}, some.sections)
	require.False(t, some.full())
	require.Equal(t, "make bench QUICK=1 RUNS=3 SECTIONS=a,d", some.command())

	plain, err := from(map[string]string{"PLAIN": "1"})
	require.NoError(t, err)
	require.False(t, plain.full(), "AWS speaks TLS")
	require.Equal(t, "make bench PLAIN=1 SOAK=10m", plain.command())

	quick, err := from(map[string]string{"QUICK": "1"})
	require.NoError(t, err)
	require.False(t, quick.full(), "its figures are worth nothing")

	_, err = from(map[string]string{"RUNS": "0", "SOAK": "long", "SECTIONS": "a,x"})
	for _, name := range []string{"RUNS", "SOAK", `"x"`} {
		require.ErrorContains(t, err, name)
	}
}

// Break it by counting all goroutines with a number.
func TestGoroutinesOfADump(t *testing.T) {
	const dump = `2026-11-22T22:09:11.763Z [DEBUG] secrets.x: goroutine 0 gp=0x252a7c0 m=0 mp=0x252bda0 [idle]:
2026-11-22T22:09:11.763Z [DEBUG] secrets.x: runtime.futex(0x252bfa8)
2026-11-22T22:09:11.763Z [DEBUG] secrets.x: goroutine 1 gp=0x3da6f232e1e0 m=nil [select]:
2026-11-22T22:09:11.763Z [DEBUG] secrets.x: main.main()
2026-11-22T22:09:11.763Z [DEBUG] secrets.x: goroutine 2 gp=0x3da6f232e780 m=nil [force gc (idle)]:
2026-11-22T22:09:11.764Z [DEBUG] secrets.x: created by runtime.init.7 in goroutine 1
2026-11-22T22:09:11.764Z [DEBUG] secrets.x: goroutine 37 [IO wait, 2 minutes]:
2026-11-22T22:09:11.764Z [DEBUG] secrets.x: created by net/http.(*Transport).dialConn in goroutine 21
`
	require.Equal(t, 2, countGoroutines([]byte(dump)))
	require.Zero(t, countGoroutines(nil))
}

func TestPassOfABenchmark(t *testing.T) {
	const output = `goos: linux
BenchmarkReaperPass/users=0-2         	 7446152	       161.0 ns/op
BenchmarkReaperPass/users=20000-2     	 1000000	      1021 ns/op
BenchmarkReaperPass/users=20000-2     	 1000000	       561.5 ns/op
BenchmarkReaperStart-2     	 1000000	       561.5 ns/op
PASS
`
	require.Equal(t, []passRow{{0, []float64{161}}, {20_000, []float64{1021, 561.5}}}, parsePass([]byte(output)))
	require.Empty(t, parsePass([]byte("PASS\n")))
}

// Break it by taking every other user for a new lease's.
func TestMeterTellsUsersApart(t *testing.T) {
	m := newMeter(site{suffix: "-0"})
	for _, call := range []awsfake.Call{
		{Action: "DeleteUser", User: "vault-mass-0-abc", Status: 400, Code: "Throttling"},
		{Action: "DeleteUser", User: "vault-mass-0-abc", Status: 200, End: time.Unix(9, 0)},
		{Action: "DeleteUser", User: "vault-root-mass-0-17-xyz", Lost: true},
		{Action: "CreateUser", User: "vault-fresh-0-abc", Status: 400, Code: "Throttling"},
		{Action: "CreateUser", User: "vault-steady-0-abc", Status: 200},
	} {
		m.watch(call)
	}
	mass, fresh := m.counts()
	require.Equal(t, counted{total: 3, throttled: 1}, mass)
	require.Equal(t, counted{total: 1, throttled: 1}, fresh)
	deleted, last := m.progress()
	require.Equal(t, 1, deleted)
	require.Equal(t, time.Unix(9, 0), last)
}

func TestFootprintOfThisProcess(t *testing.T) {
	file, err := os.Open("main.go")
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	f, err := footprintOf(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, f.RSS, uint64(1<<20))
	require.GreaterOrEqual(t, f.Peak, f.RSS)
	require.Positive(t, f.Threads)
	require.Greater(t, f.Files, 3, "standard streams and one file")
}
