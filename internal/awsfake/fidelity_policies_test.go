package awsfake_test

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"
)

// malformedDocuments are what IAM refuses as an identity policy.
var malformedDocuments = map[string]string{
	"not JSON":            `{`,
	"not an object":       `[]`,
	"no statement":        `{"Version":"2012-10-17"}`,
	"empty statements":    `{"Version":"2012-10-17","Statement":[]}`,
	"unknown version":     `{"Version":"2024-01-01","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`,
	"unknown element":     `{"Version":"2012-10-17","Note":"x","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`,
	"no effect":           `{"Version":"2012-10-17","Statement":[{"Action":"s3:*","Resource":"*"}]}`,
	"unknown effect":      `{"Version":"2012-10-17","Statement":[{"Effect":"Maybe","Action":"s3:*","Resource":"*"}]}`,
	"no action":           `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Resource":"*"}]}`,
	"no service":          `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"GetObject","Resource":"*"}]}`,
	"action and not":      `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","NotAction":"s3:*","Resource":"*"}]}`,
	"no resource":         `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*"}]}`,
	"resource not an ARN": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"bucket"}]}`,
	"a principal":         `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}]}`,
	"repeated sid":        `{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Action":"s3:*","Resource":"*"},{"Sid":"A","Effect":"Allow","Action":"s3:*","Resource":"*"}]}`,
	"odd sid":             `{"Version":"2012-10-17","Statement":[{"Sid":"a b","Effect":"Allow","Action":"s3:*","Resource":"*"}]}`,
	"an Id":               `{"Id":"x","Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`,
	"another partition":   `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws-cn:s3:::bucket"}]}`,
	"unknown operator":    `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringIs":{"aws:username":"x"}}}]}`,
}

var policyChecks = []check{
	{"inline policies are put, read, listed and deleted", func(t tHelper, s *subject) {
		name := s.user(t, "inline")
		doc := statement("Allow", "s3:Get*", "*", `{"StringEquals":{"aws:username":"a+b %26 c"}}`)
		_, err := s.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: &doc})
		require.NoError(t, err)
		get := &iam.GetUserPolicyInput{UserName: &name, PolicyName: aws.String("p")}
		s.eventuallyCode(t, "", func() error {
			_, err := s.iam.GetUserPolicy(t.Context(), get)
			return err
		})
		out, err := s.iam.GetUserPolicy(t.Context(), get)
		require.NoError(t, err)
		decoded, err := url.PathUnescape(*out.PolicyDocument)
		require.NoError(t, err)
		require.JSONEq(t, doc, decoded)
		listed, err := s.iam.ListUserPolicies(t.Context(), &iam.ListUserPoliciesInput{UserName: &name})
		require.NoError(t, err)
		require.Equal(t, []string{"p"}, listed.PolicyNames)
		drop := &iam.DeleteUserPolicyInput{UserName: &name, PolicyName: aws.String("p")}
		_, err = s.iam.DeleteUserPolicy(t.Context(), drop)
		require.NoError(t, err)
		s.eventuallyCode(t, "NoSuchEntity", func() error {
			_, err := s.iam.DeleteUserPolicy(t.Context(), drop)
			return err
		})
	}},
	{"inline policies together have 2048 characters at most", func(t tHelper, s *subject) {
		name := s.user(t, "size")
		const most = 2048
		first := statement("Allow", "s3:*", "arn:aws:s3:::a")
		put := func(policy, doc string) error {
			_, err := s.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: &policy, PolicyDocument: &doc})
			return err
		}
		require.NoError(t, put("first", first))
		filler := func(size int) string {
			frame := statement("Allow", "s3:*", "arn:aws:s3:::")
			return statement("Allow", "s3:*", "arn:aws:s3:::"+strings.Repeat("b", size-len(frame)))
		}
		requireCode(t, "LimitExceeded", put("second", filler(most-len(first)+1)))
		require.NoError(t, put("second", strings.ReplaceAll(filler(most-len(first)), `,"`, ",\n\t  \"")), "white space does not count")
		require.NoError(t, put("second", filler(100)), "what is replaced does not count")
	}},
	{"managed policies are attached, listed and detached", func(t tHelper, s *subject) {
		name, own := s.user(t, "att"), s.policy(t, "own")
		for _, arn := range []string{own, own} {
			_, err := s.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &name, PolicyArn: &arn})
			require.NoError(t, err, arn)
		}
		s.eventually(t, "it is listed, once", func() bool {
			out, err := s.iam.ListAttachedUserPolicies(t.Context(), &iam.ListAttachedUserPoliciesInput{UserName: &name})
			return err == nil && len(out.AttachedPolicies) == 1 && *out.AttachedPolicies[0].PolicyArn == own
		})
		detach := &iam.DetachUserPolicyInput{UserName: &name, PolicyArn: &own}
		_, err := s.iam.DetachUserPolicy(t.Context(), detach)
		require.NoError(t, err)
		s.eventuallyCode(t, "NoSuchEntity", func() error {
			_, err := s.iam.DetachUserPolicy(t.Context(), detach)
			return err
		})
	}},
	{"a policy in use is not deleted", func(t tHelper, s *subject) {
		name, own := s.user(t, "uses"), s.policy(t, "own")
		_, err := s.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &name, PolicyArn: &own})
		require.NoError(t, err)
		_, err = s.iam.DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: &own})
		requireCode(t, "DeleteConflict", err)
	}},
	{"policies of AWS's own are attached", func(t tHelper, s *subject) {
		name, arn := s.user(t, "aws"), "arn:aws:iam::aws:policy/ReadOnlyAccess"
		_, err := s.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &name, PolicyArn: &arn})
		require.NoError(t, err)
	}},
	{"only policies that exist are attached", func(t tHelper, s *subject) {
		name, own := s.user(t, "att"), s.policy(t, "own")
		for _, arn := range []string{strings.Replace(own, "own", "gone", 1), "arn:aws:iam::aws:policy/NoSuchAccess"} {
			_, err := s.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &name, PolicyArn: &arn})
			requireCode(t, "NoSuchEntity", err, arn)
		}
	}},
	{"a user has at most 10 managed policies", func(t tHelper, s *subject) {
		name := s.user(t, "ten")
		var err error
		for i := range 11 {
			require.NoError(t, err)
			arn := s.policy(t, fmt.Sprintf("p%d", i))
			_, err = s.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &name, PolicyArn: &arn})
		}
		requireCode(t, "LimitExceeded", err)
	}},
	{"a boundary is put, guards its policy and is removed", func(t tHelper, s *subject) {
		name, own := s.user(t, "bound"), s.policy(t, "own")
		_, err := s.iam.PutUserPermissionsBoundary(t.Context(), &iam.PutUserPermissionsBoundaryInput{UserName: &name, PermissionsBoundary: &own})
		require.NoError(t, err)
		_, err = s.iam.DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: &own})
		requireCode(t, "DeleteConflict", err)
		_, err = s.iam.DeleteUserPermissionsBoundary(t.Context(), &iam.DeleteUserPermissionsBoundaryInput{UserName: &name})
		require.NoError(t, err)
		s.eventuallyCode(t, "", func() error {
			_, err := s.iam.DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: &own})
			return err
		})
	}},
}

// malformedChecks put each of malformedDocuments.
func malformedChecks() []check {
	var checks []check
	for _, what := range slices.Sorted(maps.Keys(malformedDocuments)) {
		doc := malformedDocuments[what]
		checks = append(checks, check{"malformed policy: " + what, func(t tHelper, s *subject) {
			name := s.user(t, "bad")
			_, err := s.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: &doc})
			requireCode(t, "MalformedPolicyDocument", err)
		}})
	}
	return checks
}

// policy makes a managed policy that allows next to nothing.
func (s *subject) policy(t tHelper, name string) (arn string) {
	out, err := s.iam.CreatePolicy(t.Context(), &iam.CreatePolicyInput{
		PolicyName: aws.String(s.prefix + name), Path: aws.String(acceptancePath),
		PolicyDocument: aws.String(statement("Allow", "s3:GetObject", "arn:aws:s3:::none/*")),
	})
	require.NoError(t, err)
	s.policies = append(s.policies, *out.Policy.Arn)
	s.eventuallyCode(t, "", func() error {
		_, err := s.iam.GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: out.Policy.Arn})
		return err
	})
	return *out.Policy.Arn
}
