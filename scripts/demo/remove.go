package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

const (
	// emptyLooks is how many looks in a row must find no user: lists lag, too.
	emptyLooks = 2
	// settled is the age from which "no such user" is believed: a younger one
	// may exist all the same, and is answered so when AWS lags behind itself.
	settled = 15 * time.Second
)

// issuedUsers is where the users are that the plugin makes.
type issuedUsers struct {
	path    string // of this mount; "" until Vault has connected to AWS
	mounted bool   // the mount may have leases
}

// unmount has Vault delete all users that are left, unless that is done. What
// it does not delete, removeFromAWS does.
func (d *demo) unmount(ctx context.Context) error {
	if !d.issued.mounted {
		return nil
	}
	if _, stderr, err := d.runVault(ctx, "", "secrets", "disable", mountName); err != nil {
		return fmt.Errorf("vault secrets disable %s: %w\n%s", mountName, err, stderr)
	}
	d.issued.mounted = false
	d.out.line("Disabled the mount " + mount + ": its leases are revoked, their users deleted.")
	return nil
}

// removeFromAWS removes whatever the demo has made in AWS and is still there.
// It runs when Vault is gone and makes no more users.
func (d *demo) removeFromAWS(ctx context.Context) error {
	var issued, integration error
	if d.issued.path != "" {
		issued = d.removeIssued(ctx)
	}
	if u := d.integration; u.exists {
		if integration = d.removeUser(ctx, u.name, u.made); integration == nil {
			u.exists = false
			d.out.line("Deleted the integration user " + u.name + ", its key and policy.")
		}
	}
	return errors.Join(issued, integration)
}

// removeIssued deletes the users that Vault has not deleted. There are some
// only when something went wrong.
func (d *demo) removeIssued(ctx context.Context) error {
	for empty := 0; empty < emptyLooks; {
		users, err := usersBeneath(ctx, d.cloud.admin, d.issued.path)
		if err != nil {
			return fmt.Errorf("account %s could not be searched for users beneath %s, delete them by hand if there are any: %w", d.cloud.account, d.issued.path, err)
		}
		empty++
		for _, user := range users {
			name := aws.ToString(user.UserName)
			if err := d.removeUser(ctx, name, aws.ToTime(user.CreateDate)); err != nil {
				return err
			}
			d.out.line("Deleted the issued user " + name + ", which Vault had not.")
			empty = 0
		}
		if !pause(ctx, d.cloud.interval) {
			return ctx.Err()
		}
	}
	d.out.line("No user is left beneath " + d.issued.path + ".")
	return nil
}

// removeUser deletes a user with its keys and inline policies, as the
// administrator. That it is gone already is fine.
func (d *demo) removeUser(ctx context.Context, name string, made time.Time) error {
	for {
		err := d.deleteUser(ctx, name)
		if hasCode(err, noSuchEntity) {
			if time.Since(made) > settled {
				return nil
			}
			if pause(ctx, d.cloud.interval) {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("user %s in account %s could not be removed, delete it by hand: %w", name, d.cloud.account, err)
		}
		return nil
	}
}

func (d *demo) deleteUser(ctx context.Context, name string) error {
	api, user := d.cloud.admin.iam, aws.String(name)
	keys, err := api.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: user})
	if err != nil {
		return err
	}
	policies, err := api.ListUserPolicies(ctx, &iam.ListUserPoliciesInput{UserName: user})
	if err != nil {
		return err
	}
	var errs []error
	for _, key := range keys.AccessKeyMetadata {
		_, err := api.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: user, AccessKeyId: key.AccessKeyId})
		errs = append(errs, err)
	}
	for _, policy := range policies.PolicyNames {
		_, err := api.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: user, PolicyName: aws.String(policy)})
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err = api.DeleteUser(ctx, &iam.DeleteUserInput{UserName: user})
	return err
}
