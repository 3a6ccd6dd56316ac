package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machine is what the figures were found on, and with.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory uint64 `json:"memory_bytes"`
	// Sync is what a small write to where temporary files are takes until it is on the
	// disk, in milliseconds. Vault's integrated storage lies there, and waits for that in
	// each write.
	Sync   float64 `json:"sync_ms,omitempty"`
	OS     string  `json:"os"`
	Vault  string  `json:"vault"`
	Go     string  `json:"go"`
	Commit string  `json:"commit"`
}

// describeMachine asks the system, as far as it tells: what is not known is
// "unknown", for no figure depends on it.
func describeMachine(ctx context.Context, root, vault string) machine {
	m := machine{
		CPU: "unknown", Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH,
		Vault: firstLine(ctx, root, vault, "version"), Go: runtime.Version(),
		Commit: firstLine(ctx, root, "git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"),
	}
	// Not every system has these files.
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	if model := field(cpu, "model name"); model != "" {
		m.CPU = model
	}
	memory, _ := os.ReadFile("/proc/meminfo")
	if kilobytes, err := strconv.ParseUint(strings.TrimSuffix(field(memory, "MemTotal"), " kB"), 10, 64); err == nil {
		m.Memory = kilobytes << 10
	}
	if took, err := syncTime(os.TempDir()); err == nil {
		m.Sync = took
	}
	if kernel := firstLine(ctx, root, "uname", "-sr"); kernel != "unknown" {
		m.OS = fmt.Sprintf("%s (%s)", kernel, m.OS)
	}
	return m
}

// syncTime is how many milliseconds it takes to write a block through to the disk: the
// median, since some wait for what others write.
func syncTime(dir string) (median float64, err error) {
	const writes, block = 101, 4 << 10
	file, err := os.CreateTemp(dir, "aws-iam-bench-sync-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	var took []float64
	for range writes {
		start := time.Now()
		if _, err := file.Write(make([]byte, block)); err != nil {
			return 0, err
		}
		if err := file.Sync(); err != nil {
			return 0, err
		}
		took = append(took, millis(time.Since(start)))
	}
	return percentile(took, 50), nil
}

// firstLine is the first line that a program prints.
func firstLine(ctx context.Context, dir, program string, args ...string) string {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	output, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := bytes.Cut(output, []byte("\n"))
	return strings.TrimSpace(string(line))
}

// field is the value of the first line "name: value", empty if there is none.
func field(content []byte, name string) string {
	for line := range strings.Lines(string(content)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
