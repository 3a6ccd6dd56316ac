package awsiam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// userDelete ends a user, whether its lease is alive or not: an operator has said
// so. Core never tells a plugin the lease of a key, so this is how a key is ended
// of which only the id is known. As with a revocation, success means that the user
// is confirmed gone, and what fails is on record as deleting, for the reaper.
func (b *backend) userDelete(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get(fieldUsername).(string)
	if err := validateUsername(name); err != nil {
		return logical.ErrorResponse("%s: %q cannot be the name of an issued user: %s", fieldUsername, name, err), nil
	}
	var integrationName string
	setField(d, fieldIntegration, &integrationName)
	u, err := b.readUser(ctx, req.Storage, name)
	switch {
	case errors.Is(err, errDamaged):
		err = b.replaceDamaged(ctx, req.Storage, name, integrationName)
	case err == nil && u == nil:
		return nil, nil // as when this is asked again after an answer that was lost
	case err == nil && integrationName != "" && integrationName != u.Integration:
		err = refuse("%s: user %q was made through integration %q, which its record tells: leave it out", fieldIntegration, name, u.Integration)
	}
	if err == nil {
		err = b.retireNow(ctx, req.Storage, name)
	}
	var internal storageError
	switch {
	case err == nil:
		b.Logger().Info("a user was deleted on request", "username", name, "by", req.DisplayName, "entity_id", req.EntityID)
		return nil, nil
	case errors.As(err, &internal):
		return nil, err
	case errors.Is(err, errNewer):
		return logical.ErrorResponse("user %q is left to the plugin that made it: %s", name, err), nil
	}
	return awsFailure(fmt.Sprintf("user %q is not confirmed deleted", name), err)
}

// retireNow deletes a user in any state but one. A creation does not read its
// record again before it is given up (activateUser): it would hand out a user that
// is deleted, with a record that says it is alive.
func (b *backend) retireNow(ctx context.Context, s logical.Storage, username string) error {
	finished := func(u *userRecord) bool { return u.State != stateCreating || u.isDue(b.now()) }
	err := b.retireIf(ctx, s, username, ending{operation: eventCredsDelete}, finished)
	if !errors.Is(err, errSpared) {
		return err
	}
	// For this request, or for a lease of an earlier user of the name, which was
	// revoked in the same moment and decided for both.
	u, err := getUser(ctx, s, username)
	switch {
	case err != nil || u == nil:
		return err
	case finished(u):
		return b.retireIf(ctx, s, username, ending{operation: eventCredsDelete}, finished)
	}
	return beingMade(u, b.now())
}

func beingMade(u *userRecord, now time.Time) error {
	return refuse("user %q is still being made: delete it when it is active, or from %s on, when its creation is given up", u.Username, timestamp(u.due(now)))
}
