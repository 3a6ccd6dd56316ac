package main

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// The story itself needs a Vault server and is its own test: `make demo`. Here
// is what a run that goes well does not reach, and what must never go wrong in
// somebody's own account.

const testAccount = "123456789012"

// demoInOwnAccount is a demo in the account that the AWS SDK's default
// credentials belong to, as with AWS=real; they point to a simulated AWS.
func demoInOwnAccount(t *testing.T) (*demo, *awsfake.AWS, *bytes.Buffer) {
	t.Helper()
	fake := awsfake.New()
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	root := fake.Account(testAccount).Root()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": root.AccessKeyID, "AWS_SECRET_ACCESS_KEY": root.SecretAccessKey,
		"AWS_SESSION_TOKEN": "", "AWS_REGION": "", "AWS_PROFILE": "", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}

	cloud, err := realAWS(t.Context())
	require.NoError(t, err)
	require.Equal(t, testAccount, cloud.account)
	require.Equal(t, server.URL, cloud.iamEndpoint)
	cloud.patience, cloud.interval = 3*time.Second, 10*time.Millisecond
	var out bytes.Buffer
	return &demo{
		options: options{realAWS: true}, out: newPrinter(&out, false), cloud: cloud,
		integration: newIntegrationUser(), leases: map[string]lease{},
	}, fake, &out
}

func TestIntegrationUserComesAndGoesWhileAWSLags(t *testing.T) {
	d, fake, out := demoInOwnAccount(t)
	fake.SetLag(awsfake.Lag{User: 300 * time.Millisecond, Key: 300 * time.Millisecond})

	require.NoError(t, d.makeIntegrationUser(t.Context()))
	user, found := fake.Account(testAccount).User(d.integration.name)
	require.True(t, found)
	require.Equal(t, "/demo/", user.Path)
	require.JSONEq(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:DeleteAccessKey","iam:PutUserPolicy",`+
		`"iam:DeleteUserPolicy","iam:DeleteUser","iam:ListUserPolicies","iam:CreateUser","iam:CreateAccessKey","iam:ListAccessKeys"],`+
		`"Resource":"arn:aws:iam::*:user/vault/*"}]}`, user.Policies[integrationPolicyName])
	require.NotContains(t, out.String(), d.integration.secret)
	require.NoError(t, d.allows(t.Context(), d.cloud.as(d.integration.keyID, d.integration.secret), getCallerIdentity()))

	require.NoError(t, d.removeFromAWS(t.Context()))
	require.Zero(t, fake.Account(testAccount).UserCount())
	require.Contains(t, out.String(), "Deleted the integration user "+d.integration.name)
}

func TestLostAnswersLeaveNothingBehind(t *testing.T) {
	for name, fault := range map[string]awsfake.Fault{
		"no answer about the user":    {Action: "CreateUser", Lost: true},
		"none to the first attempt":   {Action: "CreateUser", Lost: true, Count: 1},
		"no answer about the policy":  {Action: "PutUserPolicy", Lost: true},
		"no answer about the key":     {Action: "CreateAccessKey", Lost: true},
		"the key made, failure said":  {Action: "CreateAccessKey", FailAfter: true, Status: 500, Code: "ServiceFailure"},
		"the policy refused outright": {Action: "PutUserPolicy", Status: 403, Code: accessDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_MAX_ATTEMPTS", "2")
			d, fake, _ := demoInOwnAccount(t)
			// A user just made is answered as unknown, to its deletion too.
			fake.SetLag(awsfake.Lag{User: 300 * time.Millisecond})
			remove := fake.Inject(fault)
			require.Error(t, d.makeIntegrationUser(t.Context()))
			remove()
			require.Equal(t, 1, fake.Account(testAccount).UserCount())

			require.NoError(t, d.removeFromAWS(t.Context()))
			require.Zero(t, fake.Account(testAccount).UserCount())
		})
	}
}

func TestAUserThatWasRefusedIsNotRemoved(t *testing.T) {
	d, fake, _ := demoInOwnAccount(t)
	fake.Inject(awsfake.Fault{Action: "CreateUser", Status: 403, Code: accessDenied})
	require.Error(t, d.makeIntegrationUser(t.Context()))
	require.NoError(t, d.removeFromAWS(t.Context()))
	require.Zero(t, fake.Count("DeleteUser"))
}

func TestUsersThatVaultLeftAreRemovedAndNoOthers(t *testing.T) {
	d, fake, out := demoInOwnAccount(t)
	require.NoError(t, d.makeIntegrationUser(t.Context()))
	account := fake.Account(testAccount)
	account.AddUser("/vault/11112222/", "ours", allow("iam:ListUsers"))
	account.AddUser("/vault/33334444/", "anothers", allow("iam:ListUsers"))
	d.issued.path = "/vault/11112222/"

	require.NoError(t, d.removeFromAWS(t.Context()))
	require.Equal(t, 1, account.UserCount())
	_, found := account.User("anothers")
	require.True(t, found)
	require.Contains(t, out.String(), "Deleted the issued user ours")
}

func TestWhatCannotBeRemovedIsNamed(t *testing.T) {
	d, fake, _ := demoInOwnAccount(t)
	require.NoError(t, d.makeIntegrationUser(t.Context()))
	d.issued.path = "/vault/11112222/"
	fake.Inject(awsfake.Fault{Action: "ListUsers", Status: 403, Code: accessDenied, Message: "no"})
	fake.Inject(awsfake.Fault{Action: "DeleteUser", Status: 403, Code: accessDenied, Message: "no"})

	err := d.removeFromAWS(t.Context())
	require.ErrorContains(t, err, "users beneath /vault/11112222/")
	require.ErrorContains(t, err, d.integration.name)
}

func TestExpectationsFailWhereAWSDoesOtherwise(t *testing.T) {
	d, fake, _ := demoInOwnAccount(t)
	d.cloud.patience = 50 * time.Millisecond
	_, key := fake.Account(testAccount).AddUser("/", "reader", allow("iam:ListUsers"))
	who := d.cloud.as(key.AccessKeyID, key.SecretAccessKey)

	require.NoError(t, d.allows(t.Context(), who, listUsers("/")))
	require.ErrorContains(t, d.refuses(t.Context(), who, listUsers("/")), "AWS accepted it")
	require.ErrorContains(t, d.allows(t.Context(), who, getAccountSummary()), "must be allowed")
	require.NoError(t, d.refuses(t.Context(), who, getAccountSummary()))
	require.ErrorContains(t, d.comesToRefuse(t.Context(), who, getCallerIdentity(), invalidKey), "AWS accepted it")
	// A key that AWS does not know is no proof of missing permission.
	require.ErrorContains(t, d.refuses(t.Context(), d.cloud.as("AKIAAAAAAAAAAAAAAAAA", "x"), listUsers("/")), invalidKey)
	require.Equal(t, 2, d.checks)
}

func TestNobodyToAskMeansNo(t *testing.T) {
	d, fake, _ := demoInOwnAccount(t)
	pipe, answer, err := os.Pipe()
	require.NoError(t, err)
	defer func() { require.NoError(t, pipe.Close()) }()
	_, err = answer.WriteString("y\n")
	require.NoError(t, err)
	require.NoError(t, answer.Close())

	d.stdin = pipe
	require.ErrorContains(t, d.askLeave(t.Context()), "not a terminal")

	null, err := os.Open(os.DevNull) // a device, as a terminal is, but a silent one
	require.NoError(t, err)
	defer func() { require.NoError(t, null.Close()) }()
	d.stdin = null
	require.ErrorIs(t, d.askLeave(t.Context()), errDeclined)
	require.Zero(t, fake.Count("CreateUser"))
}

func TestShellTakesCommandsAsTheyAreRun(t *testing.T) {
	for _, args := range [][]string{
		{"vault", "read", "aws-iam/creds/r", "ttl=3h"},
		{"vault", "write", "aws-iam/roles/r", "policy_document=" + allow("iam:ListUsers"), "max_ttl=8h"},
		{"aws", "iam", "put-user-policy", "--user-name", "a", "--policy-document", integrationPolicy("aws")},
		{"vault", "write", "p", "a=it's $HOME `x` \\ \"y\"", "b=", "", "*", "c d=e"},
	} {
		program := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\\0' "+shellCommand(args...))
		seen, err := program.Output()
		require.NoError(t, err)
		var want []byte
		for _, arg := range args {
			want = append(append(want, arg...), 0)
		}
		require.Equal(t, string(want), string(seen))
	}
}

func TestSecretsOfARealAccountAreMasked(t *testing.T) {
	var out bytes.Buffer
	d := &demo{options: options{realAWS: true}, out: newPrinter(&out, false)}
	output := "Key   Value\n---   -----\nsecret_access_key    abc/def\nsecret_key    abc/def\n"
	d.hideSecrets(output)
	d.out.block(output)
	d.out.failure("FAILED", "with abc/def")
	require.NotContains(t, out.String(), "abc/def")
	require.Contains(t, out.String(), masked)
}

func TestOptions(t *testing.T) {
	from := func(env map[string]string) (options, error) {
		return optionsFrom(func(name string) string { return env[name] })
	}

	o, err := from(nil)
	require.NoError(t, err)
	require.Equal(t, options{}, o)
	o, err = from(map[string]string{"HOLD": "1", "AWS": "real"})
	require.NoError(t, err)
	require.Equal(t, options{hold: true, realAWS: true}, o)
	_, err = from(map[string]string{"AWS": "rael"})
	require.ErrorContains(t, err, "rael")
}

func TestSimulatedAWSIgnoresTheCallersOwn(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAAAAAAAAAAAAAAAAA")
	c, stop, err := simulatedAWS(t.Context())
	require.NoError(t, err)
	require.Equal(t, c.iamEndpoint, aws.ToString(c.admin.iam.Options().BaseEndpoint))
	require.NoError(t, stop(context.Background()))
}
