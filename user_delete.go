package awsiam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-aws-iam/internal/governor"
)

// deleteTimeout bounds a deletion in AWS, since core often sets no deadline.
const deleteTimeout = 75 * time.Second

// maxMoves is how often in one attempt a user is looked for under another name.
const maxMoves = 2

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
	// seesUsers, listsUsers and tellsKeys are the connection's.
	seesUsers, listsUsers, tellsKeys *atomic.Bool

	// name is what IAM calls the user: another than the record's if somebody
	// has renamed it.
	name string
	// blocked is what could not be removed from the user. It matters only if the
	// user cannot be deleted.
	blocked error
	// granted is set if what gives the user permissions was among it.
	granted bool
	// lost is set once a DeleteUser may have had its effect unseen.
	lost bool
	// keyless is set once AWS has removed the access key, in this attempt: what it
	// says of the key from then on is that there is none.
	keyless bool
	// accepted is set once this attempt has taken the user of the name for ours, shown
	// once AWS has shown it with the id on record.
	accepted, shown bool
	// bare is set once AWS has removed the inline policy, in this attempt, so that it is
	// certain that the user is ours, and nothing has denied it anything since.
	bare bool
	// proven is set once AWS has removed, or shown, something that only our user has.
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
	ctx = governor.WithTask(ctx, governor.Deleting, d.user.inLineSince(d.now()))
	d.name = cmp.Or(d.user.RenamedTo, d.user.Username)
	err := d.delete(ctx)
	for range maxMoves {
		if !errors.Is(err, errMoved) {
			break
		}
		err = d.delete(ctx)
	}
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil && d.bare && d.wasDenied() {
		return d.contain(ctx, err)
	}
	return err
}

func (d *deletion) delete(ctx context.Context) error {
	if err := d.dismantle(ctx); err != nil {
		return err
	}
	err := d.deleteUser(ctx)
	if hasCode(err, codeDeleteConflict) {
		if err := d.keepProof(ctx); err != nil {
			return d.contain(ctx, err)
		}
		// Before what others hung on the user is looked at, which may take long.
		denial := d.deny(ctx)
		d.bare = true // the denial goes last
		// What could not be removed before says in AWS's words what is not allowed.
		d.blocked = errors.Join(d.blocked, d.empty(ctx), denial)
		err = d.deleteUser(ctx)
	}
	switch {
	case err == nil && d.renamed() && !d.user.RecreatedAt.IsZero():
		return d.gone(ctx) // it may have been a bare one, or there be one of the name on record
	case err == nil:
		return nil
	case hasCode(err, codeNoSuchEntity):
		return d.notFound(ctx)
	case hasCode(err, codeAccessDenied):
		return d.settle(ctx, err)
	case hasCode(err, codeDeleteConflict):
		err = fmt.Errorf("user %q cannot be deleted: %w", d.name, err)
	}
	if noAnswer(ctx, err) {
		return errors.Join(err, d.blocked) // nothing says that it cannot be deleted
	}
	return d.contain(ctx, errors.Join(err, d.blocked))
}

// noAnswer says whether a call came to nothing for want of time or of room under
// AWS's rate, so that AWS has said nothing about it.
func noAnswer(ctx context.Context, err error) bool {
	var busy *governor.BusyError
	return errors.As(err, &busy) || throttled(err) || ctx.Err() != nil
}

// renamed says whether the user bears a name that somebody has given it.
func (d *deletion) renamed() bool { return d.name != d.user.Username }

// keepProof puts on record that the user is ours, before nothing is left on the
// user that would prove it again. Where no key is on record nobody will ask for that,
// see doubtEnds; and a node that was deposed, and can write nothing, has to take back
// all of what it has made.
func (d *deletion) keepProof(ctx context.Context) error {
	if d.user.Proven || !d.proven.Load() || d.user.AccessKeyID == "" {
		return nil
	}
	d.user.State, d.user.Proven = stateDeleting, true
	return d.keep(ctx)
}

// deleteUser is the decisive call.
func (d *deletion) deleteUser(ctx context.Context) error {
	ctx, attempts := withAttempts(ctx)
	_, err := d.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &d.name})
	d.lost = d.lost || attempts.lost
	return err
}

// dismantle removes everything that the record says the user has, after it has
// made sure that the user is ours. The access key goes first and depends on
// nothing else. What could not be removed matters only if the user cannot be
// deleted after it.
//
// The inline policy may deny everything after the deadline. Sessions that the
// user made for itself outlive its key and must not outlive that denial, so it
// goes when nothing else gives them permissions any more. A user that was given
// nothing else loses it together with the key.
func (d *deletion) dismantle(ctx context.Context) error {
	steps := []func() error{func() error { return d.removeKey(ctx) }}
	grants := d.withdrawals(ctx)
	if len(grants) == 0 {
		steps = append(steps, func() error { return d.removePolicy(ctx) })
	}
	d.blocked = allAtOnce(steps)
	if !d.proven.Load() {
		if err := d.checkOwnership(ctx); err != nil {
			return err
		}
	}
	d.accepted = true
	if len(grants) == 0 {
		return nil
	}
	withdrawn := allAtOnce(grants)
	d.granted = withdrawn != nil
	if !d.granted {
		withdrawn = d.removePolicy(ctx)
	}
	d.blocked = errors.Join(d.blocked, withdrawn)
	return nil
}

func (d *deletion) removeKey(ctx context.Context) error {
	if d.user.AccessKeyID == "" {
		return nil
	}
	_, err := d.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &d.name, AccessKeyId: &d.user.AccessKeyID})
	if err == nil {
		d.keyless = true
	}
	return d.proves(err)
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
	if err == nil {
		d.bare = true
	}
	return d.proves(err)
}

// allAtOnce takes the steps concurrently and returns what went wrong.
func allAtOnce(steps []func() error) error {
	errs := make([]error, len(steps))
	var wg sync.WaitGroup
	for i, step := range steps[1:] {
		wg.Go(func() { errs[1+i] = step() })
	}
	errs[0] = steps[0]() // on this stack, which has grown as deep as the SDK needs
	wg.Wait()
	return errors.Join(errs...)
}

// proves takes note that AWS removed what only our user can have: the recorded
// key, or the inline policy that bears the user's own unguessable name.
func (d *deletion) proves(err error) error {
	if err == nil {
		d.proven.Store(true)
	}
	return ignore(err, codeNoSuchEntity)
}
