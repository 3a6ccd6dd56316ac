// Command get-vault prints the path of the Vault binary that the end-to-end
// tests and the demo will use, after building it if there is none.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "get-vault:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	path, err := vaultdev.FindVault(ctx, os.Stderr)
	if err != nil {
		return err
	}
	fmt.Println(path)
	return nil
}
