package awsiam

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"
)

// integrationChange is an integration as it was and as it is to be, by a write of
// its own or of its source.
type integrationChange struct{ before, after *integration }

// moves says whether users that were made before may be out of reach after.
func (c integrationChange) moves() bool {
	return c.after.AccountID != c.before.AccountID || c.after.AccountID == "" && !c.after.connectsAs(c.before)
}

// checkDependents checks what was made with the integrations as they were against
// what they are to be, where it matters: users are read one by one.
func checkDependents(ctx context.Context, s logical.Storage, changes ...integrationChange) error {
	changed, moved := make(map[string]*integration), make(map[string]*integration)
	for _, c := range changes {
		if c.moves() {
			moved[c.after.Name] = c.after
		}
		if c.moves() || c.after.Partition != c.before.Partition || c.after.UserPath != c.before.UserPath || c.after.UsernameTemplate != c.before.UsernameTemplate {
			changed[c.after.Name] = c.after
		}
	}
	if len(changed) > 0 {
		if err := checkRoles(ctx, s, changed); err != nil {
			return err
		}
	}
	if len(moved) > 0 {
		return checkAccountOfUsers(ctx, s, moved)
	}
	return nil
}

// checkRoles refuses what a role that uses one of the integrations could not live with.
func checkRoles(ctx context.Context, s logical.Storage, changed map[string]*integration) error {
	var names []string
	var reason error
	err := eachRole(ctx, s, func(r *role) {
		in := changed[r.Integration]
		if in == nil {
			return
		}
		if err := r.validate(in); err != nil {
			names = append(names, r.Name)
			reason = err
		}
	})
	if err == nil && reason != nil {
		return refuse("role(s) %s would not be valid any more, change them first: %s", some(names), reason)
	}
	return err
}

// checkAccountOfUsers refuses to re-point an integration while users that it
// made may exist: nothing could delete them any more.
func checkAccountOfUsers(ctx context.Context, s logical.Storage, moved map[string]*integration) error {
	elsewhere := make(map[string][]string) // by integration
	err := eachUser(ctx, s, func(u *userRecord) {
		if in := moved[u.Integration]; in != nil && u.AccountID != in.AccountID {
			elsewhere[in.Name] = append(elsewhere[in.Name], u.Username)
		}
	})
	if err != nil || len(elsewhere) == 0 {
		return err
	}
	name := slices.Min(slices.Collect(maps.Keys(elsewhere))) // one at a time
	users := some(elsewhere[name])
	if moved[name].AccountID == "" {
		return refuse("integration %q has issued users (%s), so that its account must not change unseen: try again with %s=true", name, users, fieldVerifyConnection)
	}
	return refuse("integration %q cannot move to account %s while users it made elsewhere exist (%s): revoke their leases first, or connect the account under another name",
		name, moved[name].AccountID, users)
}

// forgetIntegration deletes an integration that nothing needs any more. Nobody is issued
// a user meanwhile, so users, each of whom has to be read, are looked at last.
func (b *backend) forgetIntegration(ctx context.Context, s logical.Storage, name string) error {
	for _, refused := range []func(context.Context, logical.Storage, string) error{
		refuseBorrowers, refuseRoles, b.refuseTidy, refuseUsers,
	} {
		if err := refused(ctx, s, name); err != nil {
			return err
		}
	}
	if err := b.deleteIntegration(ctx, s, name); err != nil {
		return err
	}
	if err := s.Delete(ctx, tidyPrefix+name); err != nil {
		return fmt.Errorf("deleting the tidy of integration %q: %w", name, err)
	}
	return nil
}

func refuseBorrowers(ctx context.Context, s logical.Storage, name string) error {
	borrowers, err := borrowersOf(ctx, s, name)
	if err == nil && len(borrowers) > 0 {
		return refuse("integration(s) %s borrow the identity of %q: delete them or give them another %s first", some(namesOf(borrowers)), name, fieldSourceIntegration)
	}
	return err
}

func refuseRoles(ctx context.Context, s logical.Storage, name string) error {
	var roles []string
	err := eachRole(ctx, s, func(r *role) {
		if r.Integration == name {
			roles = append(roles, r.Name)
		}
	})
	if err == nil && len(roles) > 0 {
		return refuse("integration %q is used by role(s) %s: delete them or give them another integration first", name, some(roles))
	}
	return err
}

func (b *backend) refuseTidy(_ context.Context, _ logical.Storage, name string) error {
	if b.tidies.busy(name) {
		return refuse("a tidy of integration %q is running: wait for its end, or end it with tidy-cancel/%s", name, name)
	}
	return nil
}

func refuseUsers(ctx context.Context, s logical.Storage, name string) error {
	var users []string
	err := eachUser(ctx, s, func(u *userRecord) {
		if u.Integration == name {
			users = append(users, u.Username)
		}
	})
	if err == nil && len(users) > 0 {
		return refuse("integration %q has issued users that may still exist (%s): revoke their leases first", name, some(users))
	}
	return err
}

// some shortens a list for an error message.
func some(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
