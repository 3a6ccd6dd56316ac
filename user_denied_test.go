package awsiam

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// A further attempt takes the denial away, which IAM wants gone first, and fails in
// another way. Break it by containing only after a conflict in deletion.delete.
func TestTheDenialIsPutBackWhateverGoesWrong(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("roles/app", map[string]any{"policy_document": assuming})
	l := e.issue("app", nil)
	session := e.session(l.key())
	e.advance(10 * time.Minute)
	e.attachByHand(l)
	require.Error(t, e.revoke(l))
	require.False(t, e.mayAssume(session), "contained")
	e.advance(30 * time.Hour) // beyond the deadline
	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500, Code: "ServiceFailure"})
	require.Error(t, e.revoke(l))
	require.False(t, e.mayAssume(session))
}

// The attempt itself must not end what the expiry statement denies.
func TestTheFirstAttemptDoesNotEndTheDenial(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("roles/app", map[string]any{"policy_document": assuming, "max_ttl": "2h"})
	l := e.issue("app", nil)
	session := e.session(l.key())
	e.attachByHand(l)
	e.advance(3 * time.Hour)
	require.False(t, e.mayAssume(session), "past the deadline")
	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500, Code: "ServiceFailure"})
	_ = e.revoke(l)
	require.False(t, e.mayAssume(session))
}

// What tidy has adopted has attachments that are on no record.
func TestTheDenialOfAnAdoptedUserIsPutBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	arn := e.acct.AddManagedPolicy("/", "shared", assuming)
	e.write("roles/big", map[string]any{"policy_arns": arn, "max_ttl": "1h"})
	snap := e.snapshot()
	l := e.issue("big", nil)
	session := e.session(l.key())
	e.advance(2 * time.Hour)
	e.restore(snap)
	require.False(t, e.mayAssume(session))
	e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500, Code: "ServiceFailure"})
	_ = e.tidy(forReal)
	require.False(t, e.mayAssume(session), "the denial went first")
}

// So it is where AWS does not answer, once the denial was in force: since the deadline,
// or since an attempt before. Break each by leaving its half out of deletion.wasDenied;
// the last by returning in deletion.delete where keepProof fails.
func TestTheDenialIsPutBackWhereNothingIsAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		contained bool     // by an attempt before
		refused   []string // actions, and the answer unless they are throttled
		storage   bool     // fails
	}{
		"since the deadline":                       {false, []string{"DeleteUser"}, false},
		"since the deadline, and the key is there": {false, []string{"DeleteAccessKey", "DeleteUser"}, false},
		"since an attempt before":                  {true, []string{"DeleteUser"}, false},
		"it is not said whether it exists":         {true, []string{"DeleteUser 403 AccessDenied", "ListAccessKeys 500 ServiceFailure"}, false},
		"nor can that be asked":                    {true, []string{"DeleteUser 403 AccessDenied", "ListAccessKeys 403 AccessDenied", "CreateUser 403 AccessDenied"}, false},
		"AWS contradicts itself":                   {true, []string{"DeleteUser 404 NoSuchEntity"}, false},
		"storage fails":                            {false, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.write("roles/app", map[string]any{"policy_document": assuming, "max_ttl": "2h"})
			l := e.issue("app", nil)
			session := e.session(l.key())
			e.attachByHand(l)
			e.advance(10 * time.Minute)
			if c.contained {
				require.Error(t, e.revoke(l))
			} else {
				e.advance(3 * time.Hour)
			}
			require.False(t, e.mayAssume(session))

			for _, refused := range c.refused {
				fault := awsfake.Fault{Status: 400, Code: "Throttling"}
				_, err := fmt.Sscan(refused+" 400 Throttling", &fault.Action, &fault.Status, &fault.Code)
				require.NoError(t, err)
				e.aws.Inject(fault)
			}
			if c.storage {
				writes := 0
				e.storage.on(func(op, key string) (bool, error) {
					if op == "put" && strings.HasPrefix(key, userPrefix) {
						writes++
						if writes > 1 {
							return false, errors.New("storage fails")
						}
					}
					return true, nil
				})
			}
			require.Error(t, e.revoke(l))
			require.False(t, e.mayAssume(session))
			if slices.Contains(c.refused, "DeleteAccessKey") {
				require.False(t, e.mayAssume(l.key()))
			}
		})
	}
}

// attachByHand gives the lease's user a policy that no role knows of.
func (e *env) attachByHand(l lease) {
	e.t.Helper()
	policy := e.acct.AddManagedPolicy("/", "by-hand", assuming)
	_, err := e.byHand().AttachUserPolicy(e.t.Context(), &iam.AttachUserPolicyInput{UserName: aws.String(l.username()), PolicyArn: &policy})
	require.NoError(e.t, err)
}
