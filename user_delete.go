package awsiam

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
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

// checkOwnership asks whether the user that bears the name is ours, where
// nothing has proven it: the name may have passed to somebody else's user
// after ours was deleted by hand, or may have been somebody's before.
func (d *deletion) checkOwnership(ctx context.Context) error {
	out, err := d.iam.GetUser(ctx, &iam.GetUserInput{UserName: &d.user.Username})
	switch {
	case err == nil && out.User == nil:
		return errNoContent
	case err == nil && d.isOurs(out.User):
		return nil
	case err == nil && (d.user.UserID == "" || !d.user.RecreatedAt.IsZero()):
		return refuse("a user named %q was there at %s, before the engine can have made one, as far as the clocks agree: "+
			"if it is not somebody else's, delete it by hand", d.user.Username, timestamp(aws.ToTime(out.User.CreateDate)))
	case err == nil:
		d.logger.Warn("the name of an issued user belongs to somebody else's user now, which is left alone",
			"username", d.user.Username, "user_id", d.user.UserID, "found_user_id", aws.ToString(out.User.UserId))
		return errGone
	case hasCode(err, codeNoSuchEntity):
		return d.notFound()
	case hasCode(err, codeAccessDenied):
		// iam:GetUser is not among the eight core actions; iam:ListAccessKeys is.
		return d.checkKeys(ctx)
	}
	return err
}

func (d *deletion) isOurs(found *types.User) bool {
	if d.user.UserID != "" && aws.ToString(found.UserId) == d.user.UserID {
		return true
	}
	// A creation whose answer never came, or recreate, made a user whose id is
	// not known. Nobody can have made a user of that name since, only before.
	since := d.user.RecreatedAt
	if d.user.UserID == "" {
		since = d.user.Created
	}
	return !since.IsZero() && !aws.ToTime(found.CreateDate).Before(since.Add(-skewAllowance))
}

// checkKeys judges by the user's access keys alone. A user of ours has the
// recorded key, or, where none is recorded or it was deleted, none that is
// older than the record.
func (d *deletion) checkKeys(ctx context.Context) error {
	var strange []string
	err := eachAccessKey(ctx, d.iam, d.user.Username, func(key types.AccessKeyMetadata) error {
		id := aws.ToString(key.AccessKeyId)
		made := aws.ToTime(key.CreateDate)
		if id != d.user.AccessKeyID && (d.user.AccessKeyID != "" || made.Before(d.user.Created.Add(-skewAllowance))) {
			strange = append(strange, id)
		}
		return nil
	})
	switch {
	case err == nil && d.user.Proven:
		return nil // whoever made those keys, an earlier attempt has proven the user ours
	case hasCode(err, codeNoSuchEntity):
		return d.notFound()
	case hasCode(err, codeAccessDenied):
		return nil // DeleteUser decides
	case err != nil:
		return err
	case len(strange) > 0:
		return refuse("user %q has access key(s) %s that the engine did not make, and nothing that it made: it may be somebody else's. "+
			"Grant iam:GetUser on it, so that its id can be compared with %q", d.user.Username, some(strange), d.user.UserID)
	}
	return nil
}

// notFound believes that the user does not exist, unless it is so young that
// IAM may just not know it yet.
func (d *deletion) notFound() error {
	if settles := d.user.settles(); d.now().Before(settles) {
		return fmt.Errorf("%w: AWS does not know user %q, but may only not know it yet: it was made less than %s ago and counts as gone if that is still so at %s",
			errUnsettled, d.user.Username, settlingTime, timestamp(settles))
	}
	return errGone
}

// settle finds out what a denied DeleteUser means. iam:ListAccessKeys tells,
// if it is granted by name as well as by path.
func (d *deletion) settle(ctx context.Context, denied error) error {
	_, err := d.iam.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &d.user.Username})
	switch {
	case err == nil:
		return denied
	case hasCode(err, codeNoSuchEntity):
		return d.notFound()
	case hasCode(err, codeAccessDenied):
		return d.recreate(ctx, denied)
	}
	return errors.Join(denied, err)
}

// recreate asks the one question that the eight core actions let IAM answer
// for certain: whether the name is free. User names are unique in the account
// whatever their path, and iam:CreateUser is judged by the path that is asked
// for. If the name is free the user was gone, and the bare one just made is
// deleted again; if it is taken, the user is there and the denial is real.
func (d *deletion) recreate(ctx context.Context, denied error) error {
	if d.now().Before(d.user.settles()) {
		return errors.Join(denied, d.notFound())
	}
	// Known before it is done: after a crash here the record stands for the
	// user made now, which then has to settle like any other.
	d.user.State, d.user.RecreatedAt = stateDeleting, d.now()
	if err := d.keep(ctx); err != nil {
		return err
	}
	_, err := d.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: &d.user.Username, Path: &d.user.Path})
	switch {
	case hasCode(err, codeEntityAlreadyExists):
		return fmt.Errorf("user %q exists, and the integration may not delete it: %w", d.user.Username, denied)
	case err != nil:
		return errors.Join(fmt.Errorf("whether user %q still exists cannot be told from AWS's refusal: "+
			"grant iam:ListAccessKeys on it without a path", d.user.Username), denied, err)
	}
	return untilVisible(ctx, "", d.deleteUser)
}
