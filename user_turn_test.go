package awsiam

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"
	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
	"vault-plugin-secrets-aws-iam/internal/governor"
)

// noTurn is an IAM where every deletion comes up to its last call, which has no
// turn under AWS's rate. Any other call is a nil pointer.
type noTurn struct{ iamAPI }

func (noTurn) DeleteAccessKey(context.Context, *iam.DeleteAccessKeyInput, ...func(*iam.Options)) (*iam.DeleteAccessKeyOutput, error) {
	return nil, nil
}

func (noTurn) DeleteUserPolicy(context.Context, *iam.DeleteUserPolicyInput, ...func(*iam.Options)) (*iam.DeleteUserPolicyOutput, error) {
	return nil, nil
}

func (noTurn) DeleteUser(context.Context, *iam.DeleteUserInput, ...func(*iam.Options)) (*iam.DeleteUserOutput, error) {
	return nil, &smithy.OperationError{ServiceID: "IAM", OperationName: "DeleteUser", Err: &governor.BusyError{Waiting: 300}}
}

// TestDeletionWithoutATurn: a deletion that had no turn for its last call makes
// no other call instead. Where AWS admits few calls, putting a policy on each
// such user would take the turns of other deletions.
//
// Break it by leaving noAnswer out of deletion.delete.
func TestDeletionWithoutATurn(t *testing.T) {
	u := &userRecord{issuedUser: issuedUser{Username: "u", PolicyName: "u", AccessKeyID: "AKIAIOSFODNN7EXAMPLE"}}
	d := &deletion{iam: noTurn{}, user: u, logger: hclog.NewNullLogger(), now: time.Now, keep: func(context.Context) error { return nil }}
	var busy *governor.BusyError
	err := d.run(t.Context())
	require.ErrorAs(t, err, &busy)
	require.True(t, retryable(err))
}

// denied is an IAM that notes by when a denial has to be there.
type denied struct {
	iamAPI
	by time.Time
}

func (d *denied) PutUserPolicy(ctx context.Context, _ *iam.PutUserPolicyInput, _ ...func(*iam.Options)) (*iam.PutUserPolicyOutput, error) {
	d.by, _ = ctx.Deadline()
	return nil, nil
}

// TestADenialDoesNotHoldUpAReload. Break it by giving it containTimeout in any case.
func TestADenialDoesNotHoldUpAReload(t *testing.T) {
	aws := new(denied)
	d := &deletion{iam: aws, user: &userRecord{issuedUser: issuedUser{Username: "u", PolicyName: "u"}, Proven: true}}
	ended, end := context.WithCancel(t.Context())
	end()
	require.Error(t, d.contain(ended, context.Canceled))
	require.False(t, aws.by.After(time.Now().Add(partingTimeout)))
}

// inLine is an IAM whose calls wait for their turn, and note whose came.
type inLine struct {
	iamAPI
	governor *governor.Governor
	turns    chan string
}

func (i inLine) DeleteAccessKey(ctx context.Context, in *iam.DeleteAccessKeyInput, _ ...func(*iam.Options)) (*iam.DeleteAccessKeyOutput, error) {
	done, err := i.governor.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	i.turns <- *in.UserName
	done(governor.Admitted)
	return nil, nil
}

func (i inLine) DeleteUser(context.Context, *iam.DeleteUserInput, ...func(*iam.Options)) (*iam.DeleteUserOutput, error) {
	return nil, nil
}

// TestPlaceInLine: a deletion that had no turn before comes before one that is asked for
// now, and one that AWS has refused for long does not. Break it by counting from
// FailedSince in userRecord.inLineSince.
func TestPlaceInLine(t *testing.T) {
	t.Parallel()
	now := time.Now()
	long := now.Add(-time.Hour)
	for name, c := range map[string]struct {
		failed userRecord
		asked  time.Time // when its next attempt began
		first  string
	}{
		"AWS has refused it": {userRecord{FailedSince: long}, now.Add(time.Second), "fresh"},
		"it had no turn":     {userRecord{FailedSince: long, UnansweredSince: long}, now.Add(time.Second), "failed"},
		"the clock was set back since it had no turn": {userRecord{UnansweredSince: now.Add(time.Hour)}, now.Add(-time.Second), "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := new(governor.Governor)
			var others []func(governor.Outcome)
			for { // until no more calls may be under way
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				done, err := g.Acquire(ctx)
				cancel()
				if err != nil {
					break
				}
				others = append(others, done)
			}
			turns := make(chan string, 2)
			begin := func(name string, u userRecord, asked time.Time, waiting int) {
				u.Username, u.AccessKeyID = name, "AKIAIOSFODNN7EXAMPLE"
				d := &deletion{iam: inLine{nil, g, turns}, user: &u, logger: hclog.NewNullLogger(), now: func() time.Time { return asked }, keep: func(context.Context) error { return nil }}
				go func() { _ = d.run(t.Context()) }()
				require.Eventually(t, func() bool { return g.Load().Waiting == waiting }, time.Minute, time.Millisecond)
			}
			begin("fresh", userRecord{}, now, 1)
			begin("failed", c.failed, c.asked, 2)
			others[0](governor.Admitted)
			require.Equal(t, c.first, <-turns)
			for _, done := range others[1:] {
				done(governor.Admitted)
			}
			<-turns
		})
	}
}

// What AWS has answered, if only to refuse it, has no place to keep. Break it by leaving
// UnansweredSince as it is in backend.noteFailure, or by setting it in any case.
func TestWhatAWSHasAnsweredKeepsNoPlace(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.advance(10 * time.Minute)
	fails := func(code string) time.Time {
		remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: code})
		require.Error(t, e.revoke(l))
		remove()
		return e.records()[l.username()].UnansweredSince
	}
	require.Zero(t, fails("LimitExceeded"))
	first := fails("Throttling")
	require.WithinDuration(t, e.clock.now(), first, time.Minute)
	e.advance(10 * time.Minute)
	require.Equal(t, first, fails("Throttling"))
	require.Zero(t, fails("LimitExceeded"))
}
