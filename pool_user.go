package awsiam

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-aws-iam/internal/governor"
)

const (
	// poolPrefix is where the secrets of users that wait for a lease lie, sealed
	// once more where Vault's seal can do that.
	poolPrefix = "pool/"
	// poolAge is how long a user waits for a lease at most, before another takes
	// its place. A key that is never used draws the attention of security scanners
	// after 45 days (CIS AWS Foundations Benchmark, credentials unused for 45 days),
	// and what somebody might copy from storage is to be worth nothing soon. To
	// replace a user every day costs four calls.
	poolAge = 24 * time.Hour
)

// madeAhead is what the record of a user says that is made ahead of its lease.
// While it is there, so may be the user's secret under poolPrefix.
type madeAhead struct {
	// Fits is the fingerprint of what the user was made with.
	Fits string `json:"fits"`
	// AWSAhead is by how much AWS's clock was ahead of Vault's when it made the user.
	AWSAhead time.Duration `json:"aws_ahead"`
	// Taken is when the user was taken for a lease; not before, it is free.
	Taken time.Time `json:"taken,omitzero"`
}

// bare is the role without what gives permissions, and without what depends on who
// asks: what its users are made with that wait for a lease.
func (r *role) bare() *role {
	return &role{
		Name: r.Name, Integration: r.Integration, PermissionsBoundaryARN: r.PermissionsBoundaryARN, IAMTags: r.knownTags(), templates: r.templates,
		UserPath: r.UserPath, UsernameTemplate: r.UsernameTemplate,
	}
}

// fingerprint is of all that cannot be changed about a user once it is made, or
// that the engine does not change; and of whether a lease gives an inline policy,
// which pools.admit relies on.
func (b *backend) fingerprint(r *role, in *integration, conn *connection) string {
	encoded, err := json.Marshal([]any{
		r.Integration, conn.accountID, r.userPath(in) + b.mountSegment, r.usernameTemplate(in), r.PermissionsBoundaryARN, r.knownTags(),
		r.hasInlinePolicy(),
	})
	if err != nil {
		panic(fmt.Sprintf("encoding plain values: %s", err))
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:16])
}

// makeAhead makes a user that waits for a lease of the role, under another name where
// the first does not do.
func (b *backend) makeAhead(ctx context.Context, s logical.Storage, r *role, fits string) (*userRecord, error) {
	var failure error
	for range maxNames {
		u, err := b.makeOneAhead(ctx, s, r.bare(), fits)
		if err == nil || !takesAnotherName(err) {
			return u, err
		}
		failure = errors.Join(failure, err)
	}
	return nil, outOfNames(failure)
}

// makeOneAhead makes a user with a key that AWS lets in, and nothing that it may do.
// The first call waits until nothing else wants a turn. Whatever goes wrong after the
// record is undone, by the reaper if not here.
func (b *backend) makeOneAhead(ctx context.Context, s logical.Storage, r *role, fits string) (*userRecord, error) {
	creating, cancel := context.WithTimeout(governor.WithTask(ctx, governor.Idle, time.Now()), createTimeout)
	defer cancel()
	nobody := &logical.Request{Storage: s} // has asked yet
	u, conn, err := b.beginUser(creating, nobody, r, &madeAhead{Fits: fits})
	if err != nil {
		return nil, err
	}
	made := &creation{conn: conn, role: r, user: &u.issuedUser, tags: userTags(nobody, r)}
	if err = made.createUser(creating); err == nil {
		u.Ahead.AWSAhead = made.created.Sub(b.now())
		err = made.createAccessKey(creating)
	}
	if err == nil {
		err = conn.proveAhead(ctx, u.AccessKeyID, made.secret)
	}
	if err == nil {
		err = b.poolUser(ctx, s, u, made.secret)
	}
	if err != nil {
		b.undo(ctx, s, conn, u, err)
		return nil, fmt.Errorf("user %q: %w", u.Username, err)
	}
	return u, nil
}

// proveAhead is prove for a key that nobody waits for: it is let in, or of no use.
func (conn *connection) proveAhead(ctx context.Context, keyID, secret string) error {
	proved, err := conn.prove(ctx, keyID, secret, maxPropagationTimeout)
	if err == nil && proved.warning != "" {
		err = fmt.Errorf("only keys that were let in go into a pool: %s", proved.warning)
	}
	return err
}

// errMayWait wraps the failure of the write that puts a user on record as waiting. It may
// have happened all the same, so that the node that is active by now leases the user.
type errMayWait struct{ error }

func (e errMayWait) Unwrap() error { return e.error }

// poolUser stores the secret and then records that the user waits, so that a user
// that is on record as waiting can be leased. The reaper may have taken the
// creation for abandoned meanwhile.
func (b *backend) poolUser(ctx context.Context, s logical.Storage, u *userRecord, secret string) error {
	if err := putPooledSecret(ctx, s, u.Username, secret); err != nil {
		return storageError{err}
	}
	written := false
	err := b.changeUser(ctx, s, u.Username, func(stored *userRecord) (bool, error) {
		if stored == nil || stored.State != stateCreating {
			return false, errors.New("its creation took so long that it was given up")
		}
		u.State, u.Expires = statePooled, b.now().Add(poolAge)
		*stored, written = *u, true
		return true, nil
	})
	switch {
	case err == nil:
		return nil
	case written:
		return errMayWait{storageError{err}}
	}
	return storageError{err}
}

// retireWaiting deletes a user that waits. A failure is noted in the record, for
// the reaper, once it says that the user has to go. Only the active node can write
// that: on another one's word nobody is deleted, who may have been leased since. Of
// a user that was claimed, or may have been, the reaper finds out what became.
func (b *backend) retireWaiting(ctx context.Context, s logical.Storage, username string) error {
	waits := false
	err := b.changeUser(ctx, s, username, func(u *userRecord) (bool, error) {
		waits = u != nil && u.State == statePooled
		if waits {
			u.State, u.NextAttempt = stateDeleting, b.now()
		}
		return waits, nil
	})
	if err != nil || !waits {
		return err
	}
	if err := b.retire(ctx, s, username, ending{}); err != nil {
		b.reaper.complain(username, err)
	}
	return nil
}

// pooledSecret is what storage has of a waiting user's key.
type pooledSecret struct {
	SecretAccessKey string `json:"secret_access_key"`
}

// getPooledSecret returns nothing where there is none, or none that can be read.
func getPooledSecret(ctx context.Context, s logical.Storage, username string) (string, error) {
	entry, err := s.Get(ctx, poolPrefix+username)
	if undecryptable(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the secret of user %q: %w", username, err)
	}
	var stored pooledSecret
	if entry != nil && json.Unmarshal(entry.Value, &stored) != nil {
		stored.SecretAccessKey = "" // and no error, which may quote what it was given
	}
	return stored.SecretAccessKey, nil
}

func putPooledSecret(ctx context.Context, s logical.Storage, username, secret string) error {
	entry, err := logical.StorageEntryJSON(poolPrefix+username, pooledSecret{secret})
	if err != nil {
		return fmt.Errorf("encoding the secret of user %q", username)
	}
	if err := s.Put(ctx, entry); err != nil {
		return fmt.Errorf("writing the secret of user %q: %w", username, err)
	}
	return nil
}

func forgetPooledSecret(ctx context.Context, s logical.Storage, username string) error {
	if err := s.Delete(ctx, poolPrefix+username); err != nil {
		return storageError{fmt.Errorf("removing the secret of user %q: %w", username, err)}
	}
	return nil
}
