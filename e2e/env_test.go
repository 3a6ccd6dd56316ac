package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

const (
	// pluginVersion is what the tests' build of the plugin reports to Vault.
	pluginVersion = "v0.1.0"
	// atOnce is how many tests run at a time. They mostly wait, for leases to
	// run out and servers to start, so more than there are processors.
	atOnce = "8"
)

// What TestMain makes, for all tests.
var (
	serverConfig vaultdev.Config
	plugin       vaultdev.Plugin
	// shared is the server of all tests but those that kill or restart one.
	shared *vaultdev.Server
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: end-to-end tests:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run makes what the tests need, runs them, and at the very end looks through
// what the shared server wrote during the whole run.
func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "e2e-plugins-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bin, err := vaultdev.FindVault(ctx, os.Stderr)
	if err != nil {
		return 1, fmt.Errorf("no Vault server to test with: %w", err)
	}
	if plugin, err = vaultdev.BuildPlugin(ctx, dir, pluginVersion); err != nil {
		return 1, fmt.Errorf("building the plugin: %w", err)
	}
	serverConfig = vaultdev.Config{Bin: bin, PluginDir: dir, LogLevel: "trace"}
	if shared, err = newServer(ctx); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, shared.Stop()) }()
	if err := prepareShared(ctx); err != nil {
		return 1, err
	}

	code = m.Run()
	return code, checkLog(shared)
}

// newServer starts a server that knows the plugin.
func newServer(ctx context.Context) (*vaultdev.Server, error) {
	server, err := vaultdev.Start(ctx, serverConfig)
	if err != nil {
		return nil, fmt.Errorf("starting Vault: %w", err)
	}
	if err := server.Register(ctx, plugin); err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return server, nil
}

// prepareShared sets up what several tests use and none changes.
func prepareShared(ctx context.Context) error {
	return shared.Client.Sys().EnableAuthWithOptionsWithContext(ctx, "approle", &api.EnableAuthOptions{Type: "approle"})
}

// ownServer starts a server for a test that kills or restarts it.
func ownServer(t *testing.T) *vaultdev.Server {
	t.Helper()
	server, err := newServer(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, checkLog(server))
		require.NoError(t, server.Stop())
	})
	return server
}

// eventually polls until the condition holds. It fails the test with what was
// waited for when the bound is over.
func eventually(t *testing.T, bound time.Duration, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(bound)
	for !condition() {
		if time.Now().After(deadline) {
			require.FailNow(t, "waited in vain", "%s was not so within %s", what, bound)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// patiently asks until there is an answer: on a busy machine a cluster may be without a
// leader at any time, and elect another within seconds. It may be called by what t's end
// cleans up.
func patiently[T any](t *testing.T, ask func(context.Context) (T, error)) (answer T) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(soon); ; time.Sleep(100 * time.Millisecond) {
		if answer, err = ask(context.WithoutCancel(t.Context())); err == nil || time.Now().After(deadline) {
			break
		}
	}
	require.NoError(t, err)
	return answer
}

// cli runs the vault command line interface and expects it to succeed.
func cli(t *testing.T, server *vaultdev.Server, args ...string) string {
	t.Helper()
	result := cliAs(t, server, server.RootToken, args...)
	require.Zero(t, result.ExitCode, "vault %v: %s%s", args, result.Stdout, result.Stderr)
	return result.Stdout
}

func cliAs(t *testing.T, server *vaultdev.Server, token string, args ...string) vaultdev.Result {
	t.Helper()
	result, err := server.Run(t.Context(), token, args...)
	require.NoError(t, err)
	return result
}

// clientWith returns a client with the token that does not try again by
// itself, so that a test sees each answer.
func clientWith(t *testing.T, server *vaultdev.Server, token string) *api.Client {
	t.Helper()
	client, err := server.Client.Clone()
	require.NoError(t, err)
	client.SetMaxRetries(0)
	client.SetToken(token)
	return client
}

// newToken makes a service token with the policies, or, by means of change,
// another one.
func newToken(t *testing.T, server *vaultdev.Server, change func(*api.TokenCreateRequest), policies ...string) string {
	t.Helper()
	request := &api.TokenCreateRequest{Policies: policies, TTL: "1h"}
	if change != nil {
		change(request)
	}
	secret, err := server.Client.Auth().Token().CreateWithContext(t.Context(), request)
	require.NoError(t, err)
	return secret.Auth.ClientToken
}

// newPolicy writes a Vault policy under a name of the test's own.
func newPolicy(t *testing.T, server *vaultdev.Server, name, rules string) string {
	t.Helper()
	require.NoError(t, server.Client.Sys().PutPolicyWithContext(t.Context(), name, rules))
	return name
}

// requireStatus checks that the request was answered with this HTTP status and
// that the message has each of the texts in it.
func requireStatus(t *testing.T, err error, status int, texts ...string) {
	t.Helper()
	var answer *api.ResponseError
	require.ErrorAs(t, err, &answer)
	require.Equal(t, status, answer.StatusCode, "%s", err)
	for _, text := range texts {
		require.ErrorContains(t, err, text)
	}
}
