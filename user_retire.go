package awsiam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

const (
	// noteTimeout bounds the writing of what came of some work.
	noteTimeout = 10 * time.Second
	// partingTimeout is what is left of that once the backend has ended: a reload
	// waits for it.
	partingTimeout = 2 * time.Second
	// The pause before the next attempt to delete a user is as long as deleting
	// it has been failing, so that it doubles, and a user is gone soon after
	// what was wrong is over. It is bounded by these: the second for what passes by
	// itself, and for a refusal, too, as long as that may pass: a policy is being
	// changed, or travels through AWS. With settlingTime after it, for what is in doubt
	// then, that makes less than ten minutes from the end of the trouble. What AWS has
	// refused for longer than the third somebody has to put right.
	minRetryPause   = 30 * time.Second
	maxRetryPause   = 4 * time.Minute
	maxRefusedPause = time.Hour
)

// errSpared says that the record is of another user than was meant.
var errSpared = errors.New("the record is another user's")

// retire deletes the IAM user of a record and then the record. A failure is
// noted in the record, and the reaper tries again.
func (b *backend) retire(ctx context.Context, s logical.Storage, username string, how ending) error {
	return b.retireIf(ctx, s, username, how, func(*userRecord) bool { return true })
}

// retireIf is retire for a record that is meant. It returns errSpared for one that
// is not, also if it was not what another caller meant whose work this one shares.
func (b *backend) retireIf(ctx context.Context, s logical.Storage, username string, how ending, meant func(*userRecord) bool) error {
	return b.alone(ctx, username, deleteTimeout, func(ctx context.Context) error {
		u, err := b.condemn(ctx, s, username, meant)
		if err != nil || u == nil {
			return err
		}
		conn, err := b.connect(ctx, s, u.Integration)
		if err == nil {
			err = b.deleteInAWS(ctx, s, conn, u)
		}
		if err == nil {
			err = b.forgetUser(ctx, s, u)
		}
		if err != nil {
			err = b.noteFailure(ctx, s, u, err)
		}
		b.events.aboutEnd(how, u, err)
		return err
	})
}

// condemn puts on record that the user has to go, before AWS is asked for that,
// and returns the record. Only the active node can write. One that was deposed
// while it slept still takes leases and records as it knew them, finds that a
// lease has run out which was renewed elsewhere, and is stopped here.
func (b *backend) condemn(ctx context.Context, s logical.Storage, username string, meant func(*userRecord) bool) (condemned *userRecord, err error) {
	err = b.changeUser(ctx, s, username, func(u *userRecord) (bool, error) {
		if u != nil && !meant(u) {
			return false, errSpared
		}
		condemned = u
		if u != nil && u.State == stateDeleting && u.Attempts == 0 {
			_, here := b.condemned.Load(username)
			u.cutOff = !here
		}
		if u == nil || u.State == stateDeleting {
			return false, nil
		}
		u.State, u.NextAttempt = stateDeleting, b.now()
		return true, nil
	})
	return condemned, err
}

// overwritten says of a record that it was deleting: nothing but a write that had failed,
// and happened late, makes it anything else again.
func (b *backend) overwritten(u *userRecord) bool {
	_, condemned := b.condemned.Load(u.Username)
	return condemned && u.State != stateDeleting
}

// alone does the work while no other deletion of the user is under way; if one
// is, its result is this one's. Several callers may share the work: it does not
// end with one of them, but in time, or with the backend.
func (b *backend) alone(ctx context.Context, username string, timeout time.Duration, work func(context.Context) error) error {
	_, err, _ := b.retirements.Do(username, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		defer context.AfterFunc(b.reaper.lifetime, cancel)() //nolint:contextcheck // two lifetimes meet here
		return nil, work(ctx)
	})
	return err
}

// deleteInAWS returns nil only when the user is confirmed gone.
func (b *backend) deleteInAWS(ctx context.Context, s logical.Storage, conn *connection, u *userRecord) error {
	if conn.accountID != u.AccountID {
		return refuse("it was made in account %s, but integration %q belongs to %s now: connect it to that account again", u.AccountID, u.Integration, conn.accountID)
	}
	d := &deletion{
		iam: conn.iam, user: u, logger: b.Logger(), now: b.now,
		seesUsers: &conn.seesUsers, listsUsers: &conn.listsUsers, tellsKeys: &conn.tellsKeys,
		keep: func(ctx context.Context) error {
			return b.changeUser(ctx, s, u.Username, func(stored *userRecord) (bool, error) {
				if stored == nil {
					return false, fmt.Errorf("the record of user %q is gone", u.Username)
				}
				*stored = *u
				return true, nil
			})
		},
	}
	err := d.run(ctx)
	u.Proven = u.Proven || d.proven.Load()
	return err
}

// noting is for writing down what came of work that may have used up all the time
// there was.
func (b *backend) noting(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	stop := context.AfterFunc(b.reaper.lifetime, func() { time.AfterFunc(partingTimeout, cancel) })
	return ctx, func() {
		stop()
		cancel()
	}
}

// noteFailure keeps in the record why the user could not be deleted and when
// that is tried again. It returns the failure, and its own if it has one.
func (b *backend) noteFailure(ctx context.Context, s logical.Storage, u *userRecord, failure error) error {
	unanswered := noAnswer(ctx, failure)
	// Also that the backend has ended: the next process must not take an attempt that
	// was stopped, and may have met a stranger, for one that has emptied our user.
	ctx, cancel := b.noting(ctx)
	defer cancel()
	err := b.changeUser(ctx, s, u.Username, func(stored *userRecord) (bool, error) {
		if stored == nil {
			return false, nil
		}
		stored.State = stateDeleting
		stored.Proven = stored.Proven || u.Proven
		stored.Contained = stored.Contained || u.Contained
		stored.DoubtedSince, stored.KeyDoubtedSince = u.DoubtedSince, u.KeyDoubtedSince
		stored.Attempts++
		stored.LastError = describe(failure)
		if stored.FailedSince.IsZero() {
			stored.FailedSince = b.now()
		}
		switch {
		case !unanswered:
			stored.UnansweredSince = time.Time{}
		case stored.UnansweredSince.IsZero():
			stored.UnansweredSince = b.now()
		}
		stored.NextAttempt = b.now().Add(retryPause(b.now().Sub(stored.FailedSince), retryable(failure)))
		if errors.Is(failure, errUnsettled) {
			stored.NextAttempt = stored.whenSettled(stored.NextAttempt, b.now())
		}
		return true, nil
	})
	return errors.Join(failure, err)
}

func retryPause(failing time.Duration, passing bool) time.Duration {
	limit := maxRetryPause
	if !passing && failing >= maxRefusedPause {
		limit = maxRefusedPause
	}
	return min(max(failing, minRetryPause), limit)
}
