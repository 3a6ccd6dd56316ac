package main

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// errSharingViolation is ERROR_SHARING_VIOLATION: another process has the file open.
const errSharingViolation = syscall.Errno(32)

// tryLock opens a file that nobody else can have open at the same time. It returns
// errLocked if another process has.
func tryLock(path string) (release func(), err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	const shareWithNobody = 0
	handle, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, shareWithNobody, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errSharingViolation) {
		return nil, errLocked
	}
	if err != nil {
		return nil, err
	}
	return func() { _ = syscall.CloseHandle(handle) }, nil // closing gives the lock up
}

// replace waits for who reads the file at the moment, which on Windows is in the way.
func replace(from, to string) error {
	var err error
	for range 40 {
		if err = os.Rename(from, to); err == nil {
			return nil
		}
		time.Sleep(lockPause)
	}
	return err
}

// checkPrivate leaves it to the user's profile, which Windows keeps from other users.
func checkPrivate(info fs.FileInfo) error {
	if !info.IsDir() {
		return errors.New("it is not a folder")
	}
	return nil
}
