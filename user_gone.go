package awsiam

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/iam"
)

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
