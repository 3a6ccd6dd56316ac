package awsiam

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// rename has somebody rename a user.
func (e *env) rename(from, to string) {
	e.t.Helper()
	_, err := e.byHand().UpdateUser(e.t.Context(), &iam.UpdateUserInput{UserName: &from, NewUserName: &to})
	require.NoError(e.t, err)
}

// AWS says whose the key is, but does not know the new name yet.
func TestARenamedUserThatAWSDoesNotKnowYet(t *testing.T) {
	e := newEnv(t, widePolicy)
	l := e.issue("app", nil)
	e.advance(time.Hour)
	e.rename(l.username(), "renamed")
	remove := e.aws.Inject(awsfake.Fault{User: "renamed", Status: 404, Code: "NoSuchEntity"})
	_ = e.revoke(l)
	remove()
	e.finish()
	_, ok := e.acct.User("renamed")
	require.False(t, ok)
}

// Renamed between the answer that says whose the key is and the deletion.
func TestAUserRenamedDuringTheDeletion(t *testing.T) {
	e := newEnv(t, widePolicy)
	l := e.issue("app", nil)
	e.advance(time.Hour)
	e.rename(l.username(), "renamed")
	n := 0
	e.storage.on(func(op, key string) (bool, error) { // the record's write between the answer and the deletion
		if op == "put" && strings.HasPrefix(key, userPrefix) {
			n++
			if n == 2 {
				_, err := e.byHand().UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String("renamed"), NewUserName: aws.String("again")})
				require.NoError(t, err)
			}
		}
		return true, nil
	})
	_ = e.revoke(l)
	e.storage.on(nil)
	e.finish()
	_, ok := e.acct.User("again")
	require.False(t, ok)
}

// The key is dead and the deletion fails; then somebody gives the old name back.
// Break it by returning errGone from deletion.gone at once.
func TestAUserGivenBackItsName(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	arn := e.acct.AddManagedPolicy("/", "shared", testPolicy)
	e.write("roles/big", map[string]any{"policy_arns": arn})
	l := e.issue("big", nil)
	e.advance(time.Hour)
	e.rename(l.username(), "renamed")
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", User: "renamed", Status: 500, Code: "ServiceFailure"})
	require.Error(t, e.revoke(l))
	remove()
	e.rename("renamed", l.username())
	_ = e.revoke(l)
	e.finish()
	e.requireNothingLeft()
}

// Under its other name it is asked for as under its own.
func TestARenamedUserDeletedByHand(t *testing.T) {
	t.Parallel()
	e := newEnv(t, byKey)
	l := e.issue("app", nil)
	e.advance(time.Hour)
	e.rename(l.username(), "renamed")
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", User: "renamed", Status: 500, Code: "ServiceFailure"})
	require.Error(t, e.revoke(l))
	remove()
	e.deleteAll("renamed")
	_ = e.revoke(l)
	e.finish()
	require.Empty(t, e.records())
}

// Its key is dead, then it is renamed and moved: only a list of all users tells. Break
// it by leaving the search out of deletion.absent.
func TestAUserRenamedAfterItsKeyWasDeleted(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]string{"by id": widePolicy, "not allowed": byKey} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			l := e.issue("app", nil)
			remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 403, Code: "AccessDenied"})
			require.Error(t, e.revoke(l))
			remove()
			_, err := e.byHand().UpdateUser(t.Context(), &iam.UpdateUserInput{
				UserName: aws.String(l.username()), NewUserName: aws.String("renamed"), NewPath: aws.String("/by-hand/"),
			})
			require.NoError(t, err)
			e.finish()
			_, found := e.acct.User("renamed")
			require.Equal(t, policy != widePolicy, found)
			require.Empty(t, e.records())
		})
	}
}

// A denial that passes is not taken for a permission that is missing, once there was
// an answer. Break it by believing the denial in deletion.find.
func TestAPassingDenialHidesNoRenamedUser(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	first, second := e.issue("app", nil), e.issue("app", nil)
	e.advance(time.Hour)
	e.deleteByHand(first.username())
	require.NoError(t, e.revoke(first)) // looks for it among all users

	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 403, Code: "AccessDenied"})
	require.Error(t, e.revoke(second))
	remove()
	_, err := e.byHand().UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String(second.username()), NewUserName: aws.String("renamed")})
	require.NoError(t, err)
	remove = e.aws.Inject(awsfake.Fault{Action: "ListUsers", Status: 403, Code: "AccessDenied"})
	require.ErrorContains(t, e.revoke(second), "denies iam:ListUsers")
	remove()
	e.finish()
	_, found := e.acct.User("renamed")
	require.False(t, found)
	require.Empty(t, e.records())
}

// The same where a stranger has the name by then, and is left alone. Break it by
// leaving the search out of deletion.checkOwnership.
func TestAUserRenamedAfterItsKeyWasDeletedWhoseNameWasTaken(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	l := e.issue("app", nil)
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 403, Code: "AccessDenied"})
	require.Error(t, e.revoke(l))
	remove()
	e.rename(l.username(), "renamed")
	stranger, err := e.byHand().CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String(l.username())})
	require.NoError(t, err)
	e.finish()
	_, found := e.acct.User("renamed")
	require.False(t, found)
	left, found := e.acct.User(l.username())
	require.True(t, found, "a stranger's user was deleted")
	require.Equal(t, aws.ToString(stranger.User.UserId), left.ID)
	require.Empty(t, e.records())
}

// Nor is one of iam:GetAccessKeyLastUsed, at once. AWS also denies it where the key is
// gone, so that it is believed in the end. Break it by believing the denial at once in
// deletion.follow.
func TestAPassingDenialOfTheKeysOwnerHidesNoRenamedUser(t *testing.T) {
	t.Parallel()
	e := newEnv(t, byKey)
	first, second, gone := e.issue("app", nil), e.issue("app", nil), e.issue("app", nil)
	e.advance(time.Hour)
	rename := func(l lease, to string) {
		_, err := e.byHand().UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String(l.username()), NewUserName: &to})
		require.NoError(t, err)
	}
	rename(first, "renamed-first")
	require.NoError(t, e.revoke(first)) // its key tells
	rename(second, "renamed")
	e.deleteByHand(gone.username())
	remove := e.aws.Inject(awsfake.Fault{Action: "GetAccessKeyLastUsed", Status: 403, Code: "AccessDenied"})
	require.ErrorContains(t, e.revoke(second), "denies iam:GetAccessKeyLastUsed")
	require.ErrorContains(t, e.revoke(gone), "denies iam:GetAccessKeyLastUsed")
	remove()
	require.NoError(t, e.revoke(second))
	_, found := e.acct.User("renamed")
	require.False(t, found)

	require.Error(t, e.revoke(gone))
	e.advance(settlingTime)
	require.NoError(t, e.revoke(gone))
	e.requireNothingLeft()
}

// A doubt is over when AWS has answered: what is denied later is in doubt anew. Break it
// by keeping KeyDoubtedSince in deletion.follow.
func TestADoubtThatWasSettledIsNotBelievedLater(t *testing.T) {
	t.Parallel()
	e := newEnv(t, strings.ReplaceAll(byKey, "user/vault/*", "*"))
	first, l := e.issue("app", nil), e.issue("app", nil)
	e.advance(time.Hour)
	rename := func(from, to string) {
		_, err := e.byHand().UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: &from, NewUserName: &to})
		require.NoError(t, err)
	}
	rename(first.username(), "renamed-first")
	require.NoError(t, e.revoke(first)) // its key tells
	rename(l.username(), "renamed-1")
	denied := awsfake.Fault{Action: "GetAccessKeyLastUsed", Status: 403, Code: codeAccessDenied}
	remove := e.aws.Inject(denied)
	require.Error(t, e.revoke(l))
	remove()
	var healers []func()
	for _, action := range []string{"DeleteUser", "DeleteAccessKey"} {
		healers = append(healers, e.aws.Inject(awsfake.Fault{Action: action, User: "renamed-1", Status: 500}))
	}
	e.advance(10 * time.Minute)
	require.Error(t, e.revoke(l))
	for _, heal := range healers {
		heal()
	}
	rename("renamed-1", "renamed-2")
	remove = e.aws.Inject(denied)
	require.Error(t, e.revoke(l))
	remove()
	e.finish()
	_, found := e.acct.User("renamed-2")
	require.False(t, found)
}

// What an attempt has shown of the renamed user says nothing of the stranger who has its
// name, in that attempt or a later one. Break it by keeping proven, or Proven, in
// deletion.gone.
func TestAStrangerWithTheNameOfARenamedUser(t *testing.T) {
	for name, c := range map[string]struct {
		policy string
		fault  awsfake.Fault // of the second attempt
		byHand bool          // the renamed user is deleted before it
	}{
		"its deletion's answer is lost": {widePolicy, awsfake.Fault{Action: "DeleteUser", User: "renamed", Count: 1, Lost: true}, false},
		"likewise, by its key":          {byKey, awsfake.Fault{Action: "DeleteUser", User: "renamed", Count: 1, Lost: true}, false},
		"it is deleted by hand":         {byKey, awsfake.Fault{Action: "none"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, c.policy)
			l := e.issue("app", nil)
			e.advance(time.Hour)
			e.rename(l.username(), "renamed")
			fault := awsfake.Fault{User: "renamed", Status: 500}
			if c.byHand {
				fault.Action = "DeleteUser"
			}
			heal := e.aws.Inject(fault)
			require.Error(t, e.revoke(l))
			heal()
			if c.byHand {
				e.deleteAll("renamed")
			}
			stranger := e.strangerNamed(l.username())
			e.start()
			e.aws.Inject(c.fault)
			_ = e.revoke(l)
			e.finish()
			kept, _ := e.acct.User(stranger.Name)
			require.Equal(t, stranger, kept)
			_, found := e.acct.User("renamed")
			require.False(t, found)
		})
	}
}

// Where iam:GetUser is not granted, whose the key is tells that a user of the name is a
// stranger. Break it by leaving whereabouts out of deletion.checkTraces.
func TestTheKeyTellsAStrangerFromARenamedUser(t *testing.T) {
	for name, policy := range map[string]string{"by its key": byKey, "by its id": strings.ReplaceAll(byKey, `"iam:GetAccessKeyLastUsed","Resource":"arn:aws:iam::*:user/vault/*"`, `"iam:ListUsers","Resource":"*"`)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			l := e.issue("app", nil)
			e.advance(time.Hour)
			e.rename(l.username(), "renamed")
			_, err := e.byHand().CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String(l.username()), Path: aws.String(testPath)})
			require.NoError(t, err)
			stranger, _ := e.acct.User(l.username())
			_ = e.revoke(l)
			e.advance(settlingTime)
			_ = e.revoke(l)
			e.finish()
			kept, _ := e.acct.User(l.username())
			require.Equal(t, stranger, kept)
			_, found := e.acct.User("renamed")
			require.False(t, found)
		})
	}
}

// Nor does a doubt hold up what AWS tells by other means: that it has removed the key, or
// that there is no user of that id. Break it by leaving keyless out of deletion.follow, or
// by returning the doubt from deletion.search where AWS lists nobody of that id.
func TestADoubtHoldsUpNothingThatIsCertain(t *testing.T) {
	for name, c := range map[string]struct {
		policy string
		fault  awsfake.Fault
		byHand bool
	}{
		"the key was removed": {strings.ReplaceAll(byKey, "user/vault/*", "*"), awsfake.Fault{Action: "DeleteUser", Count: 1, Lost: true}, false},
		"users are listed":    {widePolicy, awsfake.Fault{Action: "none"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, c.policy)
			first, l := e.issue("app", nil), e.issue("app", nil)
			e.advance(time.Hour)
			_, err := e.byHand().UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String(first.username()), NewUserName: aws.String("renamed")})
			require.NoError(t, err)
			require.NoError(t, e.revoke(first)) // its key tells
			if c.byHand {
				e.deleteByHand(l.username())
			}
			e.aws.Inject(c.fault)
			require.NoError(t, e.revoke(l))
			e.requireNothingLeft()
		})
	}
}

// A doubt about who bears the name that ours was given says nothing of who bears the name
// on record, and nor does it that a process died in deleting that one. Break it by keeping
// DoubtedSince, or cutOff, or Attempts in deletion.gone.
func TestADoubtAboutTheOtherNameIsNoneAboutTheOneOnRecord(t *testing.T) {
	t.Parallel()
	cutOff := func(e *env, l lease) {
		e.advance(15 * time.Minute)
		u := e.records()[l.username()]
		u.Attempts, u.FailedSince = 0, time.Time{}
		e.store(e.t, u)
		e.start()
	}
	for name, before := range map[string]func(*env, lease) (untouched func()){
		"in doubt": func(e *env, l lease) func() {
			_ = e.bareUser("renamed") // somebody's
			e.advance(15 * time.Minute)
			require.ErrorContains(e.t, e.revoke(l), "not settled yet")
			e.deleteAll("renamed")
			e.advance(6 * time.Minute)
			return e.bareUser(l.username())
		},
		"cut off": func(e *env, l lease) func() {
			cutOff(e, l)
			return e.bareUser(l.username())
		},
		"cut off again, after it had turned to the name on record": func(e *env, l lease) func() {
			cutOff(e, l)
			untouched := e.bareUser(l.username())
			die := func(awsfake.Call) { e.storage.on(func(string, string) (bool, error) { return false, errInjected }) }
			remove := e.aws.Inject(awsfake.Fault{Action: "ListAccessKeys", User: l.username(), Code: "ServiceFailure", Hook: die})
			require.Error(e.t, e.revoke(l))
			remove()
			e.storage.on(nil)
			require.Empty(e.t, e.records()[l.username()].RenamedTo)
			e.start()
			return untouched
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, byKey)
			l := e.issue("app", nil)
			e.advance(time.Hour)
			e.rename(l.username(), "renamed")
			remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: "ServiceFailure"})
			require.Error(t, e.revoke(l), "found by its key, which goes")
			remove()
			e.deleteAll("renamed")
			untouched := before(e, l)
			require.ErrorContains(t, e.revoke(l), "neither an access key nor a policy", "seen for the first time")
			untouched()
		})
	}
}

// A process died when the deletion had just turned to the name that somebody gave ours: who
// bears that name later may be anybody. Break it by leaving renamed out where
// deletion.traceless relies on cutOff.
func TestACutOffDeletionUnderAChosenName(t *testing.T) {
	t.Parallel()
	e := newEnv(t, byKey)
	l := e.issue("app", nil)
	e.advance(time.Hour)
	e.rename(l.username(), "renamed")
	die := func(awsfake.Call) { e.storage.on(func(string, string) (bool, error) { return false, errInjected }) }
	remove := e.aws.Inject(awsfake.Fault{User: "renamed", Code: "ServiceFailure", Hook: die})
	require.Error(t, e.revoke(l))
	remove()
	e.storage.on(nil)
	require.Equal(t, "renamed", e.records()[l.username()].RenamedTo)
	require.Zero(t, e.records()[l.username()].Attempts)
	e.deleteAll("renamed")
	untouched := e.bareUser("renamed")
	e.advance(15 * time.Minute)
	e.start()
	require.ErrorContains(t, e.revoke(l), "neither an access key nor a policy")
	untouched()
}

// A doubt about who bears the name that ours had is none about who bears the one that it
// was given. Break it by keeping DoubtedSince in deletion.moved.
func TestADoubtAboutTheFirstNameIsNoneAboutTheGivenOne(t *testing.T) {
	t.Parallel()
	e := newEnv(t, listedPolicy)
	l := e.emptied(e.issue("app", nil))
	e.rename(l.username(), "renamed")
	_ = e.bareUser(l.username()) // somebody's
	e.advance(15 * time.Minute)
	e.aws.Inject(awsfake.Fault{Action: "ListUsers", Code: "AccessDenied", Count: 1})
	require.ErrorContains(t, e.revoke(l), "neither an access key nor a policy")
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: "ServiceFailure"})
	require.Error(t, e.revoke(l), "found by its id")
	remove()
	require.Equal(t, "renamed", e.records()[l.username()].RenamedTo)
	e.deleteAll("renamed")
	untouched := e.bareUser("renamed")
	e.advance(15 * time.Minute)
	e.start()
	e.aws.Inject(awsfake.Fault{Action: "ListUsers", Code: "AccessDenied", Count: 1})
	require.ErrorContains(t, e.revoke(l), "neither an access key nor a policy")
	untouched()
}

// A page that lists no users any more hides none that another page has. Break it by having
// deletion.find set listsUsers only where all pages were answered.
func TestADeniedPageHidesNoRenamedUser(t *testing.T) {
	t.Parallel()
	e := newEnv(t, listedPolicy)
	for i := range 1001 {
		e.acct.AddUser("/", fmt.Sprintf("somebody-%04d", i))
	}
	l := e.issue("app", nil)
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: "ServiceFailure"})
	require.Error(t, e.revoke(l))
	remove()
	e.rename(l.username(), "renamed") // on the first page
	e.advance(15 * time.Minute)
	e.start()
	e.aws.Inject(awsfake.Fault{Action: "ListUsers", Code: "AccessDenied", Skip: 1, Count: 1})
	_ = e.revoke(l)
	e.finish()
	_, found := e.acct.User("renamed")
	require.False(t, found)
}
