package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A page's own text stays, charts are well-formed, and all of it can be written
// again from what was stored. Break it by leaving a chapter's charts out of
// document.write.
func TestDocument(t *testing.T) {
	at := document{t.TempDir()}
	require.NoError(t, os.WriteFile(at.page(), []byte("# Mine\n"+beginMark+"\nwhat was there\n"+endMark+"\nby hand\n"), 0o600))
	require.NoError(t, at.write(sampleResults()))

	page, err := os.ReadFile(at.page())
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(page), "# Mine\n"))
	require.True(t, strings.HasSuffix(string(page), endMark+"\nby hand\n"))
	require.NotContains(t, string(page), "what was there")
	require.Contains(t, string(page), "**Failed:** section x: it failed")
	require.Contains(t, string(page), "1.25 ms for 4 KiB")
	pictures := 0
	for line := range strings.Lines(string(page)) {
		if _, file, ok := strings.Cut(line, "](benchmarks/"); ok {
			requireWellFormed(t, filepath.Join(at.beside(), strings.TrimSuffix(strings.TrimSpace(file), ")")))
			pictures++
		}
	}
	require.Equal(t, 7, pictures)

	stored, err := load(at.results())
	require.NoError(t, err)
	require.NoError(t, at.write(stored))
	again, err := os.ReadFile(at.page())
	require.NoError(t, err)
	require.Equal(t, string(page), string(again))
}

// Break it by leaving the file behind.
func TestSyncTime(t *testing.T) {
	dir := t.TempDir()
	took, err := syncTime(dir)
	require.NoError(t, err)
	require.Positive(t, took)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func requireWellFormed(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(content), "<svg")
	decoder := xml.NewDecoder(bytes.NewReader(content))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err, path)
	}
}

func TestBetweenNeedsItsMarks(t *testing.T) {
	_, err := between([]byte("# A page without marks\n"), []byte("text"))
	require.ErrorContains(t, err, beginMark)
	page, err := between(nil, []byte("text\n"))
	require.NoError(t, err)
	require.Equal(t, "# Benchmarks\n\n"+beginMark+"\n\ntext\n"+endMark+"\n", string(page))
}

// The worst run counts, and what connections cost on a network does not. Break it by
// judging the median, by leaving massRow.ifDone out of the ratios, or distant out of
// latencyRow.at.
func TestGoals(t *testing.T) {
	verdicts := map[string]bool{}
	for _, g := range sampleResults().goals() {
		verdicts[g.what] = g.met()
		if g.what == "issue at 50 ms, p50, times faster than the built-in engine" {
			require.InDelta(t, 165./121, g.found, 0.001)
		}
	}
	require.Equal(t, map[string]bool{
		"issue at 50 ms, p50": false, // 121 ms in the second run
		"issue at 50 ms, p50, times faster than the built-in engine": false,
		"issue throughput at 16 clients, to the built-in engine":     true,
		"revoking 300 at 20 calls/s: time, to the floor":             false, // 50.6 s in the second run
		"revoking 300 at 20 calls/s: calls, to the floor":            true,
		"revoking 300 at 20 calls/s: throttled":                      true,
		"revoking 300 at 20 calls/s: irrevocable leases":             true,
		"revoking 300 at 20 calls/s: new leases that failed":         true,
		"revoking 300 at 20 calls/s: longest wait for a new lease":   true,
		"20000 users: memory of the plugin":                          true,
		"20000 users: the periodic pass":                             true,
		"20000 users: first lease, Vault killed and started again":   false, // 1.5 s once
		"20000 users: first lease, plugin killed":                    true,
		"soak: goroutines left over":                                 true,
		"soak: TCP connections left over":                            false,
		"soak: open files left over":                                 true,
	}, verdicts)
	cutOff := results{Runs: []run{{Mass: []massRow{{Engine: ours, Leases: 300, Rate: 20, Seconds: 10, Floor: 44, Calls: 100, UsersLeft: 270}}}}}
	for _, g := range cutOff.goals()[:2] {
		require.False(t, g.met(), "%s: it has not come to its end", g.what)
	}
	require.Empty(t, results{}.goals(), "of nothing measured nothing is claimed")
	require.Empty(t, results{}.chapters())
}

func TestTable(t *testing.T) {
	table := table{header: []string{"", "µs"}}
	table.add("users", "1")
	table.add("short")
	var written strings.Builder
	table.write(&written)
	require.Equal(t, "|       | µs |\n|-------|----|\n| users | 1  |\n| short |    |\n", written.String())
}

func TestNumbers(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0", 3: "3", 5284: "5284", 1234.56: "1235", 45.678: "45.7", 1.1: "1.10", 0.5: "0.50", 0.000791: "0.00079", math.Inf(1): "–",
	} {
		require.Equal(t, want, number(value))
	}
	require.Equal(t, "–", number(math.NaN()))
	require.Equal(t, "2 (1–3)", across([]float64{3, 1, 2}))
	require.Equal(t, "2", across([]float64{2, 2.001}[:1]))
	require.Equal(t, "63.2%", acrossPercent([]float64{0.632}))
	require.Equal(t, []float64{2, 3}, ratios([]float64{4, 9, 1}, []float64{2, 3}))
}

// Break it by going on with zeroes after the last user is gone.
func TestChartOfUsersLeft(t *testing.T) {
	left := perSecond([]timedCount{{0, 300}, {1.5, 200}, {3, 0}}, 6)
	require.Equal(t, []float64{300, 300, 200, 0}, left[:4])
	require.True(t, math.IsNaN(left[4]) && math.IsNaN(left[5]))

	floor := floorLine(massSize{20, 20}, 4) // 60 calls, 20 of them at once
	require.Equal(t, []float64{14, 7, 0}, floor[:3])
	require.True(t, math.IsNaN(floor[3]))
}
