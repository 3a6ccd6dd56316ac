package awsiam

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// dependents is one of the nine kinds of things that IAM requires gone before
// a user can be deleted (IAM user guide, id_users_manage).
type dependents struct {
	kind   string
	remove func(context.Context, iamAPI, string) error
}

// allDependents has the access keys first: whatever fails after them, the
// user's key is dead.
var allDependents = []dependents{
	{"access keys", removeAccessKeys},
	{"inline policies", removeInlinePolicies},
	{"attached policies", removeAttachedPolicies},
	{"group memberships", removeGroups},
	{"login profile", removeLoginProfile},
	{"MFA devices", removeMFADevices},
	{"signing certificates", removeSigningCertificates},
	{"SSH public keys", removeSSHPublicKeys},
	{"service-specific credentials", removeServiceCredentials},
}

// emptyUser removes everything that others may have hung on the user. What it
// may not do, or what this partition does not know, is left to DeleteUser to
// decide: the error says what may still be there.
func emptyUser(ctx context.Context, api iamAPI, username string) error {
	var errs []error
	for _, d := range allDependents {
		err := d.remove(ctx, api, username)
		if ignore(err, codeNoSuchEntity, codeInvalidAction) != nil {
			errs = append(errs, fmt.Errorf("%s: %w", d.kind, err))
		}
	}
	return errors.Join(errs...)
}

// page is one answer of a list call, and the marker of the next, if any.
type page[T any] struct {
	items  []T
	marker *string
}

// eachItem visits all items of a paginated list. Visiting may remove the item.
func eachItem[T any](list func(marker *string) (page[T], error), visit func(T) error) error {
	var errs []error
	var marker *string
	for {
		p, err := list(marker)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, item := range p.items {
			errs = append(errs, visit(item))
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

func removeAccessKeys(ctx context.Context, api iamAPI, username string) error {
	return eachAccessKey(ctx, api, username, func(key types.AccessKeyMetadata) error {
		_, err := api.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &username, AccessKeyId: key.AccessKeyId})
		return err
	})
}

func removeInlinePolicies(ctx context.Context, api iamAPI, username string) error {
	return eachItem(func(marker *string) (page[string], error) {
		out, err := api.ListUserPolicies(ctx, &iam.ListUserPoliciesInput{UserName: &username, Marker: marker})
		if err != nil {
			return page[string]{}, err
		}
		return page[string]{out.PolicyNames, next(out.IsTruncated, out.Marker)}, nil
	}, func(policy string) error {
		_, err := api.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: &username, PolicyName: &policy})
		return err
	})
}

func removeAttachedPolicies(ctx context.Context, api iamAPI, username string) error {
	return eachItem(func(marker *string) (page[types.AttachedPolicy], error) {
		out, err := api.ListAttachedUserPolicies(ctx, &iam.ListAttachedUserPoliciesInput{UserName: &username, Marker: marker})
		if err != nil {
			return page[types.AttachedPolicy]{}, err
		}
		return page[types.AttachedPolicy]{out.AttachedPolicies, next(out.IsTruncated, out.Marker)}, nil
	}, func(policy types.AttachedPolicy) error {
		_, err := api.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: &username, PolicyArn: policy.PolicyArn})
		return err
	})
}

func removeGroups(ctx context.Context, api iamAPI, username string) error {
	return eachItem(func(marker *string) (page[types.Group], error) {
		out, err := api.ListGroupsForUser(ctx, &iam.ListGroupsForUserInput{UserName: &username, Marker: marker})
		if err != nil {
			return page[types.Group]{}, err
		}
		return page[types.Group]{out.Groups, next(out.IsTruncated, out.Marker)}, nil
	}, func(group types.Group) error {
		_, err := api.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: &username, GroupName: group.GroupName})
		return err
	})
}

func removeLoginProfile(ctx context.Context, api iamAPI, username string) error {
	_, err := api.DeleteLoginProfile(ctx, &iam.DeleteLoginProfileInput{UserName: &username})
	return err
}

func removeMFADevices(ctx context.Context, api iamAPI, username string) error {
	return eachItem(func(marker *string) (page[types.MFADevice], error) {
		out, err := api.ListMFADevices(ctx, &iam.ListMFADevicesInput{UserName: &username, Marker: marker})
		if err != nil {
			return page[types.MFADevice]{}, err
		}
		return page[types.MFADevice]{out.MFADevices, next(out.IsTruncated, out.Marker)}, nil
	}, func(device types.MFADevice) error {
		if _, err := api.DeactivateMFADevice(ctx, &iam.DeactivateMFADeviceInput{UserName: &username, SerialNumber: device.SerialNumber}); err != nil {
			return err
		}
		// Only a virtual device, whose serial number is an ARN, can and need be
		// deleted; deactivated, it does not hold the user any more.
		_, err := api.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: device.SerialNumber})
		return ignore(err, codeNoSuchEntity, codeAccessDenied, "ValidationError")
	})
}

func removeSigningCertificates(ctx context.Context, api iamAPI, username string) error {
	return eachItem(func(marker *string) (page[types.SigningCertificate], error) {
		out, err := api.ListSigningCertificates(ctx, &iam.ListSigningCertificatesInput{UserName: &username, Marker: marker})
		if err != nil {
			return page[types.SigningCertificate]{}, err
		}
		return page[types.SigningCertificate]{out.Certificates, next(out.IsTruncated, out.Marker)}, nil
	}, func(certificate types.SigningCertificate) error {
		_, err := api.DeleteSigningCertificate(ctx, &iam.DeleteSigningCertificateInput{UserName: &username, CertificateId: certificate.CertificateId})
		return err
	})
}

func removeSSHPublicKeys(ctx context.Context, api iamAPI, username string) error {
	return eachItem(func(marker *string) (page[types.SSHPublicKeyMetadata], error) {
		out, err := api.ListSSHPublicKeys(ctx, &iam.ListSSHPublicKeysInput{UserName: &username, Marker: marker})
		if err != nil {
			return page[types.SSHPublicKeyMetadata]{}, err
		}
		return page[types.SSHPublicKeyMetadata]{out.SSHPublicKeys, next(out.IsTruncated, out.Marker)}, nil
	}, func(key types.SSHPublicKeyMetadata) error {
		_, err := api.DeleteSSHPublicKey(ctx, &iam.DeleteSSHPublicKeyInput{UserName: &username, SSHPublicKeyId: key.SSHPublicKeyId})
		return err
	})
}

func removeServiceCredentials(ctx context.Context, api iamAPI, username string) error {
	return eachItem(func(marker *string) (page[types.ServiceSpecificCredentialMetadata], error) {
		out, err := api.ListServiceSpecificCredentials(ctx, &iam.ListServiceSpecificCredentialsInput{UserName: &username, Marker: marker})
		if err != nil {
			return page[types.ServiceSpecificCredentialMetadata]{}, err
		}
		return page[types.ServiceSpecificCredentialMetadata]{out.ServiceSpecificCredentials, next(out.IsTruncated, out.Marker)}, nil
	}, func(credential types.ServiceSpecificCredentialMetadata) error {
		_, err := api.DeleteServiceSpecificCredential(ctx, &iam.DeleteServiceSpecificCredentialInput{UserName: &username, ServiceSpecificCredentialId: credential.ServiceSpecificCredentialId})
		return err
	})
}
