package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	// renewTimeout bounds how long a caller waits for a renewal, or for another process
	// that has the lock, while there is a key that works.
	renewTimeout = 5 * time.Second

	// lookupTimeout bounds the question whether a lease is alive.
	lookupTimeout = 2 * time.Second

	// retryPause is for how long Vault is not asked again after that has failed, while
	// there is a key that works.
	retryPause = 30 * time.Second

	// undoTimeout is for revoking a lease whose key could not be kept.
	undoTimeout = 20 * time.Second
)

// supplier hands out the key of one role.
type supplier struct {
	client *api.Client
	path   string
	ttl    string
	check  bool
	cache  *cache
	now    func() time.Time
	warn   func(format string, a ...any)
}

// credentials returns a key that works, from the cache if half of its lease is left.
func (s *supplier) credentials(ctx context.Context) (*entry, error) {
	kept, err := s.cache.load()
	if err != nil {
		return nil, err
	}
	if kept.fresh(s.now()) {
		if !s.check || !s.hasEnded(ctx, kept) {
			return kept, nil
		}
		kept.Expires = time.Time{}
	}
	release, err := s.lock(ctx, kept)
	if err != nil {
		if kept.usable(s.now()) {
			s.warn("%s; the key that is kept goes on until %s", err, kept.Expires.Format(time.RFC3339))
			return kept, nil
		}
		return nil, err
	}
	defer release()
	before := kept
	// Whoever had the lock before has perhaps done what there was to do.
	if kept, err = s.cache.load(); err != nil {
		return nil, err
	}
	if before != nil && kept != nil && kept.LeaseID == before.LeaseID && before.Expires.IsZero() {
		kept = before // which has ended before its time
	}
	return s.next(ctx, kept)
}

// lock waits for the cache's lock. With a key that works it does not wait for long:
// whoever has the lock may be waiting for AWS, and for another role at that.
func (s *supplier) lock(ctx context.Context, kept *entry) (release func(), err error) {
	if kept.usable(s.now()) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, renewTimeout)
		defer cancel()
	}
	return s.cache.lock(ctx)
}

// next is called with the lock. It asks Vault for what is needed, given what is kept.
func (s *supplier) next(ctx context.Context, kept *entry) (*entry, error) {
	if kept.fresh(s.now()) {
		return kept, nil
	}
	if kept.usable(s.now()) {
		if done, err := s.renew(ctx, kept); err != nil || done {
			return s.keep(kept, err)
		}
	}
	if kept != nil && kept.Expires.IsZero() {
		// Whoever does not ask must not be given it either, if no other can be had.
		if err := s.cache.store(kept); err != nil {
			s.warn("noting that the lease has ended: %s", err)
		}
	}
	issued, err := s.issue(ctx, kept)
	if err != nil && kept.usable(s.now()) {
		return s.keep(kept, err)
	}
	return issued, err
}

// renew has the lease renewed. It is not done if the lease cannot be renewed, or not
// for long, so that another is wanted; kept is then usable for as long as it still is.
// An error is one of asking.
func (s *supplier) renew(ctx context.Context, kept *entry) (done bool, err error) {
	if !kept.Renewable {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	asked := s.now()
	secret, err := s.client.Sys().RenewWithContext(ctx, kept.LeaseID, 0)
	switch {
	case hasEnded(err):
		kept.Expires = time.Time{}
		return false, nil
	case isRefusal(err):
		s.warn("%s; another lease is asked for", brief(err))
		return false, nil
	case err != nil:
		return false, fmt.Errorf("renewing the lease: %w", err)
	case secret == nil || secret.LeaseDuration <= 0:
		return false, errors.New("renewing the lease: the answer does not say for how long")
	}
	length := time.Duration(secret.LeaseDuration) * time.Second
	kept.Renewable = secret.Renewable
	kept.grant(asked, length)
	return length >= kept.TTL/2, nil
}

// keep hands out the key that there is, and notes when to ask again. A note that fails
// costs no more than asking earlier.
func (s *supplier) keep(kept *entry, reason error) (*entry, error) {
	if reason != nil {
		kept.AskAgain = s.now().Add(retryPause).UTC()
		s.warn("%s; the key that is kept goes on until %s", brief(reason), kept.Expires.Format(time.RFC3339))
	}
	if err := s.cache.store(kept); err != nil {
		s.warn("noting when to ask again: %s", err)
	}
	return kept, nil
}

// issue asks for another lease. Its key is handed out only once it is kept: otherwise
// each call would make another user.
func (s *supplier) issue(ctx context.Context, before *entry) (*entry, error) {
	var params map[string][]string
	if s.ttl != "" {
		params = map[string][]string{"ttl": {s.ttl}}
	}
	asked := s.now()
	secret, err := s.client.Logical().ReadWithDataWithContext(ctx, s.path, params)
	if err != nil {
		if s.client.Token() == "" && isRefusal(err) {
			return nil, fmt.Errorf("reading %s without a token, set VAULT_TOKEN or log in with vault login: %w", s.path, err)
		}
		return nil, fmt.Errorf("reading %s: %w", s.path, err)
	}
	e, err := newEntry(secret, asked)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.path, err)
	}
	for _, warning := range secret.Warnings {
		s.warn("%s", warning)
	}
	e.Earlier = before.leases(asked)
	if err := s.cache.store(e); err != nil {
		return nil, errors.Join(fmt.Errorf("keeping the key: %w", err), s.undo(ctx, e))
	}
	s.cache.sweep(asked)
	return e, nil
}

// newEntry takes what is needed from the engine's answer.
func newEntry(secret *api.Secret, asked time.Time) (*entry, error) {
	if secret == nil {
		return nil, errors.New("there is nothing")
	}
	e := &entry{LeaseID: secret.LeaseID, Renewable: secret.Renewable, TTL: time.Duration(secret.LeaseDuration) * time.Second}
	e.AccessKeyID, _ = secret.Data["access_key_id"].(string)
	e.SecretAccessKey, _ = secret.Data["secret_access_key"].(string)
	if e.AccessKeyID == "" || e.SecretAccessKey == "" || e.LeaseID == "" || e.TTL <= 0 {
		return nil, errors.New("the answer is not a leased access key: is -mount one of this secrets engine?")
	}
	e.grant(asked, e.TTL)
	return e, nil
}

// leases are those of the entry that may be alive.
func (e *entry) leases(now time.Time) []earlierLease {
	if e == nil {
		return nil
	}
	var alive []earlierLease
	for _, lease := range append(e.Earlier, earlierLease{e.LeaseID, e.Expires}) {
		if now.Before(lease.Expires) {
			alive = append(alive, lease)
		}
	}
	return alive
}

// undo revokes a lease that nobody will know of, whether or not there is time left.
func (s *supplier) undo(ctx context.Context, e *entry) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := s.revokeLease(ctx, e.LeaseID); err != nil {
		return fmt.Errorf("its lease ends by itself at %s: %w", e.Expires.Format(time.RFC3339), err)
	}
	return nil
}

// revoke ends what is kept. If not all can be revoked, all is known for another attempt:
// Vault does not mind revoking a lease twice.
func (s *supplier) revoke(ctx context.Context) error {
	release, err := s.cache.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	kept, err := s.cache.load()
	if err != nil {
		return err
	}
	if kept == nil {
		s.warn("nothing is kept for these flags and this token")
		return nil
	}
	var errs []error
	if err := s.revokeLease(ctx, kept.LeaseID); err != nil {
		errs = append(errs, err)
	} else {
		kept.Expires = time.Time{}
	}
	for _, lease := range kept.Earlier {
		if err := s.revokeLease(ctx, lease.LeaseID); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return s.cache.remove()
	}
	return errors.Join(append(errs, s.cache.store(kept))...)
}

// revokeLease returns when Vault has revoked it. That it does not know the lease any
// more is no error there.
func (s *supplier) revokeLease(ctx context.Context, id string) error {
	_, err := s.client.Logical().WriteWithContext(ctx, "sys/leases/revoke", map[string]any{"lease_id": id, "sync": true})
	var answer *api.ResponseError
	if errors.As(err, &answer) && answer.StatusCode == http.StatusForbidden {
		return fmt.Errorf("revoking the lease %s takes the capability update on sys/leases/revoke: %w", id, err)
	}
	if err != nil {
		return fmt.Errorf("revoking the lease %s: %w", id, err)
	}
	return nil
}

// hasEnded asks Vault about a lease. No answer, or that the token may not ask, is none.
func (s *supplier) hasEnded(ctx context.Context, kept *entry) bool {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	_, err := s.client.Sys().LookupWithContext(ctx, kept.LeaseID)
	if err != nil && !hasEnded(err) {
		s.warn("whether the lease is alive is not known: %s", brief(err))
	}
	return hasEnded(err)
}

// endings are what Vault says of a lease that is over, and the engine of one whose user
// somebody has deleted.
var endings = []string{"lease not found", "invalid lease", "lease expired", "lease is expired", "the user was deleted"}

// hasEnded says whether Vault's answer means that the lease is over: it does not know
// the lease, or the token, with which its leases ended, or says so.
func hasEnded(err error) bool {
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return false
	}
	text := strings.Join(answer.Errors, "\n")
	switch answer.StatusCode {
	case http.StatusBadRequest:
		return slices.ContainsFunc(endings, func(ending string) bool { return strings.Contains(text, ending) })
	case http.StatusForbidden:
		return strings.Contains(text, "invalid token")
	}
	return false
}

// isRefusal says whether Vault was asked and said no, for a reason that asking again
// does not change.
func isRefusal(err error) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && answer.StatusCode < http.StatusInternalServerError &&
		answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusPreconditionFailed
}

// brief puts an error on one line.
func brief(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
