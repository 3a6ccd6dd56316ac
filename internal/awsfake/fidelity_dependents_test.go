package awsfake_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base32"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"
)

var groupChecks = []check{
	{"users join and leave groups", func(t tHelper, s *subject) {
		name, group := s.user(t, "member"), s.group(t, "g")
		for range 2 {
			require.NoError(t, s.join(t, name, group), "joining twice is no error")
		}
		s.eventually(t, "the group is listed", func() bool {
			out, err := s.iam.ListGroupsForUser(t.Context(), &iam.ListGroupsForUserInput{UserName: &name})
			return err == nil && len(out.Groups) == 1 && *out.Groups[0].GroupName == group
		})
		got, err := s.iam.GetGroup(t.Context(), &iam.GetGroupInput{GroupName: &group})
		require.NoError(t, err)
		require.Equal(t, name, *got.Users[0].UserName)
		_, err = s.iam.RemoveUserFromGroup(t.Context(), &iam.RemoveUserFromGroupInput{UserName: &name, GroupName: &group})
		require.NoError(t, err)
	}},
	{"a group with members is not deleted", func(t tHelper, s *subject) {
		name, group := s.user(t, "member"), s.group(t, "g")
		require.NoError(t, s.join(t, name, group))
		_, err := s.iam.DeleteGroup(t.Context(), &iam.DeleteGroupInput{GroupName: &group})
		requireCode(t, "DeleteConflict", err)
	}},
	{"group and member must exist", func(t tHelper, s *subject) {
		requireCode(t, "NoSuchEntity", s.join(t, s.user(t, "m"), s.prefix+"nogroup"))
		requireCode(t, "NoSuchEntity", s.join(t, s.prefix+"nobody", s.group(t, "g")))
	}},
	{"a user is in at most 10 groups", func(t tHelper, s *subject) {
		name := s.user(t, "joiner")
		var err error
		for i := range 11 {
			require.NoError(t, err)
			err = s.join(t, name, s.group(t, fmt.Sprintf("g%d", i)))
		}
		requireCode(t, "LimitExceeded", err)
	}},
}

var dependentChecks = []check{
	conflict("access key", func(t tHelper, s *subject, user string) error {
		_, err := s.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &user})
		return err
	}),
	conflict("inline policy", func(t tHelper, s *subject, user string) error {
		doc := statement("Allow", "s3:*", "*")
		_, err := s.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &user, PolicyName: aws.String("p"), PolicyDocument: &doc})
		return err
	}),
	conflict("attached policy", func(t tHelper, s *subject, user string) error {
		arn := s.policy(t, "own")
		_, err := s.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &user, PolicyArn: &arn})
		return err
	}),
	conflict("group membership", func(t tHelper, s *subject, user string) error {
		return s.join(t, user, s.group(t, "g"))
	}),
	conflict("login profile", func(t tHelper, s *subject, user string) error {
		_, err := s.iam.CreateLoginProfile(t.Context(), &iam.CreateLoginProfileInput{UserName: &user, Password: aws.String("Xy7!" + s.prefix)})
		return err
	}),
	conflict("signing certificate", func(t tHelper, s *subject, user string) error {
		body := newCertificate(t)
		_, err := s.iam.UploadSigningCertificate(t.Context(), &iam.UploadSigningCertificateInput{UserName: &user, CertificateBody: &body})
		return err
	}),
	conflict("SSH public key", func(t tHelper, s *subject, user string) error {
		body := newPublicKey(t)
		_, err := s.iam.UploadSSHPublicKey(t.Context(), &iam.UploadSSHPublicKeyInput{UserName: &user, SSHPublicKeyBody: &body})
		return err
	}),
	conflict("service-specific credential", func(t tHelper, s *subject, user string) error {
		_, err := s.iam.CreateServiceSpecificCredential(t.Context(), &iam.CreateServiceSpecificCredentialInput{
			UserName: &user, ServiceName: aws.String("cassandra.amazonaws.com"),
		})
		return err
	}),
	conflict("MFA device", func(t tHelper, s *subject, user string) error {
		s.enableMFA(t, user)
		return nil
	}),
	{"a device in use is not deleted", func(t tHelper, s *subject) {
		serial := s.enableMFA(t, s.user(t, "dev"))
		_, err := s.iam.DeleteVirtualMFADevice(t.Context(), &iam.DeleteVirtualMFADeviceInput{SerialNumber: serial})
		requireCode(t, "DeleteConflict", err)
	}},
	{"a boundary and tags do not keep a user", func(t tHelper, s *subject) {
		name, own := s.user(t, "kept"), s.policy(t, "own")
		_, err := s.iam.PutUserPermissionsBoundary(t.Context(), &iam.PutUserPermissionsBoundaryInput{UserName: &name, PermissionsBoundary: &own})
		require.NoError(t, err)
		_, err = s.iam.TagUser(t.Context(), &iam.TagUserInput{UserName: &name, Tags: manyTags(0, 1)})
		require.NoError(t, err)
		_, err = s.iam.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: &name})
		require.NoError(t, err)
	}},
	{"a user is deleted once", func(t tHelper, s *subject) {
		name := s.user(t, "once")
		_, err := s.iam.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: &name})
		require.NoError(t, err)
		s.eventuallyCode(t, "NoSuchEntity", func() error {
			_, err := s.iam.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: &name})
			return err
		})
	}},
	{"SSH keys: five to a user, none twice", func(t tHelper, s *subject) {
		name := s.user(t, "ssh")
		upload := func(body string) error {
			_, err := s.iam.UploadSSHPublicKey(t.Context(), &iam.UploadSSHPublicKeyInput{UserName: &name, SSHPublicKeyBody: &body})
			return err
		}
		first := newPublicKey(t)
		require.NoError(t, upload(first))
		requireCode(t, "DuplicateSSHPublicKey", upload(first))
		for range 4 {
			require.NoError(t, upload(newPublicKey(t)))
		}
		requireCode(t, "LimitExceeded", upload(newPublicKey(t)))
		requireCode(t, "InvalidPublicKey", upload("ssh-rsa nonsense"))
	}},
	{"signing certificates: two to a user", func(t tHelper, s *subject) {
		name := s.user(t, "cert")
		upload := func(body string) error {
			_, err := s.iam.UploadSigningCertificate(t.Context(), &iam.UploadSigningCertificateInput{UserName: &name, CertificateBody: &body})
			return err
		}
		requireCode(t, "MalformedCertificate", upload("nonsense"))
		for range 2 {
			require.NoError(t, upload(newCertificate(t)))
		}
		requireCode(t, "LimitExceeded", upload(newCertificate(t)))
	}},
	{"signing certificates: none twice", func(t tHelper, s *subject) {
		name, body := s.user(t, "cert"), newCertificate(t)
		in := &iam.UploadSigningCertificateInput{UserName: &name, CertificateBody: &body}
		_, err := s.iam.UploadSigningCertificate(t.Context(), in)
		require.NoError(t, err)
		_, err = s.iam.UploadSigningCertificate(t.Context(), in)
		requireCode(t, "DuplicateCertificate", err)
	}},
	{"service-specific credentials: two to a service", func(t tHelper, s *subject) {
		name := s.user(t, "svc")
		create := func() error {
			_, err := s.iam.CreateServiceSpecificCredential(t.Context(), &iam.CreateServiceSpecificCredentialInput{
				UserName: &name, ServiceName: aws.String("cassandra.amazonaws.com"),
			})
			return err
		}
		require.NoError(t, create())
		require.NoError(t, create())
		requireCode(t, "LimitExceeded", create())
	}},
	{"a login profile is there once", func(t tHelper, s *subject) {
		name := s.user(t, "login")
		in := &iam.CreateLoginProfileInput{UserName: &name, Password: aws.String("Xy7!" + s.prefix)}
		_, err := s.iam.DeleteLoginProfile(t.Context(), &iam.DeleteLoginProfileInput{UserName: &name})
		requireCode(t, "NoSuchEntity", err)
		_, err = s.iam.CreateLoginProfile(t.Context(), in)
		require.NoError(t, err)
		_, err = s.iam.CreateLoginProfile(t.Context(), in)
		requireCode(t, "EntityAlreadyExists", err)
	}},
}

// conflict is the check that a dependent keeps its user from being deleted until the dependent is
// removed, as sweepUser removes it.
func conflict(kind string, give func(tHelper, *subject, string) error) check {
	return check{"no deletion with " + kind, func(t tHelper, s *subject) {
		name := s.user(t, "dep")
		require.NoError(t, give(t, s, name))
		_, err := s.iam.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: &name})
		requireCode(t, "DeleteConflict", err)
		s.eventuallyCode(t, "NoSuchEntity", func() error {
			s.sweepUser(t.Context(), &name)
			_, err := s.iam.GetUser(t.Context(), &iam.GetUserInput{UserName: &name})
			return err
		})
	}}
}

func (s *subject) group(t tHelper, name string) string {
	name = s.prefix + name
	_, err := s.iam.CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: &name, Path: aws.String(acceptancePath)})
	require.NoError(t, err)
	s.eventuallyCode(t, "", func() error {
		_, err := s.iam.GetGroup(t.Context(), &iam.GetGroupInput{GroupName: &name})
		return err
	})
	return name
}

func (s *subject) join(t tHelper, user, group string) error {
	_, err := s.iam.AddUserToGroup(t.Context(), &iam.AddUserToGroupInput{UserName: &user, GroupName: &group})
	return err
}

func newPublicKey(t tHelper) string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func newCertificate(t tHelper) string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// enableMFA gives a user a virtual device.
func (s *subject) enableMFA(t tHelper, user string) (serial *string) {
	made, err := s.iam.CreateVirtualMFADevice(t.Context(), &iam.CreateVirtualMFADeviceInput{
		VirtualMFADeviceName: aws.String(s.prefix + "mfa"), Path: aws.String(acceptancePath),
	})
	require.NoError(t, err)
	serial, seed := made.VirtualMFADevice.SerialNumber, string(made.VirtualMFADevice.Base32StringSeed)
	_, err = s.iam.EnableMFADevice(t.Context(), &iam.EnableMFADeviceInput{
		UserName: &user, SerialNumber: serial,
		AuthenticationCode1: aws.String(oneTimeCode(t, seed, -1)), AuthenticationCode2: aws.String(oneTimeCode(t, seed, 0)),
	})
	require.NoError(t, err)
	return serial
}

// oneTimeCode is an authenticator app's code (RFC 6238), some periods of 30 seconds from now.
func oneTimeCode(t tHelper, seed string, periods int64) string {
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.TrimRight(seed, "="))
	require.NoError(t, err)
	mac := hmac.New(sha1.New, secret)
	require.NoError(t, binary.Write(mac, binary.BigEndian, time.Now().Unix()/30+periods))
	sum := mac.Sum(nil)
	code := binary.BigEndian.Uint32(sum[sum[19]&0xf:]) & 0x7fffffff
	return fmt.Sprintf("%06d", code%1_000_000)
}
