package e2e

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/release"
)

// nextVersion is the version that docs/upgrade.md goes to, from pluginVersion.
const nextVersion = "v0.2.0"

// TestUpgrade runs all of docs/upgrade.md, with a binary as it is released: a mount
// goes to the next version and back. Leases of each are renewed and revoked by the
// other.
//
// Break it by leaving a reload out of the document.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	released := makeRelease(t)
	// A reload ends the process that all mounts of a version share, with the
	// requests that it is serving.
	m := newMountAt(t, ownServer(t), newSimulation(t), "aws-iam", "vault-upgrade")
	before, renewed, kept := m.issue("app"), m.issue("app"), m.issue("app")
	var after, across credential

	checks := map[string]func(printed string){
		"Check the release": func(printed string) {
			require.Contains(t, printed, "_"+nextVersion+"_"+runtime.GOOS+"_"+runtime.GOARCH+": OK")
		},
		"Register it": func(string) { require.Equal(t, pluginVersion, m.runningVersion()) },
		"Pin the mount to it": func(printed string) {
			require.Equal(t, pluginVersion, m.runningVersion())
			// -field prints a newline on terminals only.
			require.Contains(t, printed, nextVersion+pluginVersion, "pinned, and running")
		},
		"Look at the result": func(printed string) {
			require.True(t, strings.HasPrefix(printed, nextVersion), printed)
			require.Contains(t, printed, "access_key_id")
			require.Equal(t, nextVersion, m.runningVersion())
			after, across = m.issue("app"), m.issue("app")
			m.requireServed(renewed, before, renewed, after)
		},
		"Roll back": func(printed string) {
			require.True(t, strings.HasSuffix(printed, pluginVersion), printed)
			require.Equal(t, pluginVersion, m.runningVersion())
			m.requireServed(across, kept, across, m.issue("app"))
		},
		"Remove a version": func(string) {
			require.NotContains(t, cli(t, m.server, "plugin", "list", "-detailed", "secret"), nextVersion)
			m.revokePrefix("app") // what the commands themselves issued
			require.Empty(t, m.storedRecords())
		},
	}
	for _, section := range sectionsOf(t, "../docs/upgrade.md") {
		printed := m.shell(released, section.commands)
		if check := checks[section.title]; check != nil {
			check(printed)
			delete(checks, section.title)
		}
	}
	require.Empty(t, checks, "sections that the document does not have any more")
}

// makeRelease makes the release of the next version for this machine.
func makeRelease(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	source, err := filepath.Abs("..")
	require.NoError(t, err)
	_, err = release.Make(t.Context(), release.Options{
		Source: source, Out: dir, Version: nextVersion,
		Targets: []release.Target{{OS: runtime.GOOS, Arch: runtime.GOARCH}},
	}, func(line string) { t.Log(line) })
	require.NoError(t, err)
	return dir
}

// requireServed checks that the version that runs now renews one lease and revokes
// all.
func (m *mount) requireServed(renewed credential, all ...credential) {
	m.t.Helper()
	secret, err := m.server.Client.Sys().RenewWithContext(m.t.Context(), renewed.lease.LeaseID, 60*60)
	require.NoError(m.t, err)
	require.Equal(m.t, 60*60, secret.LeaseDuration)
	for _, c := range all {
		require.Empty(m.t, c.listGroups())
		require.NoError(m.t, m.revoke(c))
		m.requireGone(c)
	}
}

func (m *mount) revokePrefix(role string) {
	m.t.Helper()
	cli(m.t, m.server, "lease", "revoke", "-sync", "-prefix", m.path+"/creds/"+role)
}

// runningVersion is the version of the plugin that serves the mount.
func (m *mount) runningVersion() string {
	m.t.Helper()
	all, err := m.server.Client.Sys().ListMountsWithContext(m.t.Context())
	require.NoError(m.t, err)
	return all[m.path+"/"].RunningVersion
}

// shell runs commands of a document in the folder, with a vault on the PATH that
// talks to the mount's server as root, and with this machine's platform and plugin
// folder in place of the document's. It returns what they printed.
func (m *mount) shell(dir, commands string) string {
	m.t.Helper()
	commands = strings.NewReplacer(
		"linux_amd64", runtime.GOOS+"_"+runtime.GOARCH,
		"/etc/vault/plugins", serverConfig.PluginDir,
	).Replace(commands)
	vault := m.server.Command(m.t.Context(), m.server.RootToken)
	bin := m.t.TempDir()
	require.NoError(m.t, os.Symlink(vault.Path, filepath.Join(bin, "vault")))

	vault.Path, vault.Args, vault.Dir = "/bin/sh", []string{"sh", "-ec", commands}, dir
	// Of one name the last in the environment counts.
	vault.Env = append(vault.Env, "PATH="+bin+":"+os.Getenv("PATH"))
	printed, err := vault.CombinedOutput()
	require.NoError(m.t, err, "%s\n%s", commands, printed)
	return string(printed)
}
