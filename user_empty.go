package awsiam

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// emptying removes everything that others may have hung on a user.
type emptying struct {
	iam      iamAPI
	username string
	// last is the inline policy that stays until nothing else can give the
	// user's sessions permissions; empty if none has to.
	last string
	// grants is set while something else is known to.
	grants bool
	// quarantine is the policy by which AWS had contained a key that it found
	// in public, if it had.
	quarantine string
}

// dependents is one of the nine kinds of things that IAM requires gone before
// a user can be deleted (IAM user guide, id_users_manage).
type dependents struct {
	kind    string
	remove  func(*emptying, context.Context) error
	actions string // what removing them takes
	grant   bool   // they give permissions
}

// allDependents has the access keys first: whatever fails after them, the
// user's key is dead.
var allDependents = []dependents{
	{"access keys", (*emptying).accessKeys, "iam:ListAccessKeys and iam:DeleteAccessKey", false},
	{"attached policies", (*emptying).attachedPolicies, "iam:ListAttachedUserPolicies and iam:DetachUserPolicy, also for the " + quarantinePolicy +
		" that AWS attaches when a key has leaked", true},
	{"group memberships", (*emptying).groups, "iam:ListGroupsForUser, and iam:RemoveUserFromGroup on the groups", true},
	{"inline policies", (*emptying).inlinePolicies, "iam:ListUserPolicies and iam:DeleteUserPolicy", false},
	{"login profile", (*emptying).loginProfile, "iam:DeleteLoginProfile", false},
	{"MFA devices", (*emptying).mfaDevices, "iam:ListMFADevices, iam:DeactivateMFADevice, and iam:DeleteVirtualMFADevice on the devices", false},
	{"signing certificates", (*emptying).signingCertificates, "iam:ListSigningCertificates and iam:DeleteSigningCertificate", false},
	{"SSH public keys", (*emptying).sshPublicKeys, "iam:ListSSHPublicKeys and iam:DeleteSSHPublicKey", false},
	{"service-specific credentials", (*emptying).serviceCredentials, "iam:ListServiceSpecificCredentials and iam:DeleteServiceSpecificCredential", false},
}

// quarantinePolicy begins the names of AWS's managed policies for keys that it
// found in public (IAM user guide, AWS managed policies).
const quarantinePolicy = "AWSCompromisedKeyQuarantine"

// run tries every kind. What it may not do, or what this partition does not
// know, is left to DeleteUser to decide: the error says what may still be there
// and which permissions would remove it.
func (e *emptying) run(ctx context.Context) error {
	var errs []error
	for _, d := range allDependents {
		err := d.remove(e, ctx)
		if ignore(err, codeNoSuchEntity, codeInvalidAction) == nil {
			continue
		}
		if hasCode(err, codeAccessDenied) {
			// Whether there is any is not known, and DeleteUser has to be given a try.
			err = advice(fmt.Sprintf("%s may hold it: grant %s", d.kind, d.actions))
		} else {
			e.grants = e.grants || d.grant
			err = fmt.Errorf("%s may hold it: %w", d.kind, err)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// page is one answer of a list call, and the marker of the next, if any.
type page[T any] struct {
	items  []T
	marker *string
}

// eachItem visits all items of a paginated list. Visiting may remove the item,
// and somebody else may have removed it before.
func eachItem[T any](list func(marker *string) (page[T], error), visit func(T) error) error {
	var errs []error
	var marker *string
	for {
		p, err := list(marker)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, item := range p.items {
			errs = append(errs, ignore(visit(item), codeNoSuchEntity))
		}
		if p.marker == nil {
			return errors.Join(errs...)
		}
		marker = p.marker
	}
}

// next is the marker of the next page; IAM says that there is one in a flag.
func next(truncated bool, marker *string) *string {
	if !truncated {
		return nil
	}
	return marker
}

func eachAccessKey(ctx context.Context, api iamAPI, username string, visit func(types.AccessKeyMetadata) error) error {
	return eachItem(func(marker *string) (page[types.AccessKeyMetadata], error) {
		out, err := api.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &username, Marker: marker})
		if err != nil {
			return page[types.AccessKeyMetadata]{}, err
		}
		return page[types.AccessKeyMetadata]{out.AccessKeyMetadata, next(out.IsTruncated, out.Marker)}, nil
	}, visit)
}

func eachUserOfAccount(ctx context.Context, api iamAPI, visit func(types.User) error) error {
	return eachItem(func(marker *string) (page[types.User], error) {
		out, err := api.ListUsers(ctx, &iam.ListUsersInput{Marker: marker, MaxItems: aws.Int32(1000)})
		if err != nil {
			return page[types.User]{}, err
		}
		return page[types.User]{out.Users, next(out.IsTruncated, out.Marker)}, nil
	}, visit)
}

func eachInlinePolicy(ctx context.Context, api iamAPI, username string, visit func(string) error) error {
	return eachItem(func(marker *string) (page[string], error) {
		out, err := api.ListUserPolicies(ctx, &iam.ListUserPoliciesInput{UserName: &username, Marker: marker})
		if err != nil {
			return page[string]{}, err
		}
		return page[string]{out.PolicyNames, next(out.IsTruncated, out.Marker)}, nil
	}, visit)
}

func (e *emptying) accessKeys(ctx context.Context) error {
	return eachAccessKey(ctx, e.iam, e.username, func(key types.AccessKeyMetadata) error {
		_, err := e.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &e.username, AccessKeyId: key.AccessKeyId})
		return err
	})
}

func (e *emptying) inlinePolicies(ctx context.Context) error {
	remove := func(policy string) error {
		_, err := e.iam.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: &e.username, PolicyName: &policy})
		return err
	}
	err := eachInlinePolicy(ctx, e.iam, e.username, func(policy string) error {
		if policy == e.last {
			return nil
		}
		return remove(policy)
	})
	if err != nil || e.last == "" || e.grants {
		return err
	}
	return remove(e.last)
}

func (e *emptying) attachedPolicies(ctx context.Context) error {
	return eachItem(func(marker *string) (page[types.AttachedPolicy], error) {
		out, err := e.iam.ListAttachedUserPolicies(ctx, &iam.ListAttachedUserPoliciesInput{UserName: &e.username, Marker: marker})
		if err != nil {
			return page[types.AttachedPolicy]{}, err
		}
		return page[types.AttachedPolicy]{out.AttachedPolicies, next(out.IsTruncated, out.Marker)}, nil
	}, func(policy types.AttachedPolicy) error {
		if name := aws.ToString(policy.PolicyName); strings.HasPrefix(name, quarantinePolicy) {
			e.quarantine = name
		}
		_, err := e.iam.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: &e.username, PolicyArn: policy.PolicyArn})
		return err
	})
}

func (e *emptying) groups(ctx context.Context) error {
	return eachItem(func(marker *string) (page[types.Group], error) {
		out, err := e.iam.ListGroupsForUser(ctx, &iam.ListGroupsForUserInput{UserName: &e.username, Marker: marker})
		if err != nil {
			return page[types.Group]{}, err
		}
		return page[types.Group]{out.Groups, next(out.IsTruncated, out.Marker)}, nil
	}, func(group types.Group) error {
		_, err := e.iam.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: &e.username, GroupName: group.GroupName})
		return err
	})
}

func (e *emptying) loginProfile(ctx context.Context) error {
	_, err := e.iam.DeleteLoginProfile(ctx, &iam.DeleteLoginProfileInput{UserName: &e.username})
	return err
}

func (e *emptying) mfaDevices(ctx context.Context) error {
	return eachItem(func(marker *string) (page[types.MFADevice], error) {
		out, err := e.iam.ListMFADevices(ctx, &iam.ListMFADevicesInput{UserName: &e.username, Marker: marker})
		if err != nil {
			return page[types.MFADevice]{}, err
		}
		return page[types.MFADevice]{out.MFADevices, next(out.IsTruncated, out.Marker)}, nil
	}, func(device types.MFADevice) error {
		if _, err := e.iam.DeactivateMFADevice(ctx, &iam.DeactivateMFADeviceInput{UserName: &e.username, SerialNumber: device.SerialNumber}); err != nil {
			return err
		}
		// Only a virtual device, whose serial number is an ARN, can and need be
		// deleted; deactivated, it does not hold the user any more.
		_, err := e.iam.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: device.SerialNumber})
		return ignore(err, codeNoSuchEntity, codeAccessDenied, "ValidationError")
	})
}

func (e *emptying) signingCertificates(ctx context.Context) error {
	return eachItem(func(marker *string) (page[types.SigningCertificate], error) {
		out, err := e.iam.ListSigningCertificates(ctx, &iam.ListSigningCertificatesInput{UserName: &e.username, Marker: marker})
		if err != nil {
			return page[types.SigningCertificate]{}, err
		}
		return page[types.SigningCertificate]{out.Certificates, next(out.IsTruncated, out.Marker)}, nil
	}, func(certificate types.SigningCertificate) error {
		_, err := e.iam.DeleteSigningCertificate(ctx, &iam.DeleteSigningCertificateInput{UserName: &e.username, CertificateId: certificate.CertificateId})
		return err
	})
}

func (e *emptying) sshPublicKeys(ctx context.Context) error {
	return eachItem(func(marker *string) (page[types.SSHPublicKeyMetadata], error) {
		out, err := e.iam.ListSSHPublicKeys(ctx, &iam.ListSSHPublicKeysInput{UserName: &e.username, Marker: marker})
		if err != nil {
			return page[types.SSHPublicKeyMetadata]{}, err
		}
		return page[types.SSHPublicKeyMetadata]{out.SSHPublicKeys, next(out.IsTruncated, out.Marker)}, nil
	}, func(key types.SSHPublicKeyMetadata) error {
		_, err := e.iam.DeleteSSHPublicKey(ctx, &iam.DeleteSSHPublicKeyInput{UserName: &e.username, SSHPublicKeyId: key.SSHPublicKeyId})
		return err
	})
}

func (e *emptying) serviceCredentials(ctx context.Context) error {
	return eachItem(func(marker *string) (page[types.ServiceSpecificCredentialMetadata], error) {
		out, err := e.iam.ListServiceSpecificCredentials(ctx, &iam.ListServiceSpecificCredentialsInput{UserName: &e.username, Marker: marker})
		if err != nil {
			return page[types.ServiceSpecificCredentialMetadata]{}, err
		}
		return page[types.ServiceSpecificCredentialMetadata]{out.ServiceSpecificCredentials, next(out.IsTruncated, out.Marker)}, nil
	}, func(credential types.ServiceSpecificCredentialMetadata) error {
		_, err := e.iam.DeleteServiceSpecificCredential(ctx, &iam.DeleteServiceSpecificCredentialInput{UserName: &e.username, ServiceSpecificCredentialId: credential.ServiceSpecificCredentialId})
		return err
	})
}
