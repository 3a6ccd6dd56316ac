package awsiam

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

const otherAccount = "444455556666"

// clearAWSEnvironment keeps the developer's own AWS settings out of a test.
func clearAWSEnvironment(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// A keyed integration is what its fields say, whatever Vault's environment.
// Break it by loading the SDK's default configuration for it too.
func TestEnvironmentDoesNotChangeAKeyedIntegration(t *testing.T) {
	astray := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a call went astray, to %s", r.Host)
	}))
	defer astray.Close()
	clearAWSEnvironment(t)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": astray.URL, "AWS_ENDPOINT_URL_IAM": astray.URL, "AWS_ENDPOINT_URL_STS": astray.URL, "HTTP_PROXY": astray.URL,
		"AWS_RETRY_MODE": "adaptive", "AWS_MAX_ATTEMPTS": "1", "AWS_REGION": "cn-north-1", "AWS_DEFAULT_REGION": "cn-north-1",
		"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true", "AWS_PROFILE": "nobody",
		"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wrong", "AWS_SESSION_TOKEN": "wrong", "AWS_CA_BUNDLE": "/nowhere",
	} {
		t.Setenv(name, value)
	}
	e := newEnv(t, corePolicy)
	e.write("config", map[string]any{"max_retries": 2})
	remove := e.aws.Inject(awsfake.Fault{Action: "CreateUser", Code: "Throttling", Count: 2})
	defer remove()
	l := e.issue("app", nil)
	require.Equal(t, 3, e.aws.Count("CreateUser"), "the integration's retries count, not the environment's")
	require.NoError(t, e.revoke(l))
	for _, call := range e.aws.Calls() {
		require.Equal(t, e.key.AccessKeyID, call.AccessKeyID)
	}
}

func TestDefaultCredentials(t *testing.T) {
	clearAWSEnvironment(t)
	e := newEnv(t, corePolicy)
	t.Setenv("AWS_ACCESS_KEY_ID", e.key.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", e.key.SecretAccessKey)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	keyless := map[string]any{"iam_endpoint": e.url, "sts_endpoint": e.url, "max_retries": 1}
	e.write("config/env", keyless)
	require.Empty(t, e.read("config/env")["access_key"])
	require.Equal(t, testAccount, e.read("config/env")["account_id"])
	e.write("roles/env", map[string]any{"integration": "env", "policy_document": testPolicy})
	defer e.aws.Inject(awsfake.Fault{Action: "CreateUser", Code: "Throttling", Count: 1})()
	l := e.issue("env", nil)
	require.Equal(t, 2, e.aws.Count("CreateUser"), "retries are the integration's here too")
	require.NotContains(t, e.dump(t)["config/env"], e.key.SecretAccessKey)

	// The environment moves to another account by itself. Break it by taking
	// the identity out of accountMayDiffer, or out of newConnection.
	_, other := e.aws.Account(otherAccount).AddUser("/", "other", corePolicy)
	t.Setenv("AWS_ACCESS_KEY_ID", other.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", other.SecretAccessKey)
	e.refused(logical.UpdateOperation, "config/env", map[string]any{"max_retries": 0}, "cannot move to account "+otherAccount, l.username())
	e.start()
	e.refused(logical.ReadOperation, "creds/env", nil, "was verified for account "+testAccount, otherAccount, "write config/env again")
	require.ErrorContains(t, e.revoke(l), otherAccount)
	require.Len(t, e.records(), 1)

	t.Setenv("AWS_ACCESS_KEY_ID", e.key.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", e.key.SecretAccessKey)
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

func TestNoCredentialsAtAll(t *testing.T) {
	clearAWSEnvironment(t)
	e := newEnv(t, corePolicy)
	_, err := e.do(logical.UpdateOperation, "config/env", map[string]any{"iam_endpoint": e.url, "sts_endpoint": e.url, "max_retries": 0})
	require.ErrorContains(t, err, `integration "env" was not stored`)
	require.Nil(t, e.must(logical.ReadOperation, "config/env", nil))
}

// Many accounts from one identity.
func TestAssumedRoleInAnotherAccount(t *testing.T) {
	e := newEnv(t, corePolicy)
	other := e.aws.Account(otherAccount)
	caller, key := e.acct.AddUser("/", "hub", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}}`)
	target := other.AddRoleWithExternalID("vault", caller.ARN, "a-shared-word", corePolicy)
	body := changed(e.connection(key), map[string]any{"role_arn": target})

	e.refused(logical.UpdateOperation, "config/far", body, "sts:AssumeRole", "AccessDenied")
	e.refused(logical.UpdateOperation, "config/far", changed(body, map[string]any{"external_id": "another-word"}), "AccessDenied")
	e.write("config/far", changed(body, map[string]any{"external_id": "a-shared-word"}))
	shown := e.read("config/far")
	require.Equal(t, otherAccount, shown["account_id"])
	require.Equal(t, "arn:aws:sts::444455556666:assumed-role/vault/vault-aws-iam", shown["caller_arn"])

	e.write("config/far", map[string]any{"session_name": "our-vault"})
	require.True(t, strings.HasSuffix(e.read("config/far")["caller_arn"].(string), "/our-vault"))

	e.write("roles/far", map[string]any{"integration": "far", "policy_document": testPolicy})
	l := e.issue("far", nil)
	require.Equal(t, otherAccount, l.data["account_id"])
	user, ok := other.User(l.username())
	require.True(t, ok)
	require.Equal(t, testPath, user.Path)
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
	require.Zero(t, other.UserCount())
}

// The calls of another partition are signed for its own region, which the
// simulation checks, and its ARNs are its own.
func TestOtherPartitions(t *testing.T) {
	for partition, region := range map[string]string{"aws-cn": "cn-northwest-1", "aws-us-gov": "us-gov-east-1"} {
		t.Run(partition, func(t *testing.T) {
			e := newEnv(t, corePolicy)
			acct := e.aws.AccountIn(partition, otherAccount)
			_, key := acct.AddUser("/", "vault-integration", strings.Replace(corePolicy, "arn:aws:", "arn:"+partition+":", 1))
			e.write("config/p", changed(e.connection(key), map[string]any{"region": region}))
			require.Equal(t, partition, e.read("config/p")["partition"])
			role := map[string]any{"integration": "p", "policy_document": strings.Replace(testPolicy, `"*"`, `"arn:`+partition+`:iam::*:group/*"`, 1)}
			e.refused(logical.UpdateOperation, "roles/p", changed(role, map[string]any{"policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess"}), "policy_arns", `"`+partition+`"`)
			e.write("roles/p", role)
			l := e.issue("p", nil)
			require.Contains(t, l.data["arn"], "arn:"+partition+":iam::"+otherAccount+":user"+testPath)
			require.NoError(t, e.revoke(l))
			e.requireNothingLeft()
		})
	}
}

func TestValidateARN(t *testing.T) {
	for value, ok := range map[string]bool{
		"arn:aws:iam::111122223333:role/a":          true,
		"arn:aws:iam::111122223333:role/a/b/c":      true,
		"arn:aws-iso-b:iam::111122223333:role/a":    true,
		"arn:aws-eusc:iam::111122223333:role/a":     true,
		"arn:aws:iam::111122223333:role/aA0+=,.@_-": true,
		"arn:aws:iam::111122223333:role//a":         false,
		"arn:aws:iam::111122223333:role/a/":         false,
		"arn:aws:iam::111122223333:role":            false,
		"arn:aws:iam::111122223333:Role/a":          false,
		"arn:aws:iam::111122223333:role/a:b":        false,
		"arn:aws:iam::111122223333:role/a\n":        false,
		"arn:aws:iam::1111222233334:role/a":         false,
		"arn:AWS:iam::111122223333:role/a":          false,
		"arn::iam::111122223333:role/a":             false,
		"xarn:aws:iam::111122223333:role/a":         false,
		"arn:aws:iam:":                              false,
	} {
		err := validateARN("role_arn", value, "role")
		require.Equal(t, ok, err == nil, "%s: %v", value, err)
	}
}
