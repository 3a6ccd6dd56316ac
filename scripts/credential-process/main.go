// Command credential-process gives AWS's SDKs and command line interface the key of an
// IAM user that Vault has issued, by way of a profile's credential_process:
//
//	[profile app]
//	credential_process = aws-iam-credential-process -role app
//
// All processes that ask with the same token for the same role share one lease. The
// key is kept in a file that only its owner can read until half of the lease is gone;
// then the lease is renewed, or, where it cannot be for long enough, another is issued.
// While Vault cannot be asked, the key is handed out until its lease ends.
//
// It finds Vault as the vault command does: VAULT_ADDR, VAULT_TOKEN (or what vault
// login left), VAULT_NAMESPACE, VAULT_CACERT and so on. examples/aws-cli tells the
// whole way.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"
)

const program = "aws-iam-credential-process"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %s\n", program, err)
		os.Exit(1)
	}
}

// options are the command's flags.
type options struct {
	mount, role, ttl              string
	address, namespace, tokenFile string
	cache                         string
	timeout                       time.Duration
	check, revoke                 bool
}

// run prints the credentials to out, and to log what a person should know, which is
// never a secret: SDKs show it, and keep it.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	o, err := parseOptions(args, log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	client, err := newClient(ctx, o)
	if err != nil {
		return err
	}
	c, err := openCache(o.cache, cacheKey(client, o))
	if err != nil {
		return err
	}
	s := &supplier{
		client: client, path: o.mount + "/creds/" + o.role, ttl: o.ttl, check: o.check, cache: c, now: time.Now,
		warn: func(format string, a ...any) { fmt.Fprintf(log, program+": "+format+"\n", a...) },
	}
	if o.revoke {
		return s.revoke(ctx)
	}
	e, err := s.credentials(ctx)
	if err != nil {
		return err
	}
	return e.print(out)
}

func parseOptions(args []string, log io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet(program, flag.ContinueOnError)
	flags.SetOutput(log)
	flags.StringVar(&o.mount, "mount", "aws-iam", "mount of the secrets engine")
	flags.StringVar(&o.role, "role", "", "role to read credentials of; required")
	flags.StringVar(&o.ttl, "ttl", "", "TTL of the lease, such as 1h; default: the role's")
	flags.StringVar(&o.address, "address", "", "Vault's address; default: as VAULT_ADDR or VAULT_AGENT_ADDR says")
	flags.StringVar(&o.namespace, "namespace", "", "Vault namespace; default: as VAULT_NAMESPACE says")
	flags.StringVar(&o.tokenFile, "token-file", "", "file that has the Vault token, such as Vault Agent's sink; default: VAULT_TOKEN, or that of vault login")
	flags.StringVar(&o.cache, "cache", "", "folder for the keys; default: "+program+" in the user's cache folder")
	flags.DurationVar(&o.timeout, "timeout", 55*time.Second, "how long it may take in all; AWS's SDKs mostly wait a minute")
	flags.BoolVar(&o.check, "check", false, "ask Vault each time whether the lease is still alive")
	flags.BoolVar(&o.revoke, "revoke", false, "revoke what is kept for these flags and this token, and forget it")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.mount = strings.Trim(o.mount, "/")
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q: there are no arguments but flags", flags.Arg(0))
	case o.role == "" || strings.Contains(o.role, "/"):
		return o, errors.New("-role has to name a role")
	case o.mount == "":
		return o, errors.New("-mount must not be empty")
	case o.timeout <= 0:
		return o, errors.New("-timeout must be above 0")
	case o.cache != "":
		return o, nil
	}
	folder, err := os.UserCacheDir()
	if err != nil {
		return o, fmt.Errorf("no folder for the keys, give one with -cache: %w", err)
	}
	o.cache = filepath.Join(folder, program)
	return o, nil
}

// newClient is a client such as the vault command's. It may be without a token: a
// Vault Agent or Proxy that it asks may have its own.
func newClient(ctx context.Context, o options) (*api.Client, error) {
	config := api.DefaultConfig()
	if config.Error != nil {
		return nil, config.Error
	}
	if o.address != "" {
		config.Address, config.AgentAddress = o.address, ""
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, err
	}
	if o.namespace != "" {
		client.SetNamespace(o.namespace)
	}
	token, err := findToken(ctx, o, client.Token())
	if err != nil {
		return nil, err
	}
	client.SetToken(token)
	return client, nil
}

func findToken(ctx context.Context, o options, environment string) (string, error) {
	if o.tokenFile != "" {
		token, err := readToken(o.tokenFile)
		if err == nil && token == "" {
			err = fmt.Errorf("%s is empty", o.tokenFile)
		}
		return token, err
	}
	if environment != "" {
		return environment, nil
	}
	// Else that of vault login, which is in this file, unless the command's
	// configuration names a helper that keeps it elsewhere.
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("VAULT_TOKEN is not set: %w", err)
	}
	config := os.Getenv("VAULT_CONFIG_PATH")
	if config == "" {
		config = filepath.Join(home, ".vault")
	}
	if _, err := os.Stat(config); errors.Is(err, os.ErrNotExist) { //nolint:gosec // the user's own environment
		token, err := readToken(filepath.Join(home, ".vault-token"))
		if errors.Is(err, os.ErrNotExist) {
			return "", nil
		}
		return token, err
	}
	output, err := exec.CommandContext(ctx, "vault", "print", "token").Output()
	if err != nil {
		return "", fmt.Errorf("VAULT_TOKEN is not set, and vault print token failed: %w", err)
	}
	return string(bytes.TrimSpace(output)), nil
}

func readToken(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	return string(bytes.TrimSpace(content)), nil
}

// cacheKey names what the lease depends on. A lease ends with the token that made it,
// so that another token shares none of it.
func cacheKey(client *api.Client, o options) string {
	token := sha256.Sum256([]byte(client.Token()))
	parts, err := json.Marshal([]string{client.Address(), client.Namespace(), o.mount, o.role, o.ttl, hex.EncodeToString(token[:])})
	if err != nil {
		panic(err) // text always can be marshalled
	}
	sum := sha256.Sum256(parts)
	return hex.EncodeToString(sum[:16])
}
