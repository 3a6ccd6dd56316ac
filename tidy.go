package awsiam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/errgroup"
)

const (
	tidyPrefix = "tidy/"
	// maxReported is how many names a run reports of each kind.
	maxReported = 100
)

// tidyState is how far a run is.
type tidyState string

const (
	tidyRunning   tidyState = "running"
	tidyDone      tidyState = "done"
	tidyCancelled tidyState = "cancelled"
	tidyFailed    tidyState = "failed"
)

// tidyRun is the last tidy of an integration: what was asked for and what came
// of it. It is stored, under tidy/, when it begins and when it ends, so that
// another node goes on where one was lost.
type tidyRun struct {
	Integration  string        `json:"integration"`
	State        tidyState     `json:"state"`
	DryRun       bool          `json:"dry_run"`
	SafetyBuffer time.Duration `json:"safety_buffer"`
	Started      time.Time     `json:"started"`
	Finished     time.Time     `json:"finished,omitzero"`
	Error        string        `json:"error,omitempty"`

	Listed  int `json:"listed"`
	Unknown int `json:"unknown"`
	Young   int `json:"young"`
	Deleted int `json:"deleted"`
	Failed  int `json:"failed"`
	Foreign int `json:"foreign"`
	// Elsewhere are users of this mount's segment beneath another user_path.
	Elsewhere int `json:"elsewhere"`

	UnknownUsers []string `json:"unknown_users"`
	ForeignUsers []string `json:"foreign_users"`
}

// tidying is a run under way in this process.
type tidying struct {
	b      *backend
	s      logical.Storage
	cancel context.CancelCauseFunc

	mu  sync.Mutex
	run tidyRun
}

var errCancelled = errors.New("cancelled")

// work does the run and stores how it ended. A run that ends with the backend
// stays as stored, for the next process to go on with.
func (t *tidying) work(ctx context.Context) {
	err := t.tidy(ctx)
	if context.Cause(ctx) != nil && !errors.Is(context.Cause(ctx), errCancelled) {
		return
	}
	t.update(func(run *tidyRun) {
		run.Finished, run.State = t.b.now(), tidyDone
		switch {
		case context.Cause(ctx) != nil:
			run.State = tidyCancelled
		case err != nil:
			run.State, run.Error = tidyFailed, describe(err)
		}
	})
	run := t.snapshot()
	log := t.b.Logger().With("integration", run.Integration, "dry_run", run.DryRun, "unknown", run.Unknown, "spared", run.Young, "deleted", run.Deleted, "failed", run.Failed)
	if run.State == tidyFailed {
		log.Error("tidy failed", "error", run.Error)
	} else {
		log.Info("tidy ended", "state", run.State)
	}
	ctx, cancel := t.b.noting(ctx)
	defer cancel()
	if err := putTidyRun(ctx, t.s, &run); err != nil {
		log.Error("the end of a tidy could not be stored: it is done again after a restart", "error", err)
	}
}

// tidy lists the account's users first and reads the records after that: a
// record is there before its user is, so that none is missed.
func (t *tidying) tidy(ctx context.Context) error {
	in, err := getIntegration(ctx, t.s, t.run.Integration)
	if err != nil {
		return err
	}
	if in == nil {
		return refuse("there is no integration %q any more", t.run.Integration)
	}
	conn, err := t.b.connect(ctx, t.s, t.run.Integration)
	if err != nil {
		return err
	}
	before, err := t.s.List(ctx, userPrefix) // some of these may be gone by the time the list of AWS has come
	if err != nil {
		return storageError{fmt.Errorf("listing the records of users: %w", err)}
	}
	users, err := t.list(ctx, conn, in)
	if err != nil {
		return err
	}
	known, err := knownUsers(ctx, t.s)
	if err != nil {
		return err
	}
	for _, name := range before {
		known.names[name] = true
	}
	if !t.run.DryRun && len(known.unreadable) > 0 {
		return refuse("the records of user(s) %s cannot be read, and if somebody has renamed these users, nothing tells that they are known: "+
			"revoke their leases first, which does not need the records. Nothing was deleted", some(known.unreadable))
	}
	unknown := slices.DeleteFunc(users, known.has)
	return t.remove(ctx, conn, t.spare(unknown))
}

// list returns the users whose path carries this mount's segment, beneath the
// integration's user_path.
func (t *tidying) list(ctx context.Context, conn *connection, in *integration) ([]types.User, error) {
	var ours []types.User
	err := eachUserOfAccount(ctx, conn.iam, func(user types.User) error {
		t.update(func(run *tidyRun) { run.Listed++ })
		switch path := aws.ToString(user.Path); {
		case !complete(user):
			return errNoContent
		case t.b.isOwnPath(path) && !strings.HasPrefix(path, in.UserPath):
			// Another integration's, or this one's as it was: its rights end elsewhere now.
			t.update(func(run *tidyRun) { run.Elsewhere++ })
		case t.b.isOwnPath(path):
			ours = append(ours, user)
		case strings.HasPrefix(path, in.UserPath):
			t.update(func(run *tidyRun) {
				run.Foreign++
				run.ForeignUsers = report(run.ForeignUsers, user)
			})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf(`listing the users of account %s (iam:ListUsers can only be granted on "*"): %w`, conn.accountID, err)
	}
	return ours, nil
}

// userIndex is what records know of users: their names, and their ids, by which
// a user is known that somebody has renamed.
type userIndex struct {
	names, ids map[string]bool
	unreadable []string // users of whom only the name is known
}

func (x userIndex) has(user types.User) bool {
	return x.names[aws.ToString(user.UserName)] || x.ids[aws.ToString(user.UserId)]
}

// knownUsers reads all records, of whatever integration. Of one that cannot be
// read the name is known.
func knownUsers(ctx context.Context, s logical.Storage) (userIndex, error) {
	names, err := s.List(ctx, userPrefix)
	if err != nil {
		return userIndex{}, storageError{fmt.Errorf("listing the records of users: %w", err)}
	}
	known := userIndex{names: make(map[string]bool, len(names)), ids: make(map[string]bool, len(names))}
	for _, name := range names {
		known.names[name] = true
		u, err := getUser(ctx, s, name)
		switch {
		case unreadable(err):
			known.unreadable = append(known.unreadable, name)
		case err != nil:
			return userIndex{}, err
		case u != nil:
			known.ids[u.UserID] = true
		}
	}
	delete(known.ids, "") // of creations that AWS has not answered yet
	return known, nil
}

// spare counts the unknown users and returns those that were old enough when the run
// was asked for. Who was made since is no business of a run that is gone on with.
func (t *tidying) spare(unknown []types.User) []types.User {
	var due []types.User
	t.update(func(run *tidyRun) {
		for _, user := range unknown {
			run.Unknown++
			if aws.ToTime(user.CreateDate).Add(run.SafetyBuffer).After(run.Started) {
				run.Young++
				continue
			}
			run.UnknownUsers = report(run.UnknownUsers, user)
			due = append(due, user)
		}
	})
	return due
}

// remove deletes the users, a few at a time, unless the run only reports.
func (t *tidying) remove(ctx context.Context, conn *connection, users []types.User) error {
	if t.run.DryRun {
		return nil
	}
	var group errgroup.Group
	group.SetLimit(reaperWorkers)
	for _, user := range users {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx) // nothing was tried
			}
			adopted, err := t.b.adoptUser(ctx, t.s, conn, t.run.Integration, user)
			if err != nil {
				t.update(func(run *tidyRun) { run.Failed++ })
				return fmt.Errorf("user %q: %w", *user.UserName, err)
			}
			if !adopted {
				return nil
			}
			// What fails is on record now, and the reaper's.
			err = t.b.retire(ctx, t.s, *user.UserName, ending{operation: eventCredsTidy})
			t.update(func(run *tidyRun) {
				if err != nil {
					run.Failed++
				} else {
					run.Deleted++
				}
			})
			return nil
		})
	}
	return group.Wait()
}

// adoptUser puts a user that no record knows on record, as one that has to go:
// from here on it is deleted like any other, by the reaper if not by tidy. It
// returns false if a record of that name is there after all.
func (b *backend) adoptUser(ctx context.Context, s logical.Storage, conn *connection, integrationName string, user types.User) (bool, error) {
	b.integrations.RLock()
	defer b.integrations.RUnlock()
	in, err := getIntegration(ctx, s, integrationName)
	if err != nil {
		return false, err
	}
	if in == nil || in.Revision != conn.revision {
		return false, refuse("integration %q was changed meanwhile: start tidy again", integrationName)
	}
	name := aws.ToString(user.UserName)
	if err := validateUsername(name); err != nil {
		return false, refuse("it cannot be put on record (%s): delete it by hand", err)
	}
	return b.addUser(ctx, s, &userRecord{
		Version: recordVersion,
		issuedUser: issuedUser{
			Username: name, Path: aws.ToString(user.Path), UserID: aws.ToString(user.UserId), ARN: aws.ToString(user.Arn),
			Integration: integrationName, AccountID: conn.accountID, Created: aws.ToTime(user.CreateDate),
			PolicyName: name,
		},
		State: stateDeleting, NextAttempt: b.now(),
	})
}

func (t *tidying) update(change func(*tidyRun)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.run)
}

func (t *tidying) snapshot() tidyRun {
	t.mu.Lock()
	defer t.mu.Unlock()
	run := t.run
	run.UnknownUsers, run.ForeignUsers = slices.Clone(run.UnknownUsers), slices.Clone(run.ForeignUsers)
	return run
}

func report(names []string, user types.User) []string {
	if len(names) == maxReported {
		return names
	}
	return append(names, aws.ToString(user.UserName))
}
