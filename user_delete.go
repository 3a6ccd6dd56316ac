package awsiam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/go-hclog"
)

// deleteTimeout bounds a deletion in AWS, since core often sets no deadline.
const deleteTimeout = 75 * time.Second

// denyEverything is the policy of a user that should be gone.
const denyEverything = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`

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

	// name is what IAM calls the user: another than the record's if somebody
	// has renamed it.
	name string
	// followed is set once that was found out in this run.
	followed bool
	// proven is set once AWS has removed something that only our user has.
	proven atomic.Bool
}

var (
	// errGone ends a deletion early: the user is confirmed gone.
	errGone = errors.New("the user is gone")
	// errMoved says that the user has another name now, which the deletion has
	// taken note of.
	errMoved = errors.New("the user was renamed")
	// errUnsettled says that only time can tell whether the user is gone.
	errUnsettled = errors.New("not settled yet")
)

func (d *deletion) run(ctx context.Context) error {
	d.name = cmp.Or(d.user.RenamedTo, d.user.Username)
	err := d.delete(ctx)
	if errors.Is(err, errMoved) {
		err = d.delete(ctx)
	}
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
		blocked = d.empty(ctx)
		err = d.deleteUser(ctx)
	}
	switch {
	case err == nil:
		return nil
	case hasCode(err, codeNoSuchEntity) && d.proven.Load() && !attempts.lost:
		return fmt.Errorf("%w: AWS does not know user %q, although it removed its access key or policy a moment ago", errUnsettled, d.name)
	case hasCode(err, codeNoSuchEntity):
		return d.notFound(ctx)
	case hasCode(err, codeAccessDenied):
		return d.settle(ctx, err)
	case hasCode(err, codeDeleteConflict):
		return d.contain(ctx, errors.Join(fmt.Errorf("user %q cannot be deleted: %w", d.name, err), blocked))
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
	_, err := d.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &d.name})
	return err
}

// dismantle removes, at once, everything that the record says the user has.
// The access key is among it and depends on nothing else. Its errors matter
// only if the user cannot be deleted after it.
//
// The inline policy may deny everything after the deadline. Sessions that the
// user made for itself outlive its key and must not outlive that denial, so it
// goes when nothing else gives them permissions any more.
func (d *deletion) dismantle(ctx context.Context) error {
	var steps []func() error
	if d.user.AccessKeyID != "" {
		steps = append(steps, func() error {
			_, err := d.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &d.name, AccessKeyId: &d.user.AccessKeyID})
			return d.proves(err)
		})
	}
	grants := d.withdrawals(ctx)
	if len(grants) == 0 {
		return allAtOnce(append(steps, func() error { return d.removePolicy(ctx) }))
	}
	var withdrawn error
	steps = append(steps, func() error {
		withdrawn = allAtOnce(grants)
		return withdrawn
	})
	err := allAtOnce(steps)
	if withdrawn == nil {
		err = errors.Join(err, d.removePolicy(ctx))
	}
	return err
}

// withdrawals are the calls that take the user out of what the record says it
// was attached to.
func (d *deletion) withdrawals(ctx context.Context) []func() error {
	var steps []func() error
	for _, policy := range d.user.PolicyARNs {
		steps = append(steps, func() error {
			_, err := d.iam.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: &d.name, PolicyArn: &policy})
			return ignore(err, codeNoSuchEntity)
		})
	}
	for _, group := range d.user.Groups {
		steps = append(steps, func() error {
			_, err := d.iam.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: &d.name, GroupName: &group})
			return ignore(err, codeNoSuchEntity)
		})
	}
	return steps
}

func (d *deletion) removePolicy(ctx context.Context) error {
	if d.user.PolicyName == "" {
		return nil
	}
	_, err := d.iam.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: &d.name, PolicyName: &d.user.PolicyName})
	return d.proves(err)
}

// allAtOnce takes the steps concurrently and returns what went wrong.
func allAtOnce(steps []func() error) error {
	errs := make([]error, len(steps))
	var wg sync.WaitGroup
	for i, step := range steps {
		wg.Go(func() { errs[i] = step() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// empty removes everything that others have hung on the user.
func (d *deletion) empty(ctx context.Context) error {
	e := &emptying{iam: d.iam, username: d.name}
	if len(d.user.PolicyARNs)+len(d.user.Groups) > 0 {
		e.last = d.user.PolicyName // as in dismantle
	}
	err := e.run(ctx)
	if e.quarantine != "" {
		d.logger.Warn("AWS had quarantined an issued user: its access key was found in public",
			"username", d.user.Username, "access_key_id", d.user.AccessKeyID, "role", d.user.Role, "policy", e.quarantine)
	}
	return err
}

// contain denies everything to a user of ours that is there but cannot be
// deleted. Its key is dead, but sessions that it made for itself live for up to
// 36 hours, and what others hung on it may be of use to them. It needs no more
// than iam:PutUserPolicy, one of the eight core actions. It returns why the
// user cannot be deleted.
func (d *deletion) contain(ctx context.Context, cause error) error {
	if !d.user.Proven && !d.proven.Load() {
		return cause
	}
	if d.user.PolicyName == "" {
		d.user.State, d.user.PolicyName = stateDeleting, d.user.Username
		if err := d.keep(ctx); err != nil {
			return errors.Join(cause, err)
		}
	}
	_, err := d.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &d.name, PolicyName: &d.user.PolicyName, PolicyDocument: aws.String(denyEverything)})
	if err != nil {
		return errors.Join(cause, fmt.Errorf("nor can it be denied everything until then: %w", err))
	}
	return cause
}

// proves takes note that AWS removed what only our user can have: the recorded
// key, or the inline policy that bears the user's own unguessable name.
func (d *deletion) proves(err error) error {
	if err == nil {
		d.proven.Store(true)
	}
	return ignore(err, codeNoSuchEntity)
}
