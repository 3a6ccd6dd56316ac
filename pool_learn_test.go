package awsiam

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// TestPoolOfARestoredSnapshot: a user that waited when the snapshot was taken, and
// was leased after it, is not leased again, but deleted. One that is gone by now is
// nobody's trouble, and one that still waits is leased.
//
// Break it by having isBare return true for whoever is there, or take all that
// pools.learn finds for ready.
func TestPoolOfARestoredSnapshot(t *testing.T) {
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			e.pool("app", 3)
			e.advance(time.Hour)
			taken := e.snapshot()
			e.leaveShort("app")
			lost, ended := e.issue("app", nil), e.issue("app", nil)
			require.NoError(t, e.revoke(ended))
			waiting := e.pooled()
			require.Len(t, waiting, 1)
			e.restore(taken)
			book := e.startLogged()
			require.Len(t, e.pooled(), 3)

			e.reap()
			require.Len(t, book.lines("has a policy, and is deleted"), 1)
			_, there := e.acct.User(lost.username())
			require.False(t, there, "a user whose lease nobody knows of")
			e.leaveShort("app")
			for range e.pooled() {
				l := e.issue("app", nil)
				require.NotContains(t, []string{lost.username(), ended.username()}, l.username())
				require.Equal(t, 1, e.authenticates(l, 1))
				waiting = append(waiting, l.username())
				require.NoError(t, e.revoke(l))
			}
			require.Equal(t, waiting[0], waiting[1], "the oldest, which still waited")
			e.requireEmptied("app")
		})
	}
}

// TestPoolOfARoleWithoutInlinePolicy: nothing that the eight core actions show
// tells its leased users from those that wait. After a restored snapshot, or a
// restart, which might be one, all are replaced.
//
// Break it by leaving hasInlinePolicy out of pools.admit; or, for the second, out of
// backend.fingerprint.
func TestPoolOfARoleWithoutInlinePolicy(t *testing.T) {
	managed := func(e *env) map[string]any {
		return map[string]any{
			"policy_arns": e.acct.AddManagedPolicy("/", "managed", testPolicy), "policy_document": "", "enforce_expiry": false,
		}
	}
	for name, before := range map[string]bool{"when the snapshot was taken": true, "when the user was leased": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, widePolicy)
			change := managed(e)
			if before {
				e.write("roles/app", change)
			}
			e.pool("app", 1)
			taken := e.snapshot()
			e.write("roles/app", change)
			e.settle()
			e.leaveShort("app")
			lost := e.issue("app", nil)
			e.restore(taken)
			e.reap()
			e.leaveShort("app")
			require.Len(t, e.pooled(), 1)
			l := e.issue("app", nil)
			require.NotEqual(t, lost.username(), l.username())
			require.NoError(t, e.revoke(l))
		})
	}
}

// TestPoolIsLearntWhileAWSFails: who waited before is not offered until AWS has
// answered, and not asked about with each request; and waits on.
//
// Break it by leaving the look at resume, or errgroup.WithContext, out of
// pools.admit, or by taking every error for a no in isBare.
func TestPoolIsLearntWhileAWSFails(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.pool("app", 3*reaperWorkers)
	waiting := e.pooled()
	e.start()
	mend := e.aws.Inject(awsfake.Fault{Action: "ListUserPolicies", Code: "ServiceFailure"})
	e.reap()
	asked := e.aws.Count("ListUserPolicies")
	require.Positive(t, asked)
	require.LessOrEqual(t, asked, 2*reaperWorkers, "all were asked about after a failure")
	for range 5 {
		l := e.issue("app", nil)
		require.NotContains(t, waiting, l.username())
		e.settle()
	}
	require.Equal(t, asked, e.aws.Count("ListUserPolicies"))
	require.Equal(t, waiting, e.pooled())
	mend()
	e.advance(maxRetryPause)
	e.reap()
	e.leaveShort("app")
	require.Equal(t, waiting, e.pooled())
	require.Contains(t, waiting, e.issue("app", nil).username())
}
