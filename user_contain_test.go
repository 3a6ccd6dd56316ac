package awsiam

import (
	"bytes"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// withoutDeleting is the core policy, and a denial of what would delete a user.
const withoutDeleting = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":["iam:CreateUser","iam:CreateAccessKey","iam:PutUserPolicy","iam:DeleteUserPolicy","iam:ListUserPolicies","iam:DeleteAccessKey","iam:ListAccessKeys"],
	 "Resource":"arn:aws:iam::*:user/vault/*"}]}`

// What cannot be deleted is denied everything: a session made in time, with
// permissions that somebody attached by hand, must not outlive the lease.
// Break it by returning early from deletion.contain.
func TestAUserThatCannotBeDeletedIsDeniedEverything(t *testing.T) {
	attach := func(e *env, l lease) {
		policy := e.acct.AddManagedPolicy("/", "by-hand", assuming)
		_, err := e.byHand().AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: aws.String(l.username()), PolicyArn: &policy})
		require.NoError(t, err)
	}
	forbid := func(e *env, _ lease) {
		_, err := e.byHand().PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String("vault-integration"), PolicyName: aws.String("policy"), PolicyDocument: aws.String(withoutDeleting)})
		require.NoError(t, err)
		user, _ := e.acct.User("vault-integration")
		for name := range user.Policies {
			if name != "policy" {
				_, err := e.byHand().DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: &user.Name, PolicyName: &name})
				require.NoError(t, err)
			}
		}
	}
	for name, c := range map[string]struct {
		hold     func(*env, lease)
		enforced bool
	}{
		"held by a policy of somebody's":        {attach, true},
		"held, and without a policy of its own": {attach, false},
		"deletion not allowed any more":         {forbid, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			body := map[string]any{"policy_document": assuming}
			if !c.enforced {
				body = map[string]any{"policy_document": "", "iam_groups": "assuming", "enforce_expiry": false}
				e.acct.AddGroup("assuming", assuming)
				e.write("config", e.connection(e.wideKey()))
			}
			e.write("roles/app", body)
			l := e.issue("app", nil)
			session := e.session(l.key())
			require.True(t, e.mayAssume(session))
			e.advance(10 * time.Minute)
			if !c.enforced {
				e.write("config", e.connection(e.key)) // may not look at attachments or groups
			}
			c.hold(e, l)

			for range 2 { // an attempt that finds the denial there puts it there again
				require.Error(t, e.revoke(l))
				user, ok := e.acct.User(l.username())
				require.True(t, ok)
				require.Empty(t, user.AccessKeys)
				require.Equal(t, map[string]string{l.username(): denyEverything}, user.Policies)
				require.False(t, e.mayAssume(session))
			}

			e.write("config", e.connection(e.wideKey()))
			e.finish()
			e.requireNothingLeft()
		})
	}
}

// What is not known to be ours is not touched either. Break it by taking the
// look at what was proven out of deletion.contain.
func TestNobodyElsesUserIsDeniedEverything(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.deleteByHand(l.username())
	stranger := e.strangerNamed(l.username())
	e.advance(10 * time.Minute)
	_, key := e.acct.AddUser("/", "blind", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:CreateUser","iam:DeleteUser","iam:DeleteUserPolicy","iam:PutUserPolicy","iam:DeleteAccessKey"],"Resource":"*"}]}`)
	e.write("config", e.connection(key))
	require.ErrorContains(t, e.revoke(l), "may not see whether it is ours")
	found, _ := e.acct.User(l.username())
	require.Equal(t, stranger, found)
}

// wideKey belongs to an integration user that may do everything.
func (e *env) wideKey() (key awsfake.Credentials) {
	e.t.Helper()
	if _, ok := e.acct.User("wide"); ok {
		out, err := e.byHand().CreateAccessKey(e.t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("wide")})
		require.NoError(e.t, err)
		key.AccessKeyID, key.SecretAccessKey = *out.AccessKey.AccessKeyId, *out.AccessKey.SecretAccessKey
		return key
	}
	_, key = e.acct.AddUser("/", "wide", widePolicy)
	return key
}

// AWS contains a key that it finds in public with a policy of its own. Whoever
// runs the engine has to hear of it, whether or not the user can be deleted.
func TestAQuarantinedUser(t *testing.T) {
	quarantine := func(e *env, l lease) {
		_, err := e.byHand().AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: aws.String(l.username()), PolicyArn: aws.String("arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3")})
		require.NoError(t, err)
	}
	t.Run("core", func(t *testing.T) {
		e := newEnv(t, corePolicy)
		l := e.issue("app", nil)
		quarantine(e, l)
		err := e.revoke(l)
		require.ErrorContains(t, err, "must detach all policies first", "AWS's own words")
		require.ErrorContains(t, err, "grant iam:ListAttachedUserPolicies and iam:DetachUserPolicy, also for the AWSCompromisedKeyQuarantine")
		user, _ := e.acct.User(l.username())
		require.Empty(t, user.AccessKeys)
	})
	t.Run("wide", func(t *testing.T) {
		e := newEnv(t, widePolicy)
		log := e.capturedLog()
		l := e.issue("app", nil)
		quarantine(e, l)
		require.NoError(t, e.revoke(l))
		e.requireNothingLeft()
		require.Contains(t, log.String(), "found in public")
		require.Contains(t, log.String(), l.key().AccessKeyID)
	})
}

// capturedLog starts the backend again with a logger that is looked at.
func (e *env) capturedLog() *bytes.Buffer {
	e.t.Helper()
	log := new(bytes.Buffer)
	e.logger = hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Trace})
	e.start()
	return log
}

// byKey allows what the core does, and asking for the owner of a key.
var byKey = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:GetAccessKeyLastUsed","Resource":"arn:aws:iam::*:user/vault/*"},` +
	corePolicy[len(`{"Version":"2012-10-17","Statement":[`):]

// A user that somebody renamed or moved has not gone: its key tells where it
// is. Break it by returning nil from deletion.follow.
func TestARenamedUserIsFoundByItsKey(t *testing.T) {
	for name, policy := range map[string]string{"wide": widePolicy, "core and GetAccessKeyLastUsed": byKey} {
		for change, update := range map[string]iam.UpdateUserInput{
			"renamed": {NewUserName: aws.String("renamed-by-hand")},
			"moved":   {NewPath: aws.String("/vault/elsewhere/")},
			"both":    {NewUserName: aws.String("renamed-by-hand"), NewPath: aws.String("/vault/elsewhere/")},
		} {
			for _, age := range []time.Duration{0, time.Hour} {
				t.Run(name+", "+change+" at the age of "+age.String(), func(t *testing.T) {
					t.Parallel()
					e := newEnv(t, policy)
					l := e.issue("app", nil)
					e.advance(age)
					own := update // the cases run at once
					own.UserName = aws.String(l.username())
					_, err := e.byHand().UpdateUser(t.Context(), &own)
					require.NoError(t, err)
					require.NoError(t, e.revoke(l))
					require.Len(t, e.acct.Users(), 1, "of the integration")
					require.Empty(t, e.records())
				})
			}
		}
	}
}

// Somebody renames it again and again.
func TestAUserRenamedTwiceIsFoundByItsKey(t *testing.T) {
	e := newEnv(t, widePolicy)
	l := e.issue("app", nil)
	name := l.username()
	for _, next := range []string{"renamed-once", "renamed-twice", l.username()} {
		_, err := e.byHand().UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: &name, NewUserName: &next})
		require.NoError(t, err)
		name = next
		remove := e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", Status: 403, Code: "AccessDenied", Message: "no"})
		require.Error(t, e.revoke(l))
		remove()
	}
	e.finish()
	require.Len(t, e.acct.Users(), 1, "of the integration")
	require.Empty(t, e.records())
}

// Somebody else has made a user of the old name: it stays.
func TestARenamedUserWhoseNameWasTaken(t *testing.T) {
	e := newEnv(t, widePolicy)
	l := e.issue("app", nil)
	e.advance(time.Hour)
	e.rename(l.username(), "renamed-by-hand")
	stranger := e.strangerNamed(l.username())
	require.NoError(t, e.revoke(l))
	require.Equal(t, []string{stranger.ID}, []string{e.issuedUsers()[0].ID})
	require.Len(t, e.issuedUsers(), 1)
	require.Empty(t, e.records())
}
