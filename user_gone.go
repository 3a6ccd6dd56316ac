package awsiam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// notFound believes that the user does not exist, unless that contradicts what
// AWS has just done, or absent doubts it.
func (d *deletion) notFound(ctx context.Context) error {
	if d.proven.Load() && !d.lost {
		return fmt.Errorf("%w: AWS does not know user %q, although it removed or showed its access key or policy a moment ago", errUnsettled, d.name)
	}
	if err := d.absent(ctx); err != nil {
		return err
	}
	return d.gone(ctx)
}

// absent returns nil if it can be that there is no user of the name, unless it
// bears another name now or is so young that IAM may just not know it yet; and what
// gone does if who has the name is certain to be another.
func (d *deletion) absent(ctx context.Context) error {
	doubt, err := d.follow(ctx)
	if err != nil {
		return err
	}
	if settles := d.user.settles(); d.now().Before(settles) {
		return fmt.Errorf("%w: AWS does not know user %q, but may only not know it yet: it was made less than %s ago and counts as gone if that is still so at %s",
			errUnsettled, d.name, settlingTime, timestamp(settles))
	}
	seen, err := d.search(ctx, doubt)
	if err == nil && seen != nil && seen.taken {
		return d.unlisted(ctx, seen)
	}
	return err
}

// gone takes it that no user of the name is ours. One that had been renamed may
// have been given back the name on record.
func (d *deletion) gone(ctx context.Context) error {
	if !d.renamed() {
		return errGone
	}
	d.name, d.user.RenamedTo = d.user.Username, ""
	// What was shown of the user of the other name says nothing of who bears this one,
	// and nor does it in the next process: an attempt has come to an end here.
	d.proven.Store(false)
	d.user.Proven, d.accepted, d.shown, d.bare, d.lost = false, false, false, false, false
	d.user.DoubtedSince, d.user.cutOff, d.user.Attempts = time.Time{}, false, max(d.user.Attempts, 1)
	if err := d.keep(ctx); err != nil {
		return err
	}
	return errMoved
}

// follow asks AWS whose the recorded access key is, as far as that is allowed:
// a user that somebody has renamed or moved is not found by its name, but its
// key still tells (GetAccessKeyLastUsed in the IAM API reference). Where no other
// user turns up there is no error; but doubt, if AWS has only denied an answer that
// it gave before.
func (d *deletion) follow(ctx context.Context) (doubt, err error) {
	if d.user.AccessKeyID == "" {
		return nil, nil
	}
	out, err := d.iam.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: &d.user.AccessKeyID})
	if err == nil {
		d.tellsKeys.Store(true)
	}
	if err == nil || hasCode(err, codeNoSuchEntity) {
		d.user.KeyDoubtedSince = time.Time{}
	}
	switch {
	case hasCode(err, codeAccessDenied) && d.tellsKeys.Load() && !d.keyless:
		// So it does of a key that is gone, where the permission is for a path.
		d.dateDoubt(&d.user.KeyDoubtedSince)
		if ends := d.user.keyDoubtEnds(); d.now().Before(ends) {
			doubt = fmt.Errorf("%w: AWS does not know user %q, and denies iam:GetAccessKeyLastUsed on its key, which it has answered of others in this integration: it counts as gone if that is still so at %s: %w",
				errUnsettled, d.name, timestamp(ends), err)
		}
		return doubt, nil
	case err != nil:
		return nil, ignore(err, codeNoSuchEntity, codeAccessDenied)
	}
	switch name := aws.ToString(out.UserName); name {
	case "":
		return nil, errNoContent
	case d.name:
		return nil, fmt.Errorf("%w: AWS does not know user %q, but says that its access key %s is there", errUnsettled, d.name, d.user.AccessKeyID)
	default:
		return nil, d.moved(ctx, name)
	}
}

// search looks for the user by its unique id among all users of the account, as
// far as that is allowed: of one that was renamed after its key was deleted nothing
// else tells. Where the user does not turn up that ends a doubt; where AWS does not
// list users the doubt stays.
func (d *deletion) search(ctx context.Context, doubt error) (*sighting, error) {
	seen, err := d.find(ctx)
	switch {
	case err != nil:
		return nil, err
	case seen == nil:
		return nil, doubt
	case seen.called == "":
		return seen, nil
	case seen.called == d.name:
		return nil, fmt.Errorf("%w: AWS does not know user %q, but lists it", errUnsettled, d.name)
	default:
		return nil, d.moved(ctx, seen.called)
	}
}

// sighting is what a list of all users of the account tells.
type sighting struct {
	called string // what the user is called, by its id; empty if there is none
	taken  bool   // somebody has the name under which it is looked for
}

// find looks for the user in a list of all; it returns nil if AWS lists no users, or if
// nothing would tell which it is.
func (d *deletion) find(ctx context.Context) (*sighting, error) {
	if d.user.UserID == "" {
		return nil, nil
	}
	seen, recreated := new(sighting), ""
	err := eachUserOfAccount(ctx, d.iam, func(user types.User) error {
		if !complete(user) {
			return errNoContent
		}
		d.listsUsers.Store(true) // whatever becomes of the next page
		name := aws.ToString(user.UserName)
		switch {
		case d.hasID(&user):
			seen.called = name
		case d.isRecreated(&user):
			recreated = name
		}
		seen.taken = seen.taken || name == d.name
		return nil
	})
	seen.called = cmp.Or(seen.called, recreated)
	if err == nil {
		d.listsUsers.Store(true)
	}
	switch {
	case hasCode(err, codeAccessDenied) && d.listsUsers.Load():
		return nil, fmt.Errorf("AWS denies iam:ListUsers, which would tell what user %q is called now, and which it has answered before in this integration: that should pass: %w", d.name, err)
	case err != nil:
		return nil, ignore(err, codeAccessDenied)
	}
	return seen, nil
}

// moved has the deletion go on under the name that somebody has given the user.
func (d *deletion) moved(ctx context.Context, name string) error {
	d.logger.Warn("an issued user was renamed by somebody; it is deleted under its new name", "username", d.user.Username, "renamed", name)
	// On record before the key goes, after which only a list of all users tells.
	d.name, d.user.RenamedTo, d.user.State = name, name, stateDeleting
	d.accepted, d.shown = false, false
	d.user.DoubtedSince = time.Time{} // it was about who bears the name that ours had
	if err := d.keep(ctx); err != nil {
		return err
	}
	return errMoved
}

// settle finds out what a denied DeleteUser means. iam:ListAccessKeys tells,
// if it is granted by name as well as by path.
func (d *deletion) settle(ctx context.Context, denied error) error {
	_, err := d.iam.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &d.name})
	switch {
	case err == nil:
		return d.contain(ctx, fmt.Errorf("user %q exists, and the integration may not delete it: %w", d.name, denied))
	case hasCode(err, codeNoSuchEntity):
		return d.notFound(ctx)
	case hasCode(err, codeAccessDenied):
		return d.recreate(ctx, denied, "the integration may not delete it")
	}
	return errors.Join(denied, err)
}

// recreatedElement ends the path of the bare users that recreate makes, beneath the
// issued users', so that it is certain whose they are: the id of one whose answer was
// lost is not known.
const recreatedElement = "recreated/"

func recreatedPath(path string) string {
	return strings.TrimSuffix(path, recreatedElement) + recreatedElement
}

// recreate asks the one question that the eight core actions let IAM answer
// for certain: whether the name is free. User names are unique in the account
// whatever their path, and iam:CreateUser is judged by the path that is asked
// for. If the name is free the user was gone, and the bare one just made is
// deleted again; if it is taken, the user is there and the denial is real, which
// is what taken puts into words.
func (d *deletion) recreate(ctx context.Context, denied error, taken string) error {
	if err := d.absent(ctx); err != nil {
		return errors.Join(denied, err)
	}
	// Known before it is done: after a crash here the record stands for the
	// user made now, which then has to settle like any other.
	before := d.user.RecreatedAt
	d.user.State, d.user.RecreatedAt = stateDeleting, d.now()
	if err := d.keep(ctx); err != nil {
		return err
	}
	ctx, attempts := withAttempts(ctx)
	_, err := d.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: &d.name, Path: aws.String(recreatedPath(d.user.Path))})
	switch {
	case hasCode(err, codeEntityAlreadyExists):
		if !attempts.lost {
			// Nothing was made that would have to settle.
			d.user.RecreatedAt = before
			if err := d.keep(ctx); err != nil {
				return errors.Join(denied, err)
			}
		}
		return d.contain(ctx, fmt.Errorf("user %q exists, and %s: %w", d.name, taken, denied))
	case err != nil:
		return errors.Join(advice(fmt.Sprintf("whether user %q still exists cannot be told from AWS's refusal: "+
			"grant iam:ListAccessKeys on it without a path", d.name)), denied, err)
	}
	if err := untilVisible(ctx, ofTheUser, d.deleteUser); err != nil {
		return err
	}
	return d.gone(ctx)
}
