package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	entryFormat = 1
	entrySuffix = ".json"
	newSuffix   = ".new" // of one that is being written
)

// entry is what is kept of one lease, its key included.
type entry struct {
	Format          int    `json:"format"`
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	LeaseID         string `json:"lease_id"`
	Renewable       bool   `json:"renewable"`
	// TTL is what the lease was issued with.
	TTL time.Duration `json:"ttl"`
	// Granted is when the lease was issued or renewed last, or rather when that was
	// asked for, so that the times below are not later than Vault's.
	Granted time.Time `json:"granted"`
	// AskAgain is when Vault is to be asked next: when half is gone, or, after that has
	// failed, a little later.
	AskAgain time.Time `json:"ask_again"`
	// Expires is from when on the key is not handed out.
	Expires time.Time `json:"expires"`
	// Earlier are leases that this one took over from, and that go on to their own ends:
	// programs that were given their keys use them until then.
	Earlier []earlierLease `json:"earlier,omitempty"`
}

type earlierLease struct {
	LeaseID string    `json:"lease_id"`
	Expires time.Time `json:"expires"`
}

// grant sets the times for a lease of that length from a moment on. The key is given
// up a little before the lease ends, so that what is signed with it just before still
// arrives in time.
func (e *entry) grant(from time.Time, length time.Duration) {
	from = from.Round(0).UTC() // by the wall clock, as other processes see it
	e.Granted = from
	e.AskAgain = from.Add(length / 2)
	e.Expires = from.Add(length - min(length/10, time.Minute))
}

// fresh says whether the key can be handed out without asking Vault. A clock that was
// set back counts as a reason to ask.
func (e *entry) fresh(now time.Time) bool {
	return e.usable(now) && !now.Before(e.Granted) && now.Before(e.AskAgain)
}

func (e *entry) usable(now time.Time) bool { return e != nil && now.Before(e.Expires) }

// print writes the credentials as AWS's SDKs read them.
func (e *entry) print(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(struct {
		Version         int
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Expiration      string
	}{1, e.AccessKeyID, e.SecretAccessKey, e.Expires.UTC().Format(time.RFC3339)})
}

// cache is the file of one key. It is replaced as a whole, so that it can be read
// without the lock, and changed by whoever has the lock. A lock covers the files that
// begin with its letter: a file of its own for each would stay behind for ever.
type cache struct {
	folder, key string
}

func openCache(folder, key string) (*cache, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder for the keys: %w", err)
	}
	info, err := os.Stat(folder)
	if err != nil {
		return nil, fmt.Errorf("looking at the folder for the keys: %w", err)
	}
	if err := checkPrivate(info); err != nil {
		return nil, fmt.Errorf("the folder for the keys, %s: %w", folder, err)
	}
	return &cache{folder: folder, key: key}, nil
}

func (c *cache) file() string { return filepath.Join(c.folder, c.key+entrySuffix) }

func (c *cache) lockFile() string { return filepath.Join(c.folder, "lock."+c.key[:1]) }

// load returns nil where nothing is kept, or nothing that can be read, as after a
// crash of the machine: the lease of a lost key runs out by itself.
func (c *cache) load() (*entry, error) { return loadEntry(c.file()) }

func loadEntry(file string) (*entry, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key that is kept: %w", err)
	}
	var e entry
	if err := json.Unmarshal(content, &e); err != nil || e.Format != entryFormat || e.LeaseID == "" || e.AccessKeyID == "" || e.SecretAccessKey == "" {
		return nil, nil //nolint:nilerr // as said above; what the error quotes may be secret
	}
	return &e, nil
}

func (c *cache) store(e *entry) (err error) {
	e.Format = entryFormat
	content, err := json.Marshal(e)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(c.folder, c.key+".*"+newSuffix) // which gives it mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = replace(file.Name(), c.file())
	}
	return err
}

func (c *cache) remove() error {
	if err := os.Remove(c.file()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// sweep removes what is left of earlier tokens and of processes that died, as far as
// the lock covers it, which the caller has. Files with a lease that may be alive stay,
// for -revoke. What fails is left to the next.
func (c *cache) sweep(now time.Time) {
	files, err := os.ReadDir(c.folder)
	if err != nil {
		return
	}
	for _, file := range files {
		name, path := file.Name(), filepath.Join(c.folder, file.Name())
		if !c.covers(name) {
			continue
		}
		switch filepath.Ext(name) {
		case newSuffix:
			_ = os.Remove(path)
		case entrySuffix:
			if e, err := loadEntry(path); err == nil && len(e.leases(now)) == 0 {
				_ = os.Remove(path)
			}
		}
	}
}

// covers says whether a file is one of this program's that the lock is for. The folder
// may have files of others, too.
func (c *cache) covers(name string) bool {
	key, _, _ := strings.Cut(name, ".")
	return len(key) == len(c.key) && key[0] == c.key[0] && strings.Trim(key, "0123456789abcdef") == ""
}
