package vaultdev

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// probeTimeout bounds one question to a node of which nobody knows whether it
// answers at all. A paused node does not; a deposed leader, whose requests still
// run, may not for up to 90 s.
const probeTimeout = 5 * time.Second

// Cluster is several nodes of one Vault with integrated storage. Each has its
// own data; all share the root token and the unseal key.
//
// Nodes may be killed, paused, sealed and restarted one by one; the methods of
// Cluster put up with nodes that do not answer.
type Cluster struct {
	Nodes []*Server

	network *network
}

// StartCluster runs n nodes as [Start] runs one. When it returns, the first is
// active and the others are standbys with a vote, so that a cluster of three
// survives the loss of one. The caller ends it with [Cluster.Stop].
func StartCluster(ctx context.Context, config Config, n int) (*Cluster, error) {
	c := &Cluster{network: newNetwork()}
	first, err := start(ctx, config, c.network)
	if err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	c.Nodes = []*Server{first}
	for range n - 1 {
		node, err := first.Join(ctx)
		if err != nil {
			return nil, errors.Join(err, c.Stop())
		}
		c.Nodes = append(c.Nodes, node)
	}
	return c, nil
}

// Stop stops all nodes and removes their files, as [Server.Stop] does. It may be
// called more than once.
func (c *Cluster) Stop() error {
	errs := make([]error, len(c.Nodes))
	var wg sync.WaitGroup
	for i, node := range c.Nodes {
		wg.Go(func() { errs[i] = node.Stop() })
	}
	wg.Wait()
	c.network.close()
	return errors.Join(errs...)
}

// Isolate cuts the network between this node and all others, open connections
// too, until [Cluster.Heal]. Clients still reach it. Several nodes may be
// isolated, each from all others. A node that is restarted stays isolated.
func (c *Cluster) Isolate(node *Server) { c.network.isolate(node) }

// Heal mends the network. The nodes find each other again by themselves.
func (c *Cluster) Heal() { c.network.heal() }

// Leader waits until a node is active and serves requests, and returns it. Nodes
// that are down, paused, sealed or isolated do not keep it from that. What it
// says was so a moment ago.
func (c *Cluster) Leader(ctx context.Context) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	// Each node is asked by itself, so that none holds up the others.
	found := make(chan *Server, len(c.Nodes))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, node := range c.Nodes {
		wg.Go(func() {
			if node.awaitLeadership(ctx) {
				found <- node
			}
		})
	}
	select {
	case leader := <-found:
		return leader, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for an active node: %w", ctx.Err())
	}
}

// awaitLeadership waits until this node leads, and says whether that came.
func (s *Server) awaitLeadership(ctx context.Context) bool {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !s.leads(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// leads says whether the node is active and able to store something, which takes
// the majority of the nodes: a leader that was isolated holds itself for active
// for a while.
func (s *Server) leads(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if !s.active(ctx) {
		return false
	}
	client, err := s.probe()
	if err != nil {
		return false
	}
	_, err = client.Logical().WriteWithContext(ctx, "cubbyhole/vaultdev-leader", map[string]any{"node": s.nodeID()})
	// Deposed in between, it would have forwarded the write.
	return err == nil && s.active(ctx)
}

func (s *Server) active(ctx context.Context) bool {
	client, err := s.probe()
	if err != nil {
		return false
	}
	health, err := client.Sys().HealthWithContext(ctx)
	return err == nil && health.Initialized && !health.Sealed && !health.Standby
}

// probe returns a client that asks once: polling with a client's own retries
// would only be coarser.
func (s *Server) probe() (*api.Client, error) {
	client, err := s.Client.Clone()
	if err != nil {
		return nil, err
	}
	client.SetMaxRetries(0)
	client.SetToken(s.RootToken)
	return client, nil
}

// Join runs a further node of the same cluster and returns when it is a standby
// with a vote. Each node is stopped by itself.
func (s *Server) Join(ctx context.Context) (*Server, error) {
	// Autopilot gives a node its vote only after this long in good health. The
	// default of 10 seconds is made for real networks.
	_, err := s.Client.Logical().WriteWithContext(ctx, "sys/storage/raft/autopilot/configuration",
		map[string]any{"server_stabilization_time": "1s"})
	if err != nil {
		return nil, fmt.Errorf("configuring autopilot: %w", err)
	}

	node, err := launch(ctx, s.config, s.network)
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
