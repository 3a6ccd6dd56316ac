package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// holdLock, in the environment, has the test binary take the lock of that folder and
// keep it until it is killed.
const holdLock = "CREDENTIAL_PROCESS_TEST_HOLD_LOCK"

func TestMain(m *testing.M) {
	if folder := os.Getenv(holdLock); folder != "" {
		c := &cache{folder: folder, key: "0123"}
		if _, err := c.lock(context.Background()); err != nil {
			panic(err)
		}
		_, _ = os.Stdout.WriteString("locked\n")
		select {}
	}
	os.Exit(m.Run())
}

// TestLockOfAProcessThatDied kills one that has the lock. Break it by making the lock
// a file that is there or not.
func TestLockOfAProcessThatDied(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	holder := exec.CommandContext(t.Context(), os.Args[0])
	holder.Env = append(os.Environ(), holdLock+"="+b.cache.folder)
	output, err := holder.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	require.True(t, bufio.NewScanner(output).Scan())

	brief, cancel := context.WithTimeout(t.Context(), 5*lockPause)
	defer cancel()
	_, err = b.credentials(brief)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "another process")
	require.Empty(t, b.vault.take())

	require.NoError(t, holder.Process.Kill())
	require.Error(t, holder.Wait())
	require.Equal(t, "AKIA1", b.mustGet(0, "issue"))
}

// TestLockThatIsNotHad: there is a key that works, and whoever asks for the next one
// does not come back.
func TestLockThatIsNotHad(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.mustGet(0, "issue")
	release, err := b.cache.lock(t.Context())
	require.NoError(t, err)
	b.clock = b.clock.Add(testTTL / 2)
	brief, cancel := context.WithTimeout(t.Context(), lockPause)
	defer cancel()
	e, err := b.credentials(brief)
	require.NoError(t, err)
	require.Equal(t, "AKIA1", e.AccessKeyID)
	require.Empty(t, b.vault.take())
	release()
	require.Equal(t, "AKIA1", b.mustGet(0, "renew lease/1"))
}

// TestLockIsNotWaitedForWithAKeyThatWorks: whoever has it may wait for AWS, for another
// role at that. Break it by waiting for as long as there is time.
func TestLockIsNotWaitedForWithAKeyThatWorks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.mustGet(0, "issue")
	release, err := b.cache.lock(t.Context())
	require.NoError(t, err)
	defer release()
	b.clock = b.clock.Add(testTTL / 2)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		e, err := b.credentials(ctx)
		require.NoError(t, err)
		require.Equal(t, "AKIA1", e.AccessKeyID)
		require.Equal(t, renewTimeout, time.Since(begun))
	})
	require.Empty(t, b.vault.take())
	require.Contains(t, b.log.String(), "the key that is kept goes on until")
}

func TestFilesAreTheUsersAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.mustGet(0, "issue")
	info, err := os.Stat(b.cache.folder)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	files, err := os.ReadDir(b.cache.folder)
	require.NoError(t, err)
	require.Len(t, files, 2, "the key and its lock")
	for _, file := range files {
		info, err := file.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file.Name())
	}
}

func TestFolderThatOthersCanUseIsRefused(t *testing.T) {
	t.Parallel()
	for _, mode := range []os.FileMode{0o701, 0o710, 0o722, 0o755} {
		folder := filepath.Join(t.TempDir(), "keys")
		require.NoError(t, os.Mkdir(folder, 0o700))
		require.NoError(t, os.Chmod(folder, mode))
		_, err := openCache(folder, "0123")
		require.ErrorContains(t, err, "chmod 700", "mode %s", mode)
	}
	if os.Geteuid() == 0 { // who else could give a folder away
		folder := filepath.Join(t.TempDir(), "keys")
		require.NoError(t, os.Mkdir(folder, 0o700))
		require.NoError(t, os.Chown(folder, 65534, -1))
		_, err := openCache(folder, "0123")
		require.ErrorContains(t, err, "belongs to the user 65534")
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := openCache(file, "0123")
	require.Error(t, err)
}

// TestDamagedFileIsReplaced: as after the machine has crashed.
func TestDamagedFileIsReplaced(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"empty": "", "cut off": `{"format": 1, "lease_id": "le`, "of another format": `{"format": 7, "lease_id": "lease/7", "access_key_id": "AKIA7", "secret_access_key": "SECRET-7", "granted": "2020-01-01T00:00:00Z", "ask_again": "2120-01-01T00:00:00Z", "expires": "2120-01-01T00:00:00Z"}`, "not of ours": `{}`, "without a key": `{"format": 1, "lease_id": "lease/7", "granted": "2020-01-01T00:00:00Z", "ask_again": "2120-01-01T00:00:00Z", "expires": "2120-01-01T00:00:00Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			require.NoError(t, os.WriteFile(b.cache.file(), []byte(content), 0o600))
			require.Equal(t, "AKIA1", b.mustGet(0, "issue"))
			require.Equal(t, "AKIA1", b.mustGet(0))
		})
	}
}

// TestLeftoversAreSwept: those of the same lock, and nothing that may still be used.
func TestLeftoversAreSwept(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other := &bench{supplier: &supplier{}, t: t, vault: b.vault}
	*other.supplier = *b.supplier
	other.cache = &cache{folder: b.cache.folder, key: "0999"}
	other.now = func() time.Time { return other.clock }
	other.clock = b.clock
	other.mustGet(0, "issue")
	begun := filepath.Join(b.cache.folder, "0999.5.new")
	elsewhere := filepath.Join(b.cache.folder, "1999.5.new")
	for _, file := range []string{begun, elsewhere} {
		require.NoError(t, os.WriteFile(file, nil, 0o600))
	}

	b.mustGet(testTTL/2, "issue")
	require.NoFileExists(t, begun)
	require.FileExists(t, elsewhere, "another lock's")
	require.FileExists(t, other.cache.file(), "a key that works")
	b.mustGet(2*testTTL, "issue")
	require.NoFileExists(t, other.cache.file())
	require.FileExists(t, b.cache.file())
}

// TestSweepLeavesWhatIsNotOurs: -cache may name a folder that has other files. Break it
// by looking at the letter only.
func TestSweepLeavesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var others []string
	for _, name := range []string{"0.json", "01234.json", "0xyz.json", "0123.txt", "0.new", "01234.5.new", "0-a.new"} {
		others = append(others, filepath.Join(b.cache.folder, name))
		require.NoError(t, os.WriteFile(others[len(others)-1], []byte("{}"), 0o600))
	}
	b.mustGet(0, "issue")
	for _, file := range others {
		require.FileExists(t, file)
	}
}

// TestSweepLeavesWhatCanBeRevoked: a lease that ended before its time says nothing of
// those that it took over from. Break it by having sweep
// ask usable.
func TestSweepLeavesWhatCanBeRevoked(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.mustGet(0, "issue")
	b.vault.answers["renew"] = refuse(400, "not renewable")
	b.mustGet(testTTL/2, "renew lease/1", "issue")
	b.check, b.vault.answers["lookup"], b.vault.answers["issue"] = true, refuse(400, "invalid lease"), refuse(503, "sealed")
	_, err := b.get(0)
	require.Error(t, err)
	b.cache.sweep(b.clock)
	require.FileExists(t, b.cache.file())
	b.vault.take()
	require.NoError(t, b.revoke(t.Context()))
	require.Contains(t, b.vault.take(), "revoke lease/1")

	b.vault.answers["issue"] = nil
	b.mustGet(0, "issue")
	b.cache.sweep(b.clock.Add(2 * testTTL))
	require.NoFileExists(t, b.cache.file())
}
