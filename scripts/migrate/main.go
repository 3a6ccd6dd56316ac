// Command migrate copies the settings of a mount of Vault's built-in aws engine to
// a mount of this one: the connection without its secret key, which Vault does not
// show, the roles that make IAM users, and the TTLs of their leases. It says what it
// would write, and what it cannot carry over and why; with -write it does it.
//
//	go run ./scripts/migrate -from aws -to aws-iam
//
// It finds Vault as the vault command does: VAULT_ADDR, VAULT_TOKEN (or what `vault
// print token` prints), VAULT_NAMESPACE, VAULT_CACERT and so on. docs/migration.md
// tells the whole way.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/hashicorp/vault/api"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "migrate:", err)
		os.Exit(1)
	}
}

// options are the command's flags.
type options struct {
	from, to    string // mounts, without slashes at the ends
	integration string
	// accessKey and secretKey are the key to write, where the secret was given.
	accessKey, secretKey string
	write, overwrite     bool
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	client, err := newClient(ctx)
	if err != nil {
		return err
	}
	old, err := readSource(ctx, client, o.from)
	if err != nil {
		return err
	}
	p, err := makePlan(ctx, client, o, old)
	if err != nil {
		return err
	}
	if o.write {
		err = p.apply(ctx, client)
	}
	if reportErr := p.report(out); reportErr != nil {
		return reportErr
	}
	return err
}

func parseOptions(args []string) (options, error) {
	var o options
	var secretFile string
	flags := flag.NewFlagSet("migrate", flag.ContinueOnError)
	flags.StringVar(&o.from, "from", "aws", "mount of the built-in aws engine")
	flags.StringVar(&o.to, "to", "aws-iam", "mount of this engine")
	flags.StringVar(&o.integration, "integration", "default", "integration to write, and to use in the roles")
	flags.StringVar(&o.accessKey, "access-key", "", "id of the access key to write; default: that of the old mount")
	flags.StringVar(&secretFile, "secret-key-file", "", "file that has the secret of that key, which Vault does not show")
	flags.BoolVar(&o.write, "write", false, "write; without it, only say what would be written")
	flags.BoolVar(&o.overwrite, "overwrite", false, "also change what is there already and differs")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.from, o.to = strings.Trim(o.from, "/"), strings.Trim(o.to, "/")
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q: there are no arguments but flags", flags.Arg(0))
	case o.from == "" || o.to == "" || o.integration == "":
		return o, errors.New("-from, -to and -integration must not be empty")
	case o.accessKey != "" && secretFile == "":
		return o, errors.New("-access-key goes with -secret-key-file")
	case secretFile == "":
		return o, nil
	}
	secret, err := os.ReadFile(secretFile)
	if err != nil {
		return o, fmt.Errorf("reading the secret key: %w", err)
	}
	// An editor's line break at the end is no part of it.
	if o.secretKey = string(bytes.TrimSpace(secret)); o.secretKey == "" {
		return o, fmt.Errorf("%s is empty", secretFile)
	}
	return o, nil
}

// newClient is a client such as the vault command's.
func newClient(ctx context.Context) (*api.Client, error) {
	client, err := api.NewClient(nil)
	if err != nil {
		return nil, err
	}
	if client.Token() != "" {
		return client, nil
	}
	// Where the command keeps tokens, a helper's place perhaps, it knows best.
	token, err := exec.CommandContext(ctx, "vault", "print", "token").Output()
	if err != nil {
		return nil, fmt.Errorf("VAULT_TOKEN is not set, and vault print token failed: %w", err)
	}
	if token = bytes.TrimSpace(token); len(token) == 0 {
		return nil, errors.New("no token: set VAULT_TOKEN, or log in with vault login")
	}
	client.SetToken(string(token))
	return client, nil
}
