package awsiam

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// The bare user that deletion makes to learn whether a name is free, and who has the
// name later.

// byPathPolicy allows everything on users in the integration's path.
const byPathPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::*:user/vault/*"}]}`

// untouched returns a check that the user is as it is now.
func (e *env) untouched(name string) func() {
	e.t.Helper()
	before, found := e.acct.User(name)
	require.True(e.t, found)
	return func() {
		e.t.Helper()
		after, found := e.acct.User(name)
		require.True(e.t, found, "a stranger's user was deleted")
		require.Equal(e.t, before, after)
	}
}

// denies has AWS deny the actions, in passing, until it is healed.
func (e *env) denies(actions ...string) (heal func()) {
	var heals []func()
	for _, action := range actions {
		heals = append(heals, e.aws.Inject(awsfake.Fault{Service: "iam", Action: action, Code: "AccessDenied"}))
	}
	return func() {
		for _, heal := range heals {
			heal()
		}
	}
}

// A stranger who has the name is told from the bare user, whose id is on no record if
// its answer was lost, by the path. Break it by having recreatedPath return the path.
func TestAStrangerIsNotTakenForTheUserMadeAgain(t *testing.T) {
	t.Parallel()
	for name, scene := range map[string]struct {
		policy string
		during func(*env, lease) // an attempt that fails, which finds the name free or cannot tell
	}{
		"everything denied": {widePolicy, func(e *env, l lease) {
			e.strangerNamed(l.username())
			heal := e.denies("")
			require.Error(e.t, e.revoke(l))
			heal()
		}},
		"the answer lost, without effect": {widePolicy, func(e *env, l lease) {
			e.strangerNamed(l.username())
			e.aws.Inject(awsfake.Fault{Action: "CreateUser", Status: 500, Count: 1})
			heal := e.denies("GetUser", "ListAccessKeys", "ListUsers")
			require.Error(e.t, e.revoke(l))
			heal()
		}},
		"the account full": {byPathPolicy, func(e *env, l lease) {
			remove := e.aws.Inject(awsfake.Fault{Action: "CreateUser", Code: "LimitExceeded"})
			require.Error(e.t, e.revoke(l))
			remove()
			e.strangerNamed(l.username())
		}},
		"the bare user deleted, the record not": {byPathPolicy, func(e *env, l lease) {
			e.storage.on(func(op, _ string) (bool, error) { return op != "delete", failIf(op == "delete") })
			require.Error(e.t, e.revoke(l))
			e.storage.on(nil)
			e.strangerNamed(l.username())
		}},
		"in another path": {widePolicy, func(e *env, l lease) {
			e.acct.AddUser("/people/", l.username(), testPolicy)
			heal := e.denies("")
			require.Error(e.t, e.revoke(l))
			heal()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, scene.policy)
			l := e.issue("app", nil)
			e.deleteByHand(l.username())
			e.advance(10 * time.Minute)
			scene.during(e, l)
			require.NotEmpty(t, e.records())
			untouched := e.untouched(l.username())
			require.NoError(t, e.revoke(l), "AWS shows another id")
			untouched()
			require.Empty(t, e.records())
		})
	}
}

// The user is under another name, and a bare one under its own, or the reverse: the end
// of one is not the end of both. Break it by leaving gone out of deletion.delete.
func TestABareUserBesideARenamedOne(t *testing.T) {
	t.Parallel()
	for name, scene := range map[string]struct {
		policy string
		begin  func(*env, lease) // ends with two users, and a record that knows of both
	}{
		"ours has another name": {listedPolicy, func(e *env, l lease) {
			remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: "ServiceFailure"})
			require.Error(e.t, e.revoke(l))
			e.rename(l.username(), "renamed")
			e.advance(15 * time.Minute)
			e.start()
			e.aws.Inject(awsfake.Fault{Action: "ListUsers", Code: "AccessDenied", Count: 1})
			require.Error(e.t, e.revoke(l))
			remove()
		}},
		"ours was given back its name": {followedPolicy, func(e *env, l lease) {
			e.rename(l.username(), "renamed")
			remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: "ServiceFailure"})
			require.Error(e.t, e.revoke(l), "found by its key, which goes")
			remove()
			e.rename("renamed", l.username())
			e.advance(15 * time.Minute)
			e.start()
			remove = e.aws.Inject(awsfake.Fault{Action: "CreateUser", Lost: true})
			require.Error(e.t, e.revoke(l))
			remove()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, scene.policy)
			l := e.issue("app", nil)
			e.advance(time.Hour)
			scene.begin(e, l)
			require.Len(t, e.issuedUsers(), 2)
			e.finish()
			e.requireNothingLeft()
		})
	}
}

func TestIdentityOfAUserWithoutAnId(t *testing.T) {
	now := time.Now()
	d := &deletion{name: "app", user: &userRecord{issuedUser: issuedUser{Username: "app", Path: testPath, Created: now}}}
	found := func(path string, age time.Duration) *types.User {
		return &types.User{UserId: aws.String("AIDA1"), UserName: aws.String("app"), Path: &path, CreateDate: aws.Time(now.Add(-age))}
	}
	require.True(t, d.isOurs(found(testPath, time.Minute)))
	require.False(t, d.isOurs(found(testPath, 2*time.Hour)))
	d.user.UserID = "AIDA2"
	require.False(t, d.isOurs(found(testPath, 0)))
	require.False(t, d.isOurs(found(testPath+"recreated/", 0)), "it was never asked for")
	d.user.RecreatedAt = now
	require.False(t, d.isOurs(found(testPath, 0)))
	require.True(t, d.isOurs(found(testPath+"recreated/", 0)))
}

// iam:GetUser shows the bare user, which is not the end of ours: it has another name, and
// its key tells so again. Break it by leaving whereabouts out of deletion.checkOwnership.
func TestTheBareUserThatAWSShowsIsNotTheEndOfOurs(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]string{"without iam:GetUser": byKey, "with iam:GetUser": followedPolicy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			l := e.issue("app", nil)
			e.advance(time.Hour)
			e.rename(l.username(), "renamed")
			e.start()
			e.aws.Inject(awsfake.Fault{Action: "GetAccessKeyLastUsed", Code: "AccessDenied", Count: 1})
			remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: "ServiceFailure"})
			require.Error(t, e.revoke(l))
			remove()
			require.Len(t, e.issuedUsers(), 2)
			_ = e.revoke(l)
			e.finish()
			_, found := e.acct.User("renamed")
			require.False(t, found, "ours is there, with its key, and on no record")
			e.requireNothingLeft()
		})
	}
}
