// Command vault-plugin-secrets-aws-iam is the plugin that a Vault server runs.
// Vault starts it; run by hand it only explains that. With -version it prints
// the version it reports to Vault, for use with `vault plugin register`.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/plugin"

	awsiam "vault-plugin-secrets-aws-iam"
)

// garbage is how much of it, in percent of what lives, may gather before it is
// collected. Little lives here (a few megabytes even with 20,000 users), so that
// Go's default of 100 would have it collected after every few leases.
const garbage = 300

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	logger := hclog.New(&hclog.LoggerOptions{
		Name: "vault-plugin-secrets-aws-iam",
		// Vault filters what a plugin logs by the server's own level.
		Level:      hclog.Trace,
		Output:     os.Stderr,
		JSONFormat: true,
	})
	if err := run(os.Args[1:], logger); err != nil {
		logger.Error("plugin shutting down", "error", err)
		os.Exit(1)
	}
}

func run(args []string, logger hclog.Logger) error {
	meta := &api.PluginAPIClientMeta{}
	flags := meta.FlagSet()
	version := flags.Bool("version", false, "print the version reported to Vault and exit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *version {
		fmt.Println(awsiam.Version)
		return nil
	}
	return plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: awsiam.Factory,
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
		Logger:             logger,
	})
}
