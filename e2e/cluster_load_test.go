package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

const (
	// workers is how many applications a workload has.
	workers = 4
	// patience is how long an application tries again what failed.
	patience = time.Minute
)

// workload is applications at work. Each takes credentials, uses them, renews
// them and mostly gives them back, over and over, and asks another node when one
// does not do what it is asked.
type workload struct {
	m       *mount
	nodes   []*vaultdev.Server
	running sync.WaitGroup
	end     func() // may be called more than once
	ending  chan struct{}

	mu     sync.Mutex
	rounds int
	alive  []credential // kept to the end
	wrong  []string     // what no application may ever see
}

func startWorkload(t *testing.T, cluster *vaultdev.Cluster) *workload {
	t.Helper()
	w := &workload{m: newClusterMount(t, cluster), nodes: cluster.Nodes, ending: make(chan struct{})}
	w.end = sync.OnceFunc(func() {
		close(w.ending)
		w.running.Wait()
	})
	t.Cleanup(w.end)
	w.m.aws.SetLatency(50 * time.Millisecond)
	for worker := range workers {
		w.running.Go(func() {
			for round := 0; !w.ended(); round++ {
				w.round(round%len(w.nodes), (worker+round)%4 == 0)
			}
		})
	}
	return w
}

func (w *workload) ended() bool {
	select {
	case <-w.ending:
		return true
	default:
		return false
	}
}

// progress waits until the applications have got something done since now.
func (w *workload) progress() {
	w.m.t.Helper()
	done := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.rounds
	}
	start := done()
	eventually(w.m.t, patience, "work getting done", func() bool { return done() >= start+2*workers })
}

// finish ends the work and returns what is alive of it.
func (w *workload) finish() unfinished {
	w.m.t.Helper()
	w.progress()
	w.end()
	require.Empty(w.m.t, w.wrong)
	require.NotEmpty(w.m.t, w.alive)
	return unfinished{w.m, w.alive}
}

// round is one use of credentials, begun at the node of this number.
func (w *workload) round(node int, keep bool) {
	var c credential
	done := w.persist("issuing", node, func(m *mount) (err error) {
		c, err = m.tryIssue(m.server.RootToken, "app")
		return err
	})
	if !done {
		return
	}
	w.use(c)
	w.persist("renewing", node, func(m *mount) error { return m.renew(c) })
	w.use(c)
	if !keep {
		w.giveBack(c, node)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rounds++
	if keep {
		w.alive = append(w.alive, c)
	}
}

func (w *workload) giveBack(c credential, node int) {
	done := w.persist("revoking", node, func(m *mount) error {
		err := m.revoke(c)
		if err != nil && strings.Contains(err.Error(), unsettled) {
			return nil // a broken attempt has deleted the user, which is not certain for minutes
		}
		return err
	})
	if done && c.exists() {
		w.complain("user %s was revoked and is there", c.Username)
	}
}

// persist tries at one node after the other, and says whether one did it.
func (w *workload) persist(what string, node int, try func(*mount) error) bool {
	for deadline := time.Now().Add(patience); !w.ended(); node++ {
		err := try(w.m.at(w.nodes[node%len(w.nodes)]))
		if err == nil {
			return true
		}
		if !retryable(err) {
			w.complain("%s was refused for good: %v", what, err)
			return false
		}
		if time.Now().After(deadline) {
			w.complain("%s was not done within %s: %v", what, patience, err)
			return false
		}
		time.Sleep(100 * time.Millisecond) // as a client's own pause before it tries again
	}
	return false
}

// use expects a key to work whose lease is alive.
func (w *workload) use(c credential) {
	if code := c.listGroups(); code != "" {
		w.complain("the key of %s does not work: %s", c.Username, code)
	}
}

func (w *workload) complain(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// unsettled is in the error of a revocation that finds no user, but one so young
// that AWS may just not know it yet.
const unsettled = "not settled yet"

// retryable says whether trying again can help: a connection that broke, or an
// answer that Vault's client libraries try again on by themselves. Whatever a
// plugin fails with in a renewal or a revocation, core answers 400 (handleError in
// logical_system.go of Vault 1.21.1): there the text has to tell a plugin's broken
// connection, or a node that is not the leader any more.
func retryable(err error) bool {
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return true
	}
	switch answer.StatusCode {
	case http.StatusPreconditionFailed, http.StatusTooManyRequests:
		return true
	case http.StatusBadRequest:
		return strings.Contains(err.Error(), "rpc error: code = ") || deposed(err)
	}
	return answer.StatusCode >= http.StatusInternalServerError
}

// deposed says whether a node could not write, as it was not the leader any more:
// ErrNotLeader and ErrLeadershipLost of hashicorp/raft 1.7.
func deposed(err error) bool {
	return strings.Contains(err.Error(), "node is not the leader") || strings.Contains(err.Error(), "leadership lost while committing log")
}

// renew extends the lease by an hour.
func (m *mount) renew(c credential) error {
	_, err := clientWith(m.t, m.server, m.server.RootToken).Sys().RenewWithContext(m.t.Context(), c.lease.LeaseID, 60*60)
	return err
}
