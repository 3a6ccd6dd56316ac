package awsfake_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

var keyChecks = []check{
	{"a key has an id and a secret of fixed form", func(t tHelper, s *subject) {
		key := s.key(t, s.user(t, "key"))
		require.Regexp(t, `^AKIA[A-Z2-7]{16}$`, key.AccessKeyID)
		require.Regexp(t, `^[A-Za-z0-9/+]{40}$`, key.SecretAccessKey)
	}},
	{"a user has at most two keys", func(t tHelper, s *subject) {
		name := s.user(t, "two")
		s.key(t, name)
		s.key(t, name)
		_, err := s.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name})
		requireCode(t, "LimitExceeded", err)
	}},
	{"keys are listed, switched off and deleted", func(t tHelper, s *subject) {
		name := s.user(t, "life")
		key := s.key(t, name)
		_, err := s.iam.UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: &name, AccessKeyId: &key.AccessKeyID, Status: types.StatusTypeInactive})
		require.NoError(t, err)
		s.eventually(t, "the key is listed as inactive", func() bool {
			out, err := s.iam.ListAccessKeys(t.Context(), &iam.ListAccessKeysInput{UserName: &name})
			return err == nil && len(out.AccessKeyMetadata) == 1 && out.AccessKeyMetadata[0].Status == types.StatusTypeInactive
		})
		_, err = s.iam.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: &key.AccessKeyID})
		require.NoError(t, err)
		s.eventuallyCode(t, "NoSuchEntity", func() error {
			_, err := s.iam.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: &key.AccessKeyID})
			return err
		})
	}},
	{"a key belongs to its user alone", func(t tHelper, s *subject) {
		key, other := s.key(t, s.user(t, "mine")), s.user(t, "other")
		_, err := s.iam.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: &other, AccessKeyId: &key.AccessKeyID})
		requireCode(t, "NoSuchEntity", err)
	}},
	{"no key for a user that is not there", func(t tHelper, s *subject) {
		_, err := s.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String(s.prefix + "nobody")})
		requireCode(t, "NoSuchEntity", err)
	}},
	{"the owner of an unknown key is not told", func(t tHelper, s *subject) {
		_, err := s.iam.GetAccessKeyLastUsed(t.Context(), &iam.GetAccessKeyLastUsedInput{AccessKeyId: aws.String("AKIAIOSFODNN7EXAMPLE")})
		requireCode(t, "AccessDenied", err)
	}},
}

var authChecks = []check{
	{"a key says who it is without any permission", func(t tHelper, s *subject) {
		name := s.user(t, "who")
		key := s.workingKey(t, name)
		out, err := s.stsAs(key).GetCallerIdentity(t.Context(), nil)
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(*out.Arn, ":user"+acceptancePath+name), *out.Arn)
		require.Len(t, *out.Account, 12)
		user, err := s.iam.GetUser(t.Context(), &iam.GetUserInput{UserName: &name})
		require.NoError(t, err)
		require.Equal(t, *user.User.UserId, *out.UserId)
	}},
	{"a key makes sessions without any permission", func(t tHelper, s *subject) {
		key := s.workingKey(t, s.user(t, "session"))
		session, err := s.stsAs(key).GetSessionToken(t.Context(), nil)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(*session.Credentials.AccessKeyId, "ASIA"))
	}},
	{"a wrong secret does not sign", func(t tHelper, s *subject) {
		key := s.workingKey(t, s.user(t, "sign"))
		key.SecretAccessKey = strings.Repeat("x", 40)
		_, err := s.stsAs(key).GetCallerIdentity(t.Context(), nil)
		requireCode(t, "SignatureDoesNotMatch", err)
		_, err = s.iamAs(key).GetUser(t.Context(), nil)
		requireCode(t, "SignatureDoesNotMatch", err)
	}},
	{"unknown keys are invalid", func(t tHelper, s *subject) {
		unknown := awsfake.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: strings.Repeat("x", 40)}
		_, err := s.stsAs(unknown).GetCallerIdentity(t.Context(), nil)
		requireCode(t, "InvalidClientTokenId", err)
		_, err = s.iamAs(unknown).GetUser(t.Context(), nil)
		requireCode(t, "InvalidClientTokenId", err)
	}},
	{"deleted keys stop working", func(t tHelper, s *subject) {
		name := s.user(t, "del")
		key := s.workingKey(t, name)
		_, err := s.iam.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: &key.AccessKeyID})
		require.NoError(t, err)
		s.eventuallyCode(t, "InvalidClientTokenId", func() error {
			_, err := s.stsAs(key).GetCallerIdentity(t.Context(), nil)
			return err
		})
	}},
	{"inactive keys do not work", func(t tHelper, s *subject) {
		name := s.user(t, "off")
		key := s.workingKey(t, name)
		_, err := s.iam.UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: &name, AccessKeyId: &key.AccessKeyID, Status: types.StatusTypeInactive})
		require.NoError(t, err)
		s.eventuallyCode(t, "InvalidClientTokenId", func() error {
			_, err := s.stsAs(key).GetCallerIdentity(t.Context(), nil)
			return err
		})
	}},
	{"a user without policies may do nothing in IAM", func(t tHelper, s *subject) {
		name := s.user(t, "none")
		key := s.workingKey(t, name)
		s.eventuallyCode(t, "AccessDenied", func() error {
			_, err := s.iamAs(key).GetUser(t.Context(), nil)
			return err
		})
	}},
	{"a missing user is judged without its path", func(t tHelper, s *subject) {
		name := s.user(t, "scoped")
		doc := statement("Allow", "iam:*", "arn:aws:iam::*:user"+acceptancePath+"*")
		_, err := s.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: &doc})
		require.NoError(t, err)
		as := s.iamAs(s.workingKey(t, name))
		s.eventuallyCode(t, "", func() error {
			_, err := as.GetUser(t.Context(), &iam.GetUserInput{UserName: &name})
			return err
		})
		_, err = as.GetUser(t.Context(), &iam.GetUserInput{UserName: aws.String(s.prefix + "nobody")})
		requireCode(t, "AccessDenied", err)
		require.ErrorContains(t, err, ":user/"+s.prefix+"nobody", "the ARN it was judged by has no path")
	}},
	{"unknown actions are invalid", func(t tHelper, s *subject) {
		status, body := s.raw(t, "iam", "Action=FrobnicateUser&Version=2010-05-08")
		require.Equal(t, http.StatusBadRequest, status, body)
		require.Contains(t, body, "<Code>InvalidAction</Code>")
		require.Contains(t, body, "<Type>Sender</Type>")
	}},
	{"errors come in an envelope", func(t tHelper, s *subject) {
		status, body := s.raw(t, "iam", "Action=GetUser&Version=2010-05-08&UserName="+s.prefix+"nobody")
		require.Equal(t, http.StatusNotFound, status, body)
		require.Regexp(t, `(?s)^(<\?xml[^>]*>\s*)?<ErrorResponse[^>]*>\s*<Error>.*<Code>NoSuchEntity</Code>.*</Error>\s*<RequestId>[0-9a-zA-Z-]+</RequestId>\s*</ErrorResponse>\s*$`, body)
	}},
	{"session lengths have bounds", func(t tHelper, s *subject) {
		key := s.workingKey(t, s.user(t, "len"))
		for _, n := range []int32{899, 129601} {
			_, err := s.stsAs(key).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{DurationSeconds: &n})
			requireCode(t, "ValidationError", err, n)
		}
	}},
}

// raw sends a query as the suite's caller and returns the answer as it is on the wire.
func (s *subject) raw(t tHelper, service, query string) (int, string) {
	o := s.iam.Options()
	endpoint := "https://iam.amazonaws.com/"
	if o.BaseEndpoint != nil {
		endpoint = *o.BaseEndpoint + "/"
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, bytes.NewReader([]byte(query)))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	creds, err := o.Credentials.Retrieve(t.Context())
	require.NoError(t, err)
	sum := sha256.Sum256([]byte(query))
	require.NoError(t, v4.NewSigner().SignHTTP(t.Context(), creds, req, hex.EncodeToString(sum[:]), service, "us-east-1", time.Now()))
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NotEmpty(t, res.Header.Get("x-amzn-RequestId"))
	return res.StatusCode, string(body)
}
