package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// requestTimeout is how long one request to Vault may take. Vault itself gives
// up after 90 s.
const requestTimeout = 2 * time.Minute

// stage is one Vault server with the plugin registered, and the AWS behind it.
type stage struct {
	vault  *vaultdev.Server
	cloud  *cloud
	plugin vaultdev.Plugin
	client *api.Client
}

// tools is what stages are made with.
type tools struct {
	vault  vaultdev.Config
	plugin vaultdev.Plugin
	secure *tls.Config // for the simulated AWS; none for plain HTTP
}

// with runs a function on a new stage, which ends with it.
func (t tools) with(ctx context.Context, act func(*stage) error) (err error) {
	s := &stage{plugin: t.plugin}
	if s.cloud, err = startCloud(ctx, t.secure); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.cloud.stop()) }()
	if s.vault, err = vaultdev.Start(ctx, t.vault); err != nil {
		return err
	}
	// First, since AWS must not be gone while Vault is still at work.
	defer func() { err = errors.Join(err, s.vault.Stop()) }()
	if s.client, err = newClient(s.vault); err != nil {
		return err
	}
	if err := s.vault.Register(ctx, t.plugin); err != nil {
		return err
	}
	return act(s)
}

// newClient returns a client that makes one attempt, so that a failure is seen,
// and keeps a connection for each of many goroutines: opening one for each
// request would be measured too.
func newClient(server *vaultdev.Server) (*api.Client, error) {
	config := api.DefaultConfig()
	if config.Error != nil {
		return nil, config.Error
	}
	config.Address, config.AgentAddress = server.Addr, ""
	config.MaxRetries, config.Timeout = 0, requestTimeout
	transport, ok := config.HttpClient.Transport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("vault's client has a transport of type %T", config.HttpClient.Transport)
	}
	transport.MaxIdleConnsPerHost, transport.MaxIdleConns = 256, 0
	client, err := api.NewClient(config)
	if err != nil {
		return nil, err
	}
	client.ClearNamespace() // NewClient takes it from the environment
	client.SetToken(server.RootToken)
	return client, nil
}

// write is a path and what is written to it.
type write struct {
	path string
	body map[string]any
}

func (s *stage) write(ctx context.Context, path string, body map[string]any) error {
	_, err := s.client.Logical().WriteWithContext(ctx, path, body)
	return err
}

func (s *stage) writeAll(ctx context.Context, writes []write) error {
	for _, w := range writes {
		if err := s.write(ctx, w.path, w.body); err != nil {
			return err
		}
	}
	return nil
}

// issue reads credentials and returns the lease's id.
func (s *stage) issue(ctx context.Context, creds string) (string, error) {
	secret, err := s.client.Logical().ReadWithContext(ctx, creds)
	if err != nil {
		return "", err
	}
	if secret == nil || secret.LeaseID == "" {
		return "", fmt.Errorf("%s answered without a lease", creds)
	}
	return secret.LeaseID, nil
}

// revoke ends a lease and returns when its user is gone.
func (s *stage) revoke(ctx context.Context, id string) error {
	return s.write(ctx, "sys/leases/revoke", map[string]any{"lease_id": id, "sync": true})
}

// leases is how many leases there are with this prefix.
func (s *stage) leases(ctx context.Context, prefix string) (int, error) {
	listed, err := s.client.Logical().ListWithContext(ctx, "sys/leases/lookup/"+prefix)
	if err != nil || listed == nil {
		return 0, err
	}
	keys, _ := listed.Data["keys"].([]any)
	return len(keys), nil
}
