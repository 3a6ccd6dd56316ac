package awsiam

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-aws-iam/internal/governor"
)

// finishTimeout bounds an attempt to clear away what a rotation has left.
const finishTimeout = 75 * time.Second

// finishNow is finish for a rotation that has just failed, whose caller may have
// gone away or run out of time. Where the backend has ended it is left to the next:
// a reload waits for this.
func (b *backend) finishNow(ctx context.Context, s logical.Storage, name string) error {
	if b.reaper.lifetime.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	defer context.AfterFunc(b.reaper.lifetime, cancel)() //nolint:contextcheck // two lifetimes meet here
	return b.finish(ctx, s, name)
}

// finish deletes the keys that a rotation has left: the old one after the switch,
// the new one if it did not come to that. A failure is noted in the integration,
// and tried again.
func (b *backend) finish(ctx context.Context, s logical.Storage, name string) error {
	ctx = governor.WithTask(ctx, governor.Deleting, time.Now())
	in, err := getIntegration(ctx, s, name)
	if err != nil {
		return storageError{err}
	}
	if in == nil || !in.Rotation.pending() {
		return nil
	}
	id := in.Rotation.Journal.ID
	// Written before a key is deleted. Only the active node can write: one that was
	// deposed while it slept must not delete what is in use by now.
	in, err = b.changeRotation(ctx, s, name, id, func(in *integration) error {
		in.Rotation.NextAttempt = b.now().Add(minRetryPause)
		return nil
	})
	if err != nil {
		return err
	}
	err = b.clearAway(ctx, in)
	if hasCode(err, codeInvalidClientTokenID) && in.Rotation.Journal.Forsaken == nil {
		if rescued, rescue := b.useOtherKey(ctx, s, in); rescued || rescue != nil {
			return rescue
		}
	}
	return b.concludeRotation(ctx, s, in, err)
}

// concludeRotation ends the journal, or notes why it cannot be ended yet.
func (b *backend) concludeRotation(ctx context.Context, s logical.Storage, in *integration, failure error) error {
	if failure != nil && b.reaper.lifetime.Err() != nil {
		return failure // which says only that this process had to stop
	}
	ctx, cancel := b.noting(ctx)
	defer cancel()
	j := in.Rotation.Journal
	forsaken := j.Forsaken != nil && failure != nil &&
		(hasCode(failure, codeInvalidClientTokenID) || b.now().After(j.Began.Add(abandonAfter)))
	_, err := b.changeRotation(ctx, s, in.Name, j.ID, func(in *integration) error {
		if (in.Rotation.Journal.Forsaken == nil) != (j.Forsaken == nil) {
			return errSuperseded // other keys have to go than those that were looked at
		}
		switch {
		case failure == nil && j.State == rotationRetiring:
			in.Rotation.succeeded()
			in.Rotation.Journal = rotationJournal{}
		case failure == nil || forsaken:
			in.Rotation.cleared()
		case errors.Is(failure, errUnsettled):
			in.Rotation.Journal.NotBefore = j.Began.Add(settlingTime)
		default:
			in.Rotation.Journal.Failure = describe(failure)
			in.Rotation.failed(failure, b.now())
		}
		return nil
	})
	if forsaken {
		b.Logger().Error("access keys of a user that an integration had before may be left: delete them by hand",
			"integration", in.Name, "user", j.UserARN, "access_keys", j.doomed(in.AccessKey), "error", describe(failure))
		failure = nil
	}
	return errors.Join(failure, err)
}

// clearAway deletes the keys that have to go.
func (b *backend) clearAway(ctx context.Context, in *integration) error {
	j := in.Rotation.Journal
	owner, err := b.remainingOwner(ctx, in)
	if err != nil {
		return err
	}
	keys, err := owner.keys(ctx)
	if err != nil {
		return err
	}
	ids := j.doomed(in.AccessKey)
	if j.State == rotationCreating {
		for id, made := range keys {
			if id != j.Old.ID && id != in.AccessKey && j.mayHaveMade(made) {
				ids = append(ids, id)
			}
		}
	}
	for _, id := range ids {
		_, listed := keys[id]
		switch err := owner.delete(ctx, id); {
		case err == nil:
		case !hasCode(err, codeNoSuchEntity):
			return fmt.Errorf("key %s could not be deleted: %w", id, err)
		case listed:
			return fmt.Errorf("AWS contradicts itself: it lists key %s and does not know it", id)
		case id == j.New.ID && b.now().Before(j.Began.Add(settlingTime)):
			return fmt.Errorf("%w whether key %s is gone: IAM may not know it yet", errUnsettled, id)
		}
	}
	return nil
}

// mayHaveMade says whether a key that nobody knows can be what a lost answer of the
// rotation was about, rather than somebody else's.
func (j *rotationJournal) mayHaveMade(made time.Time) bool {
	return made.After(j.Began.Add(-skewAllowance)) && made.Before(j.Began.Add(rotateTimeout+skewAllowance))
}

// remainingOwner is the user whose keys the journal is about. The integration's key
// serves if it is still of that user.
func (b *backend) remainingOwner(ctx context.Context, in *integration) (*keyOwner, error) {
	j := in.Rotation.Journal
	if j.Forsaken == nil {
		return b.ownerOf(ctx, in, in.key())
	}
	var unknown error // whose the integration's key is
	if in.hasOwnKey() {
		owner, err := b.ownerOf(ctx, in, in.key())
		if err == nil && owner.arn == j.UserARN {
			return owner, nil
		}
		unknown = err
	}
	owner, err := b.ownerOf(ctx, j.Forsaken, j.Forsaken.key())
	if err != nil && unknown != nil && retryable(unknown) {
		return nil, unknown // what is said of the forsaken key alone would end the journal
	}
	return owner, err
}

// useOtherKey is for an integration whose key AWS has come to refuse in the midst of
// a rotation, as when somebody has deleted it: if the other one works, that is used
// from now on.
func (b *backend) useOtherKey(ctx context.Context, s logical.Storage, in *integration) (rescued bool, err error) {
	j := in.Rotation.Journal
	other, next := j.New, rotationRetiring
	if j.State == rotationRetiring {
		other, next = j.Old, rotationProving
	}
	if other.ID == "" {
		return false, nil
	}
	if err := b.proveKey(ctx, in, other, j.UserARN); err != nil {
		return false, nil //nolint:nilerr // AWS lets neither in: what it said of the key in use stands
	}
	changed, err := b.changeRotation(ctx, s, in.Name, j.ID, func(in *integration) error {
		if in.AccessKey == other.ID || in.Rotation.Journal.Forsaken != nil {
			return errSuperseded
		}
		in.useKey(other, rand.Text(), b.now())
		in.Rotation.Journal.State = next
		in.Rotation.Journal.NotBefore = b.now().Add(retireAfter)
		return nil
	})
	if err != nil {
		return false, err
	}
	b.events.aboutRotation(eventConfigRotate, in.Name, in.AccessKey, changed.AccessKey)
	b.Logger().Warn("AWS does not know the key of an integration any more: its other key is used", "integration", in.Name,
		"access_key", changed.AccessKey, "refused_access_key", in.AccessKey)
	return true, nil
}

// refuseDoomedKey refuses to go back to the key before while that is being deleted:
// the integration would be left without any.
func (b *backend) refuseDoomedKey(old, in *integration) error {
	j := old.Rotation.Journal
	if j.State == rotationRetiring && in.AccessKey == j.Old.ID && in.AccessKey != old.AccessKey && b.rotations.busy(in.Name) {
		return refuse("%s %s was replaced by a rotation and is being deleted at this moment: write another key, or leave the one in use", fieldAccessKey, in.AccessKey)
	}
	return nil
}

// leftByRotation is for the deletion of an integration: a refusal while a rotation
// is about to end, and what to do by hand where it cannot.
func (b *backend) leftByRotation(ctx context.Context, s logical.Storage, name string) (warning string, err error) {
	in, err := getIntegration(ctx, s, name)
	switch {
	case errors.Is(err, errDamagedIntegration):
		return "", nil
	case err != nil:
		return "", err
	case b.rotations.busy(name):
		return "", refuse("a rotation of the key of integration %q is under way", name)
	case in == nil || !in.Rotation.pending():
		return "", nil
	case in.Rotation.Journal.Failure == "":
		return "", refuse("a rotation of the key of integration %q is not finished: it goes on after %s", name, timestamp(in.Rotation.due()))
	}
	j := in.Rotation.Journal
	ids := slices.DeleteFunc([]string{j.Old.ID, j.New.ID}, func(id string) bool { return id == "" })
	return fmt.Sprintf("a rotation of its key could not be finished (%s): look after the access keys of %s, of which it knew %v", j.Failure, j.UserARN, ids), nil
}
