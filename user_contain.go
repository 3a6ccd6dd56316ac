package awsiam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

const (
	// denyEverything is the policy of a user that should be gone.
	denyEverything = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`
	// containTimeout bounds putting it there, when the time of the deletion may
	// be over; partingTimeout does where the backend has ended.
	containTimeout = 5 * time.Second
)

// empty removes everything that others have hung on the user.
func (d *deletion) empty(ctx context.Context) error {
	e := &emptying{iam: d.iam, username: d.name, last: d.user.PolicyName, grants: d.granted}
	err := e.run(ctx)
	if e.quarantine != "" {
		d.logger.Warn("AWS had quarantined an issued user: its access key was found in public",
			"username", d.user.Username, "access_key_id", d.user.AccessKeyID, "role", d.user.Role, "policy", e.quarantine)
	}
	return err
}

// contain has a user denied everything that is there but could not be deleted,
// and returns why it could not.
func (d *deletion) contain(ctx context.Context, cause error) error {
	timeout := containTimeout
	if errors.Is(ctx.Err(), context.Canceled) {
		timeout = partingTimeout // the backend has ended
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	return errors.Join(cause, d.deny(ctx))
}

// wasDenied says whether the policy that this attempt has removed denied what others
// may have hung on the user: by an attempt before, or since the deadline, which may
// have come a little earlier by AWS's clock than by Vault's.
func (d *deletion) wasDenied() bool {
	deadline := d.user.Deadline
	return d.user.Contained || !deadline.IsZero() && !d.now().Before(deadline.Add(-clockAllowance))
}

// deny puts a policy on a user of ours that denies everything, in place of its
// own. Its key is dead, but sessions that it made for itself live for up to 36
// hours, and what others hung on it may be of use to them. It needs no more than
// iam:PutUserPolicy, one of the eight core actions. What an earlier attempt has proven
// counts only if this one takes who bears the name now for the same.
func (d *deletion) deny(ctx context.Context) error {
	if ours := d.accepted && (d.shown || d.user.Proven); !ours && !d.proven.Load() {
		return nil
	}
	d.bare, d.user.Contained = false, true
	if d.user.PolicyName == "" {
		d.user.State, d.user.PolicyName = stateDeleting, d.user.Username
		if err := d.keep(ctx); err != nil {
			return err
		}
	}
	_, err := d.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &d.name, PolicyName: &d.user.PolicyName, PolicyDocument: aws.String(denyEverything)})
	// A user that is not there needs none.
	if ignore(err, codeNoSuchEntity) != nil {
		return fmt.Errorf("it cannot be denied everything meanwhile: %w", err)
	}
	return nil
}
