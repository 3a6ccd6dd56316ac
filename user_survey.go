package awsiam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

const (
	// surveyTimeout bounds the reading of records for one request. It ends before
	// the 60 s that Vault's clients wait, so that they are told.
	surveyTimeout = 30 * time.Second
	// surveyChunk is how many users a list looks at before it sees whether the
	// page is full.
	surveyChunk = 500
)

// userNames are the names of all records, in order. Vault's storage cannot list a
// part of them (logical.Storage of SDK 0.25 has List alone).
func userNames(ctx context.Context, s logical.Storage) ([]string, error) {
	names, err := s.List(ctx, userPrefix)
	if err != nil {
		return nil, fmt.Errorf("listing the records of users: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// readUser is getUser, and the agenda learns of it.
func (b *backend) readUser(ctx context.Context, s logical.Storage, username string) (*userRecord, error) {
	reading := b.reaper.beginReading(username)
	u, err := getUser(ctx, s, username)
	b.reaper.endReading(username, reading, u, err)
	return u, err
}

// factsOf returns the facts of those of the users that have a record. What is not
// known is read, for one request at a time: who comes second finds it known.
func (b *backend) factsOf(ctx context.Context, s logical.Storage, usernames []string) (map[string]userFacts, error) {
	facts := b.reaper.known(usernames)
	if len(facts) == len(usernames) {
		return facts, nil
	}
	select {
	case b.surveys <- struct{}{}:
		defer func() { <-b.surveys }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	facts = b.reaper.known(usernames)
	missing := slices.DeleteFunc(slices.Clone(usernames), func(username string) bool {
		_, ok := facts[username]
		return ok
	})
	read, err := b.readFacts(ctx, s, missing)
	if err != nil {
		return nil, err
	}
	maps.Copy(facts, read)
	return facts, nil
}

// readFacts reads records, a few at once, up to the first that storage does not give.
func (b *backend) readFacts(ctx context.Context, s logical.Storage, usernames []string) (map[string]userFacts, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	found := make(map[string]userFacts, len(usernames))
	next := make(chan string)
	var workers sync.WaitGroup
	for range reaperWorkers {
		workers.Go(func() {
			for username := range next {
				u, err := b.readUser(ctx, s, username)
				facts := userFacts{kind: unreadableKind}
				switch {
				case unreadable(err):
				case err != nil:
					cancel(err)
					continue
				case u == nil:
					continue // removed since it was listed
				default:
					facts = u.facts()
				}
				mu.Lock()
				found[username] = facts
				mu.Unlock()
			}
		})
	}
	for _, username := range usernames {
		if ctx.Err() != nil {
			break
		}
		next <- username
	}
	close(next)
	workers.Wait()
	return found, context.Cause(ctx)
}

// surveyError tells a client to ask again where the time was not enough. What was
// read is known then, so that the next request gets further.
func surveyError(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return logical.CodedError(http.StatusServiceUnavailable, fmt.Sprintf(
			"the records of the users could not all be read within %s, as after a restart; what was read is remembered: try again", surveyTimeout))
	}
	return err
}
