package awsiam

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// expirySize is what the expiry statement adds to a list of statements.
const expirySize = len(`,{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThanEquals":{"aws:CurrentTime":"2006-01-02T15:04:05Z"}}}`)

// testPolicyUntil is the inline policy of a user of a role with testPolicy and
// the mount's maximum TTL.
func testPolicyUntil(t *testing.T, user awsfake.UserInfo) string {
	t.Helper()
	policy, err := withExpiry(testPolicy, user.Created.Add(24*time.Hour+clockAllowance))
	require.NoError(t, err)
	return policy
}

func TestWithExpiryKeepsTheRestAsItIs(t *testing.T) {
	deadline := time.Date(2031, 5, 6, 7, 8, 9, 0, time.FixedZone("", 3600))
	const statement = `{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThanEquals":{"aws:CurrentTime":"2031-05-06T06:08:09Z"}}}`
	const own = `{"Sid":"A","Effect":"Allow","Action":["s3:*"],"Resource":"arn:aws:s3:::a]/<b>&${aws:username}"}`
	for name, c := range map[string]struct{ document, want string }{
		"none":                    {``, `{"Version":"2012-10-17","Statement":[` + statement + `]}`},
		"a list":                  {`{ "Version": "2012-10-17", "Statement": [ ` + own + ` ] }`, `{"Version":"2012-10-17","Statement":[` + own + `,` + statement + `]}`},
		"two":                     {`{"Version":"2012-10-17","Statement":[` + own + `,` + own + `]}`, `{"Version":"2012-10-17","Statement":[` + own + `,` + own + `,` + statement + `]}`},
		"a single statement":      {`{"Version":"2012-10-17","Statement":` + own + `}`, `{"Version":"2012-10-17","Statement":[` + own + `,` + statement + `]}`},
		"an old version":          {`{"Statement":[` + own + `],"Version":"2008-10-17"}`, `{"Version":"2008-10-17","Statement":[` + own + `,` + statement + `]}`},
		"no version":              {`{"Statement":[` + own + `]}`, `{"Statement":[` + own + `,` + statement + `]}`},
		"no version and no list":  {`{"Statement":` + own + `}`, `{"Statement":[` + own + `,` + statement + `]}`},
		"escapes stay as written": {`{"Statement":[{"Sid":"\u003c"}]}`, `{"Statement":[{"Sid":"\u003c"},` + statement + `]}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := withExpiry(c.document, deadline)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			require.True(t, json.Valid([]byte(got)))
		})
	}
}

// mayList says whether the key is let do what testPolicy allows.
func (e *env) mayList(key awsfake.Credentials) bool {
	e.t.Helper()
	_, err := e.iamClient(key).ListGroups(e.t.Context(), &iam.ListGroupsInput{})
	if err != nil {
		require.True(e.t, hasCode(err, codeAccessDenied), "%s", err)
	}
	return err == nil
}

func (l lease) key() awsfake.Credentials {
	return awsfake.Credentials{AccessKeyID: l.data["access_key_id"].(string), SecretAccessKey: l.data["secret_access_key"].(string)}
}

// assuming allows what a session of the user's own may do too: such a session
// is let in to IAM only with MFA (STS API reference, GetSessionToken).
const assuming = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["iam:ListGroups", "sts:AssumeRole"], "Resource": "*"}]}`

// mayAssume says whether the session is let do what assuming allows.
func (e *env) mayAssume(session awsfake.Credentials) bool {
	e.t.Helper()
	role := e.acct.AddRole("assumed-"+strings.ToLower(rand.Text()), "arn:aws:iam::"+testAccount+":root")
	_, err := e.stsClient(session).AssumeRole(e.t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("test")})
	if err != nil {
		require.True(e.t, hasCode(err, codeAccessDenied), "%s", err)
	}
	return err == nil
}

func (e *env) stsClient(key awsfake.Credentials) *sts.Client {
	return sts.New(sts.Options{
		Region: defaultRegion, BaseEndpoint: aws.String(e.url), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, key.SessionToken),
	})
}

// session is one that the user makes for itself, which nothing can deny it.
func (e *env) session(key awsfake.Credentials) awsfake.Credentials {
	e.t.Helper()
	out, err := e.stsClient(key).GetSessionToken(e.t.Context(), &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(129600)})
	require.NoError(e.t, err)
	return awsfake.Credentials{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken}
}

// The deadline is AWS's to keep: with Vault gone for good, whatever its clock
// said, the key and the user's own sessions work until the last lease could
// have ended and not after. Break it by leaving out withExpiry in
// role.inlinePolicy, or by reckoning from b.now() instead of creation.created.
func TestExpiryIsEnforcedWithoutVault(t *testing.T) {
	minified, err := minifyPolicy(assuming)
	require.NoError(t, err)
	roles := map[string]func(*env) map[string]any{
		"inline": func(*env) map[string]any { return map[string]any{"policy_document": assuming} },
		"one object": func(*env) map[string]any {
			return map[string]any{"policy_document": strings.NewReplacer("[{", "{", "}]", "}").Replace(minified)}
		},
		"old": func(*env) map[string]any {
			return map[string]any{"policy_document": strings.Replace(assuming, "2012", "2008", 1)}
		},
		"no version": func(*env) map[string]any {
			return map[string]any{"policy_document": strings.Replace(assuming, `"Version": "2012-10-17", `, "", 1)}
		},
		"managed": func(e *env) map[string]any {
			return map[string]any{"policy_arns": e.acct.AddManagedPolicy("/", "listing", assuming)}
		},
		"group": func(e *env) map[string]any {
			e.acct.AddGroup("listing", assuming)
			return map[string]any{"iam_groups": "listing"}
		},
	}
	for name, role := range roles {
		for _, skew := range []time.Duration{-5 * time.Minute, 0, 5 * time.Minute} {
			t.Run(name+", Vault's clock off by "+skew.String(), func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, widePolicy)
				e.clock.advance(skew)
				body := role(e)
				body["max_ttl"], body["default_ttl"] = "1m", "1m"
				e.write("roles/app2", body)
				l := e.issue("app2", nil)
				session := e.session(l.key())
				require.Equal(t, l.username(), l.data["policy_name"])

				e.aws.Advance(time.Minute + clockAllowance - 5*time.Second)
				require.True(t, e.mayList(l.key()))
				require.True(t, e.mayAssume(session))
				e.aws.Advance(7 * time.Second) // AWS's dates are whole seconds
				require.False(t, e.mayList(l.key()))
				require.False(t, e.mayAssume(session))
			})
		}
	}
}

func TestNoExpiryWhereTheRoleWantsNone(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("roles/app", map[string]any{"enforce_expiry": false})
	l := e.issue("app", nil)
	e.aws.Advance(48 * time.Hour)
	require.True(t, e.mayList(l.key()))
}

// A role that a plugin without enforce_expiry has stored is under it too.
func TestExpiryOfARoleStoredWithoutTheField(t *testing.T) {
	e := newEnv(t, corePolicy)
	entry, err := e.storage.Get(t.Context(), rolePrefix+"app")
	require.NoError(t, err)
	entry.Value = []byte(strings.Replace(string(entry.Value), `,"enforce_expiry":true`, "", 1))
	require.NotContains(t, string(entry.Value), "enforce_expiry")
	require.NoError(t, e.storage.Put(t.Context(), entry))
	require.Equal(t, true, e.read("roles/app")["enforce_expiry"])
}

// A renewal cannot outlive the deadline, which was fixed at issue.
func TestRenewalStaysWithinTheEnforcedDeadline(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("roles/app", map[string]any{"max_ttl": "1h"})
	l := e.issue("app", nil)
	e.write("roles/app", map[string]any{"max_ttl": "10h"})
	resp, err := e.renew(l, 9*time.Hour)
	require.NoError(t, err)
	require.LessOrEqual(t, resp.Secret.TTL, time.Hour)
	require.Equal(t, time.Hour, resp.Secret.MaxTTL)
}

// Sessions outlive the key: the deny must not go while a group or a managed
// policy still gives them something. Break it by removing the policy together
// with the rest in deletion.dismantle.
func TestTheExpiryStatementGoesLast(t *testing.T) {
	e := newEnv(t, widePolicy)
	e.acct.AddGroup("listing", testPolicy)
	e.write("roles/grouped", map[string]any{"iam_groups": "listing", "policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess"})
	l := e.issue("grouped", nil)

	remove := e.aws.Inject(awsfake.Fault{Action: "RemoveUserFromGroup", Status: 403, Code: "AccessDenied", Message: "no"})
	require.ErrorContains(t, e.revoke(l), "iam:RemoveUserFromGroup on the groups")
	require.Zero(t, e.aws.Count("DeleteUserPolicy"))
	user, ok := e.acct.User(l.username())
	require.True(t, ok)
	require.Empty(t, user.AccessKeys)
	require.Contains(t, user.Policies[l.username()], `"Deny"`)

	remove()
	e.aws.ResetCalls()
	e.finish()
	e.requireNothingLeft()
	var order []string
	for _, call := range e.aws.Calls() {
		order = append(order, call.Action)
	}
	require.Equal(t, []string{"DeleteUserPolicy", "DeleteUser"}, order[len(order)-2:])
}
