package awsfake_test

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// throttleRetryer is patient with a real account's rate limit.
func throttleRetryer() aws.Retryer { return retry.AddWithMaxAttempts(retry.NewStandard(), 10) }

// sweep removes all that a check made, whatever state it left it in. Errors are of no interest: the
// suite counts what is left where that can be counted.
func (s *subject) sweep(ctx context.Context) {
	users, err := s.iam.ListUsers(ctx, &iam.ListUsersInput{PathPrefix: aws.String(acceptancePath), MaxItems: aws.Int32(1000)})
	if err == nil {
		for _, u := range users.Users {
			if strings.HasPrefix(strings.ToLower(*u.UserName), s.prefix) {
				s.sweepUser(ctx, u.UserName)
			}
		}
	}
	if groups, err := s.iam.ListGroups(ctx, &iam.ListGroupsInput{PathPrefix: aws.String(acceptancePath)}); err == nil {
		for _, g := range groups.Groups {
			if strings.HasPrefix(*g.GroupName, s.prefix) {
				_, _ = s.iam.DeleteGroup(ctx, &iam.DeleteGroupInput{GroupName: g.GroupName})
			}
		}
	}
	for _, arn := range s.policies {
		_, _ = s.iam.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: &arn})
	}
}

func (s *subject) sweepUser(ctx context.Context, name *string) {
	if out, err := s.iam.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: name}); err == nil {
		for _, k := range out.AccessKeyMetadata {
			_, _ = s.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: k.AccessKeyId})
		}
	}
	if out, err := s.iam.ListUserPolicies(ctx, &iam.ListUserPoliciesInput{UserName: name}); err == nil {
		for _, p := range out.PolicyNames {
			_, _ = s.iam.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: name, PolicyName: &p})
		}
	}
	if out, err := s.iam.ListAttachedUserPolicies(ctx, &iam.ListAttachedUserPoliciesInput{UserName: name}); err == nil {
		for _, p := range out.AttachedPolicies {
			_, _ = s.iam.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: name, PolicyArn: p.PolicyArn})
		}
	}
	if out, err := s.iam.ListGroupsForUser(ctx, &iam.ListGroupsForUserInput{UserName: name}); err == nil {
		for _, g := range out.Groups {
			_, _ = s.iam.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: name, GroupName: g.GroupName})
		}
	}
	if out, err := s.iam.ListMFADevices(ctx, &iam.ListMFADevicesInput{UserName: name}); err == nil {
		for _, d := range out.MFADevices {
			_, _ = s.iam.DeactivateMFADevice(ctx, &iam.DeactivateMFADeviceInput{UserName: name, SerialNumber: d.SerialNumber})
			_, _ = s.iam.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: d.SerialNumber})
		}
	}
	if out, err := s.iam.ListSigningCertificates(ctx, &iam.ListSigningCertificatesInput{UserName: name}); err == nil {
		for _, c := range out.Certificates {
			_, _ = s.iam.DeleteSigningCertificate(ctx, &iam.DeleteSigningCertificateInput{UserName: name, CertificateId: c.CertificateId})
		}
	}
	if out, err := s.iam.ListSSHPublicKeys(ctx, &iam.ListSSHPublicKeysInput{UserName: name}); err == nil {
		for _, k := range out.SSHPublicKeys {
			_, _ = s.iam.DeleteSSHPublicKey(ctx, &iam.DeleteSSHPublicKeyInput{UserName: name, SSHPublicKeyId: k.SSHPublicKeyId})
		}
	}
	if out, err := s.iam.ListServiceSpecificCredentials(ctx, &iam.ListServiceSpecificCredentialsInput{UserName: name}); err == nil {
		for _, c := range out.ServiceSpecificCredentials {
			_, _ = s.iam.DeleteServiceSpecificCredential(ctx, &iam.DeleteServiceSpecificCredentialInput{
				UserName: name, ServiceSpecificCredentialId: c.ServiceSpecificCredentialId,
			})
		}
	}
	_, _ = s.iam.DeleteLoginProfile(ctx, &iam.DeleteLoginProfileInput{UserName: name})
	_, _ = s.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
}
