package awsfake_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

const (
	testAccount = "111122223333"
	allowAll    = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
)

// world is a simulated AWS behind a real port.
type world struct {
	*awsfake.AWS
	url string
}

func newWorld(t *testing.T) world {
	t.Helper()
	a := awsfake.New()
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	return world{a, srv.URL}
}

func provider(c awsfake.Credentials) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
}

// iam is a client that does not retry, so that each answer shows.
func (w world) iam(c awsfake.Credentials) *iam.Client { return w.iamIn("us-east-1", c) }

func (w world) iamIn(region string, c awsfake.Credentials) *iam.Client {
	return iam.New(iam.Options{Region: region, BaseEndpoint: &w.url, Credentials: provider(c), Retryer: aws.NopRetryer{}})
}

func (w world) sts(c awsfake.Credentials) *sts.Client { return w.stsIn("eu-west-1", c) }

func (w world) stsIn(region string, c awsfake.Credentials) *sts.Client {
	return sts.New(sts.Options{Region: region, BaseEndpoint: &w.url, Credentials: provider(c), Retryer: aws.NopRetryer{}})
}

// root is a client that may do everything in the test account.
func (w world) root() *iam.Client { return w.iam(w.Account(testAccount).Root()) }

// newKey makes an access key for a user by the API, unlike AddUser under all lags.
func newKey(t *testing.T, c *iam.Client, user string) awsfake.Credentials {
	t.Helper()
	out, err := c.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &user})
	require.NoError(t, err)
	return awsfake.Credentials{AccessKeyID: *out.AccessKey.AccessKeyId, SecretAccessKey: *out.AccessKey.SecretAccessKey}
}

// who asks the session or key who it is, which needs no permission.
func (w world) who(ctx context.Context, c awsfake.Credentials) error {
	_, err := w.sts(c).GetCallerIdentity(ctx, nil)
	return err
}

// codeOf is the AWS error code of an error, "" for none.
func codeOf(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	default:
		return "no answer: " + err.Error()
	}
}

// tHelper is what checks report to; *testing.T is one.
type tHelper interface {
	require.TestingT
	Context() context.Context
}

func requireCode(t require.TestingT, want string, err error, about ...any) {
	require.Equal(t, want, codeOf(err), fmt.Sprintln(append(about, "error:", err)...))
}

// statement is a policy of one statement.
func statement(effect, action, resource string, condition ...string) string {
	text := `{"Version":"2012-10-17","Statement":[{"Effect":"` + effect + `","Action":"` + action + `","Resource":"` + resource + `"`
	for _, c := range condition {
		text += `,"Condition":` + c
	}
	return text + `}]}`
}
