package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// footprint is what the kernel says of a process.
type footprint struct {
	RSS         uint64 `json:"rss_bytes"`
	Peak        uint64 `json:"peak_rss_bytes"`
	Threads     int    `json:"threads"`
	Files       int    `json:"open_files"`
	Connections int    `json:"tcp_connections"` // established ones
}

// footprintOf reads /proc, as proc_pid_status(5), proc_pid_fd(5) and
// proc_pid_net(5) describe it.
func footprintOf(pid int) (footprint, error) {
	var f footprint
	path := fmt.Sprintf("/proc/%d/status", pid)
	// Read once, or its values are of different moments.
	status, err := os.ReadFile(path)
	if err != nil {
		return f, err
	}
	for name, size := range map[string]*uint64{"VmRSS": &f.RSS, "VmHWM": &f.Peak} {
		kilobytes, err := strconv.ParseUint(strings.TrimSuffix(field(status, name), " kB"), 10, 64)
		if err != nil {
			return f, fmt.Errorf("%s has no %s: %w", path, name, err)
		}
		*size = kilobytes << 10
	}
	if f.Threads, err = strconv.Atoi(field(status, "Threads")); err != nil {
		return f, fmt.Errorf("%s has no Threads: %w", path, err)
	}
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	descriptors, err := os.ReadDir(folder)
	if err != nil {
		return f, err
	}
	f.Files = len(descriptors)
	established, err := establishedSockets(pid)
	if err != nil {
		return f, err
	}
	for _, descriptor := range descriptors {
		// One that has been closed meanwhile is not open.
		if target, err := os.Readlink(filepath.Join(folder, descriptor.Name())); err == nil && established[target] {
			f.Connections++
		}
	}
	return f, nil
}

// establishedSockets are all of the machine, by the names that processes' file
// descriptors have.
func establishedSockets(pid int) (map[string]bool, error) {
	const state, inode, established = 3, 9, "01"
	sockets := map[string]bool{}
	for _, table := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(content)) {
			if fields := strings.Fields(line); len(fields) > inode && fields[state] == established {
				sockets["socket:["+fields[inode]+"]"] = true
			}
		}
	}
	return sockets, nil
}
