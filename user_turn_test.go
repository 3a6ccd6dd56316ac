package awsiam

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"
	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

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
