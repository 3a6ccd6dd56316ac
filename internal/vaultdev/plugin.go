package vaultdev

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/vault/api"
)

// Plugin is a plugin binary in a server's plugin folder, as Vault's catalog
// wants it described.
type Plugin struct {
	Name    string // name in the catalog
	Command string // file name in the plugin folder
	Version string // the version that the binary reports to Vault
	SHA256  string // of the binary, in hex
}

// BuildPlugin builds the plugin into dir. The version, semantic and with a
// leading v, goes into the binary and into its file name, so that several
// versions can lie in one folder.
func BuildPlugin(ctx context.Context, dir, version string) (Plugin, error) {
	root, err := RepositoryRoot(ctx)
	if err != nil {
		return Plugin{}, err
	}
	plugin := Plugin{Name: modulePath, Command: modulePath + "_" + version, Version: version}

	path := filepath.Join(dir, plugin.Command)
	ldflags := "-s -w -X " + modulePath + ".Version=" + version
	if err := goBuild(ctx, root, path, ldflags, "./cmd/"+modulePath); err != nil {
		return Plugin{}, err
	}

	binary, err := os.ReadFile(path)
	if err != nil {
		return Plugin{}, err
	}
	sum := sha256.Sum256(binary)
	plugin.SHA256 = hex.EncodeToString(sum[:])
	return plugin, nil
}

// Register puts the plugin into Vault's catalog as a secrets engine. Vault
// starts the binary to do so, and refuses it if it reports another version.
func (s *Server) Register(ctx context.Context, plugin Plugin) error {
	err := s.Client.Sys().RegisterPluginWithContext(ctx, &api.RegisterPluginInput{
		Name:    plugin.Name,
		Type:    api.PluginTypeSecrets,
		Command: plugin.Command,
		SHA256:  plugin.SHA256,
		Version: plugin.Version,
	})
	if err != nil {
		return fmt.Errorf("registering %s %s: %w", plugin.Name, plugin.Version, err)
	}
	return nil
}

// Enable mounts a registered plugin at path, in exactly its version.
func (s *Server) Enable(ctx context.Context, path string, plugin Plugin, config api.MountConfigInput) error {
	config.PluginVersion = plugin.Version
	err := s.Client.Sys().MountWithContext(ctx, path, &api.MountInput{Type: plugin.Name, Config: config})
	if err != nil {
		return fmt.Errorf("enabling %s %s at %s: %w", plugin.Name, plugin.Version, path, err)
	}
	return nil
}
