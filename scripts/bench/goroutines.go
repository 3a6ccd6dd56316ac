package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"syscall"
	"time"
)

// dumpPatience bounds the wait for a dump to be in Vault's log.
const dumpPatience = 20 * time.Second

// pluginPID is the process id of the plugin, of which there has to be one: all
// mounts of a version share it.
func (s *stage) pluginPID() (int, error) {
	pids := s.vault.PluginPIDs()
	if len(pids) != 1 {
		return 0, fmt.Errorf("the plugin is to be one process, not %d", len(pids))
	}
	return pids[0], nil
}

// goroutines ends the plugin's process with SIGQUIT, upon which Go's runtime
// writes the stacks of all goroutines to standard error and so into Vault's log,
// and counts them. So the real process is asked, and needs nothing to be asked by.
func (s *stage) goroutines(ctx context.Context) (int, error) {
	pid, err := s.pluginPID()
	if err != nil {
		return 0, err
	}
	log, err := os.Open(s.vault.LogPath)
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }() // only read
	if _, err := log.Seek(0, io.SeekEnd); err != nil {
		return 0, err
	}
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, dumpPatience)
	defer cancel()
	// go-plugin logs the end of a process when it has logged all that it wrote.
	ended := regexp.MustCompile(fmt.Sprintf(`plugin process exited: .*\bid=%d\b`, pid))
	var dump []byte
	for !ended.Match(dump) {
		if !pause(ctx, 50*time.Millisecond) {
			return 0, fmt.Errorf("waiting for the plugin's goroutines in Vault's log: %w", ctx.Err())
		}
		more, err := io.ReadAll(log)
		if err != nil {
			return 0, err
		}
		dump = append(dump, more...)
	}
	if n := countGoroutines(dump); n > 0 {
		return n, nil
	}
	return 0, errors.New("the plugin has ended without writing its goroutines")
}

// A goroutine's first line is like "goroutine 12 [select, 3 minutes]:". The number
// 0 is the signal handler's. What the runtime itself has started, for collecting
// garbage and the like, is not counted, as runtime.NumGoroutine does not.
var (
	goroutineHead = regexp.MustCompile(`\bgoroutine [1-9]\d* [^\n]*\[[^\n]*\]:`)
	ofTheRuntime  = regexp.MustCompile(`\bcreated by runtime\.`)
)

func countGoroutines(dump []byte) int {
	return len(goroutineHead.FindAll(dump, -1)) - len(ofTheRuntime.FindAll(dump, -1))
}
