package awsfake_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/stretchr/testify/require"
)

// TestServiceCredentialPages: the one list that the SDK has no paginator for comes in short pages.
func TestServiceCredentialPages(t *testing.T) {
	w := newWorld(t)
	w.Account(testAccount).AddUser("/", "bob")
	ctx, root, name := t.Context(), w.root(), aws.String("bob")
	made := map[string]bool{}
	for _, service := range []string{"codecommit", "cassandra", "codecommit", "cassandra"} {
		out, err := root.CreateServiceSpecificCredential(ctx, &iam.CreateServiceSpecificCredentialInput{UserName: name, ServiceName: aws.String(service + ".amazonaws.com")})
		require.NoError(t, err)
		made[*out.ServiceSpecificCredential.ServiceSpecificCredentialId] = true
	}
	in := &iam.ListServiceSpecificCredentialsInput{UserName: name}
	first, err := root.ListServiceSpecificCredentials(ctx, in)
	require.NoError(t, err)
	require.True(t, first.IsTruncated)
	in.Marker = first.Marker
	second, err := root.ListServiceSpecificCredentials(ctx, in)
	require.NoError(t, err)
	require.False(t, second.IsTruncated)
	for _, c := range append(first.ServiceSpecificCredentials, second.ServiceSpecificCredentials...) {
		require.True(t, made[*c.ServiceSpecificCredentialId])
		delete(made, *c.ServiceSpecificCredentialId)
	}
	require.Empty(t, made)
	in.Marker = aws.String("%%%")
	_, err = root.ListServiceSpecificCredentials(ctx, in)
	requireCode(t, "ValidationError", err)
	_, err = root.CreateServiceSpecificCredential(ctx, &iam.CreateServiceSpecificCredentialInput{UserName: name, ServiceName: aws.String("s3.amazonaws.com")})
	requireCode(t, "NoSuchEntity", err)
}

// TestMarkersSurviveDeletion: what is deleted between two pages makes nothing be skipped.
func TestMarkersSurviveDeletion(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.Account(testAccount).AddGroup(fmt.Sprintf("g%d", i))
	}
	root := w.root()
	in := &iam.ListGroupsInput{MaxItems: aws.Int32(3)}
	first, err := root.ListGroups(t.Context(), in)
	require.NoError(t, err)
	for _, g := range first.Groups {
		_, err := root.DeleteGroup(t.Context(), &iam.DeleteGroupInput{GroupName: g.GroupName})
		require.NoError(t, err)
	}
	in.Marker = first.Marker
	second, err := root.ListGroups(t.Context(), in)
	require.NoError(t, err)
	require.Len(t, second.Groups, 3)
	require.Equal(t, "g3", *second.Groups[0].GroupName)
}

// TestMFADevices: eight to a user, listed by assignment.
func TestMFADevices(t *testing.T) {
	w := newWorld(t)
	w.Account(testAccount).AddUser("/", "bob")
	ctx, root := t.Context(), w.root()
	enable := func(name string) error {
		out, err := root.CreateVirtualMFADevice(ctx, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: &name})
		require.NoError(t, err)
		_, err = root.EnableMFADevice(ctx, &iam.EnableMFADeviceInput{
			UserName: aws.String("bob"), SerialNumber: out.VirtualMFADevice.SerialNumber,
			AuthenticationCode1: aws.String("123456"), AuthenticationCode2: aws.String("654321"),
		})
		return err
	}
	for i := range 8 {
		require.NoError(t, enable(fmt.Sprintf("device-%d", i)))
	}
	requireCode(t, "LimitExceeded", enable("ninth"))
	for status, want := range map[types.AssignmentStatusType]int{"": 9, "Any": 9, "Assigned": 8, "Unassigned": 1} {
		out, err := root.ListVirtualMFADevices(ctx, &iam.ListVirtualMFADevicesInput{AssignmentStatus: status})
		require.NoError(t, err)
		require.Len(t, out.VirtualMFADevices, want, status)
	}
	summary, err := root.GetAccountSummary(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, int32(8), summary.SummaryMap["MFADevicesInUse"])
	require.Equal(t, int32(1), summary.SummaryMap["Users"])
	require.Equal(t, int32(5000), summary.SummaryMap["UsersQuota"])
}

// TestQuarantine: what AWS attaches to a user whose key leaked keeps it from being deleted.
func TestQuarantine(t *testing.T) {
	w := newWorld(t)
	_, key := w.Account(testAccount).AddUser("/", "bob", allowAll)
	require.NoError(t, attach("bob", "arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3")(t.Context(), w.root()))
	requireCode(t, "AccessDenied", create("/", "new")(t.Context(), w.iam(key)))
	require.NoError(t, get("bob")(t.Context(), w.iam(key)))
	_, err := w.root().DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: aws.String("arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3")})
	requireCode(t, "AccessDenied", err)
}

// TestAdvance: AWS's clock is what a policy's times are judged by, and what dates are taken from.
func TestAdvance(t *testing.T) {
	w := newWorld(t)
	until := w.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	_, key := w.Account(testAccount).AddUser("/", "bob", allowAll,
		statement("Deny", "*", "*", `{"DateGreaterThan":{"aws:CurrentTime":"`+until+`"}}`))
	require.NoError(t, get("bob")(t.Context(), w.iam(key)))
	w.Advance(2 * time.Hour)
	requireCode(t, "AccessDenied", get("bob")(t.Context(), w.iam(key)))
	require.NoError(t, w.who(t.Context(), key), "no deny keeps a key from saying who it is")
	out, err := w.root().CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("later")})
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(2*time.Hour), *out.User.CreateDate, time.Minute)
}

// TestKeyOwnership: a user's calls without a name are about itself, and a key tells its last use.
func TestKeyOwnership(t *testing.T) {
	w := newWorld(t)
	_, key := w.Account(testAccount).AddUser("/", "bob", allowAll)
	ctx, c := t.Context(), w.iam(key)
	used, err := w.root().GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: &key.AccessKeyID})
	require.NoError(t, err)
	require.Equal(t, "N/A", *used.AccessKeyLastUsed.ServiceName)
	require.Nil(t, used.AccessKeyLastUsed.LastUsedDate)
	made, err := c.CreateAccessKey(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, "bob", *made.AccessKey.UserName)
	listed, err := c.ListAccessKeys(ctx, nil)
	require.NoError(t, err)
	require.Len(t, listed.AccessKeyMetadata, 2)
	_, err = c.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{AccessKeyId: made.AccessKey.AccessKeyId})
	require.NoError(t, err)
	used, err = w.root().GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: &key.AccessKeyID})
	require.NoError(t, err)
	require.Equal(t, "iam", *used.AccessKeyLastUsed.ServiceName)
	require.Equal(t, "us-east-1", *used.AccessKeyLastUsed.Region)
	require.WithinDuration(t, w.Now(), *used.AccessKeyLastUsed.LastUsedDate, time.Minute)
}
