package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

const (
	// wholeTimeout bounds the way back to a cluster that is whole, which is
	// taken also when the run was interrupted.
	wholeTimeout = 5 * time.Minute
	// restartAttempts is how often a node is restarted that does not come back
	// in time, as on a machine with too much to do.
	restartAttempts = 3
)

// servers meets the Vault servers with the faults of a schedule.
type servers struct {
	cluster  *vaultdev.Cluster
	plugin   string // its name in the catalog
	tally    *tally
	progress io.Writer
	started  time.Time
}

// run goes through the schedule until the context ends or enough says so, and
// returns with the cluster whole.
func (s *servers) run(ctx context.Context, schedule *serverSchedule, enough func() bool) error {
	for !enough() {
		f := schedule.next()
		if !pause(ctx, f.after) {
			return nil
		}
		if err := s.meet(ctx, f); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	return nil
}

// meet lets one fault happen and waits until the cluster is whole again.
func (s *servers) meet(ctx context.Context, f serverFault) error {
	healing, cancel := context.WithTimeout(context.WithoutCancel(ctx), wholeTimeout)
	defer cancel()
	leader, err := s.leader(healing)
	if err != nil {
		return err
	}
	say(s.progress, s.started, "%s", f)
	if err := s.strike(ctx, healing, f, leader, s.other(leader, f.standby)); err != nil {
		return err
	}
	_, err = s.leader(healing)
	return err
}

// leader waits for one longer than the cluster does by itself: a node that steps
// down finishes first what it has in hand.
func (s *servers) leader(ctx context.Context) (node *vaultdev.Server, err error) {
	for node == nil && ctx.Err() == nil {
		node, err = s.cluster.Leader(ctx)
	}
	return node, err
}

// other is the n-th of the nodes that do not lead.
func (s *servers) other(leader *vaultdev.Server, n int) *vaultdev.Server {
	standbys := slices.DeleteFunc(slices.Clone(s.cluster.Nodes), func(node *vaultdev.Server) bool { return node == leader })
	if len(standbys) == 0 {
		return leader
	}
	return standbys[n%len(standbys)]
}

// strike does what the fault says. ctx ends a fault early, healing does not.
func (s *servers) strike(ctx, healing context.Context, f serverFault, leader, standby *vaultdev.Server) error {
	switch f.kind {
	case killLeader:
		return s.kill(ctx, healing, f, leader)
	case killStandby:
		return s.kill(ctx, healing, f, standby)
	case killAll:
		return s.kill(ctx, healing, f, s.cluster.Nodes...)
	case killPlugin:
		s.tally.addN(processesKilled, len(leader.PluginPIDs()))
		s.tally.add(string(f.kind))
		return leader.KillPlugins()
	case pauseLeader:
		return s.suspend(ctx, f, leader)
	case pauseStandby:
		return s.suspend(ctx, f, standby)
	case isolateLeader:
		s.isolate(ctx, f, leader)
	case isolateStandby:
		s.isolate(ctx, f, standby)
	case sealLeader:
		// That it leads no more just now is the cluster's good right.
		if err := leader.Seal(healing); err == nil {
			s.tally.add(string(f.kind))
			pause(ctx, f.lasts)
			return leader.Unseal(healing)
		}
	case stepDown:
		if err := leader.StepDown(healing); err == nil {
			s.tally.add(string(f.kind))
		}
	case reloadPlugin:
		_, err := leader.Client.Logical().WriteWithContext(healing, "sys/plugins/reload/secret/"+s.plugin, nil)
		if err == nil {
			s.tally.add(string(f.kind))
		}
	}
	return nil
}

// kill ends the nodes at once and brings them back at the same time, since a
// single one cannot come back to a cluster without a majority.
func (s *servers) kill(ctx, healing context.Context, f serverFault, nodes ...*vaultdev.Server) error {
	errs := make([]error, len(nodes))
	for i, node := range nodes {
		errs[i] = node.Kill()
		s.tally.add(processesKilled)
	}
	s.tally.add(string(f.kind))
	pause(ctx, f.lasts)
	var wg sync.WaitGroup
	for i, node := range nodes {
		wg.Go(func() { errs[i] = errors.Join(errs[i], restart(healing, node)) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func restart(ctx context.Context, node *vaultdev.Server) (err error) {
	for range restartAttempts {
		if err = node.Restart(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

func (s *servers) suspend(ctx context.Context, f serverFault, node *vaultdev.Server) error {
	if err := node.Pause(); err != nil {
		return err
	}
	s.tally.add(string(f.kind))
	pause(ctx, f.lasts)
	return node.Resume()
}

func (s *servers) isolate(ctx context.Context, f serverFault, node *vaultdev.Server) {
	s.cluster.Isolate(node)
	s.tally.add(string(f.kind))
	pause(ctx, f.lasts)
	s.cluster.Heal()
}
