package awsiam

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

func TestLifeOfALease(t *testing.T) {
	e := newEnv(t, corePolicy)

	l := e.issue("app", nil)
	users := e.issuedUsers()
	require.Len(t, users, 1)
	user := users[0]
	require.Equal(t, map[string]any{
		"access_key_id":     user.AccessKeys[0].ID,
		"access_key":        user.AccessKeys[0].ID,
		"secret_access_key": l.data["secret_access_key"],
		"secret_key":        l.data["secret_access_key"],

		"propagation_seconds": 0.0,
		"username":            user.Name,
		"user_id":             user.ID,
		"arn":                 user.ARN,
		"policy_name":         user.Name,
		"account_id":          testAccount,
		"lease_expiration":    l.data["lease_expiration"],
	}, l.data)
	require.Len(t, l.data["secret_access_key"], 40)
	require.Equal(t, testPolicyUntil(t, user), user.Policies[user.Name])
	require.Equal(t, defaultTTL, l.secret.TTL)
	require.Equal(t, 24*time.Hour, l.secret.MaxTTL)
	require.True(t, l.secret.Renewable)
	expiration, err := time.Parse(time.RFC3339, l.data["lease_expiration"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(defaultTTL), expiration, 10*time.Second)

	record := e.records()[user.Name]
	require.Equal(t, stateActive, record.State)
	require.Equal(t, user.AccessKeys[0].ID, record.AccessKeyID)
	require.Equal(t, "test-entity", record.EntityID)
	require.Equal(t, "test-display", record.DisplayName)
	require.WithinDuration(t, time.Now().Add(30*time.Minute+2*time.Minute), record.Expires, 10*time.Second, "core's clock starts later")
	require.WithinDuration(t, time.Now().Add(24*time.Hour+2*time.Minute), record.Deadline, 10*time.Second)

	resp, err := e.renew(l, time.Hour)
	require.NoError(t, err)
	require.Equal(t, time.Hour, resp.Secret.TTL)

	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
	require.NoError(t, e.revoke(l), "revoking again finds nothing to do")
}

// An inline-policy lease costs three calls in two round trips each way. Break
// it by making the calls of creation.run or deletion.dismantle one by one.
func TestCallsAndRoundTripsOfALease(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.issue("app", nil) // connects
	const latency = 200 * time.Millisecond
	e.aws.SetLatency(latency)

	e.aws.ResetCalls()
	l := e.issue("app", nil)
	e.requireCalls("CreateUser", []string{"CreateAccessKey", "PutUserPolicy"}, "")

	e.aws.ResetCalls()
	require.NoError(t, e.revoke(l))
	e.requireCalls("", []string{"DeleteAccessKey", "DeleteUserPolicy"}, "DeleteUser")
}

// requireCalls checks that AWS saw just these calls, the middle ones at once.
func (e *env) requireCalls(first string, atOnce []string, last string) {
	e.t.Helper()
	var single, parallel []string
	calls := e.aws.Calls()
	for _, call := range calls {
		overlaps := false
		for _, other := range calls {
			overlaps = overlaps || other != call && call.Start.Before(other.End) && other.Start.Before(call.End)
		}
		if overlaps {
			parallel = append(parallel, call.Action)
		} else {
			single = append(single, call.Action)
		}
	}
	require.Equal(e.t, []string{first + last}, single)
	require.ElementsMatch(e.t, atOnce, parallel)
}

func TestLeaseTTL(t *testing.T) {
	cases := map[string]struct {
		role  map[string]any
		ttl   any
		want  time.Duration
		max   time.Duration
		warns bool
	}{
		"default":              {want: 30 * time.Minute, max: 24 * time.Hour},
		"role's":               {role: map[string]any{"default_ttl": "45m"}, want: 45 * time.Minute, max: 24 * time.Hour},
		"asked for in hours":   {ttl: "3h", want: 3 * time.Hour, max: 24 * time.Hour},
		"asked for in seconds": {ttl: "1800s", want: 30 * time.Minute, max: 24 * time.Hour},
		"asked for bare":       {ttl: 1800, want: 30 * time.Minute, max: 24 * time.Hour},
		"over the role's max":  {role: map[string]any{"max_ttl": "1h"}, ttl: "3h", want: time.Hour, max: time.Hour, warns: true},
		"over the mount's max": {ttl: "48h", want: 24 * time.Hour, max: 24 * time.Hour, warns: true},
		"role over the mount":  {role: map[string]any{"default_ttl": "48h", "max_ttl": "72h"}, want: 24 * time.Hour, max: 24 * time.Hour, warns: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, corePolicy)
			if c.role != nil {
				e.write("roles/app", c.role)
			}
			var data map[string]any
			if c.ttl != nil {
				data = map[string]any{"ttl": c.ttl}
			}
			resp := e.must(logical.ReadOperation, "creds/app", data)
			require.Equal(t, c.want, resp.Secret.TTL)
			require.Equal(t, c.max, resp.Secret.MaxTTL)
			require.Equal(t, c.warns, len(resp.Warnings) > 0, "warnings: %v", resp.Warnings)
		})
	}
}

// Core's maximum is asked for while the record is written. A core that does not
// tell it leaves no record, and AWS is not called. Break it by dropping errNothingDone
// where the terms fail.
func TestCoreThatDoesNotTellItsMaximum(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.system.MaxLeaseTTLVal = 0
	e.aws.ResetCalls()
	_, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.Error(t, err)
	require.Empty(t, e.aws.Calls())
	require.Empty(t, e.records())
}

// The maximum is fixed at issue. Break it by using r.maxTTL in the renewal.
func TestRenewalStaysWithinTheMaximumOfIssue(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.system.MaxLeaseTTLVal = time.Hour
	l := e.issue("app", nil)

	e.system.MaxLeaseTTLVal = 100 * time.Hour
	l.secret.IssueTime = time.Now().Add(-50 * time.Minute)
	resp, err := e.renew(l, 24*time.Hour)
	require.NoError(t, err)
	require.Equal(t, time.Hour, resp.Secret.MaxTTL)
	require.InDelta(t, (10 * time.Minute).Seconds(), resp.Secret.TTL.Seconds(), 2)
	require.NotEmpty(t, resp.Warnings)

	l.secret.IssueTime = time.Now().Add(-2 * time.Hour)
	_, err = e.renew(l, time.Minute)
	require.ErrorContains(t, err, "cannot be renewed")
}

func TestRenewalObeysALoweredRole(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.write("roles/app", map[string]any{"max_ttl": "40m"})
	resp, err := e.renew(l, 3*time.Hour)
	require.NoError(t, err)
	require.Equal(t, 40*time.Minute, resp.Secret.TTL)
}

func TestRenewalWithoutIncrementRepeatsTheLeasesTTL(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", map[string]any{"ttl": "3h"})
	resp, err := e.renew(l, 0)
	require.NoError(t, err)
	require.Equal(t, 3*time.Hour, resp.Secret.TTL)
}

// A renewal is on record before it is answered. Break it by dropping
// extendUser's error.
func TestRenewalFailsIfItCannotBeRecorded(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	before := e.records()[l.username()].Expires
	e.storage.on(func(op, _ string) (bool, error) { return op != "put", failIf(op == "put") })
	_, err := e.renew(l, 2*time.Hour)
	require.ErrorIs(t, err, errInjected)

	e.storage.on(nil)
	_, err = e.renew(l, 2*time.Hour)
	require.NoError(t, err)
	require.Greater(t, e.records()[l.username()].Expires, before)
}

func TestRenewalIsRefusedWithTheReason(t *testing.T) {
	t.Run("role deleted", func(t *testing.T) {
		e := newEnv(t, corePolicy)
		l := e.issue("app", nil)
		e.must(logical.DeleteOperation, "roles/app", nil)
		_, err := e.renew(l, time.Hour)
		require.ErrorContains(t, err, `role "app" was deleted`)
	})
	t.Run("user deleted", func(t *testing.T) {
		e := newEnv(t, corePolicy)
		l := e.issue("app", nil)
		require.NoError(t, e.revoke(l))
		_, err := e.renew(l, time.Hour)
		require.ErrorContains(t, err, "deleted")
		require.Empty(t, e.records(), "a renewal must not bring a record back")
	})
}

// Break it by having secretIAMUserRevoke look for the role.
func TestRevocationNeedsOnlyTheLease(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.must(logical.DeleteOperation, "roles/app", nil)
	_, e.key = e.acct.AddUser("/", "another-integration-user", corePolicy)
	e.write("config", e.connection(e.key))
	e.start()
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

// A node that was deposed while it slept sees storage as it was, and cannot
// write: it must not end a lease that was renewed elsewhere. Break it by reading
// the record with getUser in backend.retire.
func TestADeposedNodeDeletesNobody(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.aws.ResetCalls()
	e.storage.on(func(op, _ string) (bool, error) {
		if op == "put" || op == "delete" {
			return false, logical.ErrReadOnly
		}
		return true, nil
	})
	require.Error(t, e.revoke(l))
	e.advance(time.Hour)
	e.reap()
	require.Empty(t, e.aws.Calls())
	require.Len(t, e.issuedUsers(), 1)
}

// The lease of an earlier user of the name is revoked while that of the present
// one is: what is decided about the first must not be taken for the second's.
// Break it by returning nil for errSpared in retireLeased.
func TestRevocationsOfTwoUsersOfANameAtOnce(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	earlier := issuedUser{Username: l.username(), Role: "app", AccessKeyID: "AKIAIOSFODNN7EXAMPLE"}
	reached, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	e.storage.on(func(string, string) (bool, error) {
		once.Do(func() { close(reached); <-goOn }) // it is reading the record
		return true, nil
	})
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- e.b.retireLeased(t.Context(), e.storage, earlier) }()
	<-reached
	go func() { second <- e.revoke(l) }()
	untilShared(t)
	close(goOn)
	require.NoError(t, <-first)
	require.NoError(t, <-second)
	e.requireNothingLeft()
}

// untilShared waits until a second caller waits for the first one's deletion. It is for
// tests that run alone.
func untilShared(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return strings.Count(string(stacks), "singleflight.(*Group).Do(") == 2
	}, patience, time.Millisecond)
}
