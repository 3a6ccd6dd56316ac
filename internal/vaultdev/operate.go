package vaultdev

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"

	"github.com/hashicorp/vault/api"
)

// What an operator does to a running server.

// Seal seals the server until [Server.Unseal]. Of a cluster it works on the
// active node only, after which another takes over: Vault refuses it elsewhere.
func (s *Server) Seal(ctx context.Context) error {
	if err := s.Client.Sys().SealWithContext(ctx); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

// StepDown has the active node of a cluster give up its office, and returns when
// it has: after the requests that it is serving, which may take 90 s. Another
// node takes over, or after ten seconds, if there is none, this one again.
func (s *Server) StepDown(ctx context.Context) error {
	if err := s.Client.Sys().StepDownWithContext(ctx); err != nil {
		return fmt.Errorf("step-down: %w", err)
	}
	return s.failure(s.await(ctx, "to step down", func(ctx context.Context, client *api.Client) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		health, err := client.Sys().HealthWithContext(ctx)
		return err == nil && health.Standby, err
	}))
}

// SaveSnapshot writes a snapshot of all that Vault has stored. It has to be the
// active node's.
func (s *Server) SaveSnapshot(ctx context.Context, w io.Writer) error {
	if err := s.Client.Sys().RaftSnapshotWithContext(ctx, w); err != nil {
		return fmt.Errorf("saving a snapshot: %w", err)
	}
	return nil
}

// RestoreSnapshot replaces all that Vault has stored by a snapshot that was taken
// of the same cluster, whose root token and unseal key it must share. It has to
// be the active node's, and returns when that serves what the snapshot holds.
//
// Vault answers before it has begun. Its restoring then holds the lock that every
// request needs, from before the old state is given up until all has been loaded
// from the new one (restoring in logical_system_raft.go of Vault 1.21.1). So that
// a mark made just before, which no snapshot can have, is gone for whoever asks
// means that all of this is over.
func (s *Server) RestoreSnapshot(ctx context.Context, r io.Reader) error {
	const mark = "cubbyhole/vaultdev-restore"
	made := rand.Text()
	if _, err := s.Client.Logical().WriteWithContext(ctx, mark, map[string]any{"before": made}); err != nil {
		return fmt.Errorf("marking the state before the restoring: %w", err)
	}
	if err := s.Client.Sys().RaftSnapshotRestoreWithContext(ctx, r, false); err != nil {
		return fmt.Errorf("restoring a snapshot: %w", err)
	}
	return s.failure(s.await(ctx, "to serve the snapshot", func(ctx context.Context, client *api.Client) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		client.SetToken(s.RootToken)
		found, err := client.Logical().ReadWithContext(ctx, mark)
		return err == nil && (found == nil || found.Data["before"] != made), err
	}))
}
