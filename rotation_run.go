package awsiam

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-aws-iam/internal/governor"
)

// rotateTimeout bounds a rotation up to the switch. It ends before the 60 s that
// Vault's clients wait, so that they are told.
const rotateTimeout = 50 * time.Second

// errSuperseded says that a rotation is not the integration's any more.
var errSuperseded = refusal("the integration was changed meanwhile")

// changeRotation changes the integration while nobody else writes it, if it is
// still at the rotation: the id of its journal, empty for none.
func (b *backend) changeRotation(ctx context.Context, s logical.Storage, name, id string, change func(*integration) error) (*integration, error) {
	writes := locksutil.LockForKey(b.integrationWrites, name)
	writes.Lock()
	defer writes.Unlock()
	in, err := loadIntegration(ctx, s, name)
	if err != nil {
		return nil, storageError{err}
	}
	if in == nil || in.Rotation.Journal.ID != id {
		return nil, errSuperseded
	}
	if err := change(in); err != nil {
		return nil, err
	}
	if err := b.putIntegration(ctx, s, in); err != nil {
		b.rotations.schedule(name, b.now())
		return nil, storageError{err}
	}
	b.rotations.note(in)
	return in, nil
}

// rotate replaces the key of the integration, up to the switch: the old key is
// deleted by a later pass, once nothing is signed with it any more. It returns the
// integration as it is then.
func (b *backend) rotate(ctx context.Context, s logical.Storage, name string) (*integration, error) {
	ctx = governor.WithTask(ctx, governor.Creating, time.Now())
	in, owner, err := b.prepareRotation(ctx, s, name)
	if err != nil {
		return nil, err
	}
	if in, err = b.journalRotation(ctx, s, in, owner); err != nil {
		return nil, err
	}
	id := in.Rotation.Journal.ID
	made, err := owner.create(ctx)
	if err != nil {
		return nil, b.notCreated(ctx, s, in, err)
	}
	// Before it is used: from here on the key can be told from others.
	in, err = b.changeRotation(ctx, s, name, id, func(in *integration) error {
		in.Rotation.Journal.State, in.Rotation.Journal.New = rotationProving, made
		in.Rotation.Journal.NotBefore = time.Time{}
		return nil
	})
	if err == nil && in.Rotation.Journal.Forsaken != nil {
		err = errSuperseded
	}
	if err != nil {
		return nil, err
	}
	if err := b.proveKey(ctx, in, made, owner.arn); err != nil {
		return nil, errors.Join(err, b.finishNow(ctx, s, name))
	}
	return b.switchKey(ctx, s, name, id)
}

// prepareRotation finds out whether the key can be rotated, before anything is
// changed.
func (b *backend) prepareRotation(ctx context.Context, s logical.Storage, name string) (*integration, *keyOwner, error) {
	in, err := getIntegration(ctx, s, name)
	switch {
	case err != nil:
		return nil, nil, storageError{err}
	case in == nil:
		return nil, nil, refuse("there is no integration %q: write %s%s", name, integrationPrefix, name)
	case in.SourceIntegration != "":
		return nil, nil, refuse("it borrows its key from integration %q: rotate that, which rotates it here too: write rotate-root/%s", in.SourceIntegration, in.SourceIntegration)
	case !in.hasOwnKey():
		return nil, nil, refuse("it has no %s: what gives it its credentials renews them itself", fieldAccessKey)
	case in.Rotation.pending():
		return nil, nil, refuse("the rotation before, begun %s, is not finished: its keys are looked at again after %s, and rotating is possible when that has succeeded",
			timestamp(in.Rotation.Journal.Began), timestamp(in.Rotation.due()))
	}
	if err := b.refuseInUse(ctx, s, in); err != nil {
		return nil, nil, err
	}
	owner, err := b.ownerOf(ctx, in, in.key())
	if err != nil {
		return nil, nil, err
	}
	if err := owner.mayDelete(ctx); err != nil {
		return nil, nil, err
	}
	keys, err := owner.keys(ctx)
	if err != nil {
		return nil, nil, err
	}
	for id := range keys {
		if id != in.AccessKey {
			return nil, nil, refuse("%s has another access key, %s, and AWS allows two: delete it, if nothing uses it, and rotate again", owner.arn, id)
		}
	}
	return in, owner, nil
}

// refuseInUse refuses to rotate a key that is signed with for longer than the old one
// is kept, or that other integrations have too: they would be locked out.
func (b *backend) refuseInUse(ctx context.Context, s logical.Storage, in *integration) error {
	tidied, err := b.tidiedThrough(ctx, s, in.Name)
	if err != nil {
		return storageError{err}
	}
	if tidied != "" {
		return refuse("a tidy of integration %q is running: wait for its end, or end it with tidy-cancel/%s", tidied, tidied)
	}
	holder, err := otherHolder(ctx, s, in)
	if err != nil {
		return storageError{err}
	}
	if holder != nil {
		return refuse("integration %q has the same key, and would be locked out: give it %s=%s instead", holder.Name, fieldSourceIntegration, in.Name)
	}
	return nil
}

// journalRotation puts on record that there will be another key.
func (b *backend) journalRotation(ctx context.Context, s logical.Storage, in *integration, owner *keyOwner) (*integration, error) {
	return b.changeRotation(ctx, s, in.Name, "", func(now *integration) error {
		if now.Revision != in.Revision {
			return errSuperseded
		}
		now.Rotation.Journal = rotationJournal{
			ID: rand.Text(), State: rotationCreating, Began: b.now(), UserARN: owner.arn, Old: now.key(),
			NotBefore: b.now().Add(settlingTime),
		}
		return nil
	})
}

// notCreated ends a rotation of which AWS made no key. Where that is not certain
// the journal stays until it is.
func (b *backend) notCreated(ctx context.Context, s logical.Storage, in *integration, failure error) error {
	var refused errNothingDone
	if !errors.As(failure, &refused) {
		return errors.Join(failure, advice(fmt.Sprintf("AWS may have made a key all the same, which will be deleted after %s",
			timestamp(in.Rotation.Journal.NotBefore))))
	}
	ctx, cancel := b.noting(ctx)
	defer cancel()
	_, err := b.changeRotation(ctx, s, in.Name, in.Rotation.Journal.ID, func(in *integration) error {
		in.Rotation.Journal = rotationJournal{}
		return nil
	})
	return errors.Join(failure, err)
}

// switchKey has the integration use the new key from now on.
func (b *backend) switchKey(ctx context.Context, s logical.Storage, name, id string) (*integration, error) {
	in, err := b.changeRotation(ctx, s, name, id, func(in *integration) error {
		j := &in.Rotation.Journal
		if j.Forsaken != nil {
			return errSuperseded
		}
		in.useKey(j.New, rand.Text(), b.now())
		j.State, j.NotBefore = rotationRetiring, b.now().Add(retireAfter)
		in.Rotation.Last = b.now()
		in.Rotation.succeeded()
		return nil
	})
	if err == nil {
		b.events.aboutRotation(eventConfigRotate, name, in.Rotation.Journal.Old.ID, in.AccessKey)
		b.Logger().Info("the key of an integration was rotated", "integration", name, "access_key", in.AccessKey, "old_access_key", in.Rotation.Journal.Old.ID)
	}
	return in, err
}
