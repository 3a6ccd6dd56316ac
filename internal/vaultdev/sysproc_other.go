//go:build !linux

package vaultdev

import "syscall"

// processGroup gives the server a process group of its own.
func processGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
