package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

// passRow is what the periodic pass costs with so many live users, none of which
// is due.
type passRow struct {
	Users int       `json:"users"`
	Took  []float64 `json:"took_ns"`
}

// measurePass runs the Go benchmark of the pass: from outside of the process it
// cannot be told from everything else.
func (b *bench) measurePass(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkReaperPass$",
		"-benchtime", b.benchTime, "-count", strconv.Itoa(b.benchCount), ".")
	cmd.Dir = b.root
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test: %w\n%s", err, output)
	}
	b.found.Pass = parsePass(output)
	if len(b.found.Pass) == 0 {
		return errors.New("BenchmarkReaperPass has printed no result")
	}
	return nil
}

var passLine = regexp.MustCompile(`(?m)^BenchmarkReaperPass/users=(\d+)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op`)

// parsePass takes apart what go test printed. Rows are in the order of the
// benchmark.
func parsePass(output []byte) []passRow {
	var rows []passRow
	at := map[int]int{}
	for _, match := range passLine.FindAllSubmatch(output, -1) {
		users, err := strconv.Atoi(string(match[1]))
		took, err2 := strconv.ParseFloat(string(match[2]), 64)
		if err != nil || err2 != nil {
			continue
		}
		i, known := at[users]
		if !known {
			i = len(rows)
			at[users] = i
			rows = append(rows, passRow{Users: users})
		}
		rows[i].Took = append(rows[i].Took, took)
	}
	return rows
}
