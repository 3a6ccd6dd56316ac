package awsfake_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

func sessionOf(c *types.Credentials) awsfake.Credentials {
	return awsfake.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken}
}

// assume tries to assume a role and returns the session.
func (w world) assume(t *testing.T, as awsfake.Credentials, role string, change ...func(*sts.AssumeRoleInput)) (awsfake.Credentials, error) {
	t.Helper()
	in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("test")}
	for _, f := range change {
		f(in)
	}
	out, err := w.sts(as).AssumeRole(t.Context(), in)
	if err != nil {
		return awsfake.Credentials{}, err
	}
	return sessionOf(out.Credentials), nil
}

// ownSession makes a session of the user's own with an MFA device, since without one it may not call
// IAM.
func (w world) ownSession(t *testing.T, user string, key awsfake.Credentials) awsfake.Credentials {
	t.Helper()
	serial := "arn:aws:iam::111122223333:mfa/" + user
	ctx, root := t.Context(), w.root()
	_, err := root.CreateVirtualMFADevice(ctx, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: &user})
	require.NoError(t, err)
	_, err = root.EnableMFADevice(ctx, &iam.EnableMFADeviceInput{
		UserName: &user, SerialNumber: &serial, AuthenticationCode1: aws.String("000000"), AuthenticationCode2: aws.String("111111"),
	})
	require.NoError(t, err)
	out, err := w.sts(key).GetSessionToken(ctx, &sts.GetSessionTokenInput{SerialNumber: &serial, TokenCode: aws.String("222222")})
	require.NoError(t, err)
	return sessionOf(out.Credentials)
}

func TestOwnSessions(t *testing.T) {
	w := newWorld(t)
	ctx, acct, root := t.Context(), w.Account(testAccount), w.root()
	info, key := acct.AddUser("/vault/", "bob", allowAll)
	out, err := w.sts(key).GetSessionToken(ctx, nil)
	require.NoError(t, err)
	plain, session := sessionOf(out.Credentials), w.ownSession(t, "bob", key)

	requireCode(t, "InvalidClientTokenId", get("bob")(ctx, w.iam(plain)), "no IAM without MFA")
	require.NoError(t, get("bob")(ctx, w.iam(session)))
	_, err = w.sts(session).GetSessionToken(ctx, nil)
	requireCode(t, "AccessDenied", err, "no session from a session")
	id, err := w.sts(session).GetCallerIdentity(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, info.ARN, *id.Arn)
	require.Equal(t, info.ID, *id.UserId)

	half := session
	half.SessionToken = plain.SessionToken
	requireCode(t, "InvalidClientTokenId", w.who(ctx, half), "another session's token")
	half.SessionToken = ""
	requireCode(t, "InvalidClientTokenId", w.who(ctx, half), "no token")
	half = key
	half.SessionToken = session.SessionToken
	requireCode(t, "InvalidClientTokenId", w.who(ctx, half), "a token with a long-term key")

	_, err = root.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: &key.AccessKeyID})
	require.NoError(t, err)
	require.NoError(t, get("bob")(ctx, w.iam(session)), "sessions outlive the key")

	denial := statement("Deny", "*", "*")
	_, err = root.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("deny"), PolicyDocument: &denial})
	require.NoError(t, err)
	requireCode(t, "AccessDenied", get("bob")(ctx, w.iam(session)), "a deny on the user reaches its sessions")
	require.NoError(t, w.who(ctx, session), "which nothing keeps from saying who they are")

	(&subject{backend: backend{iam: root}}).sweepUser(ctx, aws.String("bob"))
	_, exists := acct.User("bob")
	require.False(t, exists)
	requireCode(t, "InvalidClientTokenId", w.who(ctx, session), "sessions do not outlive the user")
}

func TestSessionsExpire(t *testing.T) {
	w := newWorld(t)
	_, key := w.Account(testAccount).AddUser("/", "bob")
	out, err := w.sts(key).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(900)})
	require.NoError(t, err)
	require.WithinDuration(t, w.Now().Add(15*time.Minute), *out.Credentials.Expiration, 2*time.Second)
	w.Advance(14 * time.Minute)
	require.NoError(t, w.who(t.Context(), sessionOf(out.Credentials)))
	w.Advance(2 * time.Minute)
	requireCode(t, "ExpiredToken", w.who(t.Context(), sessionOf(out.Credentials)))
}

func TestAssumeRole(t *testing.T) {
	const other = "444455556666"
	mayAssume := statement("Allow", "sts:AssumeRole", "*")
	externalID := func(id string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.ExternalId = &id }
	}
	for name, c := range map[string]struct {
		account  string // the role's
		trusted  string
		external string
		policies []string
		change   []func(*sts.AssumeRoleInput)
		want     string
	}{
		"named in the own account":               {account: testAccount, trusted: "user/bob"},
		"named, but denied":                      {account: testAccount, trusted: "user/bob", policies: []string{statement("Deny", "*", "*")}, want: "AccessDenied"},
		"own account trusted, no policy":         {account: testAccount, trusted: "root", want: "AccessDenied"},
		"own account trusted, policy":            {account: testAccount, trusted: "root", policies: []string{mayAssume}},
		"another user trusted":                   {account: testAccount, trusted: "user/eve", policies: []string{mayAssume}, want: "AccessDenied"},
		"other account, named, no policy":        {account: other, trusted: "user/bob", want: "AccessDenied"},
		"other account, named, policy":           {account: other, trusted: "user/bob", policies: []string{mayAssume}},
		"other account, account trusted, policy": {account: other, trusted: "root", policies: []string{mayAssume}},
		"policy for another role":                {account: other, trusted: "root", policies: []string{statement("Allow", "sts:AssumeRole", "arn:aws:iam::*:role/x")}, want: "AccessDenied"},
		"external id given":                      {account: testAccount, trusted: "user/bob", external: "s3cret", change: []func(*sts.AssumeRoleInput){externalID("s3cret")}},
		"external id wrong":                      {account: testAccount, trusted: "user/bob", external: "s3cret", change: []func(*sts.AssumeRoleInput){externalID("guess")}, want: "AccessDenied"},
		"external id missing":                    {account: testAccount, trusted: "user/bob", external: "s3cret", want: "AccessDenied"},
		"no such role":                           {account: testAccount, trusted: "user/bob", change: []func(*sts.AssumeRoleInput){func(in *sts.AssumeRoleInput) { *in.RoleArn += "x" }}, want: "AccessDenied"},
		"no such path":                           {account: testAccount, trusted: "user/bob", change: []func(*sts.AssumeRoleInput){func(in *sts.AssumeRoleInput) { *in.RoleArn = strings.Replace(*in.RoleArn, "role/", "role/x/", 1) }}, want: "AccessDenied"},
		"too long":                               {account: testAccount, trusted: "user/bob", change: []func(*sts.AssumeRoleInput){func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(3601) }}, want: "ValidationError"},
		"bad session name":                       {account: testAccount, trusted: "user/bob", change: []func(*sts.AssumeRoleInput){func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("a b") }}, want: "ValidationError"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, key := w.Account(testAccount).AddUser("/", "bob", c.policies...)
			trusted := "arn:aws:iam::" + testAccount + ":" + c.trusted
			role := ""
			if c.external == "" {
				role = w.Account(c.account).AddRole("target", trusted, allowAll)
			} else {
				role = w.Account(c.account).AddRoleWithExternalID("target", trusted, c.external, allowAll)
			}
			session, err := w.assume(t, key, role, c.change...)
			requireCode(t, c.want, err)
			if err != nil {
				return
			}
			id, err := w.sts(session).GetCallerIdentity(t.Context(), nil)
			require.NoError(t, err)
			require.Equal(t, "arn:aws:sts::"+c.account+":assumed-role/target/test", *id.Arn)
			require.Equal(t, c.account, *id.Account)
			require.Regexp(t, `^AROA[A-Z0-9]+:test$`, *id.UserId)
			require.NoError(t, create("/", "made")(t.Context(), w.iam(session)))
			_, made := w.Account(c.account).User("made")
			require.True(t, made, "an assumed role acts in its own account")
		})
	}
}

// TestAssumedRoleIsBeyondItsMaker: it is judged by the role's policies, and outlives who assumed it.
func TestAssumedRoleIsBeyondItsMaker(t *testing.T) {
	w := newWorld(t)
	ctx, acct, root := t.Context(), w.Account(testAccount), w.root()
	info, key := acct.AddUser("/", "bob")
	role := acct.AddRole("reader", info.ARN, statement("Allow", "iam:GetUser", "*"))
	acct.AddUser("/", "eve")
	session, err := w.assume(t, key, role)
	require.NoError(t, err)
	scoped, err := w.assume(t, key, role, func(in *sts.AssumeRoleInput) {
		in.Policy = aws.String(statement("Allow", "iam:GetUser", "arn:aws:iam::*:user/bob"))
	})
	require.NoError(t, err)
	requireCode(t, "AccessDenied", get("eve")(ctx, w.iam(scoped)), "outside the session policy")
	require.NoError(t, get("bob")(ctx, w.iam(scoped)))
	_, err = w.iam(session).GetUser(ctx, nil)
	requireCode(t, "ValidationError", err, "a role is no user to default to")

	(&subject{backend: backend{iam: root}}).sweepUser(ctx, aws.String("bob"))
	require.NoError(t, get("eve")(ctx, w.iam(session)))
	requireCode(t, "AccessDenied", create("/", "new")(ctx, w.iam(session)))

	_, err = root.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("reader")})
	requireCode(t, "DeleteConflict", err)
	_, err = root.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: aws.String("reader"), PolicyName: aws.String("policy-0")})
	require.NoError(t, err)
	requireCode(t, "AccessDenied", get("eve")(ctx, w.iam(session)), "the role's policies as they are now")
	_, err = root.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("reader")})
	require.NoError(t, err)
	_, err = root.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("reader")})
	requireCode(t, "NoSuchEntity", err)
}

func TestRoleChaining(t *testing.T) {
	w := newWorld(t)
	acct := w.Account(testAccount)
	info, key := acct.AddUser("/", "bob")
	first := acct.AddRole("first", info.ARN)
	second := w.Account("444455556666").AddRole("second", first)
	_, err := w.assume(t, key, second)
	requireCode(t, "AccessDenied", err)
	session, err := w.assume(t, key, first)
	require.NoError(t, err)
	_, err = w.assume(t, session, second)
	requireCode(t, "AccessDenied", err, "another account's role needs a policy of the first's")
	doc := statement("Allow", "sts:AssumeRole", second)
	_, err = w.root().PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("first"), PolicyName: aws.String("p"), PolicyDocument: &doc})
	require.NoError(t, err)
	_, err = w.assume(t, session, second)
	require.NoError(t, err)

	trust := `{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":["` + info.ARN + `","` + first + `","` + testAccount + `"]}}}`
	_, err = w.root().CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("long"), AssumeRolePolicyDocument: &trust, MaxSessionDuration: aws.Int32(7200)})
	require.NoError(t, err)
	long, twoHours := "arn:aws:iam::"+testAccount+":role/long", func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(7200) }
	_, err = w.assume(t, key, long, twoHours)
	require.NoError(t, err)
	_, err = w.assume(t, session, long)
	require.NoError(t, err)
	_, err = w.assume(t, session, long, twoHours)
	requireCode(t, "ValidationError", err, "an hour at most from role to role")
	_, err = w.assume(t, acct.Root(), long)
	requireCode(t, "AccessDenied", err, "root assumes no roles")
}
