package awsiam

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"
)

// checkDependents checks what was made with the integration as it was against
// what it is to be, where it matters: users are read one by one.
func checkDependents(ctx context.Context, s logical.Storage, old, in *integration) error {
	moves := in.AccountID != old.AccountID || in.AccountID == "" && !in.connectsAs(old)
	if moves || in.Partition != old.Partition || in.UserPath != old.UserPath || in.UsernameTemplate != old.UsernameTemplate {
		if err := checkRoles(ctx, s, in); err != nil {
			return err
		}
	}
	if moves {
		return checkAccountOfUsers(ctx, s, in)
	}
	return nil
}

// checkRoles refuses what a role that uses the integration could not live with.
func checkRoles(ctx context.Context, s logical.Storage, in *integration) error {
	var names []string
	var reason error
	err := eachRole(ctx, s, func(r *role) {
		if r.Integration != in.Name {
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
func checkAccountOfUsers(ctx context.Context, s logical.Storage, in *integration) error {
	var elsewhere []string
	err := eachUser(ctx, s, func(u *userRecord) {
		if u.Integration == in.Name && u.AccountID != in.AccountID {
			elsewhere = append(elsewhere, u.Username)
		}
	})
	switch {
	case err != nil || len(elsewhere) == 0:
		return err
	case in.AccountID == "":
		return refuse("integration %q has issued users (%s), so that its account must not change unseen: write it with %s=true", in.Name, some(elsewhere), fieldVerifyConnection)
	}
	return refuse("integration %q cannot move to account %s while users it made elsewhere exist (%s): revoke their leases first, or connect the account under another name", in.Name, in.AccountID, some(elsewhere))
}

func (b *backend) forgetIntegration(ctx context.Context, s logical.Storage, name string) error {
	var roles, users []string
	err := errors.Join(
		eachRole(ctx, s, func(r *role) {
			if r.Integration == name {
				roles = append(roles, r.Name)
			}
		}),
		eachUser(ctx, s, func(u *userRecord) {
			if u.Integration == name {
				users = append(users, u.Username)
			}
		}))
	switch {
	case err != nil:
		return err
	case len(roles) > 0:
		return refuse("integration %q is used by role(s) %s: delete them or give them another integration first", name, some(roles))
	case b.tidies.busy(name):
		return refuse("a tidy of integration %q is running: wait for its end, or end it with tidy-cancel/%s", name, name)
	case len(users) > 0:
		return refuse("integration %q has issued users that may still exist (%s): revoke their leases first", name, some(users))
	}
	if err := b.deleteIntegration(ctx, s, name); err != nil {
		return err
	}
	if err := s.Delete(ctx, tidyPrefix+name); err != nil {
		return fmt.Errorf("deleting the tidy of integration %q: %w", name, err)
	}
	return nil
}

// some shortens a list for an error message.
func some(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
