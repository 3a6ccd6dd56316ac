package awsiam

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// "Not found", told apart: a user that AWS does not know yet, one that somebody
// has deleted, and a denial that may mean either.

// namedPolicy is the core's with the remedy that the docs name: keys may be
// listed by name, too, so that AWS says of a user whether it is there.
var namedPolicy = strings.Replace(corePolicy, `[{`,
	`[{"Effect":"Allow","Action":"iam:ListAccessKeys","Resource":"arn:aws:iam::*:user/vault-*"},{`, 1)

// permissions are all that what is not found looks different under.
var permissions = map[string]string{"core": corePolicy, "core and the remedy": namedPolicy, "wide": widePolicy}

// issueUnknown issues a lease whose user AWS will not know for the time, on any
// call, as an endpoint that hears of it late.
func (e *env) issueUnknown(lag time.Duration) lease {
	e.t.Helper()
	e.aws.SetLag(awsfake.Lag{User: lag})
	e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Count: 1, Hook: func(awsfake.Call) { e.aws.Advance(lag) }})
	l := e.issue("app", nil)
	e.aws.SetLag(awsfake.Lag{})
	e.aws.Advance(-lag)
	return l
}

// Break it by believing deletion.notFound whatever the user's age.
func TestAYoungUserThatAWSDoesNotKnowYetIsNotGone(t *testing.T) {
	for name, policy := range permissions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			l := e.issueUnknown(3 * time.Minute)
			e.aws.ResetCalls()
			require.ErrorContains(t, e.revoke(l), "not settled yet")
			require.Zero(t, e.aws.Count("CreateUser"), "a name is not asked for before it can have settled")
			record := e.records()[l.username()]
			require.Equal(t, stateDeleting, record.State)
			require.WithinDuration(t, record.Created.Add(settlingTime), record.NextAttempt, 0)
			user, found := e.acct.User(l.username())
			require.True(t, found)
			require.Len(t, user.AccessKeys, 1)

			e.advance(4 * time.Minute) // AWS knows it now
			require.NoError(t, e.revoke(l), "Vault's own next attempt")
			e.requireNothingLeft()
		})
	}
}

// The same without Vault's next attempt.
func TestTheReaperEndsAUserThatAWSDidNotKnowYet(t *testing.T) {
	for name, policy := range permissions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			require.Error(t, e.revoke(e.issueUnknown(4*time.Minute)))
			e.start()
			e.reap()
			require.Len(t, e.issuedUsers(), 1)
			e.advance(6 * time.Minute)
			e.reap()
			e.requireNothingLeft()
		})
	}
}

// A creation fails while AWS does not know the user yet that has to be undone.
// Break it as above.
func TestUndoingAUserThatAWSDoesNotKnowYet(t *testing.T) {
	for name, policy := range permissions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			e.aws.SetLag(awsfake.Lag{User: 3 * time.Minute})
			for _, action := range []string{"CreateAccessKey", "PutUserPolicy"} {
				e.aws.Inject(awsfake.Fault{Action: action, Code: "LimitExceeded"})
			}
			e.refused(logical.ReadOperation, "creds/app", nil, "LimitExceeded")
			require.Len(t, e.issuedUsers(), 1)
			require.Len(t, e.records(), 1)
			e.advance(6 * time.Minute)
			e.reap()
			e.requireNothingLeft()
		})
	}
}

// Any calls of a deletion, and any of those alone, are told by an endpoint that
// has not heard of a young user that it does not exist. Whatever is made of it,
// no revocation succeeds while the user is there. Break it by taking the age out
// of deletion.notFound.
func TestAnyCallsMayNotKnowAYoungUser(t *testing.T) {
	t.Parallel()
	calls := []string{"DeleteAccessKey", "DeleteUserPolicy", "DeleteUser", "GetUser", "ListAccessKeys", "GetAccessKeyLastUsed"}
	for name, policy := range permissions {
		for subset := 1; subset < 1<<len(calls); subset++ {
			var told []string
			for i, call := range calls {
				if subset&(1<<i) != 0 {
					told = append(told, call)
				}
			}
			t.Run(name+"/"+strings.Join(told, "+"), func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, policy)
				l := e.issue("app", nil)
				var heal []func()
				for _, call := range told {
					heal = append(heal, e.aws.Inject(awsfake.Fault{Action: call, Code: "NoSuchEntity"}))
				}
				err := e.revoke(l)
				if _, there := e.acct.User(l.username()); there {
					require.Error(t, err)
					require.Len(t, e.records(), 1)
				}
				for _, stop := range heal {
					stop()
				}
				e.advance(6 * time.Minute)
				require.NoError(t, e.revoke(l))
				e.requireNothingLeft()
			})
		}
	}
}

// removedByHand is what somebody deletes of a user that the engine made.
var removedByHand = map[string]func(e *env, l lease) error{
	"its key": func(e *env, l lease) error {
		_, err := e.byHand().DeleteAccessKey(e.t.Context(), &iam.DeleteAccessKeyInput{
			UserName: aws.String(l.username()), AccessKeyId: aws.String(l.data["access_key_id"].(string)),
		})
		return err
	},
	"its policy": func(e *env, l lease) error {
		_, err := e.byHand().DeleteUserPolicy(e.t.Context(), &iam.DeleteUserPolicyInput{
			UserName: aws.String(l.username()), PolicyName: aws.String(l.username()),
		})
		return err
	},
	"all but the user": func(e *env, l lease) error {
		return (&emptying{iam: e.byHand(), username: l.username()}).run(e.t.Context())
	},
	"the user": func(e *env, l lease) error {
		e.deleteByHand(l.username())
		return nil
	},
}

// Whatever somebody has deleted by hand: the user ends and so does its record,
// without any help, in this process and in the next; at once, unless nothing tells
// a user of ours from a stranger's. Break it by returning an error from
// deletion.checkTraces where nothing of ours was found.
func TestWhatWasDeletedByHandStandsInNobodysWay(t *testing.T) {
	for name, policy := range permissions {
		for what, remove := range removedByHand {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, policy)
				l, expired := e.issue("app", nil), e.issue("app", nil)
				e.advance(10 * time.Minute)
				require.NoError(t, remove(e, l))
				require.NoError(t, remove(e, expired))
				if err := e.revoke(l); what == "all but the user" && name != "wide" {
					require.ErrorContains(t, err, "not settled yet")
					e.advance(settlingTime)
					require.NoError(t, e.revoke(l))
				} else {
					require.NoError(t, err)
				}
				require.Len(t, e.records(), 1)
				e.start()
				e.finish()
				e.requireNothingLeft()
			})
		}
	}
}

// Somebody deletes the user after the revocation has begun. Break it by
// returning denials from deletion.settle, or by not looking at NoSuchEntity there.
func TestAUserDeletedByHandMeanwhile(t *testing.T) {
	for name, policy := range permissions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			l := e.issue("app", nil)
			e.advance(10 * time.Minute)
			e.aws.ResetCalls()
			e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Count: 1, Hook: func(c awsfake.Call) { e.deleteByHand(c.User) }})
			err := e.revoke(l)
			if name != "core" {
				require.ErrorContains(t, err, "a moment ago", "AWS contradicts itself, for all that it says")
				e.advance(time.Minute)
				err = e.revoke(l)
			}
			require.NoError(t, err)
			e.requireNothingLeft()
			require.Equal(t, name == "core", e.aws.Count("CreateUser") > 0, "the name is asked for where nothing else tells")
		})
	}
}

// With the documented remedy AWS says that the user is gone. Break it by not
// looking at NoSuchEntity in deletion.checkTraces.
func TestTheRemedyTellsGoneFromDenied(t *testing.T) {
	e := newEnv(t, namedPolicy)
	gone, denied := e.issue("app", nil), e.issue("app", nil)
	e.deleteByHand(gone.username())
	e.advance(10 * time.Minute)
	e.aws.ResetCalls()
	require.NoError(t, e.revoke(gone))
	require.Zero(t, e.aws.Count("CreateUser"))

	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: "AccessDenied"})
	require.ErrorContains(t, e.revoke(denied), "exists, and the integration may not delete it")
	require.Zero(t, e.aws.Count("CreateUser"))
	remove()
	require.NoError(t, e.revoke(denied))
	e.requireNothingLeft()
}

// Without it the name is asked for, once, in the user's own path, and what that
// makes is deleted at once. Break it by letting deletion.recreate return
// without deleting the user.
func TestWithoutTheRemedyTheNameTellsGoneFromDenied(t *testing.T) {
	e := newEnv(t, corePolicy)
	gone, denied := e.issue("app", nil), e.issue("app", nil)
	e.deleteByHand(gone.username())
	e.advance(10 * time.Minute)
	e.aws.ResetCalls()
	require.NoError(t, e.revoke(gone))
	require.Equal(t, 1, e.aws.Count("CreateUser"))
	_, found := e.acct.User(gone.username())
	require.False(t, found)

	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: "AccessDenied"})
	e.aws.Inject(awsfake.Fault{Action: "ListAccessKeys", Code: "AccessDenied"})
	require.ErrorContains(t, e.revoke(denied), "exists, and the integration may not delete it")
	require.Equal(t, 2, e.aws.Count("CreateUser"))
	require.Equal(t, stateDeleting, e.records()[denied.username()].State)
}

// Whatever goes wrong while a name is asked for, no user is left of it, and none
// is taken for gone that is not. Break it by taking any error of CreateUser for
// an answer.
func TestAskingForANameGoesWrong(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]awsfake.Fault{
		"the account is full":          {Action: "CreateUser", Code: "LimitExceeded"},
		"not allowed any more":         {Action: "CreateUser", Code: "AccessDenied"},
		"throttled":                    {Action: "CreateUser", Code: "Throttling"},
		"fails":                        {Action: "CreateUser", Status: 500},
		"fails after its effect, once": {Action: "CreateUser", FailAfter: true, Count: 1},
		"fails after its effect":       {Action: "CreateUser", FailAfter: true},
		"answer lost once":             {Action: "CreateUser", Lost: true, Count: 1},
		"answer lost":                  {Action: "CreateUser", Lost: true},
		"request lost":                 {Action: "CreateUser", LostBefore: true},
		"half an answer":               {Action: "CreateUser", Garbled: true},
		"known late":                   {Action: "DeleteUser", Count: 3, Code: "AccessDenied"},
		"its deletion fails":           {Action: "DeleteUser", Status: 500},
		"its deletion's answer lost":   {Action: "DeleteUser", Lost: true},
	} {
		for _, there := range []bool{false, true} {
			t.Run(name+map[bool]string{false: "/gone", true: "/there"}[there], func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, corePolicy)
				l := e.issue("app", nil)
				e.advance(10 * time.Minute)
				if !there {
					e.deleteByHand(l.username())
				}
				heal := []func(){e.aws.Inject(fault)}
				if there {
					for _, action := range []string{"DeleteUser", "ListAccessKeys", "DeleteAccessKey", "DeleteUserPolicy"} {
						heal = append(heal, e.aws.Inject(awsfake.Fault{Action: action, Code: "AccessDenied"}))
					}
				}
				if err := e.revoke(l); err == nil {
					e.requireNothingLeft()
				} else {
					require.Len(t, e.records(), 1)
				}
				for _, stop := range heal {
					stop()
				}
				e.finish()
				e.requireNothingLeft()
				require.NoError(t, e.revoke(l))
			})
		}
	}
}
