package vaultdev

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What needs a real server is tested by the end-to-end tests. Here, shell
// scripts stand for Vault binaries.

func fakeVault(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vault")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	return path
}

func TestSuitable(t *testing.T) {
	for version, want := range map[string]bool{
		"v1.21.0":     true,
		"v1.21.1":     true,
		"v1.22.0-rc1": true,
		"v2.0.0":      true,
		"v1.20.9":     false,
		"v0.22.0":     false,
		"v1.21.1+ent": false,
		"":            false,
		"1.21.1":      false,
	} {
		require.Equal(t, want, suitable(version), version)
	}
}

func TestFindVaultPrefersWhatItIsGiven(t *testing.T) {
	old := fakeVault(t, "echo 'Vault v1.2.3 (abc), built 2019'")
	current := fakeVault(t, "echo 'Vault v1.21.4 (abc), built 2025'")
	t.Setenv("PATH", filepath.Dir(current)+":"+os.Getenv("PATH"))
	var progress bytes.Buffer

	t.Setenv("VAULT_BIN", old)
	path, err := FindVault(t.Context(), &progress)
	require.NoError(t, err)
	require.Equal(t, old, path)
	require.Contains(t, progress.String(), "v1.2.3")

	t.Setenv("VAULT_BIN", "")
	path, err = FindVault(t.Context(), &progress)
	require.NoError(t, err)
	require.Equal(t, current, path)
	require.Contains(t, progress.String(), "v1.21.4")

	t.Setenv("VAULT_BIN", fakeVault(t, "echo something else"))
	_, err = FindVault(t.Context(), &progress)
	require.ErrorContains(t, err, "VAULT_BIN")
}

func TestPinnedVaultIsKeptWhileThePinStands(t *testing.T) {
	root := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), mode))
	}
	write("tools/vault/go.mod", "module x\n\nrequire (\n\tgithub.com/hashicorp/vault v1.21.1 // indirect\n)\n", 0o600)
	write("bin/vault", "#!/bin/sh\necho 'Vault v1.21.1, built now'\n", 0o700)
	var progress bytes.Buffer

	path, err := pinnedVault(t.Context(), root, &progress)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(root, "bin", "vault"), path)

	// Another pin: a build is tried, and fails, for there is no such module.
	write("tools/vault/go.mod", "module x\n\nrequire github.com/hashicorp/vault v0.0.1\n", 0o600)
	t.Setenv("GOFLAGS", "-mod=mod")
	t.Setenv("GOPROXY", "off")
	_, err = pinnedVault(t.Context(), root, &progress)
	require.ErrorContains(t, err, "building Vault v0.0.1")
	require.Contains(t, progress.String(), "about 9 minutes")
}

func TestStartSaysWhyAServerDoesNotStart(t *testing.T) {
	_, err := Start(t.Context(), Config{
		Bin:       fakeVault(t, "echo this build is broken; exit 3"),
		PluginDir: t.TempDir(),
	})
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "this build is broken")
}

func TestStartChoosesOtherPortsOnConflict(t *testing.T) {
	count := filepath.Join(t.TempDir(), "ports")
	_, err := Start(t.Context(), Config{
		Bin:       fakeVault(t, `grep ' address ' "${2#-config=}" >>`+count+`; echo 'bind: address already in use'; exit 1`),
		PluginDir: t.TempDir(),
	})
	require.ErrorIs(t, err, errPortTaken)

	ports, err := os.ReadFile(count)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(ports)), "\n")
	require.Len(t, lines, startAttempts)
	// The system may hand out a port again, but hardly the same one each time.
	slices.Sort(lines)
	require.Greater(t, len(slices.Compact(lines)), 1)
}
