//go:build !linux

package vaultdev

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// processGroup gives the server a process group of its own.
func processGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// ownsSocket says whether the process has the end at port local of a connection
// over 127.0.0.1 to port remote. Without /proc, lsof tells, which macOS comes
// with. Where there is none no connection has a known origin, and isolating one
// node cuts all of them from each other.
func ownsSocket(ctx context.Context, pid, local, remote int) bool {
	found, err := exec.CommandContext(ctx, "lsof", "-nP", "-a", "-p", strconv.Itoa(pid),
		fmt.Sprintf("-iTCP@127.0.0.1:%d", local), "-Fn").Output()
	return err == nil && strings.Contains(string(found), fmt.Sprintf("n127.0.0.1:%d->127.0.0.1:%d\n", local, remote))
}
