package main

import (
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	for args, refusal := range map[string]string{
		"":                         "-role has to name a role",
		"-role a/b":                "-role has to name a role",
		"-role app -mount /":       "-mount must not be empty",
		"-role app extra":          "there are no arguments but flags",
		"-role app -timeout 0s":    "-timeout",
		"-role app -unknown":       "not defined",
		"-role app -mount /a/b/":   "",
		"-role app -cache /folder": "",
	} {
		_, err := parseOptions(strings.Fields(args), io.Discard)
		if refusal == "" {
			require.NoError(t, err, args)
			continue
		}
		require.ErrorContains(t, err, refusal, args)
	}
}

// TestRun shows what SDKs read, and that what a person is told is apart from it.
func TestRun(t *testing.T) {
	vault := &stub{}
	server := httptest.NewServer(vault)
	defer server.Close()
	t.Setenv("VAULT_ADDR", server.URL)
	t.Setenv("VAULT_TOKEN", "token")
	cache := filepath.Join(t.TempDir(), "keys")
	run := func(args ...string) (out, log string, err error) {
		var o, l strings.Builder
		err = run(t.Context(), append([]string{"-role", "app", "-cache", cache}, args...), &o, &l)
		require.NotContains(t, l.String(), secretWord)
		return o.String(), l.String(), err
	}

	out, log, err := run()
	require.NoError(t, err)
	require.Empty(t, log)
	var printed map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &printed))
	expiration, err := time.Parse(time.RFC3339, printed["Expiration"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(testTTL-time.Minute), expiration, 10*time.Second)
	delete(printed, "Expiration")
	require.Equal(t, map[string]any{"Version": 1.0, "AccessKeyId": "AKIA1", "SecretAccessKey": secretWord + "1"}, printed)

	again, _, err := run()
	require.NoError(t, err)
	require.Equal(t, out, again)
	out, _, err = run("-revoke")
	require.NoError(t, err)
	require.Empty(t, out)
	require.Equal(t, []string{"issue", "revoke lease/1"}, vault.take())
}

// TestKeysAreKeptApart: by all that a lease depends on. Break it by leaving one out of
// cacheKey.
func TestKeysAreKeptApart(t *testing.T) {
	tokenFile := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(tokenFile, []byte("another\n"), 0o600))
	t.Setenv("VAULT_TOKEN", "token")
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	seen := make(map[string]string)
	for _, args := range []string{"", "-mount other", "-role other", "-ttl 1h", "-address http://127.0.0.1:2", "-namespace team", "-token-file " + tokenFile} {
		o, err := parseOptions(append([]string{"-role", "app"}, strings.Fields(args)...), io.Discard)
		require.NoError(t, err)
		client, err := newClient(t.Context(), o)
		require.NoError(t, err)
		key := cacheKey(client, o)
		require.Equal(t, key, cacheKey(client, o))
		require.Regexp(t, "^[0-9a-f]{32}$", key)
		require.NotContains(t, seen, key, args)
		seen[key] = args
	}
}

func TestTokenIsFoundAsTheVaultCommandDoes(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("PATH", home)
	t.Setenv("VAULT_CONFIG_PATH", "")
	write := func(name, content string) (path string) {
		path = filepath.Join(home, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o700))
		return path
	}
	find := func(o options, environment, want string) {
		t.Helper()
		token, err := findToken(t.Context(), o, environment)
		require.NoError(t, err)
		require.Equal(t, want, token)
	}
	find(options{}, "", "")
	write(".vault-token", "of login\n")
	find(options{}, "", "of login")
	find(options{}, "of environment", "of environment")

	write(".vault", `token_helper = "/helper"`)
	_, err := findToken(t.Context(), options{}, "")
	require.ErrorContains(t, err, "vault print token failed")
	write("vault", "#!/bin/sh\necho of the helper\n")
	find(options{}, "", "of the helper")

	_, err = findToken(t.Context(), options{tokenFile: filepath.Join(home, "none")}, "of environment")
	require.ErrorContains(t, err, "reading the token")
	_, err = findToken(t.Context(), options{tokenFile: write("sink", "")}, "of environment")
	require.ErrorContains(t, err, "is empty")
	find(options{tokenFile: write("sink", "of agent\n")}, "of environment", "of agent")
}
