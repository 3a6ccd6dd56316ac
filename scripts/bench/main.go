// Command bench measures this engine beside Vault's built-in aws engine: both in
// the same real Vault server, in front of the same simulated AWS (internal/awsfake),
// each with an account of its own, so that one is not throttled for the other.
//
// It prints tables, and a full run writes them with charts into
// docs/benchmarks.md. From the environment: QUICK=1 for small numbers, RUNS (1)
// to repeat sections a to d, SOAK (10m), SECTIONS=a,b,… for some of the sections,
// PLAIN=1 to call AWS without TLS, RENDER=1 to write the document again from the
// stored results.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	awsiam "vault-plugin-secrets-aws-iam"
	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := mainErr(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func mainErr(ctx context.Context) (err error) {
	options, err := optionsFrom(os.Getenv)
	if err != nil {
		return err
	}
	root, err := vaultdev.RepositoryRoot(ctx)
	if err != nil {
		return err
	}
	if options.render {
		found, err := load(documentIn(root).results())
		if err != nil {
			return err
		}
		return documentIn(root).write(found)
	}

	dir, err := os.MkdirTemp("", "aws-iam-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bin, err := vaultdev.FindVault(ctx, os.Stdout)
	if err != nil {
		return err
	}
	plugin, err := vaultdev.BuildPlugin(ctx, dir, awsiam.Version)
	if err != nil {
		return err
	}
	b := &bench{
		options: options, sizes: fullSizes(), out: os.Stdout, root: root,
		// Vault names the plugin's process from level debug on.
		tools: tools{vault: vaultdev.Config{Bin: bin, PluginDir: dir, LogLevel: "debug"}, plugin: plugin},
	}
	if options.quick {
		b.sizes = quickSizes()
	}
	if !options.plain {
		if b.secure, b.vault.Env, err = trustedTLS(dir); err != nil {
			return err
		}
	}
	found := b.run(ctx, describeMachine(ctx, root, bin))
	return errors.Join(b.report(found, ctx.Err() != nil), ctx.Err())
}
