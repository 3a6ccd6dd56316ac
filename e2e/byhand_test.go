package e2e

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// byHand is an administrator of the account, behind the engine's back.
func (s simulation) byHand(accountID string) *iam.Client {
	root := s.Account(accountID).Root()
	return credential{AccessKeyID: root.AccessKeyID, SecretAccessKey: root.SecretAccessKey, aws: s}.client()
}

// hang hangs on a user what people hang on users, and what AWS requires gone before
// a user can be deleted.
var hang = map[string]func(ctx context.Context, api *iam.Client, name *string) error{
	"access key": func(ctx context.Context, api *iam.Client, name *string) error {
		_, err := api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
		return err
	},
	"inline policy": func(ctx context.Context, api *iam.Client, name *string) error {
		_, err := api.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: name, PolicyName: aws.String("by-hand"), PolicyDocument: aws.String(listUsers)})
		return err
	},
	"attached policy": func(ctx context.Context, api *iam.Client, name *string) error {
		_, err := api.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: name, PolicyArn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")})
		return err
	},
	"login profile": func(ctx context.Context, api *iam.Client, name *string) error {
		_, err := api.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: name, Password: aws.String("Correct-horse-7-battery")})
		return err
	},
	"MFA device": func(ctx context.Context, api *iam.Client, name *string) error {
		made, err := api.CreateVirtualMFADevice(ctx, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("by-hand")})
		if err != nil {
			return err
		}
		_, err = api.EnableMFADevice(ctx, &iam.EnableMFADeviceInput{
			UserName: name, SerialNumber: made.VirtualMFADevice.SerialNumber,
			AuthenticationCode1: aws.String("123456"), AuthenticationCode2: aws.String("654321"),
		})
		return err
	},
	"SSH public key": func(ctx context.Context, api *iam.Client, name *string) error {
		_, err := api.UploadSSHPublicKey(ctx, &iam.UploadSSHPublicKeyInput{UserName: name, SSHPublicKeyBody: aws.String("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ== hand")})
		return err
	},
	"signing certificate": func(ctx context.Context, api *iam.Client, name *string) error {
		_, err := api.UploadSigningCertificate(ctx, &iam.UploadSigningCertificateInput{
			UserName: name, CertificateBody: aws.String("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"),
		})
		return err
	},
	"service-specific credential": func(ctx context.Context, api *iam.Client, name *string) error {
		_, err := api.CreateServiceSpecificCredential(ctx, &iam.CreateServiceSpecificCredentialInput{UserName: name, ServiceName: aws.String("codecommit.amazonaws.com")})
		return err
	},
}

// deleteByHand deletes a user with its keys, policies and memberships.
func (m *mount) deleteByHand(name string) {
	m.t.Helper()
	ctx, api := m.t.Context(), m.aws.byHand(account)
	user, found := m.aws.Account(account).User(name)
	require.True(m.t, found, name)
	for _, key := range user.AccessKeys {
		_, err := api.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: &key.ID})
		require.NoError(m.t, err)
	}
	m.takeAllPolicies(user)
	for _, group := range user.Groups {
		_, err := api.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: &name, GroupName: &group})
		require.NoError(m.t, err)
	}
	_, err := api.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &name})
	require.NoError(m.t, err)
}

// takeAllPolicies leaves a user with nothing that it may do, groups aside.
func (m *mount) takeAllPolicies(user awsfake.UserInfo) {
	m.t.Helper()
	ctx, api := m.t.Context(), m.aws.byHand(account)
	for policy := range user.Policies {
		_, err := api.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: &user.Name, PolicyName: &policy})
		require.NoError(m.t, err)
	}
	for _, policy := range user.AttachedPolicies {
		_, err := api.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: &user.Name, PolicyArn: &policy})
		require.NoError(m.t, err)
	}
}
