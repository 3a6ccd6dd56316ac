package chaos

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

const (
	sshPublicKey = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ== hand"
	certificate  = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
	quarantine   = "arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3"
)

// removableByEight is how many of the dependents, from the first, are hung where
// the integration has the eight actions only. It can remove one kind more: but a
// key that the engine did not make is all that such an integration has to judge
// by, once an answer was lost that would have proven the user the engine's. It
// then rightly leaves the user alone, and its record says so.
const removableByEight = 1

// removableByTold is the same where it may also compare the ids of users.
const removableByTold = 2

// dependents hang, each, one of the things on a user that AWS requires gone
// before the user. Whether AWS let them is seen by what the user has then.
var dependents = []func(ctx context.Context, client *iam.Client, user *string){
	func(ctx context.Context, client *iam.Client, user *string) {
		_, _ = client.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: user, PolicyName: aws.String("by-hand"), PolicyDocument: aws.String(policy(usefulAction))})
	},
	func(ctx context.Context, client *iam.Client, user *string) {
		_, _ = client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: user})
	},
	func(ctx context.Context, client *iam.Client, user *string) {
		_, _ = client.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: user, PolicyArn: aws.String(quarantine)})
	},
	func(ctx context.Context, client *iam.Client, user *string) {
		_, _ = client.AddUserToGroup(ctx, &iam.AddUserToGroupInput{UserName: user, GroupName: aws.String(groupName)})
	},
	func(ctx context.Context, client *iam.Client, user *string) {
		_, _ = client.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: user, Password: aws.String("correct horse battery staple")})
	},
	func(ctx context.Context, client *iam.Client, user *string) {
		_, _ = client.UploadSSHPublicKey(ctx, &iam.UploadSSHPublicKeyInput{UserName: user, SSHPublicKeyBody: aws.String(sshPublicKey)})
	},
	func(ctx context.Context, client *iam.Client, user *string) {
		_, _ = client.UploadSigningCertificate(ctx, &iam.UploadSigningCertificateInput{UserName: user, CertificateBody: aws.String(certificate)})
	},
	func(ctx context.Context, client *iam.Client, user *string) {
		_, _ = client.CreateServiceSpecificCredential(ctx, &iam.CreateServiceSpecificCredentialInput{UserName: user, ServiceName: aws.String("codecommit.amazonaws.com")})
	},
	hangMFADevice,
}

func hangMFADevice(ctx context.Context, client *iam.Client, user *string) {
	out, err := client.CreateVirtualMFADevice(ctx, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: user})
	if err != nil {
		return
	}
	device := out.VirtualMFADevice
	if device == nil {
		device = new(types.VirtualMFADevice)
	}
	_, _ = client.EnableMFADevice(ctx, &iam.EnableMFADeviceInput{
		UserName: user, SerialNumber: device.SerialNumber,
		AuthenticationCode1: aws.String("123456"), AuthenticationCode2: aws.String("654321"),
	})
}
