package awsiam

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// A stranger's user of the same name has the role's policies and groups. Break it
// by looking at the ownership after the withdrawals in deletion.dismantle.
func TestAStrangersAttachmentsAreLeftAlone(t *testing.T) {
	e := newEnv(t, widePolicy)
	arn := e.acct.AddManagedPolicy("/", "shared", testPolicy)
	e.acct.AddGroup("team", testPolicy)
	e.write("roles/big", map[string]any{"policy_arns": arn, "iam_groups": "team"})
	l := e.issue("big", nil)
	e.advance(10 * time.Minute)
	e.deleteAll(l.username())
	e.acct.AddUser("/humans/", l.username())
	_, err := e.byHand().AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: aws.String(l.username()), PolicyArn: &arn})
	require.NoError(t, err)
	_, err = e.byHand().AddUserToGroup(t.Context(), &iam.AddUserToGroupInput{UserName: aws.String(l.username()), GroupName: aws.String("team")})
	require.NoError(t, err)
	before, _ := e.acct.User(l.username())
	_ = e.revoke(l)
	after, ok := e.acct.User(l.username())
	require.True(t, ok)
	require.Equal(t, before, after)
}

// AWS removes the key and then says that there is no such user. Break it by taking
// the look at what was proven out of deletion.notFound.
func TestAContradictionIsNotBelieved(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.advance(10 * time.Minute)
	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 403, Code: "AccessDenied", Count: 1})
	e.aws.Inject(awsfake.Fault{Action: "ListAccessKeys", Status: 404, Code: "NoSuchEntity", Count: 1})
	_ = e.revoke(l)
	e.finish()
	e.requireNothingLeft()
}

// Only an answer of DeleteUser that was lost explains that the user is not there.
func TestALostListDoesNotMakeAContradictionBelieved(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	l := e.issue("app", nil)
	e.advance(10 * time.Minute)
	_, err := e.byHand().CreateLoginProfile(t.Context(), &iam.CreateLoginProfileInput{UserName: aws.String(l.username()), Password: aws.String("Abcdefgh1!x")})
	require.NoError(t, err)
	e.aws.Inject(awsfake.Fault{Action: "ListMFADevices", Status: 500, Code: "ServiceFailure", Count: 1})
	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Skip: 1, Status: 404, Code: "NoSuchEntity", Count: 1})
	_ = e.revoke(l)
	e.finish()
	e.requireNothingLeft()
}

// What passes is not paused for like what somebody has to put right, also where
// both are told together. Break it by looking at the first error alone in passes.
func TestPassingTroubleIsTriedAgainSoon(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	l := e.issue("app", nil)
	e.advance(10 * time.Minute)
	_, err := e.byHand().CreateLoginProfile(t.Context(), &iam.CreateLoginProfileInput{UserName: aws.String(l.username()), Password: aws.String("Abcdefgh1!x")})
	require.NoError(t, err)
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteLoginProfile", Status: 500, Code: "ServiceFailure"})
	require.Error(t, e.revoke(l))
	for range 18 {
		e.advance(2 * time.Minute)
		e.reap()
	}
	remove()
	r := e.records()[l.username()]
	require.LessOrEqual(t, r.NextAttempt.Sub(e.clock.now()), maxRetryPause, r.LastError)
}

// The same where a name is asked for.
func TestPassingTroubleInAskingForANameIsTriedAgainSoon(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.deleteByHand(l.username())
	e.advance(10 * time.Minute)
	remove := e.aws.Inject(awsfake.Fault{Action: "CreateUser", Status: 500, Code: "ServiceFailure"})
	require.Error(t, e.revoke(l))
	for range 18 {
		e.advance(2 * time.Minute)
		e.reap()
	}
	remove()
	r := e.records()[l.username()]
	require.LessOrEqual(t, r.NextAttempt.Sub(e.clock.now()), maxRetryPause)
}

// Break it by leaving hasten out of integrationWrite.
func TestWritingTheIntegrationHastensWhatHasFailed(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.advance(10 * time.Minute)
	_, err := e.byHand().UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: aws.String("vault-integration"), AccessKeyId: &e.key.AccessKeyID, Status: "Inactive"})
	require.NoError(t, err)
	for range 40 {
		_ = e.revoke(l)
		e.advance(10 * time.Minute)
	}
	e.write("config", e.connection(e.wideKey()))
	for range 10 {
		e.advance(time.Minute)
		e.reap()
	}
	_, ok := e.acct.User(l.username())
	require.False(t, ok, "ten minutes after it was mended")
}

// Break it by not looking for an answer in reaper.complain.
func TestTheLogHasWhatAWSSaysWhileStorageFails(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.issue("app", nil)
	log := e.capturedLog()
	e.advance(2 * time.Hour)
	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 409, Code: "LimitExceeded"})
	n := 0
	e.storage.on(func(op, _ string) (bool, error) {
		if op == "put" {
			n++
			if n >= 2 {
				return false, errInjected
			}
		}
		return true, nil
	})
	e.reap()
	require.Contains(t, log.String(), "LimitExceeded")
}

// Dates must not overflow. Break it by dropping longestTTL in role.maxTTL.
func TestTheLongestTTLThereIs(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.system.MaxLeaseTTLVal = 9223372036 * time.Second
	l := e.issue("app", nil)
	require.True(t, e.records()[l.username()].Deadline.After(time.Now()))
}

// deleteAll deletes a user past the engine, with all that the engine gave it.
func (e *env) deleteAll(name string) {
	u, _ := e.acct.User(name)
	c := e.byHand()
	for _, k := range u.AccessKeys {
		_, err := c.DeleteAccessKey(e.t.Context(), &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: &k.ID})
		require.NoError(e.t, err)
	}
	for p := range u.Policies {
		_, err := c.DeleteUserPolicy(e.t.Context(), &iam.DeleteUserPolicyInput{UserName: &name, PolicyName: &p})
		require.NoError(e.t, err)
	}
	for _, p := range u.AttachedPolicies {
		_, err := c.DetachUserPolicy(e.t.Context(), &iam.DetachUserPolicyInput{UserName: &name, PolicyArn: &p})
		require.NoError(e.t, err)
	}
	for _, g := range u.Groups {
		_, err := c.RemoveUserFromGroup(e.t.Context(), &iam.RemoveUserFromGroupInput{UserName: &name, GroupName: &g})
		require.NoError(e.t, err)
	}
	if u.LoginProfile {
		_, err := c.DeleteLoginProfile(e.t.Context(), &iam.DeleteLoginProfileInput{UserName: &name})
		require.NoError(e.t, err)
	}
	_, err := c.DeleteUser(e.t.Context(), &iam.DeleteUserInput{UserName: &name})
	require.NoError(e.t, err)
}
