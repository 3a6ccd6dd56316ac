package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// TestLeaderKilled kills the leader with all its plugins, and looks at what the
// others make of what it has left.
//
// Break it, each by itself: by writing a record only when its user is complete
// (in putUser, by leaving out those that are creating); in reaper.list, by listing
// nothing, so that a new leader knows nothing of its predecessors; in retire, by
// removing the record before the user.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	left := killedWhileAWSAnswers(t, cluster)
	left = append(left, killedUnderLoad(t, cluster))
	requireSettled(t, cluster, left...)
}

// killedWhileAWSAnswers kills the leader when each call that creations and
// revocations consist of was just being answered, or about to be performed, each
// in a mount of its own. Another leader finds all leases, goes on at once with
// what can be gone on with, and issues.
func killedWhileAWSAnswers(t *testing.T, cluster *vaultdev.Cluster) (left []unfinished) {
	t.Helper()
	killed := leader(t, cluster)
	calls := newHeldCalls()
	defer calls.release()
	scenes := []*scene{
		newScene(t, cluster, calls, awsfake.Fault{Action: "CreateUser", LostBefore: true}),
		newScene(t, cluster, calls, awsfake.Fault{Action: "CreateUser", Lost: true}),
		newScene(t, cluster, calls, awsfake.Fault{Action: "CreateAccessKey", Lost: true}),
		newScene(t, cluster, calls, awsfake.Fault{Action: "PutUserPolicy", Lost: true}),
		newScene(t, cluster, calls, awsfake.Fault{Action: "DeleteAccessKey", Lost: true}),
		newScene(t, cluster, calls, awsfake.Fault{Action: "DeleteUserPolicy", Lost: true}),
		newScene(t, cluster, calls, awsfake.Fault{Action: "DeleteUser", LostBefore: true}),
		newScene(t, cluster, calls, awsfake.Fault{Action: "DeleteUser", Lost: true}),
	}
	requests := begin(scenes)
	calls.await(t, len(scenes))
	require.NoError(t, killed.Kill())
	calls.release()
	requests.Wait()

	for _, s := range scenes {
		require.Error(t, s.failed)
	}
	left = resume(t, leader(t, cluster), scenes)
	require.NoError(t, killed.Restart(t.Context()))
	return left
}

// killedUnderLoad kills first the leader's plugins alone, then one leader after
// the other with a lease that runs out meanwhile.
func killedUnderLoad(t *testing.T, cluster *vaultdev.Cluster) unfinished {
	t.Helper()
	w := startWorkload(t, cluster)
	w.m.write("roles/brief", map[string]any{"policy_document": listGroups, "default_ttl": "10s"})
	for range 3 {
		w.progress()
		require.NoError(t, leader(t, cluster).KillPlugins())
	}
	for range 3 {
		w.progress()
		node := leader(t, cluster)
		brief := w.m.at(node).issue("brief")
		require.NoError(t, node.Kill())
		leader(t, cluster)
		eventually(t, soon, "the end of the lease that ran out", func() bool { return !brief.exists() })
		require.NoError(t, node.Restart(t.Context()))
	}
	return w.finish()
}
