package awsiam

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// What one attempt has proven, and what that is worth in a later one.

// provenAndReplaced has an attempt prove that the user is ours, and delete it without
// learning that. Then a stranger takes the name.
func (e *env) provenAndReplaced() (l lease, untouched func()) {
	e.t.Helper()
	l = e.issue("app", nil)
	e.advance(10 * time.Minute)
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Lost: true})
	require.Error(e.t, e.revoke(l))
	remove()
	require.True(e.t, e.records()[l.username()].Proven)
	e.strangerNamed(l.username())
	e.advance(15 * time.Minute)
	return l, e.untouched(l.username())
}

// The proof is some minutes old, and iam:GetUser, which is granted or not, is denied.
// Break it by not comparing with settlingTime in deletion.provenLately.
func TestAnOldProofDoesNotMakeADenialBelieved(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]string{"wide": widePolicy, "listed": listedPolicy, "unlisted": unlistedPolicy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			l, untouched := e.provenAndReplaced()
			e.aws.Inject(awsfake.Fault{Action: "GetUser", Code: "AccessDenied", Count: 1})
			if err := e.revoke(l); err != nil {
				require.ErrorContains(t, err, "not settled yet")
				require.NoError(t, e.revoke(l))
			}
			untouched()
			require.Empty(t, e.records())
		})
	}
}

// Nor does it keep a user of ours: under the eight actions it goes, also with a key that
// somebody made meanwhile. Break it by refusing strange keys of proven users, too.
func TestAnOldProofKeepsNobody(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.advance(10 * time.Minute)
	e.aws.Inject(awsfake.Fault{Action: "PutUserPolicy", Code: "ServiceFailure"}) // it would show whose the user is
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: "ServiceFailure"})
	require.Error(t, e.revoke(l))
	remove()
	require.NoError(t, dependentsByHand["access key"](t.Context(), e.byHand(), e.acct, l.username()))
	e.advance(15 * time.Minute)
	require.ErrorContains(t, e.revoke(l), "not settled yet")
	e.advance(settlingTime)
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

// A name that somebody chose is not unguessable: who bears it later may be anybody.
// Break it by leaving renamed out of deletion.provenLately, or of traceless.
func TestAProofUnderAChosenNameIsNoProofLater(t *testing.T) {
	t.Parallel()
	e := newEnv(t, byKey)
	l := e.issue("app", nil)
	e.advance(time.Hour)
	e.rename(l.username(), "alice")
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", User: "alice", Code: "ServiceFailure"})
	require.Error(t, e.revoke(l))
	remove()
	e.deleteAll("alice")
	e.acct.AddUser("/vault/people/", "alice", testPolicy)
	untouched := e.untouched("alice")
	for range 3 {
		require.Error(t, e.revoke(l))
		e.advance(10 * time.Minute)
	}
	require.ErrorContains(t, e.revoke(l), "Grant iam:GetUser")
	untouched()
}

// A name found taken by asking for it says nothing of who has it: that user is not
// denied anything, by whose removal the next attempt would take it for ours. Break it
// by leaving accepted out of deletion.deny.
func TestWhoeverHasTheNameIsNotContained(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	require.NoError(t, e.revoke(e.emptied(e.issue("app", nil))), "iam:GetUser has answered")
	l, untouched := e.provenAndReplaced()
	heal := e.denies("GetUser", "ListAccessKeys", "ListUsers")
	require.ErrorContains(t, e.revoke(l), "exists")
	untouched()
	heal()
	require.NoError(t, e.revoke(l))
	untouched()
}

// The id that AWS shows is enough to deny a user everything that cannot be deleted.
// Break it by leaving shown out of deletion.deny.
func TestAUserKnownByItsIDIsContained(t *testing.T) {
	t.Parallel()
	e := newEnv(t, strings.Replace(corePolicy, `"iam:ListAccessKeys"]`, `"iam:ListAccessKeys","iam:GetUser"]`, 1))
	l := e.emptied(e.issue("app", nil))
	require.NoError(t, dependentsByHand["login profile"](t.Context(), e.byHand(), e.acct, l.username()))
	e.advance(10 * time.Minute)
	require.ErrorContains(t, e.revoke(l), "DeleteConflict")
	user, _ := e.acct.User(l.username())
	require.Equal(t, map[string]string{l.username(): denyEverything}, user.Policies)
}

// Nor does one that a clock which was ahead has dated. Break it by leaving After out of
// deletion.provenLately.
func TestAProofThatIsDatedAheadIsNotOfTheLastMinutes(t *testing.T) {
	t.Parallel()
	now := time.Now()
	d := &deletion{user: &userRecord{Proven: true, FailedSince: now.Add(time.Hour)}, now: func() time.Time { return now }}
	require.False(t, d.provenLately())
	d.user.FailedSince = now.Add(-time.Minute)
	require.True(t, d.provenLately())
}

// namelessKey is an IAM that lists a key without an id.
type namelessKey struct{ iamAPI }

func (namelessKey) ListAccessKeys(context.Context, *iam.ListAccessKeysInput, ...func(*iam.Options)) (*iam.ListAccessKeysOutput, error) {
	return &iam.ListAccessKeysOutput{AccessKeyMetadata: []types.AccessKeyMetadata{{}}}, nil
}

// A key without an id is not that of a record which knows none. Break it by comparing them
// in deletion.traces all the same.
func TestAKeyWithoutAnIDProvesNothing(t *testing.T) {
	t.Parallel()
	d := &deletion{iam: namelessKey{}, user: new(userRecord)}
	ours, _, err := d.traces(t.Context())
	require.NoError(t, err)
	require.False(t, ours)
}
