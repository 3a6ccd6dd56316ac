package vaultdev

import "syscall"

// processGroup gives the server a process group of its own, and has the kernel
// stop it when the test or the demo dies without having stopped it.
func processGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
