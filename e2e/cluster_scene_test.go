package e2e

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// scene is a mount with a request that its leader cannot bring to its end.
type scene struct {
	*mount
	kept credential
	// ending is being revoked. Without it, a user is being issued.
	ending *credential
	failed error
}

// newScene prepares a request that stays at a call of AWS's.
func newScene(t *testing.T, cluster *vaultdev.Cluster, calls *heldCalls, at awsfake.Fault) *scene {
	t.Helper()
	s := &scene{mount: newClusterMount(t, cluster)}
	s.kept = s.issue("app")
	if slices.Contains([]string{"DeleteAccessKey", "DeleteUserPolicy", "DeleteUser"}, at.Action) {
		c := s.issue("app")
		s.ending = &c
	}
	at.Count = 1
	calls.hold(s.aws, at)
	return s
}

func (s *scene) request() {
	if s.ending != nil {
		s.failed = s.revoke(*s.ending)
	} else {
		_, s.failed = s.tryIssue(s.server.RootToken, "app")
	}
}

// resume does with another leader what can be done at once.
func (s *scene) resume(t *testing.T) unfinished {
	t.Helper()
	require.NoError(t, s.renew(s.kept))
	s.requireAlive(s.kept)
	if s.ending == nil {
		require.Len(t, s.recorded(), 2, "what was begun is on record")
	} else if err := s.revoke(*s.ending); err != nil {
		// AWS does not know the user any more, or knows one that has nothing left
		// that shows it to be ours: what that means is certain five minutes later.
		require.ErrorContains(t, err, unsettled)
		require.Equal(t, "InvalidClientTokenId", s.ending.listGroups(), "the key is dead")
	}
	return unfinished{s.mount, []credential{s.kept, s.issue("app")}}
}

// begin sends the requests of all scenes at once.
func begin(scenes []*scene) *sync.WaitGroup {
	var requests sync.WaitGroup
	for _, s := range scenes {
		requests.Go(s.request)
	}
	return &requests
}

// resume does with another leader what can be done at once.
func resume(t *testing.T, node *vaultdev.Server, scenes []*scene) (left []unfinished) {
	t.Helper()
	for _, s := range scenes {
		s.server = node
		left = append(left, s.resume(t))
	}
	return left
}

// heldCalls are calls to AWS that stay where they are until they are released.
type heldCalls struct {
	arrived  chan struct{}
	released chan struct{}
	release  func() // may be called more than once
}

func newHeldCalls() *heldCalls {
	c := &heldCalls{arrived: make(chan struct{}), released: make(chan struct{})}
	c.release = sync.OnceFunc(func() { close(c.released) })
	return c
}

// hold holds as many calls as the fault counts, and then does what else it says.
func (c *heldCalls) hold(sim simulation, at awsfake.Fault) {
	at.Hook = func(awsfake.Call) {
		select {
		case c.arrived <- struct{}{}:
			<-c.released
		case <-c.released:
		}
	}
	sim.Inject(at)
}

// await waits until so many calls are held.
func (c *heldCalls) await(t *testing.T, calls int) {
	t.Helper()
	bound := time.After(soon)
	for held := range calls {
		select {
		case <-c.arrived:
		case <-bound:
			require.FailNow(t, "waited in vain", "%d of %d calls arrived within %s", held, calls, soon)
		}
	}
}
