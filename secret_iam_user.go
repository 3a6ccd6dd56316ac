package awsiam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const secretTypeIAMUser = "iam_user"

// leaseData is what core keeps with a lease for its renewal and revocation:
// enough to delete the user without the record, the role or this node. It
// never holds a secret.
type leaseData struct {
	User issuedUser `json:"user"`
	// TTL is what the lease was granted at issue, and is renewed by unless the
	// renewal asks for something else.
	TTL time.Duration `json:"ttl"`
	// MaxTTL is the longest that the lease can live, from its issue, whatever
	// the mount is tuned to later. Never 0.
	MaxTTL time.Duration `json:"max_ttl"`
}

// encode renders the data as core stores it. It cannot fail: all fields are
// plain values.
func (l leaseData) encode() map[string]any {
	data := make(map[string]any)
	encoded, err := json.Marshal(l)
	if err == nil {
		err = json.Unmarshal(encoded, &data)
	}
	if err != nil {
		panic(fmt.Sprintf("encoding the lease of user %q: %s", l.User.Username, err))
	}
	return data
}

func decodeLease(secret *logical.Secret) (leaseData, error) {
	var l leaseData
	if secret == nil {
		return l, fmt.Errorf("the request has no lease")
	}
	encoded, err := json.Marshal(secret.InternalData)
	if err == nil {
		err = json.Unmarshal(encoded, &l)
	}
	if err != nil {
		return l, fmt.Errorf("decoding the lease: %w", err)
	}
	if l.User.Username == "" {
		return l, fmt.Errorf("decoding the lease: it names no user")
	}
	return l, nil
}

func (b *backend) secretIAMUser() *framework.Secret {
	return &framework.Secret{
		Type:   secretTypeIAMUser,
		Fields: credsResponseFields(),
		Renew:  b.secretIAMUserRenew,
		Revoke: b.secretIAMUserRevoke,
	}
}

// secretIAMUserRenew extends the lease and records its new end before it
// answers. Errors are returned as such: core prints an error response as a Go
// struct here.
func (b *backend) secretIAMUserRenew(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	lease, err := decodeLease(req.Secret)
	if err != nil {
		return nil, err
	}
	r, err := b.roleCache.get(ctx, req.Storage, lease.User.Role)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fmt.Errorf("the lease of user %q cannot be renewed: role %q was deleted", lease.User.Username, lease.User.Role)
	}
	// M was fixed at issue; a role that allows less now is obeyed.
	maxTTL := lease.MaxTTL
	if maxTTL <= 0 {
		return nil, fmt.Errorf("the lease of user %q cannot be renewed: it has no maximum TTL", lease.User.Username)
	}
	if r.MaxTTL > 0 {
		maxTTL = min(maxTTL, r.MaxTTL)
	}
	ttl, warnings, err := framework.CalculateTTL(b.System(), req.Secret.Increment, lease.TTL, 0, maxTTL, 0, req.Secret.IssueTime)
	if err != nil {
		return nil, fmt.Errorf("the lease of user %q cannot be renewed: %w", lease.User.Username, err)
	}
	if err := b.extendUser(ctx, req.Storage, lease, ttl); err != nil {
		return nil, err
	}
	b.events.aboutUser(eventCredsRenew, &lease.User, fieldLeaseExpiration, timestamp(b.now().Add(ttl)))
	req.Secret.TTL, req.Secret.MaxTTL = ttl, maxTTL
	return &logical.Response{Secret: req.Secret, Warnings: warnings}, nil
}

// extendUser records the new end of the lease of a user that is alive.
func (b *backend) extendUser(ctx context.Context, s logical.Storage, lease leaseData, ttl time.Duration) error {
	return b.changeUser(ctx, s, lease.User.Username, func(u *userRecord) (bool, error) {
		if u == nil || u.State != stateActive || u.AccessKeyID != lease.User.AccessKeyID {
			return false, fmt.Errorf("the lease of user %q cannot be renewed: the user was deleted or is being deleted", lease.User.Username)
		}
		// Never earlier: core may fail to store a renewal that shortens the
		// lease, and the reaper must not come before core's own end of it.
		if expires := b.now().Add(ttl + clockAllowance); expires.After(u.Expires) {
			u.Expires = expires
		}
		return true, nil
	})
}

// secretIAMUserRevoke deletes the lease's user. It succeeds only when the user
// is confirmed gone, since Vault forgets the lease then.
func (b *backend) secretIAMUserRevoke(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	lease, err := decodeLease(req.Secret)
	if err != nil {
		return nil, err
	}
	if err := b.retireLeased(ctx, req.Storage, lease.User); err != nil {
		return nil, fmt.Errorf("user %q of role %q is not confirmed deleted: %s", lease.User.Username, lease.User.Role, describe(err))
	}
	return nil, nil
}

// retireLeased deletes the user of a lease. The record is read once, in retireIf:
// where there is none its user is confirmed gone, as when the reaper came first,
// and so it is where there is another user's, with another key.
func (b *backend) retireLeased(ctx context.Context, s logical.Storage, user issuedUser) error {
	leased := func(u *userRecord) bool { return u.AccessKeyID == user.AccessKeyID }
	revoked := ending{operation: eventCredsRevoke}
	err := b.retireIf(ctx, s, user.Username, revoked, leased)
	switch {
	case errors.Is(err, errDamaged):
		// The lease has all that a deletion needs, but for what deletions have found out.
		b.Logger().Error("a damaged record is replaced by what the lease knows", "username", user.Username, "error", err)
		legible, err := readDamaged(ctx, s, user.Username)
		if err != nil || legible == nil {
			return err
		}
		if err := b.putInPlace(ctx, s, b.inPlaceOf(legible, user)); err != nil {
			return err
		}
		return b.retire(ctx, s, user.Username, revoked)
	case errors.Is(err, errSpared):
		// For this lease, or for one of an earlier user of the name that was revoked
		// in the same moment and decided for both.
		meant, err := b.completeFromLease(ctx, s, user)
		if err != nil || !meant {
			return err
		}
		return b.retire(ctx, s, user.Username, revoked)
	}
	return err
}

// completeFromLease says whether the record of the name is of the lease's user. One
// that does not know its key, since it stands in place of a damaged one or is of a
// user that tidy found, takes over what the lease knows: without that the key would
// live on, and the lease be over.
func (b *backend) completeFromLease(ctx context.Context, s logical.Storage, user issuedUser) (meant bool, err error) {
	err = b.changeUser(ctx, s, user.Username, func(u *userRecord) (bool, error) {
		switch {
		case u == nil || u.State == stateCreating: // another's, whose key is yet to come
			return false, nil
		case u.AccessKeyID != "":
			meant = u.AccessKeyID == user.AccessKeyID
			return false, nil
		case u.UserID != "" && u.UserID != user.UserID:
			return false, nil // somebody's who came by the name later
		}
		meant, u.issuedUser = true, user
		return true, nil
	})
	return meant, err
}
