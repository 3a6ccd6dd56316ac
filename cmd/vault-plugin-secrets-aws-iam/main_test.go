package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/plugin"
	"github.com/stretchr/testify/require"
)

// The binary has the version of its build, and starts as Vault starts it.
func TestBinary(t *testing.T) {
	const version = "v9.8.7-test"
	binary := filepath.Join(t.TempDir(), "plugin")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false",
		"-ldflags", "-X vault-plugin-secrets-aws-iam.Version="+version, "-o", binary, ".")
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)

	printed, err := exec.CommandContext(t.Context(), binary, "-version").Output()
	require.NoError(t, err)
	require.Equal(t, version+"\n", string(printed))

	// As Vault starts it (sdk/helper/pluginutil, runConfig.makeConfig) to look at it.
	command := exec.CommandContext(t.Context(), binary)
	command.Env = []string{"VAULT_PLUGIN_METADATA_MODE=true", "VAULT_PLUGIN_AUTOMTLS_ENABLED=true", "TMPDIR=" + t.TempDir()}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig, VersionedPlugins: plugin.PluginSet,
		Cmd: command, AutoMTLS: true, SkipHostEnv: true, Logger: hclog.NewNullLogger(),
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
	})
	t.Cleanup(client.Kill)
	connection, err := client.Client()
	require.NoError(t, err)
	require.NoError(t, connection.Ping())
	_, err = connection.Dispense(plugin.BackendPluginName)
	require.NoError(t, err)
}
