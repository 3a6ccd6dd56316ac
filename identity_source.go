package awsiam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

const fieldSourceIntegration = "source_integration"

// validateSource checks what can be known of the source without looking at it.
func (in *integration) validateSource() error {
	switch {
	case in.SourceIntegration == "":
		return nil
	case in.SourceIntegration == in.Name:
		return refuse("%s: integration %q cannot borrow from itself", fieldSourceIntegration, in.Name)
	case in.AccessKey != "" || in.SecretKey != "":
		return refuse("%s and %s exclude each other: clear one of them", fieldSourceIntegration, fieldAccessKey)
	case in.federated():
		return refuse("%s and %s exclude each other: clear one of them", fieldSourceIntegration, fieldIdentityTokenAudience)
	}
	return validateName(fieldSourceIntegration, in.SourceIntegration)
}

// resolve looks up the source, which may not be there or not be readable: the
// integration is then of no use, but can be shown and written.
func (in *integration) resolve(load func(name string) (*integration, error)) error {
	in.source = nil
	if in.SourceIntegration == "" {
		return nil
	}
	source, err := load(in.SourceIntegration)
	if err != nil && !errors.Is(err, errDamagedIntegration) {
		return err
	}
	in.borrow(source)
	return nil
}

// borrow completes an integration as it is stored by its source as that is now, nil
// if there is none. Nothing of it is written to the borrowers when a source changes,
// so that one write changes all or none:
//   - the revision is another with every change of either;
//   - what was verified by means of an identity that the source has no more is not
//     verified;
//   - without a role of its own it is the caller, in the account, that the source is.
//     With one it stays in the role's account.
func (in *integration) borrow(source *integration) {
	in.source = source
	if source == nil {
		source = new(integration)
	}
	in.Revision += "+" + source.Revision
	stale := in.source == nil || in.VerifiedSource != source.IdentityRevision
	if stale {
		in.VerifiedAt = time.Time{}
	}
	if in.RoleARN == "" && (stale || in.AccountID == "") {
		in.AccountID, in.CallerARN, in.Partition = source.AccountID, source.CallerARN, source.Partition
	}
}

// mayBorrow refuses a source that is none.
func (in *integration) mayBorrow() error {
	switch {
	case in.SourceIntegration == "":
		return nil
	case in.source == nil:
		return refuse("%s: there is no integration %q that can be read: write %s%s, or name another",
			fieldSourceIntegration, in.SourceIntegration, integrationPrefix, in.SourceIntegration)
	case in.source.SourceIntegration != "":
		return refuse("%s: integration %q itself borrows from %q: name that one",
			fieldSourceIntegration, in.SourceIntegration, in.source.SourceIntegration)
	}
	return nil
}

// borrowsAs says whether both borrow the same identity, or none.
func (in *integration) borrowsAs(other *integration) bool {
	if in.SourceIntegration != other.SourceIntegration {
		return false
	}
	return in.source == nil || other.source == nil || in.source.IdentityRevision == other.source.IdentityRevision
}

// getIntegration returns the integration, completed by its source.
func getIntegration(ctx context.Context, s logical.Storage, name string) (*integration, error) {
	return completed(name, func(name string) (*integration, error) { return loadIntegration(ctx, s, name) })
}

func completed(name string, load func(name string) (*integration, error)) (*integration, error) {
	in, err := load(name)
	if err == nil && in != nil {
		err = in.resolve(load)
	}
	if err != nil {
		return nil, err
	}
	return in, nil
}

// integrationCache has integrations as they are stored, each by itself, so that a
// change of a source is seen in all who borrow from it.
type integrationCache struct{ *cache[*integration] }

// get is getIntegration.
func (c integrationCache) get(ctx context.Context, s logical.Storage, name string) (*integration, error) {
	return completed(name, func(name string) (*integration, error) { return c.cache.get(ctx, s, name) })
}

// eachIntegration visits the integrations as they are stored, without those that
// cannot be read: these are of no use until they are written again, and are checked
// against the others then.
func eachIntegration(ctx context.Context, s logical.Storage, visit func(*integration)) error {
	names, err := s.List(ctx, integrationPrefix)
	if err != nil {
		return fmt.Errorf("listing integrations: %w", err)
	}
	for _, name := range names {
		in, err := loadIntegration(ctx, s, name)
		switch {
		case errors.Is(err, errDamagedIntegration):
		case err != nil:
			return err
		case in != nil:
			visit(in)
		}
	}
	return nil
}

// borrowersOf are the integrations that borrow from the one of that name, as they
// are stored.
func borrowersOf(ctx context.Context, s logical.Storage, name string) ([]*integration, error) {
	var borrowers []*integration
	err := eachIntegration(ctx, s, func(in *integration) {
		if in.SourceIntegration == name {
			borrowers = append(borrowers, in)
		}
	})
	return borrowers, err
}

// hastenThrough has what AWS refused tried again at once, of the integration and of those that
// borrow from it: writing it may have mended what was wrong for all.
func (b *backend) hastenThrough(s logical.Storage, name string) {
	found := b.reaper.hasten(s, name)
	borrowers, err := borrowersOf(b.reaper.lifetime, s, name)
	if err != nil && b.reaper.lifetime.Err() == nil {
		b.reaper.complainOfStorage(err)
	}
	for _, borrower := range borrowers {
		found = b.reaper.hasten(s, borrower.Name) || found
	}
	if found {
		b.reaper.start(s) // the operator is looking
	}
}

// namesOf are the names of the integrations.
func namesOf(integrations []*integration) []string {
	var names []string
	for _, in := range integrations {
		names = append(names, in.Name)
	}
	return names
}

// checkSource looks at the source again before the integration is stored, when
// nobody else writes one.
func (in *integration) checkSource(ctx context.Context, s logical.Storage) error {
	if in.SourceIntegration == "" {
		in.VerifiedSource = ""
		return nil
	}
	wasVerified := !in.VerifiedAt.IsZero()
	if err := in.resolve(func(name string) (*integration, error) { return loadIntegration(ctx, s, name) }); err != nil {
		return err
	}
	if err := in.mayBorrow(); err != nil {
		return err
	}
	if wasVerified && in.VerifiedAt.IsZero() {
		return refuse("%s: integration %q was changed meanwhile: try again", fieldSourceIntegration, in.SourceIntegration)
	}
	return nil
}

// checkBorrowers refuses what those who borrow from the integration could not live
// with, as far as they can tell, and returns them as they were and as they will be.
func checkBorrowers(ctx context.Context, s logical.Storage, old, in *integration) ([]integrationChange, error) {
	borrowers, err := borrowersOf(ctx, s, in.Name)
	switch {
	case err != nil || len(borrowers) == 0:
		return nil, err
	case in.SourceIntegration != "":
		return nil, refuse("%s: integration(s) %s borrow from %q, which cannot borrow itself then: have them name %q",
			fieldSourceIntegration, some(namesOf(borrowers)), in.Name, in.SourceIntegration)
	case old != nil && old.IdentityRevision == in.IdentityRevision && old.identity() == in.identity():
		return nil, nil
	case old == nil:
		old = newIntegration(in.Name)
	}
	var changes []integrationChange
	for _, after := range borrowers {
		before := after.clone()
		before.borrow(old)
		after.borrow(in)
		changes = append(changes, integrationChange{before, after})
		if after.RoleARN != "" || after.CallerARN == "" {
			continue
		}
		if err := after.setIdentity(after.identity()); err != nil {
			return nil, fmt.Errorf("integration %q borrows from it: %w", after.Name, err)
		}
	}
	return changes, nil
}

// borrowersUnverified warns of what the write of a source leaves to be done.
func borrowersUnverified(changes []integrationChange) *logical.Response {
	var names []string
	for _, c := range changes {
		if c.before.verified() && !c.after.verified() {
			names = append(names, c.after.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return &logical.Response{Warnings: []string{fmt.Sprintf(
		"integration(s) %s borrow this identity, and AWS has not let them in with it yet: write them again, without any change, to have that verified", some(names))}}
}

// holdsKey says whether the access key is the integration's, or one that a rotation
// of it is about to use or to delete.
func (in *integration) holdsKey(id string) bool {
	j := in.Rotation.Journal
	held := []string{in.AccessKey, j.Old.ID, j.New.ID}
	if j.Forsaken != nil {
		held = append(held, j.Forsaken.AccessKey)
	}
	return id != "" && slices.Contains(held, id)
}

// otherHolder returns another integration that holds the access key, nil if there is
// none.
func otherHolder(ctx context.Context, s logical.Storage, in *integration) (holder *integration, err error) {
	err = eachIntegration(ctx, s, func(other *integration) {
		if other.Name != in.Name && other.holdsKey(in.AccessKey) {
			holder = other
		}
	})
	return holder, err
}

// refuseKeyOfAnother keeps a key from being stored twice: rotating it in one place
// would lock the other out. Keys that are stored already stay.
func refuseKeyOfAnother(ctx context.Context, s logical.Storage, old, in *integration) error {
	if in.AccessKey == "" || old != nil && old.AccessKey == in.AccessKey {
		return nil
	}
	holder, err := otherHolder(ctx, s, in)
	switch {
	case err != nil || holder == nil:
		return err
	case holder.AccessKey != in.AccessKey:
		return refuse("%s: a rotation of integration %q has this key, and it may be deleted in a moment: give another, or %s=%s instead",
			fieldAccessKey, holder.Name, fieldSourceIntegration, holder.Name)
	}
	return refuse("%s: integration %q has this key: give %s=%s instead of it, so that it is stored and rotated in one place",
		fieldAccessKey, holder.Name, fieldSourceIntegration, holder.Name)
}

// tidiedThrough returns an integration, this one or one that borrows from it, of
// which a tidy is running, which signs with its key; empty if there is none.
func (b *backend) tidiedThrough(ctx context.Context, s logical.Storage, name string) (string, error) {
	borrowers, err := borrowersOf(ctx, s, name)
	for _, candidate := range append(namesOf(borrowers), name) {
		if err == nil && b.tidies.busy(candidate) {
			return candidate, nil
		}
	}
	return "", err
}
