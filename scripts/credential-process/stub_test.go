package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

const (
	testTTL    = time.Hour
	secretWord = "SECRET-" // what the secrets of the stub begin with
)

// stub answers as Vault does, or as a test says. What a real Vault does with the
// program is shown in e2e.
type stub struct {
	mu       sync.Mutex
	issued   int
	requests []string // method and path, or the lease id where there is one
	// answers, by the first word of a request, replace the usual ones.
	answers map[string]http.HandlerFunc
}

func newStub(t *testing.T) (*stub, *api.Client) {
	t.Helper()
	v := &stub{answers: make(map[string]http.HandlerFunc)}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	return v, clientOf(t, server.URL)
}

func clientOf(t *testing.T, address string) *api.Client {
	t.Helper()
	config := api.DefaultConfig()
	config.Address, config.AgentAddress, config.MaxRetries = address, "", 0
	client, err := api.NewClient(config)
	require.NoError(t, err)
	client.SetToken("token")
	return client
}

func (v *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		LeaseID string `json:"lease_id"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body) // reads have none
	word := filepath.Base(r.URL.Path)
	if strings.Contains(r.URL.Path, "/creds/") {
		word = "issue"
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.requests = append(v.requests, strings.TrimSpace(word+" "+body.LeaseID))
	if answer := v.answers[word]; answer != nil {
		answer(w, r)
		return
	}
	switch word {
	case "issue":
		v.issued++
		writeJSON(w, http.StatusOK, leased(v.issued, testTTL, map[string]any{
			"access_key_id": fmt.Sprintf("AKIA%d", v.issued), "secret_access_key": fmt.Sprint(secretWord, v.issued),
		}))
	case "renew", "lookup":
		writeJSON(w, http.StatusOK, map[string]any{"lease_id": body.LeaseID, "lease_duration": testTTL.Seconds(), "renewable": true})
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func leased(number int, ttl time.Duration, data map[string]any) map[string]any {
	return map[string]any{"lease_id": fmt.Sprintf("lease/%d", number), "lease_duration": ttl.Seconds(), "renewable": true, "data": data}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // to the test itself
}

// refuse answers with Vault's form of an error.
func refuse(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, status, map[string]any{"errors": []string{text}})
	}
}

// take returns the requests since it was called last.
func (v *stub) take() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	requests := v.requests
	v.requests = nil
	return requests
}

// bench is a supplier with a clock of its own.
type bench struct {
	*supplier
	t     *testing.T
	vault *stub
	clock time.Time
	log   strings.Builder
}

func newBench(t *testing.T) *bench {
	t.Helper()
	vault, client := newStub(t)
	return newBenchWith(t, vault, client)
}

func newBenchWith(t *testing.T, vault *stub, client *api.Client) *bench {
	t.Helper()
	c, err := openCache(filepath.Join(t.TempDir(), "keys"), "0123")
	require.NoError(t, err)
	b := &bench{t: t, vault: vault, clock: time.Now()}
	b.supplier = &supplier{
		client: client, path: "aws-iam/creds/app", cache: c,
		now:  func() time.Time { return b.clock },
		warn: func(format string, a ...any) { fmt.Fprintf(&b.log, format+"\n", a...) },
	}
	t.Cleanup(func() { require.NotContains(t, b.log.String(), secretWord) })
	return b
}

// get returns the key's id after a time has passed.
func (b *bench) get(after time.Duration) (string, error) {
	b.t.Helper()
	b.clock = b.clock.Add(after)
	e, err := b.credentials(context.WithoutCancel(b.t.Context()))
	if err != nil {
		require.NotContains(b.t, err.Error(), secretWord)
		return "", err
	}
	require.Equal(b.t, secretWord+strings.TrimPrefix(e.AccessKeyID, "AKIA"), e.SecretAccessKey)
	return e.AccessKeyID, nil
}

func (b *bench) mustGet(after time.Duration, requests ...string) string {
	b.t.Helper()
	key, err := b.get(after)
	require.NoError(b.t, err)
	require.Equal(b.t, requests, b.vault.take())
	return key
}
