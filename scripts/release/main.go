// Command release makes the files of a release and then makes them again, cold
// and from another folder, to show that they are the same. It is what make
// release runs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	awsiam "vault-plugin-secrets-aws-iam"
	"vault-plugin-secrets-aws-iam/internal/release"
	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run() error {
	out := flag.String("out", "dist", "folder for the files")
	version := flag.String("version", "", "version that the plugin reports (default: the source's own)")
	flag.Parse()
	if *version == "" {
		*version = awsiam.Version
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root, err := vaultdev.RepositoryRoot(ctx)
	if err != nil {
		return err
	}

	options := release.Options{Source: root, Out: *out, Version: *version, Targets: release.Targets}
	say := func(line string) { fmt.Println(line) }
	say("Release " + *version + " into " + *out)
	if _, err := release.Make(ctx, options, say); err != nil {
		return err
	}
	say("Again, from a copy of the source and with nothing compiled before")
	if err := release.Reproduce(ctx, options, true, say); err != nil {
		return err
	}
	say("Both builds are identical, bit for bit")
	return nil
}
