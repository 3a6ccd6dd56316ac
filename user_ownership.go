package awsiam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// checkOwnership asks whether the user that bears the name is ours, where
// nothing has proven it: the name may have passed to somebody else's user
// after ours was deleted by hand, or may have been somebody's before.
func (d *deletion) checkOwnership(ctx context.Context) error {
	out, err := d.iam.GetUser(ctx, &iam.GetUserInput{UserName: &d.name})
	switch {
	case err == nil && out.User == nil:
		return errNoContent
	case err == nil && d.isOurs(out.User):
		return nil
	case err == nil && !d.isForeign(out.User):
		return refuse("a user named %q was there at %s in the path %s: the engine can have made one only in %s, and not so early, as far as the clocks agree. "+
			"If it is not somebody else's, delete it by hand", d.user.Username, timestamp(aws.ToTime(out.User.CreateDate)), aws.ToString(out.User.Path), d.user.Path)
	case err == nil:
		if err := d.follow(ctx); err != nil {
			return err
		}
		d.logger.Warn("the name of an issued user belongs to somebody else's user now, which is left alone",
			"username", d.user.Username, "user_id", d.user.UserID, "found_user_id", aws.ToString(out.User.UserId))
		return d.gone(ctx)
	case hasCode(err, codeNoSuchEntity):
		return d.notFound(ctx)
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
	// not known, in the path on record. Nobody can have made a user of that name
	// there since, only before.
	since := d.user.RecreatedAt
	if d.user.UserID == "" {
		since = d.user.Created
	}
	return !since.IsZero() && aws.ToString(found.Path) == d.user.Path && !aws.ToTime(found.CreateDate).Before(since.Add(-skewAllowance))
}

// isForeign says whether a user that is not known to be ours is certain not to
// be: by its id, or, where that is not known, by a path that the engine makes
// no user in, together with a date before the record. A date alone is no proof.
func (d *deletion) isForeign(found *types.User) bool {
	if d.user.UserID != "" {
		return d.user.RecreatedAt.IsZero()
	}
	return aws.ToString(found.Path) != d.user.Path && aws.ToTime(found.CreateDate).Before(d.user.Created.Add(-skewAllowance))
}

// checkKeys judges by the user's access keys alone. A user of ours has the
// recorded key, or, where none is recorded or it was deleted, none that is
// older than the record.
func (d *deletion) checkKeys(ctx context.Context) error {
	var strange []string
	err := eachAccessKey(ctx, d.iam, d.name, func(key types.AccessKeyMetadata) error {
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
		return d.notFound(ctx)
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
