package e2e

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMassRevocationThrottled revokes many leases at once while AWS admits few
// calls. All of them end at the first attempt, few calls are thrown away, and
// new leases can be had meanwhile. Figures are in docs/benchmarks.md.
//
// Break it by leaving governed out of integration.connection: with one retry a
// call, nearly all attempts fail.
func TestMassRevocationThrottled(t *testing.T) {
	const leases, rate = 150, 40
	t.Parallel()
	server := ownServer(t)
	m := newMountOn(t, server, newSimulation(t))
	m.write("config", map[string]any{"max_retries": -1})
	var clients sync.WaitGroup
	for range 10 {
		clients.Go(func() {
			for range leases / 10 {
				if _, err := m.tryIssue(server.RootToken, "app"); err != nil {
					t.Errorf("issuing: %s", err)
				}
			}
		})
	}
	clients.Wait()
	require.Len(t, m.users(), leases)
	m.write("roles/meanwhile", map[string]any{"policy_document": listGroups})
	m.aws.SetThrottle(rate, rate)
	m.aws.ResetCalls()

	cli(t, server, "lease", "revoke", "-prefix", m.path+"/creds/app")
	var issued []credential
	eventually(t, 3*soon, "the end of all leases", func() bool {
		if len(issued) < 3 && m.aws.Throttled() > 0 {
			issued = append(issued, m.issue("meanwhile"))
		}
		return len(m.users()) == len(issued)
	})

	require.Len(t, issued, 3)
	calls := len(m.aws.Calls())
	require.Less(t, float64(m.aws.Throttled())/float64(calls), 0.1, "of %d calls", calls)
	require.LessOrEqual(t, m.aws.Count("DeleteUser")-m.throttled("DeleteUser"), leases, "no user is deleted twice")
	eventually(t, soon, "the end of all leases in Vault", func() bool { return len(m.leases("app")) == 0 })
	require.Empty(t, m.irrevocable())
	for _, c := range issued {
		require.NoError(t, m.revoke(c))
	}
}

// throttled is how many calls of the action AWS has refused for its rate.
func (m *mount) throttled(action string) (n int) {
	for _, call := range m.aws.Calls() {
		if call.Action == action && call.Code == "Throttling" {
			n++
		}
	}
	return n
}

// irrevocable are the leases that Vault has given up.
func (m *mount) irrevocable() []any {
	m.t.Helper()
	secret, err := m.server.Client.Logical().ReadWithDataWithContext(m.t.Context(), "sys/leases", map[string][]string{"type": {"irrevocable"}})
	require.NoError(m.t, err)
	leases, ok := secret.Data["leases"].([]any)
	require.True(m.t, ok || secret.Data["leases"] == nil, "%v", secret.Data)
	return leases
}
