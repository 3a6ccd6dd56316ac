package awsiam

import (
	"context"
	"fmt"
	"time"

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
	case hasCode(err, codeNoSuchEntity):
		return d.notFound(ctx)
	case hasCode(err, codeAccessDenied):
		// iam:GetUser is not among the eight core actions.
		return d.checkTraces(ctx)
	case err != nil:
		return err
	case out.User == nil || !complete(*out.User):
		return errNoContent
	}
	d.seesUsers.Store(true)
	d.user.DoubtedSince = time.Time{} // whoever it is, AWS has shown it
	switch {
	case d.isRecreated(out.User) && !d.hasID(out.User):
		// Its end is not the end of ours, which may bear another name by now.
		_, err := d.whereabouts(ctx)
		return err
	case d.isOurs(out.User):
		d.shown = d.hasID(out.User)
		return nil
	case !d.isForeign(out.User):
		return refuse("a user named %q was there at %s in the path %s: the engine can have made one only in %s, and not so early, as far as the clocks agree. "+
			"If it is not somebody else's, delete it by hand", d.user.Username, timestamp(aws.ToTime(out.User.CreateDate)), aws.ToString(out.User.Path), d.user.Path)
	}
	doubt, err := d.follow(ctx)
	if err == nil {
		_, err = d.search(ctx, doubt)
	}
	if err != nil {
		return err
	}
	d.logger.Warn("the name of an issued user belongs to somebody else's user now, which is left alone",
		"username", d.user.Username, "user_id", d.user.UserID, "found_user_id", aws.ToString(out.User.UserId))
	return d.gone(ctx)
}

// complete says whether AWS has told of a user what tells it from others.
func complete(user types.User) bool {
	return aws.ToString(user.UserName) != "" && aws.ToString(user.UserId) != "" && user.CreateDate != nil
}

func (d *deletion) isOurs(found *types.User) bool {
	switch {
	case d.hasID(found), d.isRecreated(found):
		return true
	case d.user.UserID != "":
		return false
	}
	// A creation whose answer never came made a user whose id is not known, in the
	// path on record. Nobody can have made a user of that name there since, only before.
	return aws.ToString(found.Path) == d.user.Path && !aws.ToTime(found.CreateDate).Before(d.user.Created.Add(-skewAllowance))
}

func (d *deletion) hasID(found *types.User) bool {
	return d.user.UserID != "" && aws.ToString(found.UserId) == d.user.UserID
}

// isRecreated says whether it is the bare user that recreate makes, whose id is not
// known if its answer was lost: in a path in which nobody else makes users.
func (d *deletion) isRecreated(found *types.User) bool {
	return !d.user.RecreatedAt.IsZero() && aws.ToString(found.UserName) == d.name && aws.ToString(found.Path) == recreatedPath(d.user.Path)
}

// isForeign says whether a user that is not known to be ours is certain not to
// be: by its id, or, where that is not known, by a path that the engine makes
// no user in, together with a date before the record. A date alone is no proof.
func (d *deletion) isForeign(found *types.User) bool {
	if d.user.UserID != "" {
		return true
	}
	return aws.ToString(found.Path) != d.user.Path && aws.ToTime(found.CreateDate).Before(d.user.Created.Add(-skewAllowance))
}

// checkTraces judges by what the eight core actions show, where iam:GetUser is
// denied. Only the recorded access key, or the inline policy that bears the user's
// own unguessable name, shows that the user is ours.
func (d *deletion) checkTraces(ctx context.Context) error {
	if d.provenLately() && !d.seesUsers.Load() {
		return nil // DeleteUser decides
	}
	ours, strange, err := d.traces(ctx)
	switch {
	case hasCode(err, codeNoSuchEntity):
		return d.notFound(ctx)
	case hasCode(err, codeAccessDenied):
		// So is everything where the user is gone. DeleteUser would tell as well,
		// but if this denial passes it would delete whoever is there.
		return d.recreate(ctx, err, "the integration may not see whether it is ours")
	case err != nil:
		return err
	case ours:
		d.proven.Store(true)
		d.user.DoubtedSince = time.Time{}
		return nil
	case d.seesUsers.Load():
		return fmt.Errorf("AWS denies iam:GetUser on user %q, which is there, although it has answered it before in this integration: "+
			"that should pass. If the permission was taken away, or does not cover this user, grant it", d.name)
	}
	d.dateDoubt(&d.user.DoubtedSince) // before another doubt is met, lest one waits for the other
	if ours, err := d.whereabouts(ctx); ours || err != nil {
		return err
	}
	return d.traceless(strange)
}

// provenLately says whether an attempt of the last minutes has proven who bears the
// name to be ours: long enough for what is tried again when AWS is sure of a young user.
// Under a name that somebody chose that says little of who bears it some minutes later.
func (d *deletion) provenLately() bool {
	now := d.now()
	return d.user.Proven && !d.renamed() && !d.user.FailedSince.After(now) && now.Before(d.user.FailedSince.Add(2*settlingTime))
}

// traceless judges a user that shows nothing of ours. It is ours, emptied, if a
// process died in deleting it, unless somebody chose its name. Else it may be ours,
// emptied by somebody or by an attempt that failed, or a stranger's. The denial of
// iam:GetUser may pass, and that tell then: the user is left alone until it was denied in
// two attempts that far apart.
func (d *deletion) traceless(strange []string) error {
	if len(strange) > 0 && (!d.user.Proven || d.renamed()) {
		return refuse("user %q has access key(s) %s that the engine did not make, and nothing that it made: it may be somebody else's. "+
			"Grant iam:GetUser on it, so that its id can be compared with %q", d.user.Username, some(strange), d.user.UserID)
	}
	if d.user.cutOff && !d.renamed() {
		return nil
	}
	if ends := d.user.doubtEnds(); d.now().Before(ends) {
		return fmt.Errorf("%w: user %q has neither an access key nor a policy that shows it to be ours; it is deleted if that is still so at %s. "+
			"Granting iam:GetUser on it, which is denied, settles it at once", errUnsettled, d.user.Username, timestamp(ends))
	}
	return nil
}

// whereabouts asks what our user is called now, as far as that is allowed: somebody
// may have renamed it, and somebody else have taken its name. It returns true if it
// is called as it is looked for, and if it is certain that there is none what gone does.
func (d *deletion) whereabouts(ctx context.Context) (ours bool, err error) {
	doubt, err := d.follow(ctx)
	if err != nil {
		return false, err
	}
	seen, err := d.find(ctx)
	switch {
	case err != nil:
		return false, err
	case seen == nil:
		return false, doubt
	case seen.called == "":
		return false, d.unlisted(ctx, seen)
	case seen.called != d.name:
		return false, d.moved(ctx, seen.called)
	}
	d.proven.Store(true)
	d.user.DoubtedSince = time.Time{}
	return true, nil
}

// unlisted takes it that ours is gone, and that who has its name is another, since
// no user of the account has its id: when it is old enough for that to be certain, and
// if the list has the other.
func (d *deletion) unlisted(ctx context.Context, seen *sighting) error {
	switch settles := d.user.settles(); {
	case d.now().Before(settles) && d.user.AccessKeyID == "":
		return nil // nobody was told the name; see doubtEnds
	case !seen.taken:
		return fmt.Errorf("%w: AWS does not list user %q, which is there", errUnsettled, d.name)
	case d.now().Before(settles):
		return fmt.Errorf("%w: AWS lists no user with the id %q of %q, but may only not know it yet: user %q, which is there, counts as somebody else's if that is still so at %s. "+
			"Granting iam:GetUser on it, which is denied, settles it at once",
			errUnsettled, d.user.UserID, d.user.Username, d.name, timestamp(settles))
	}
	d.logger.Warn("the name of an issued user belongs to somebody else's user now, which is left alone",
		"username", d.user.Username, "user_id", d.user.UserID)
	return d.gone(ctx)
}

// dateDoubt takes note of since when there is a doubt, so that what may pass is seen in two
// attempts, far enough apart, before it is believed. Each doubt has a date of its own:
// one that AWS has answered says nothing of another.
func (d *deletion) dateDoubt(since *time.Time) {
	if now := d.now(); since.IsZero() || since.After(now) {
		*since = now
	}
}

// traces says whether the user has anything that only ours has, and which of its
// access keys ours cannot have: another than the recorded one, or, where none is
// recorded, one that is older than the record.
func (d *deletion) traces(ctx context.Context) (ours bool, strange []string, err error) {
	err = eachAccessKey(ctx, d.iam, d.name, func(key types.AccessKeyMetadata) error {
		id := aws.ToString(key.AccessKeyId)
		switch {
		case id != "" && id == d.user.AccessKeyID:
			ours = true
		case d.user.AccessKeyID != "" || aws.ToTime(key.CreateDate).Before(d.user.Created.Add(-skewAllowance)):
			strange = append(strange, id)
		}
		return nil
	})
	if err != nil || ours || d.user.PolicyName == "" {
		return ours, strange, err
	}
	err = eachInlinePolicy(ctx, d.iam, d.name, func(policy string) error {
		ours = ours || policy == d.user.PolicyName
		return nil
	})
	return ours, strange, ignore(err, codeAccessDenied)
}
