//go:build !windows

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// tryLock returns errLocked if another process has the lock. The file stays: removing
// it would let two processes lock two files of the same name.
func tryLock(path string) (release func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return func() { _ = file.Close() }, nil // closing gives the lock up
	}
	_ = file.Close() // nothing was written
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errLocked
	}
	return nil, err
}

func replace(from, to string) error { return os.Rename(from, to) }

// checkPrivate refuses a folder that others could read, or put something into.
func checkPrivate(info fs.FileInfo) error {
	if !info.IsDir() {
		return errors.New("it is not a folder")
	}
	if others := info.Mode().Perm() & 0o077; others != 0 {
		return fmt.Errorf("others have access to it (mode %#o): chmod 700", info.Mode().Perm())
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int64(stat.Uid) != int64(os.Geteuid()) {
		return fmt.Errorf("it belongs to the user %d, and not to %d: give another with -cache", stat.Uid, os.Geteuid())
	}
	return nil
}
