package awsiam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-aws-iam/internal/governor"
)

// replaceDamaged puts a record of what is still legible, and of what AWS tells, in
// place of one that cannot be read: of a user that has to go, since nobody knows how
// long it may live. From here on it is deleted like any other, with every doubt
// about whose it is.
func (b *backend) replaceDamaged(ctx context.Context, s logical.Storage, username, integrationName string) error {
	legible, err := readDamaged(ctx, s, username)
	if err != nil || legible == nil {
		return err // there is none if its lease was revoked meanwhile
	}
	if legible.State == stateCreating && !legible.isDue(b.now()) {
		return beingMade(legible, b.now())
	}
	user := legible.issuedUser
	if user.Integration, err = b.integrationOf(ctx, s, user, integrationName); err != nil {
		return err
	}
	in, conn, err := b.connected(ctx, s, user.Integration)
	if err != nil {
		return err
	}
	if user.AccountID == "" {
		user.AccountID = conn.accountID
	}
	if user.UserID == "" && user.AccountID == conn.accountID {
		if err := b.identify(ctx, conn, &user); err != nil {
			return err
		}
	}
	if user.Path == "" {
		user.Path = in.UserPath + b.mountSegment + "/"
	}
	if user.PolicyName == "" {
		user.PolicyName = username // as recordUser names it
	}
	if user.Created.IsZero() {
		user.Created = b.now() // so that AWS's "no such user" is believed in five minutes, and not before
	}
	u := b.inPlaceOf(legible, user)
	u.Ahead = &madeAhead{} // the user may have waited for a lease, and have a secret in storage
	b.Logger().Warn("a damaged record is replaced on request by what is known of its user", "username", username, "integration", user.Integration, "user_id", user.UserID)
	return b.putInPlace(ctx, s, u)
}

// inPlaceOf is the record of a user that has to go, in place of a damaged one: with
// what that tells of the user's end. Its proof is not taken over: it may be damaged, too.
func (b *backend) inPlaceOf(legible *userRecord, user issuedUser) *userRecord {
	return &userRecord{
		Version: recordVersion, issuedUser: user, State: stateDeleting, NextAttempt: b.now(),
		Deadline: legible.Deadline, Contained: legible.Contained, RenamedTo: legible.RenamedTo, RecreatedAt: legible.RecreatedAt,
	}
}

// readDamaged is what is legible of a user's record; nil if there is none.
func readDamaged(ctx context.Context, s logical.Storage, username string) (*userRecord, error) {
	entry, err := s.Get(ctx, userPrefix+username)
	switch {
	case undecryptable(err):
		return salvage(username, nil), nil
	case err != nil:
		return nil, storageError{fmt.Errorf("reading the record of user %q: %w", username, err)}
	case entry == nil:
		return nil, nil
	}
	return salvage(username, entry.Value), nil
}

// putInPlace writes the record unless that in storage can be read by now.
func (b *backend) putInPlace(ctx context.Context, s logical.Storage, u *userRecord) error {
	lock := locksutil.LockForKey(b.userLocks, u.Username)
	lock.Lock()
	defer lock.Unlock()
	if _, err := getUser(ctx, s, u.Username); !errors.Is(err, errDamaged) {
		return err
	}
	return b.putUser(ctx, s, u)
}

// salvage is what is legible of a user's damaged record. One that does not name
// the user may be another's, of whom nothing is taken over.
func salvage(username string, stored []byte) *userRecord {
	u := new(userRecord)
	// Fields of a wrong type are left out, and the others decoded.
	if err := json.Unmarshal(stored, u); err != nil && !isTypeError(err) || u.Username != username {
		return &userRecord{issuedUser: issuedUser{Username: username}}
	}
	return u
}

func isTypeError(err error) bool {
	var mismatch *json.UnmarshalTypeError
	return errors.As(err, &mismatch)
}

// integrationOf is the integration that a damaged record tells, or else the one
// that the request names, or else the only one there is. While a record cannot be
// read no integration is deleted, nor comes to be of another account.
func (b *backend) integrationOf(ctx context.Context, s logical.Storage, user issuedUser, named string) (string, error) {
	if user.Integration != "" {
		if named != "" && named != user.Integration {
			return "", refuse("%s: the record of user %q cannot be read, but tells that it was made through integration %q: leave it out", fieldIntegration, user.Username, user.Integration)
		}
		return user.Integration, nil
	}
	if named != "" {
		if err := validateName(fieldIntegration, named); err != nil {
			return "", refuse("%s", err)
		}
		return named, nil
	}
	names, err := s.List(ctx, integrationPrefix)
	if err != nil {
		return "", storageError{fmt.Errorf("listing the integrations: %w", err)}
	}
	if len(names) != 1 {
		return "", refuse("the record of user %q is damaged and does not tell which integration the user was made through. "+
			"Say which, of %s: %s=<name>. The user is looked for in that one's account, and taken for gone if it is not there", user.Username, some(names), fieldIntegration)
	}
	return names[0], nil
}

// identify asks AWS for the user of that name, if it may: one in the path of this
// mount, under a name that this mount has on record, is ours. Where it may not, or
// where the user is elsewhere or nowhere, deletion is left to find out.
func (b *backend) identify(ctx context.Context, conn *connection, user *issuedUser) error {
	ctx = governor.WithTask(ctx, governor.Deleting, b.now())
	out, err := conn.iam.GetUser(ctx, &iam.GetUserInput{UserName: &user.Username})
	switch {
	case hasCode(err, codeAccessDenied, codeNoSuchEntity):
		return nil
	case err != nil:
		return err
	case out.User == nil || !complete(*out.User):
		return errNoContent
	case !b.isOwnPath(aws.ToString(out.User.Path)):
		return nil
	}
	user.UserID, user.ARN, user.Path = aws.ToString(out.User.UserId), aws.ToString(out.User.Arn), aws.ToString(out.User.Path)
	user.Created = *out.User.CreateDate
	return nil
}
