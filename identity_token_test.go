package awsiam

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/pluginidentityutil"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

const (
	testIssuer   = "vault.example/v1/identity/oidc/plugins"
	testAudience = "vault.example:443/v1/identity/oidc/plugins"
	testSubject  = "plugin-identity:root:secret:aws_iam"
)

// vouching is a core that mints identity tokens, as Vault Enterprise does.
type vouching struct {
	logical.SystemView
	e        *env
	provider *awsfake.OIDCProvider
	fails    atomic.Pointer[error]
	asked    atomic.Pointer[pluginutil.IdentityTokenRequest]
	minted   atomic.Pointer[string]
}

// GenerateIdentityToken implements logical.SystemView.
func (v *vouching) GenerateIdentityToken(_ context.Context, req *pluginutil.IdentityTokenRequest) (*pluginutil.IdentityTokenResponse, error) {
	v.asked.Store(req)
	if err := v.fails.Load(); err != nil {
		return nil, *err
	}
	token := v.provider.Token(testSubject, req.Audience, v.e.aws.Now().Add(req.TTL))
	v.minted.Store(&token)
	return &pluginutil.IdentityTokenResponse{Token: pluginutil.IdentityToken(token), TTL: req.TTL}, nil
}

// newVouchedEnv has a core that mints tokens, and the body of a config write for a
// role that they are exchanged for.
func newVouchedEnv(t *testing.T) (*env, *vouching, map[string]any) {
	t.Helper()
	e := newEnv(t, corePolicy)
	v := &vouching{SystemView: e.system, e: e, provider: e.acct.AddOIDCProvider(testIssuer, testAudience)}
	role := e.acct.AddFederatedRole("engine", v.provider, testSubject, mayAssume(corePolicy, "*"))
	e.startOn(v)
	return e, v, map[string]any{
		"identity_token_audience": testAudience, "role_arn": role, "iam_endpoint": e.url, "sts_endpoint": e.url, "max_retries": 1,
	}
}

// startOn is env.start with another core.
func (e *env) startOn(core logical.SystemView) {
	e.t.Helper()
	made, err := Factory(e.t.Context(), &logical.BackendConfig{Logger: e.logger, System: core, StorageView: e.storage, BackendUUID: testUUID})
	require.NoError(e.t, err)
	e.b = made.(*backend)
	e.b.now = e.clock.now
	e.t.Cleanup(func() { e.b.Cleanup(context.Background()) })
}

// Vault vouches for the mount, and AWS needs no key. Break it by signing the exchange,
// or by taking the default chain's credentials for it.
func TestWorkloadIdentityFederation(t *testing.T) {
	clearAWSEnvironment(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE") // is nobody's business here
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	e, v, body := newVouchedEnv(t)
	e.write("config/wif", changed(body, map[string]any{"identity_token_ttl": "10m", "session_name": "vouched", "region": "eu-central-1"}))
	require.Equal(t, 10*time.Minute, v.asked.Load().TTL)
	require.Equal(t, testAudience, v.asked.Load().Audience)
	shown := e.read("config/wif")
	require.Equal(t, "arn:aws:sts::"+testAccount+":assumed-role/engine/vouched", shown["caller_arn"])
	require.Equal(t, testAccount, shown["account_id"])
	require.Equal(t, "aws", shown["partition"])
	require.Equal(t, true, shown["verified"])
	require.Equal(t, testAudience, shown["identity_token_audience"])
	require.Equal(t, int64(600), shown["identity_token_ttl"])

	e.write("roles/wif", map[string]any{"integration": "wif", "policy_document": testPolicy})
	require.NoError(t, e.serve("wif"))
	for _, call := range e.aws.Calls() {
		if call.Action == "AssumeRoleWithWebIdentity" {
			require.Empty(t, call.AccessKeyID)
			require.Equal(t, http.StatusOK, call.Status)
		}
	}
	e.write("config/wif", map[string]any{"identity_token_ttl": 0})
	require.Equal(t, defaultTokenTTL, v.asked.Load().TTL)

	// Others may borrow it like any identity.
	far := e.aws.Account(otherAccount).AddRole("vault", body["role_arn"].(string), corePolicy)
	e.write("config/far", e.borrowing("wif", map[string]any{"role_arn": far}))
	e.write("roles/far", map[string]any{"integration": "far", "policy_document": testPolicy})
	require.NoError(t, e.serve("far"))
	e.refused(logical.UpdateOperation, "rotate-root/wif", nil, "has no access_key")
	e.requireNothingLeft()
}

// sessionLength is for how long AWS makes a session where nobody says for how long:
// the SDK does, of AssumeRole.
var sessionLength = map[string]time.Duration{"AssumeRole": 15 * time.Minute, "AssumeRoleWithWebIdentity": time.Hour}

// renewedAhead has leases served by sessions that have much time left, which are kept,
// and by some with less than is kept free, which are replaced before they end.
func (e *env) renewedAhead(role, assuming string, core logical.SystemView) {
	e.t.Helper()
	e.startOn(core)
	e.aws.ResetCalls()
	require.NoError(e.t, e.leaseCycle(role))
	require.NoError(e.t, e.leaseCycle(role))
	require.Equal(e.t, 1, e.aws.Count(assuming), "the session is kept")

	// AWS's clock is behind: what it makes ends sooner by ours.
	behind := sessionLength[assuming] - sessionRenewedAhead + 30*time.Second
	e.aws.Advance(-behind)
	defer e.aws.Advance(behind)
	e.startOn(core)
	e.aws.ResetCalls()
	require.NoError(e.t, e.leaseCycle(role))
	before := e.aws.Count(assuming)
	require.NoError(e.t, e.leaseCycle(role))
	require.Greater(e.t, e.aws.Count(assuming), before, "ahead of its end")
	for _, call := range e.aws.Calls() {
		require.Equal(e.t, http.StatusOK, call.Status)
	}
}

// Sessions are replaced ahead of their end, whatever they rest on. Break it by leaving
// the ExpiryWindow out of renewAhead.
func TestSessionsAreRenewedAhead(t *testing.T) {
	clearAWSEnvironment(t)
	e, v, federated := newVouchedEnv(t)
	newKey := func() awsfake.Credentials {
		e.aws.Advance(-2 * time.Hour) // its policy counts whatever the clock is set to later
		defer e.aws.Advance(2 * time.Hour)
		return e.anotherKey(mayAssume(corePolicy, "*"))
	}
	role := e.aws.Account(otherAccount).AddRole("vault", "arn:aws:iam::"+testAccount+":root", corePolicy)
	assumed := map[string]any{"role_arn": role}
	server := newKey()
	t.Setenv("AWS_ACCESS_KEY_ID", server.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", server.SecretAccessKey)
	e.write("config", e.connection(newKey()))
	for name, body := range map[string]map[string]any{
		"key":       changed(e.connection(newKey()), assumed),
		"source":    e.borrowing(defaultIntegration, assumed),
		"chain":     e.borrowing("", assumed),
		"federated": federated,
	} {
		e.write("config/"+name, body)
		e.write("roles/"+name, map[string]any{"integration": name, "policy_document": testPolicy})
		if name == "federated" {
			e.renewedAhead(name, "AssumeRoleWithWebIdentity", v)
		} else {
			e.renewedAhead(name, "AssumeRole", v)
		}
	}
}

// So are those of the server's environment, as Kubernetes' service accounts have them.
// Break it by leaving renewAhead out of LoadDefaultConfig's options.
func TestSessionsOfTheEnvironmentAreRenewedAhead(t *testing.T) {
	clearAWSEnvironment(t)
	e, v, federated := newVouchedEnv(t)
	file := filepath.Join(t.TempDir(), "token")
	token := v.provider.Token(testSubject, testAudience, e.aws.Now().Add(24*time.Hour))
	require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
	for name, value := range map[string]string{
		"AWS_ROLE_ARN": federated["role_arn"].(string), "AWS_WEB_IDENTITY_TOKEN_FILE": file, "AWS_ENDPOINT_URL_STS": e.url, "AWS_REGION": "eu-central-1",
	} {
		t.Setenv(name, value)
	}
	e.write("config/env", e.borrowing("", nil))
	e.write("roles/env", map[string]any{"integration": "env", "policy_document": testPolicy})
	e.renewedAhead("env", "AssumeRoleWithWebIdentity", v)
	e.requireNothingLeft()
}

// A server that cannot mint tokens says so, and what to use instead, whenever one is
// needed; nothing is made in AWS then, and nothing left to be undone. Break it by
// comparing the error by its identity, which does not cross to the plugin's process.
func TestAServerThatMintsNoTokens(t *testing.T) {
	e, v, body := newVouchedEnv(t)
	e.write("config/wif", body)
	e.write("roles/wif", map[string]any{"integration": "wif", "policy_document": testPolicy})
	l := e.issue("wif", nil)
	for what, unsupported := range map[string]error{
		"in process":    pluginidentityutil.ErrPluginWorkloadIdentityUnsupported,
		"across a pipe": errors.New("rpc error: code = Internal desc = failed to generate plugin identity token: " + pluginidentityutil.ErrPluginWorkloadIdentityUnsupported.Error()),
	} {
		t.Run(what, func(t *testing.T) {
			v.fails.Store(&unsupported)
			e.startOn(v)
			texts := []string{"cannot mint identity tokens", "community edition", "use access_key, source_integration or"}
			for _, verify := range []bool{true, false} {
				e.refused(logical.UpdateOperation, "config/new", changed(body, map[string]any{"verify_connection": verify}), texts...)
			}
			require.Nil(t, e.must(logical.ReadOperation, "config/new", nil))
			e.refused(logical.ReadOperation, "creds/wif", nil, texts...)
			require.Len(t, e.records(), 1, "of the lease that is out")
			err := e.revoke(l)
			for _, text := range texts {
				require.ErrorContains(t, err, text)
			}
		})
	}
	other := errors.New("the identity store is sealed")
	v.fails.Store(&other)
	for _, verify := range []bool{true, false} {
		_, err := e.do(logical.UpdateOperation, "config/new", changed(body, map[string]any{"verify_connection": verify}))
		require.ErrorContains(t, err, other.Error())
	}
	v.fails.Store(nil)
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

// AWS looks up Vault's public keys, which may fail for a moment: that is not for the
// caller to mend. Break it by leaving IDPCommunicationError out of passingCodes.
func TestAnIssuerThatAWSCannotReach(t *testing.T) {
	e, _, body := newVouchedEnv(t)
	e.write("config/wif", changed(body, map[string]any{"max_retries": 0}))
	e.write("roles/wif", map[string]any{"integration": "wif", "policy_document": testPolicy})
	defer e.aws.Inject(awsfake.Fault{Action: "AssumeRoleWithWebIdentity", Code: "IDPCommunicationError", Status: http.StatusBadRequest, Count: 1})()
	_, err := e.do(logical.ReadOperation, "creds/wif", nil)
	require.ErrorContains(t, err, "IDPCommunicationError")
	require.ErrorContains(t, err, "try again")
	var coded logical.HTTPCodedError
	require.ErrorAs(t, err, &coded)
	require.Equal(t, http.StatusBadGateway, coded.Code())
	require.NoError(t, e.serve("wif"))
	e.requireNothingLeft()
}

// Break it by logging the token, or by keeping the request in an error.
func TestIdentityTokensAreSecret(t *testing.T) {
	var log bytes.Buffer
	e, v, body := newVouchedEnv(t)
	e.logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &syncWriter{w: &log}})
	e.startOn(v)
	e.write("config/wif", body)
	e.write("roles/wif", map[string]any{"integration": "wif", "policy_document": testPolicy})
	require.NoError(t, e.serve("wif"))
	e.start() // a core that mints none
	_, err := e.do(logical.UpdateOperation, "config/wif", map[string]any{"role_arn": body["role_arn"].(string) + "x"})
	require.Error(t, err)
	e.startOn(v)
	e.refused(logical.UpdateOperation, "config/wif", map[string]any{"role_arn": body["role_arn"].(string) + "x"}, "AccessDenied", "sts:AssumeRoleWithWebIdentity")
	e.refused(logical.UpdateOperation, "config/wif", map[string]any{"identity_token_audience": "nobody's"}, "Incorrect token audience")
	require.NotEmpty(t, *v.minted.Load())
	for _, text := range []string{log.String(), err.Error(), e.dump(t)["config/wif"]} {
		require.NotContains(t, text, "eyJ")
	}
}
