package vaultdev

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/vault/api"
)

// Join runs a further node of the same cluster and returns when it is a standby
// with a vote, so that a cluster of three survives the loss of one. All nodes
// share the root token and the unseal key; each is stopped by itself.
func (s *Server) Join(ctx context.Context) (*Server, error) {
	// Autopilot gives a node its vote only after this long in good health. The
	// default of 10 seconds is made for real networks.
	_, err := s.Client.Logical().WriteWithContext(ctx, "sys/storage/raft/autopilot/configuration",
		map[string]any{"server_stabilization_time": "1s"})
	if err != nil {
		return nil, fmt.Errorf("configuring autopilot: %w", err)
	}

	node, err := launch(ctx, s.config)
	if err != nil {
		return nil, err
	}
	node.unsealKey = s.unsealKey
	node.setRootToken(s.RootToken)
	if err := node.join(ctx, s); err != nil {
		return nil, errors.Join(node.failure(err), node.Stop())
	}
	return node, nil
}

func (s *Server) join(ctx context.Context, member *Server) error {
	request := &api.RaftJoinRequest{LeaderAPIAddr: member.Addr}
	if _, err := s.Client.Sys().RaftJoinWithContext(ctx, request); err != nil {
		return fmt.Errorf("joining %s: %w", member.Addr, err)
	}
	if err := s.unseal(ctx); err != nil {
		return err
	}
	return s.await(ctx, "to get a vote", func(ctx context.Context, _ *api.Client) (bool, error) {
		state, err := member.Client.Sys().RaftAutopilotStateWithContext(ctx)
		return err == nil && state != nil && slices.Contains(state.Voters, s.nodeID()), err
	})
}
