package awsfake_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/require"
)

const issuer = "vault.example/v1/identity/oidc/plugins"

func TestAssumeRoleWithWebIdentity(t *testing.T) {
	w := newWorld(t)
	acct := w.Account(testAccount)
	provider := acct.AddOIDCProvider(issuer, "ours", "theirs")
	role := acct.AddFederatedRole("engine", provider, "mount", allowAll)
	stranger := w.Account("444455556666").AddOIDCProvider(issuer, "ours")
	soon := w.Now().Add(time.Hour)
	for name, c := range map[string]struct{ token, role, want string }{
		"vouched for":        {provider.Token("mount", "ours", soon), role, ""},
		"somebody else":      {provider.Token("other", "ours", soon), role, "AccessDenied"},
		"another audience":   {provider.Token("mount", "theirs", soon), role, "AccessDenied"},
		"no such audience":   {provider.Token("mount", "nobody's", soon), role, "InvalidIdentityToken"},
		"expired":            {provider.Token("mount", "ours", w.Now().Add(-time.Second)), role, "ExpiredTokenException"},
		"another's key":      {stranger.Token("mount", "ours", soon), role, "InvalidIdentityToken"},
		"no such provider":   {w.Account("444455556666").AddOIDCProvider("other.example", "ours").Token("mount", "ours", soon), role, "InvalidIdentityToken"},
		"no token":           {"something", role, "InvalidIdentityToken"},
		"no such role":       {provider.Token("mount", "ours", soon), role + "x", "AccessDenied"},
		"a role of no trust": {provider.Token("mount", "ours", soon), acct.AddRole("other", "arn:aws:iam::"+testAccount+":root"), "AccessDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			w.ResetCalls()
			anonymous := sts.New(sts.Options{Region: "eu-west-1", BaseEndpoint: &w.url, Retryer: aws.NopRetryer{}})
			out, err := anonymous.AssumeRoleWithWebIdentity(t.Context(), &sts.AssumeRoleWithWebIdentityInput{
				RoleArn: &c.role, RoleSessionName: aws.String("test"), WebIdentityToken: &c.token,
			})
			requireCode(t, c.want, err)
			require.Empty(t, w.Calls()[0].AccessKeyID, "it is not signed")
			if err != nil {
				return
			}
			require.Equal(t, "mount", *out.SubjectFromWebIdentityToken)
			require.Equal(t, provider.ARN(), *out.Provider)
			id, err := w.sts(sessionOf(out.Credentials)).GetCallerIdentity(t.Context(), nil)
			require.NoError(t, err)
			require.Equal(t, "arn:aws:sts::"+testAccount+":assumed-role/engine/test", *id.Arn)
			require.NoError(t, create("/", "made")(t.Context(), w.iam(sessionOf(out.Credentials))))
		})
	}
	_, err := w.sts(acct.Root()).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("test")})
	requireCode(t, "AccessDenied", err)
}
