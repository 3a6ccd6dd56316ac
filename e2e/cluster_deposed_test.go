package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// TestLeaderCutOff cuts the leader off from the other nodes, not from AWS and its
// clients, while AWS is performing what creations and revocations consist of.
// Another leader issues, renews and revokes; what the deposed one goes on with
// fails, and it takes back by itself what it has made.
func TestLeaderCutOff(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	deposed := leader(t, cluster)
	calls := newHeldCalls()
	defer calls.release()
	scenes := []*scene{
		newScene(t, cluster, calls, awsfake.Fault{Action: "CreateUser"}),
		newScene(t, cluster, calls, awsfake.Fault{Action: "CreateAccessKey"}),
		newScene(t, cluster, calls, awsfake.Fault{Action: "PutUserPolicy"}),
		newScene(t, cluster, calls, awsfake.Fault{Action: "DeleteAccessKey"}),
		newScene(t, cluster, calls, awsfake.Fault{Action: "DeleteUser"}),
	}
	requests := begin(scenes)
	calls.await(t, len(scenes))
	cluster.Isolate(deposed)
	node := leader(t, cluster)
	require.NotSame(t, deposed, node)
	left := resume(t, node, scenes)
	calls.release()
	requests.Wait()
	requireTakenBack(t, scenes, left)

	// Clients still reach it, and it refuses them.
	_, err := scenes[0].at(deposed).tryIssue(deposed.RootToken, "app")
	require.Error(t, err)
	require.True(t, retryable(err), "%v", err)
	require.Len(t, scenes[0].users(), len(left[0].alive))

	cluster.Heal()
	requireWhole(t, cluster)
	for _, node := range cluster.Nodes {
		left[0].alive = append(left[0].alive, left[0].at(node).issue("app"))
	}
	requireSettled(t, cluster, left...)
}

// TestLeaderAsleep suspends the leader, its plugins too, in the midst of creations.
// When it wakes up AWS's answers are there, another leads, and leases that have
// run out as far as it knows were renewed.
func TestLeaderAsleep(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	deposed := leader(t, cluster)
	calls := newHeldCalls()
	defer calls.release()
	scenes := []*scene{
		newScene(t, cluster, calls, awsfake.Fault{Action: "CreateUser"}),
		newScene(t, cluster, calls, awsfake.Fault{Action: "CreateAccessKey"}),
		newScene(t, cluster, calls, awsfake.Fault{Action: "PutUserPolicy"}),
	}
	m := newClusterMount(t, cluster)
	m.write("roles/brief", map[string]any{"policy_document": listGroups, "default_ttl": "30s"})
	renewed := unfinished{mount: m}
	for range 20 {
		renewed.alive = append(renewed.alive, m.issue("brief"))
	}
	runOut := time.Now().Add(30 * time.Second)

	requests := begin(scenes)
	calls.await(t, len(scenes))
	require.NoError(t, deposed.Pause())
	t.Cleanup(func() { require.NoError(t, deposed.Resume()) })
	calls.release()
	node := leader(t, cluster)
	m.server = node
	for _, c := range renewed.alive {
		require.NoError(t, m.renew(c))
	}
	left := resume(t, node, scenes)
	eventually(t, time.Minute, "the end that the sleeper knows of", func() bool { return time.Now().After(runOut) })

	require.NoError(t, deposed.Resume())
	requests.Wait()
	requireTakenBack(t, scenes, left)
	requireWhole(t, cluster)
	for _, c := range renewed.alive {
		m.requireAlive(c)
	}
	requireSettled(t, cluster, append(left, renewed)...)
}

// requireTakenBack checks that the requests have failed and that nothing is left
// in AWS but what is to be alive. The reaper has no part in that yet.
//
// Break it in undoUser, by leaving the user to the reaper where the record cannot
// be written.
func requireTakenBack(t *testing.T, scenes []*scene, left []unfinished) {
	t.Helper()
	for i, s := range scenes {
		require.Error(t, s.failed)
		require.Len(t, s.users(), len(left[i].alive))
		for _, c := range left[i].alive {
			s.requireAlive(c)
		}
	}
}

// requireWhole waits until all nodes have found each other.
func requireWhole(t *testing.T, cluster *vaultdev.Cluster) {
	t.Helper()
	eventually(t, time.Minute, "a healthy cluster", func() bool {
		node := leader(t, cluster)
		state, err := clientWith(t, node, node.RootToken).Sys().RaftAutopilotStateWithContext(t.Context())
		return err == nil && state.Healthy && len(state.Voters) == len(cluster.Nodes)
	})
	for _, node := range cluster.Nodes {
		require.NoError(t, node.Unseal(t.Context()), "a node that is unsealed knows its leader")
	}
}
