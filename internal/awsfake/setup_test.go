package awsfake_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// TestSnapshot: User tells all of a user, in a copy that nothing done to either changes.
func TestSnapshot(t *testing.T) {
	w := newWorld(t)
	w.Advance(48 * time.Hour)
	ctx, root, acct := t.Context(), w.root(), w.Account(testAccount)
	boundary := acct.AddManagedPolicy("/b/", "boundary", allowAll)
	acct.AddGroup("ops", allowAll)
	made, key := acct.AddUser("/vault/", "bob", allowAll, statement("Deny", "s3:*", "*"))
	require.Equal(t, "bob", made.Name)
	name := aws.String("bob")
	_, err := root.PutUserPermissionsBoundary(ctx, &iam.PutUserPermissionsBoundaryInput{UserName: name, PermissionsBoundary: &boundary})
	require.NoError(t, err)
	_, err = root.TagUser(ctx, &iam.TagUserInput{UserName: name, Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("blue")}}})
	require.NoError(t, err)
	require.NoError(t, attach("bob", readOnly)(ctx, root))
	require.NoError(t, join("bob", "ops")(ctx, root))
	_, err = root.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: name, Password: aws.String("correct horse")})
	require.NoError(t, err)
	_, err = root.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: name, AccessKeyId: &key.AccessKeyID, Status: types.StatusTypeInactive})
	require.NoError(t, err)
	ssh, err := root.UploadSSHPublicKey(ctx, &iam.UploadSSHPublicKeyInput{UserName: name, SSHPublicKeyBody: aws.String(newPublicKey(t))})
	require.NoError(t, err)
	cert, err := root.UploadSigningCertificate(ctx, &iam.UploadSigningCertificateInput{UserName: name, CertificateBody: aws.String(newCertificate(t))})
	require.NoError(t, err)
	service, err := root.CreateServiceSpecificCredential(ctx, &iam.CreateServiceSpecificCredentialInput{UserName: name, ServiceName: aws.String("codecommit.amazonaws.com")})
	require.NoError(t, err)
	serial := (&subject{backend: backend{iam: root}}).enableMFA(t, "bob")

	info, ok := acct.User("bob")
	require.True(t, ok)
	require.WithinDuration(t, w.Now(), info.Created, time.Minute, "AWS's clock")
	require.Equal(t, awsfake.UserInfo{
		Name: "bob", Path: "/vault/", ID: made.ID, ARN: "arn:aws:iam::111122223333:user/vault/bob", Created: made.Created,
		Boundary: boundary, Tags: map[string]string{"Team": "blue"},
		AccessKeys:       []awsfake.AccessKeyInfo{{ID: key.AccessKeyID, Active: false, Created: info.AccessKeys[0].Created}},
		Policies:         map[string]string{"policy-0": allowAll, "policy-1": statement("Deny", "s3:*", "*")},
		AttachedPolicies: []string{readOnly}, Groups: []string{"ops"}, LoginProfile: true,
		SSHKeys: []string{*ssh.SSHPublicKey.SSHPublicKeyId}, SigningCertificates: []string{*cert.Certificate.CertificateId},
		ServiceCredentials: []string{*service.ServiceSpecificCredential.ServiceSpecificCredentialId}, MFADevices: []string{*serial},
	}, info)
	info.Tags["Team"], info.Policies["policy-0"], info.Groups[0] = "x", "x", "x"
	again, _ := acct.User("bob")
	require.Equal(t, "blue", again.Tags["Team"])
	require.Equal(t, "ops", again.Groups[0])
	require.Equal(t, []awsfake.UserInfo{again}, acct.Users())
	_, ok = acct.User("BOB")
	require.False(t, ok)
}

// TestSetupPanics: mistakes in a test's set-up are found there.
func TestSetupPanics(t *testing.T) {
	for name, misuse := range map[string]func(*awsfake.AWS){
		"account id":        func(a *awsfake.AWS) { a.Account("12") },
		"partition":         func(a *awsfake.AWS) { a.AccountIn("aws-mars", testAccount) },
		"another partition": func(a *awsfake.AWS) { a.Account(testAccount); a.AccountIn("aws-cn", testAccount) },
		"user twice": func(a *awsfake.AWS) {
			a.Account(testAccount).AddUser("/", "b")
			a.Account(testAccount).AddUser("/", "B")
		},
		"path":   func(a *awsfake.AWS) { a.Account(testAccount).AddUser("vault", "bob") },
		"policy": func(a *awsfake.AWS) { a.Account(testAccount).AddUser("/", "bob", "{}") },
		"policies too long": func(a *awsfake.AWS) {
			a.Account(testAccount).AddUser("/", "bob", statement("Allow", "s3:*", "arn:aws:s3:::"+strings.Repeat("b", 2048)))
		},
		"trusted principal": func(a *awsfake.AWS) { a.Account(testAccount).AddRole("r", "bob") },
		"managed policy":    func(a *awsfake.AWS) { a.Account(testAccount).AddManagedPolicy("/", "p", "") },
		"group":             func(a *awsfake.AWS) { a.Account(testAccount).AddGroup("a b") },
	} {
		t.Run(name, func(t *testing.T) { require.Panics(t, func() { misuse(awsfake.New()) }) })
	}
}

// TestAccountsAreApart: an account is made once, and knows nothing of the others.
func TestAccountsAreApart(t *testing.T) {
	w := newWorld(t)
	china := w.AccountIn("aws-cn", testAccount)
	require.Same(t, china, w.Account(testAccount))
	require.Equal(t, testAccount, china.ID())
	other := w.Account("444455556666")
	other.AddUser("/", "bob")
	require.Zero(t, china.UserCount())
	requireCode(t, "NoSuchEntity", get("bob")(t.Context(), w.iamIn("cn-north-1", china.Root())))
	out, err := w.iam(other.Root()).GetUser(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, "arn:aws:iam::444455556666:root", *out.User.Arn)
}

func TestGroupQuota(t *testing.T) {
	w := newWorld(t)
	for i := range 300 {
		w.Account(testAccount).AddGroup(fmt.Sprintf("group-%d", i))
	}
	_, err := w.root().CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: aws.String("one-too-many")})
	requireCode(t, "LimitExceeded", err)
	pages, seen := iam.NewListGroupsPaginator(w.root(), nil), 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		seen += len(page.Groups)
	}
	require.Equal(t, 300, seen)
}

func TestPolicySizeQuotas(t *testing.T) {
	w := newWorld(t)
	acct := w.Account(testAccount)
	frame := len(statement("Allow", "s3:*", "arn:aws:s3:::"))
	sized := func(n int) string { return statement("Allow", "s3:*", "arn:aws:s3:::"+strings.Repeat("b", n-frame)) }
	trusted := "arn:aws:iam::" + testAccount + ":root"
	acct.AddManagedPolicy("/", "fits", sized(6144))
	acct.AddGroup("fits", sized(5120))
	acct.AddRole("fits", trusted, sized(10240))
	for what, tooLong := range map[string]func(){
		"managed": func() { acct.AddManagedPolicy("/", "toolong", sized(6145)) },
		"group":   func() { acct.AddGroup("toolong", sized(5121)) },
		"role":    func() { acct.AddRole("toolong", trusted, sized(10241)) },
	} {
		require.Contains(t, panicOf(tooLong), "LimitExceeded", what)
	}
}

func panicOf(f func()) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	f()
	return ""
}
