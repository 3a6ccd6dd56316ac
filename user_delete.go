package awsiam

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/go-hclog"
)

// deleteTimeout bounds a deletion in AWS, since core often sets no deadline.
const deleteTimeout = 75 * time.Second

// deletion deletes one IAM user: for revocation, undo and the reaper alike.
//
// It ends without an error only when the user is confirmed gone. With only the
// eight core actions "gone" and "not allowed" are answered alike, because a
// user that does not exist has no path that a permission could match; how the
// two are told apart is in settle and recreate.
type deletion struct {
	iam    iamAPI
	user   *userRecord
	logger hclog.Logger
	now    func() time.Time
	// keep writes the record, for what has to be known before it is done.
	keep func(context.Context) error

	// proven is set once AWS has removed something that only our user has.
	proven atomic.Bool
}

var (
	// errGone ends a deletion early: the user is confirmed gone.
	errGone = errors.New("the user is gone")
	// errUnsettled says that only time can tell whether the user is gone.
	errUnsettled = errors.New("not settled yet")
)

func (d *deletion) run(ctx context.Context) error {
	err := d.delete(ctx)
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

func (d *deletion) delete(ctx context.Context) error {
	blocked := d.dismantle(ctx)
	if !d.proven.Load() {
		if err := d.checkOwnership(ctx); err != nil {
			return err
		}
	}
	ctx, attempts := withAttempts(ctx)
	err := d.deleteUser(ctx)
	if hasCode(err, codeDeleteConflict) {
		if err := d.keepProof(ctx); err != nil {
			return err
		}
		blocked = emptyUser(ctx, d.iam, d.user.Username)
		err = d.deleteUser(ctx)
	}
	switch {
	case err == nil:
		return nil
	case hasCode(err, codeNoSuchEntity) && d.proven.Load() && !attempts.lost:
		return fmt.Errorf("%w: AWS does not know user %q, although it removed its access key or policy a moment ago", errUnsettled, d.user.Username)
	case hasCode(err, codeNoSuchEntity):
		return d.notFound()
	case hasCode(err, codeAccessDenied):
		return d.settle(ctx, err)
	}
	return errors.Join(err, blocked)
}

// keepProof puts on record that the user is ours, before nothing is left on the
// user that would prove it again.
func (d *deletion) keepProof(ctx context.Context) error {
	if d.user.Proven || !d.proven.Load() {
		return nil
	}
	d.user.State, d.user.Proven = stateDeleting, true
	return d.keep(ctx)
}

// deleteUser is the decisive call.
func (d *deletion) deleteUser(ctx context.Context) error {
	_, err := d.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &d.user.Username})
	return err
}

// dismantle removes, at once, everything that the record says the user has.
// The access key is among it and depends on nothing else. Its errors matter
// only if the user cannot be deleted after it.
func (d *deletion) dismantle(ctx context.Context) error {
	name := &d.user.Username
	var steps []func() error
	if d.user.AccessKeyID != "" {
		steps = append(steps, func() error {
			_, err := d.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: &d.user.AccessKeyID})
			return d.proves(err)
		})
	}
	if d.user.PolicyName != "" {
		steps = append(steps, func() error {
			_, err := d.iam.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: name, PolicyName: &d.user.PolicyName})
			return d.proves(err)
		})
	}
	for _, policy := range d.user.PolicyARNs {
		steps = append(steps, func() error {
			_, err := d.iam.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: name, PolicyArn: &policy})
			return err
		})
	}
	for _, group := range d.user.Groups {
		steps = append(steps, func() error {
			_, err := d.iam.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: name, GroupName: &group})
			return err
		})
	}
	errs := make([]error, len(steps))
	var wg sync.WaitGroup
	for i, step := range steps {
		wg.Go(func() { errs[i] = ignore(step(), codeNoSuchEntity) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// proves takes note that AWS removed what only our user can have: the recorded
// key, or the inline policy that bears the user's own unguessable name.
func (d *deletion) proves(err error) error {
	if err == nil {
		d.proven.Store(true)
	}
	return err
}
