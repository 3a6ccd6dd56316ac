package awsiam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	userPrefix = "users/"
	// recordVersion is the version of the records' form, so that a later
	// plugin can tell what it reads.
	recordVersion = 1

	// clockAllowance covers the time between the plugin's answer and core's
	// clock, which starts after it, and core's own delay in revoking.
	clockAllowance = 2 * time.Minute
	// skewAllowance is how far Vault's clock and AWS's may be apart where a date
	// of one is compared with a date of the other.
	skewAllowance = time.Hour
	// settlingTime is how long AWS's word that a user does not exist is not
	// taken for it, since IAM is eventually consistent (IAM user guide,
	// troubleshoot_general), and how long an unfinished creation is left
	// alone: a deposed leader may still be at work on it for 90 s.
	settlingTime = 5 * time.Minute
)

// userState is how far an issued user is on its way.
type userState string

const (
	// stateCreating: IAM may or may not have the user yet.
	stateCreating userState = "creating"
	// statePooled: the user waits for a lease; see pools.
	statePooled userState = "pooled"
	// stateActive: the user was handed out.
	stateActive userState = "active"
	// stateDeleting: the user has to go, and was not confirmed gone yet.
	stateDeleting userState = "deleting"
)

// issuedUser is what is needed to delete an IAM user and everything that the
// engine gave it. The record and the lease each hold one, so that either is
// enough. It never holds a secret.
type issuedUser struct {
	Username    string `json:"username"`
	Path        string `json:"path"`
	Role        string `json:"role"`
	Integration string `json:"integration"`
	AccountID   string `json:"account_id"`
	// Created is when the record was first written, by Vault's clock.
	Created time.Time `json:"created"`

	// Known once AWS has answered.
	UserID      string `json:"user_id,omitempty"`
	ARN         string `json:"arn,omitempty"`
	AccessKeyID string `json:"access_key_id,omitempty"`

	// What the user has, or was about to be given.
	PolicyName string   `json:"policy_name,omitempty"` // of the inline policy
	PolicyARNs []string `json:"policy_arns,omitempty"`
	Groups     []string `json:"groups,omitempty"`
}

// userRecord is what storage knows of an issued user, under users/. It is
// there for as long as the IAM user may exist.
type userRecord struct {
	Version int `json:"version"`
	issuedUser
	State userState `json:"state"`

	// Expires is the latest end of the lease as last granted, Deadline when no
	// lease of the user can be alive any more; both with clockAllowance. A
	// pooled user has no deadline, and expires when it has waited long enough.
	Expires  time.Time `json:"expires"`
	Deadline time.Time `json:"deadline"`

	// Ahead is set from the making of a user ahead of its lease until it is leased.
	Ahead *madeAhead `json:"made_ahead,omitempty"`

	// Who asked.
	EntityID    string `json:"entity_id,omitempty"`
	DisplayName string `json:"display_name,omitempty"`

	// Of deletions that failed.
	Attempts    int       `json:"attempts,omitempty"`
	FailedSince time.Time `json:"failed_since,omitzero"` // when the first of them was
	LastError   string    `json:"last_error,omitempty"`
	// UnansweredSince is when the first of those failed that AWS has not answered, since it
	// has answered one.
	UnansweredSince time.Time `json:"unanswered_since,omitzero"`
	NextAttempt     time.Time `json:"next_attempt,omitzero"`
	// Proven says that the user who bore the name was ours: an attempt removed
	// something that only our user had, or AWS showed it.
	Proven bool `json:"proven,omitempty"`
	// Contained says that the user was denied everything, or was about to be.
	Contained bool `json:"contained,omitempty"`
	// DoubtedSince is when deletion first met a user of the name that nothing
	// showed to be ours, iam:GetUser being denied; see deletion.traceless.
	DoubtedSince time.Time `json:"doubted_since,omitzero"`
	// KeyDoubtedSince is when deletion was first denied whose the access key is, which
	// may pass; see deletion.follow.
	KeyDoubtedSince time.Time `json:"key_doubted_since,omitzero"`
	// cutOff says that another process has begun to delete the user and did not
	// come to an end: it may have emptied it.
	cutOff bool
	// RenamedTo is what the user was found to be called by somebody else's doing.
	RenamedTo string `json:"renamed_to,omitempty"`
	// RecreatedAt is when deletion last tried to make the user again in order
	// to learn whether it was gone; see deletion.recreate.
	RecreatedAt time.Time `json:"recreated_at,omitzero"`
}

// due is when the reaper has to look at the user. What lies further ahead than
// anything that is put off for a while was written by a clock that was ahead, and has
// been set right since: it is due now.
func (u *userRecord) due(now time.Time) time.Time {
	var at time.Time
	switch u.State {
	case stateCreating:
		at = u.begun().Add(settlingTime)
	case stateDeleting:
		at = u.NextAttempt
	default:
		return u.Expires
	}
	if at.After(now.Add(maxRefusedPause + settlingTime)) {
		return now
	}
	return at
}

func (u *userRecord) isDue(now time.Time) bool { return !now.Before(u.due(now)) }

// begun is when the work began that made or makes the user what it is to be.
func (u *userRecord) begun() time.Time {
	if u.Ahead != nil && u.Ahead.Taken.After(u.Created) {
		return u.Ahead.Taken
	}
	return u.Created
}

// settles is until when AWS's "no such user" is not believed.
func (u *userRecord) settles() time.Time {
	if u.RecreatedAt.After(u.Created) {
		return u.RecreatedAt.Add(settlingTime)
	}
	return u.Created.Add(settlingTime)
}

// doubtEnds is from when on a user of the name that nothing shows to be ours is
// taken for ours. A record without a key is of a creation that failed or was cut
// off: nobody was told the name who could have taken it, and it is undone at once.
// Or it is of a user that tidy found by its path.
func (u *userRecord) doubtEnds() time.Time {
	if u.AccessKeyID == "" {
		return u.Created
	}
	return u.DoubtedSince.Add(settlingTime)
}

// keyDoubtEnds is from when on AWS is believed that it denies whose the access key is.
func (u *userRecord) keyDoubtEnds() time.Time { return u.KeyDoubtedSince.Add(settlingTime) }

// inLineSince is as of when the next attempt has its place in the line for AWS's rate. One
// that had no turn in its time keeps its place, or it would be passed by what comes later,
// and run out of time again. One that AWS has refused does not: it would be in the way of
// all that AWS lets go, each time it is tried.
func (u *userRecord) inLineSince(now time.Time) time.Time {
	if u.UnansweredSince.IsZero() || u.UnansweredSince.After(now) {
		return now
	}
	return u.UnansweredSince
}

// whenSettled moves the next attempt at what only time can tell: not before AWS's
// "no such user" is believed, and no later than a doubt about the user ends.
func (u *userRecord) whenSettled(next, now time.Time) time.Time {
	for _, ends := range []time.Time{u.doubtEnds(), u.keyDoubtEnds()} {
		if now.Before(ends) && next.After(ends) {
			next = ends
		}
	}
	if settles := u.settles(); next.Before(settles) {
		next = settles
	}
	return next
}

var (
	// errDamaged says that what is stored cannot be read.
	errDamaged = errors.New("the record is damaged")
	// errNewer says that a record was written by a newer plugin.
	errNewer = errors.New("the record is of a newer version")
)

// unreadable says whether a record is there but cannot be understood, which
// reading it again does not mend.
func unreadable(err error) bool {
	return errors.Is(err, errDamaged) || errors.Is(err, errNewer)
}

func getUser(ctx context.Context, s logical.Storage, username string) (*userRecord, error) {
	entry, err := s.Get(ctx, userPrefix+username)
	if undecryptable(err) {
		return nil, fmt.Errorf("%w: user %q: %w", errDamaged, username, err)
	}
	if err != nil {
		return nil, storageError{fmt.Errorf("reading the record of user %q: %w", username, err)}
	}
	if entry == nil {
		return nil, nil
	}
	u := new(userRecord)
	err = entry.DecodeJSON(u)
	if err == nil {
		err = u.check(username)
	}
	switch {
	case u.Version > recordVersion: // whatever else it is
		return nil, fmt.Errorf("%w: that of user %q has version %d, written by a newer plugin: this one knows %d", errNewer, username, u.Version, recordVersion)
	case err != nil:
		return nil, fmt.Errorf("%w: user %q: %w", errDamaged, username, err)
	}
	return u, nil
}

// check says what a record lacks that the engine always writes. Without it a
// user would be judged by what is not so: one that is live as expired, one that
// is young as settled, or one user by the record of another.
func (u *userRecord) check(username string) error {
	switch {
	case u.Username != username:
		return fmt.Errorf("it names user %q", u.Username)
	case u.Version <= 0 || u.Created.IsZero() || u.Integration == "" || u.AccountID == "":
		return errors.New("it has no version, date, integration or account")
	case (u.State == stateActive || u.State == statePooled) && (u.Expires.IsZero() || u.AccessKeyID == ""):
		return errors.New("it has no access key, or no end of the lease")
	case u.State == statePooled && u.Ahead == nil:
		return errors.New("it does not say what the user was made for")
	case u.State != stateActive && u.State != statePooled && u.State != stateCreating && u.State != stateDeleting:
		return fmt.Errorf("its state is %q", u.State)
	}
	return nil
}

// eachUser visits all records. Records that cannot be understood are passed
// over, and named by the error in the end.
func eachUser(ctx context.Context, s logical.Storage, visit func(*userRecord)) error {
	names, err := s.List(ctx, userPrefix)
	if err != nil {
		return fmt.Errorf("listing the records of users: %w", err)
	}
	var unknown []string
	var reasons []error
	for _, name := range names {
		u, err := getUser(ctx, s, name)
		switch {
		case unreadable(err):
			unknown, reasons = append(unknown, name), append(reasons, err)
		case err != nil:
			return err
		case u != nil:
			visit(u)
		}
	}
	if len(unknown) > 0 {
		return refuse("the records of user(s) %s cannot be read, so that nothing says which integration they belong to: "+
			"revoke their leases first, which does not need the records, or delete them under "+userPrefix+". The first: %s", some(unknown), reasons[0])
	}
	return nil
}

// putUser writes the record and tells the reaper.
func (b *backend) putUser(ctx context.Context, s logical.Storage, u *userRecord) error {
	entry, err := logical.StorageEntryJSON(userPrefix+u.Username, u)
	if err != nil {
		return fmt.Errorf("encoding the record of user %q: %w", u.Username, err)
	}
	if err := s.Put(ctx, entry); err != nil {
		b.reaper.failed(u)
		return storageError{fmt.Errorf("writing the record of user %q: %w", u.Username, err)}
	}
	b.reaper.wrote(u)
	switch u.State {
	case stateDeleting:
		b.condemned.Store(u.Username, nil)
	case stateCreating: // a user of its own, whoever had the name before
		b.condemned.Delete(u.Username)
	}
	return nil
}

// storeUser is putUser under the user's lock.
func (b *backend) storeUser(ctx context.Context, s logical.Storage, u *userRecord) error {
	lock := locksutil.LockForKey(b.userLocks, u.Username)
	lock.Lock()
	defer lock.Unlock()
	return b.putUser(ctx, s, u)
}

// addUser writes a new record, and returns false rather than write it over
// another.
func (b *backend) addUser(ctx context.Context, s logical.Storage, u *userRecord) (bool, error) {
	lock := locksutil.LockForKey(b.userLocks, u.Username)
	lock.Lock()
	defer lock.Unlock()
	recorded, err := isRecorded(ctx, s, u.Username)
	if recorded || err != nil {
		return false, err
	}
	err = b.putUser(ctx, s, u)
	return err == nil, err
}

// addDrawnUser is addUser for a name that was drawn at random, within the caps. It
// looks into storage only if the reaper's agenda has the name, or does not have all
// yet. That is a hint, and enough here, where no more than chance stands against it.
func (b *backend) addDrawnUser(ctx context.Context, s logical.Storage, u *userRecord, c caps) (bool, error) {
	lock := locksutil.LockForKey(b.userLocks, u.Username)
	lock.Lock()
	defer lock.Unlock()
	if b.reaper.mayKnow(u.Username) {
		if recorded, err := isRecorded(ctx, s, u.Username); recorded || err != nil {
			return false, err
		}
	}
	err := b.reaper.admit(u, c)
	if err == nil {
		err = b.putUser(ctx, s, u)
	}
	return err == nil, err
}

// isRecorded says whether there is a record of the name, be it one that cannot be
// understood.
func isRecorded(ctx context.Context, s logical.Storage, username string) (bool, error) {
	u, err := getUser(ctx, s, username)
	if unreadable(err) {
		return true, nil
	}
	return u != nil, err
}

// mayKnow is false only for a name that no record bears: all that were there when
// the process began are listed, and each write has noted its own.
func (r *reaper) mayKnow(username string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.listed || r.agenda.byName[username] != nil
}

// removeUser removes the record of a user that is confirmed gone.
func (b *backend) removeUser(ctx context.Context, s logical.Storage, username string) error {
	lock := locksutil.LockForKey(b.userLocks, username)
	lock.Lock()
	defer lock.Unlock()
	if err := s.Delete(ctx, userPrefix+username); err != nil {
		b.reaper.doubt(username) // it may be gone
		return storageError{fmt.Errorf("removing the record of user %q: %w", username, err)}
	}
	b.forgotten(username)
	return nil
}

// forgotten is called under the user's lock when there is no record of it any more.
func (b *backend) forgotten(username string) {
	b.reaper.forget(username)
	b.condemned.Delete(username)
}

// forgetUser removes the record of a user that is confirmed gone, after its
// secret, which nothing else would know of.
func (b *backend) forgetUser(ctx context.Context, s logical.Storage, u *userRecord) error {
	if u.Ahead != nil {
		if err := forgetPooledSecret(ctx, s, u.Username); err != nil {
			return err
		}
	}
	return b.removeUser(ctx, s, u.Username)
}

// changeUser changes the record under the user's lock, after reading it again.
// change says whether there is anything to write. The record is nil if there
// is none, and must not be changed then.
func (b *backend) changeUser(ctx context.Context, s logical.Storage, username string, change func(*userRecord) (bool, error)) error {
	lock := locksutil.LockForKey(b.userLocks, username)
	lock.Lock()
	defer lock.Unlock()
	u, err := getUser(ctx, s, username)
	if unreadable(err) {
		b.reaper.illegible(username) // damaged since it was written
	}
	if err != nil {
		return err
	}
	if u == nil {
		b.forgotten(username) // it may have been removed by what was told to have failed
	}
	write, err := change(u)
	if err != nil || !write {
		return err
	}
	return b.putUser(ctx, s, u)
}
