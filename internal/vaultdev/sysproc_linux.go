package vaultdev

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// processGroup gives the server a process group of its own, and has the kernel
// stop it when the test or the demo dies without having stopped it.
func processGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// ownsSocket says whether the process has the end at port local of a connection
// over 127.0.0.1 to port remote. The kernel names sockets by their inode, in the
// table of connections as in the processes' file descriptors; proc_pid_net(5)
// describes the table's columns.
func ownsSocket(_ context.Context, pid, local, remote int) bool {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return false
	}
	const localAddress, remoteAddress, inode = 1, 2, 9
	for line := range bytes.Lines(table) {
		fields := bytes.Fields(line)
		if len(fields) > inode && string(fields[localAddress]) == kernelAddress(local) && string(fields[remoteAddress]) == kernelAddress(remote) {
			return hasDescriptor(pid, "socket:["+string(fields[inode])+"]")
		}
	}
	return false
}

// kernelAddress is 127.0.0.1 and a port as /proc/net/tcp has them on machines
// with the least significant byte first, as all that Go's Linux ports of today
// run on but s390x and two MIPS.
func kernelAddress(port int) string { return fmt.Sprintf("0100007F:%04X", port) }

func hasDescriptor(pid int, target string) bool {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	descriptors, err := os.ReadDir(folder)
	if err != nil {
		return false
	}
	for _, descriptor := range descriptors {
		if link, err := os.Readlink(filepath.Join(folder, descriptor.Name())); err == nil && link == target {
			return true
		}
	}
	return false
}
