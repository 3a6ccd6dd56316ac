package awsiam

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// Ours or a stranger's, where iam:GetUser is denied: for good, or for a moment.

// groupsPolicy is the core's, and what a role with groups needs.
var groupsPolicy = strings.Replace(corePolicy, `[{`,
	`[{"Effect":"Allow","Action":["iam:AddUserToGroup","iam:RemoveUserFromGroup"],"Resource":"arn:aws:iam::*:group/*"},{`, 1)

// followedPolicy is the core's, and what tells a user by its id and by its key.
var followedPolicy = strings.Replace(byKey, `"iam:GetAccessKeyLastUsed"`, `["iam:GetAccessKeyLastUsed","iam:GetUser"]`, 1)

// unlistedPolicy allows everything but what would tell by itself.
var unlistedPolicy = strings.Replace(widePolicy, `[{`, `[{"Effect":"Deny","Action":["iam:ListUsers"],"Resource":"*"},{`, 1)

// listedPolicy is groupsPolicy and iam:ListUsers.
var listedPolicy = strings.Replace(groupsPolicy, `[{`, `[{"Effect":"Allow","Action":["iam:ListUsers"],"Resource":"*"},{`, 1)

// replaced is replacedNow, a while ago.
func (e *env) replaced() (l lease, unchanged func()) {
	e.t.Helper()
	l, unchanged = e.replacedNow()
	e.advance(10 * time.Minute)
	return l, unchanged
}

// replacedNow issues a lease whose user somebody then deletes, and makes another of
// its name and path that has no key, no policy and no group.
func (e *env) replacedNow() (l lease, unchanged func()) {
	e.t.Helper()
	e.acct.AddGroup("team")
	e.write("roles/grouped", map[string]any{"policy_document": testPolicy, "iam_groups": "team"})
	l = e.issue("grouped", nil)
	e.deleteAll(l.username())
	_, err := e.byHand().CreateUser(e.t.Context(), &iam.CreateUserInput{UserName: aws.String(l.username()), Path: aws.String(testPath)})
	require.NoError(e.t, err)
	stranger, _ := e.acct.User(l.username())
	return l, func() {
		e.t.Helper()
		found, ok := e.acct.User(stranger.Name)
		require.True(e.t, ok, "a stranger's user was deleted")
		require.Equal(e.t, stranger, found)
	}
}

// emptied has somebody take from a user all that shows it to be ours.
func (e *env) emptied(l lease) lease {
	e.t.Helper()
	require.NoError(e.t, removedByHand["all but the user"](e, l))
	return l
}

// diedDeleting has the process die when it has begun to delete the user.
func (e *env) diedDeleting(l lease) {
	e.t.Helper()
	u, err := getUser(e.t.Context(), e.storage, l.username())
	require.NoError(e.t, err)
	u.State, u.NextAttempt = stateDeleting, e.b.now()
	e.store(e.t, u)
	e.start()
}

// What AWS once let the integration do it does not deny for good. Break it by
// taking the case of seesUsers out of deletion.checkTraces.
func TestADenialOfWhatWasAllowedIsNotBelieved(t *testing.T) {
	e := newEnv(t, widePolicy)
	require.NoError(t, e.revoke(e.emptied(e.issue("app", nil))), "iam:GetUser shows that it is ours")
	l, unchanged := e.replaced()
	remove := e.aws.Inject(awsfake.Fault{Action: "GetUser", Code: "AccessDenied"})
	for range 3 {
		require.ErrorContains(t, e.revoke(l), "AWS denies iam:GetUser")
		unchanged()
		next := e.records()[l.username()].NextAttempt
		require.LessOrEqual(t, next.Sub(e.clock.now()), maxRetryPause, "it passes by itself")
		e.advance(10 * time.Minute)
	}
	remove()
	require.NoError(t, e.revoke(l), "the ids differ, so ours is gone")
	require.Empty(t, e.records())
	unchanged()
}

// A denial in a process that has not asked before may be one for good, or pass.
// Break it by not comparing with doubtEnds in deletion.traceless.
func TestAFirstDenialIsNotBelievedAtOnce(t *testing.T) {
	e := newEnv(t, unlistedPolicy)
	l, unchanged := e.replaced()
	e.aws.Inject(awsfake.Fault{Action: "GetUser", Code: "AccessDenied", Count: 1})
	err := e.revoke(l)
	require.ErrorContains(t, err, "not settled yet")
	require.ErrorContains(t, err, "Granting iam:GetUser on it, which is denied, settles it at once")
	unchanged()
	e.finish()
	require.Empty(t, e.records())
	unchanged()
}

// A list of users tells as well as iam:GetUser does, when the user is old enough: no
// user of the account has the id of ours. Also where a process had died in deleting
// it, and of a stranger with a key. Break it, each by itself: by leaving unlisted out
// of deletion.whereabouts; by not comparing with settles in it.
func TestTheListOfUsersTellsAStranger(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*env, lease){
		"bare":                  func(*env, lease) {},
		"with a key":            func(e *env, l lease) { hang("access key")(e, l) },
		"of a deletion cut off": (*env).diedDeleting,
	} {
		for age, wrong := range map[time.Duration]string{0: "AWS lists no user with the id", 10 * time.Minute: ""} {
			t.Run(fmt.Sprintf("%s %s", name, age), func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, listedPolicy)
				l, _ := e.replacedNow()
				prepare(e, l)
				stranger, _ := e.acct.User(l.username())
				e.advance(age)
				if err := e.revoke(l); wrong == "" {
					require.NoError(t, err)
					require.Empty(t, e.records())
				} else {
					require.ErrorContains(t, err, wrong)
					require.NotEmpty(t, e.records())
				}
				kept, _ := e.acct.User(l.username())
				require.Equal(t, stranger, kept)
			})
		}
	}
}

// Also of a stranger in a path where nothing else may be asked. Break it by leaving
// unlisted out of deletion.absent.
func TestTheListOfUsersTellsAStrangerThatMayNotBeSeen(t *testing.T) {
	t.Parallel()
	e := newEnv(t, listedPolicy)
	l := e.issue("app", nil)
	e.deleteByHand(l.username())
	e.acct.AddUser("/people/", l.username(), testPolicy)
	untouched := e.untouched(l.username())
	e.advance(10 * time.Minute)
	require.NoError(t, e.revoke(l))
	untouched()
	require.Empty(t, e.records())
}

// A failure of another kind long before is no reason to believe the first denial.
// Break it by counting from FailedSince in userRecord.doubtEnds.
func TestADeletionThatHasBeenFailingBelievesNoFirstDenial(t *testing.T) {
	t.Parallel()
	e := newEnv(t, unlistedPolicy)
	l, unchanged := e.replaced()
	remove := e.aws.Inject(awsfake.Fault{Code: "ServiceFailure"})
	require.Error(t, e.revoke(l))
	remove()
	e.advance(time.Hour)
	e.aws.Inject(awsfake.Fault{Action: "GetUser", Code: "AccessDenied", Count: 1})
	require.ErrorContains(t, e.revoke(l), "not settled yet")
	unchanged()
	require.NoError(t, e.revoke(l))
	unchanged()
}

// If nothing of the user may be seen, DeleteUser is not asked: it might have its
// effect. Break it by returning nil for a denial in deletion.checkTraces.
func TestAPassingDenialOfTheListIsNotBelieved(t *testing.T) {
	for name, policy := range map[string]string{"core": groupsPolicy, "wide": unlistedPolicy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			l, unchanged := e.replaced()
			e.aws.Inject(awsfake.Fault{Action: "GetUser", Code: "AccessDenied"})
			e.aws.Inject(awsfake.Fault{Action: "ListAccessKeys", Code: "AccessDenied"})
			for range 3 {
				require.ErrorContains(t, e.revoke(l), "may not see whether it is ours")
				e.advance(time.Hour)
			}
			unchanged()
		})
	}
}

// Under the eight actions nothing more will ever show: the user goes once it has
// been in doubt for long enough, and not before, also in the next process, and
// where the record was damaged and the lease has replaced it. Break it by not
// keeping DoubtedSince in backend.noteFailure, or by leaving doubtEnds out of whenSettled.
func TestABareUserOfOursGoesInTime(t *testing.T) {
	damage := func(e *env, username string) {
		require.NoError(t, e.storage.Put(t.Context(), &logical.StorageEntry{Key: userPrefix + username, Value: []byte(`{"user`)}))
	}
	for name, before := range map[string]func(*env, string){"": func(*env, string) {}, "damaged record": damage} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			l := e.emptied(e.issue("app", nil))
			e.advance(10 * time.Minute)
			before(e, l.username())
			require.ErrorContains(t, e.revoke(l), "not settled yet")
			doubted := e.clock.now()
			e.start()
			for e.clock.now().Sub(doubted) < settlingTime-30*time.Second {
				e.reap()
				require.Len(t, e.issuedUsers(), 1)
				e.advance(20 * time.Second)
			}
			require.WithinDuration(t, doubted.Add(settlingTime), e.records()[l.username()].NextAttempt, 5*time.Second)
			e.advance(40 * time.Second)
			e.reap()
			e.requireNothingLeft()
		})
	}
}

// A process died after it had emptied the user, and before it could say so: the next
// one goes on at once. Break it by taking cutOff out of deletion.traceless.
func TestAUserThatADeadProcessEmptiedGoesAtOnce(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.emptied(e.issue("app", nil))
	e.diedDeleting(l)
	e.advance(10 * time.Minute)
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

// The key was deleted by hand, and the policy is not removed before the groups
// are: it shows whose the user is. Break it by returning before
// eachInlinePolicy in deletion.traces.
func TestTheInlinePolicyShowsWhoseTheUserIs(t *testing.T) {
	e := newEnv(t, groupsPolicy)
	e.acct.AddGroup("team")
	e.write("roles/grouped", map[string]any{"policy_document": testPolicy, "iam_groups": "team"})
	l := e.issue("grouped", nil)
	e.advance(10 * time.Minute)
	require.NoError(t, removedByHand["its key"](e, l))
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

// So does the recorded key, beside one that somebody made. Break it by taking
// the comparison with it out of deletion.traces.
func TestTheRecordedKeyShowsWhoseTheUserIs(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.advance(10 * time.Minute)
	require.NoError(t, removedByHand["its policy"](e, l))
	require.NoError(t, dependentsByHand["access key"](t.Context(), e.byHand(), e.acct, l.username()))
	e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", Code: "ServiceFailure", Count: 2}) // and its one retry
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

// Undoing waits for no sign that the user is ours: nobody was told the name. Break
// it by counting from DoubtedSince alone in userRecord.doubtEnds.
func TestUndoingIsInNoDoubt(t *testing.T) {
	t.Parallel()
	for name, policy := range policies {
		for what, fault := range map[string]awsfake.Fault{
			"user's answer lost": {Action: "CreateUser", Lost: true},
			"no key":             {Action: "CreateAccessKey", Code: "LimitExceeded"},
			"key's answer lost":  {Action: "CreateAccessKey", Lost: true},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, policy)
				e.aws.Inject(fault)
				e.aws.Inject(awsfake.Fault{Action: "PutUserPolicy", Code: "LimitExceeded"})
				e.aws.Inject(awsfake.Fault{Action: "GetUser", Code: "AccessDenied"})
				resp, err := e.do(logical.ReadOperation, "creds/app", nil)
				require.True(t, err != nil || resp.IsError())
				e.requireNothingLeft()
			})
		}
	}
}

// Nor does it wait for a list of users to know the new one. Break it by leaving the
// record without a key out of deletion.unlisted.
func TestUndoingWaitsForNoList(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*env){
		"it has nobody of the name": func(e *env) { e.answered(emptyList, "ListUsers") },
		"it has another of the name": func(e *env) {
			e.aws.Inject(awsfake.Fault{Action: "ListUsers", Count: 1, Hook: func(awsfake.Call) {
				name := e.issuedUsers()[0].Name
				e.deleteByHand(name)
				_, err := e.byHand().CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name, Path: aws.String(testPath)})
				assert.NoError(t, err)
			}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, listedPolicy)
			e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Code: "LimitExceeded"})
			e.aws.Inject(awsfake.Fault{Action: "PutUserPolicy", Code: "LimitExceeded"})
			prepare(e)
			resp, err := e.do(logical.ReadOperation, "creds/app", nil)
			require.True(t, err != nil || resp.IsError())
			e.requireNothingLeft()
		})
	}
}

// A process that was suspended does not know any more what it has made: the reaper
// has deleted it, and a stranger has taken the name. Break it by not comparing with
// doubtEnds in deletion.traceless.
func TestUndoingLateKnowsNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	var stranger string
	e.write("roles/app", map[string]any{"propagation_timeout": "20s"})
	e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Count: 1, Hook: func(awsfake.Call) { // the user is complete
		stranger = e.issuedUsers()[0].Name
		e.advance(10 * time.Minute)
		e.deleteByHand(stranger)
		deleted := e.storage.Storage.Delete(t.Context(), userPrefix+stranger)
		_, err := e.byHand().CreateUser(t.Context(), &iam.CreateUserInput{UserName: &stranger, Path: aws.String(testPath)})
		assert.True(t, deleted == nil && err == nil, "%v, %v", deleted, err)
	}})
	resp, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.True(t, err != nil || resp.IsError())
	require.NotEmpty(t, stranger)
	_, found := e.acct.User(stranger)
	require.True(t, found, "a stranger's user was deleted")
}

// Nor is another process in doubt, once the record is old enough for it to act.
// Break it likewise.
func TestACreationThatWasCutOffGoesInFiveMinutes(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.aws.Inject(awsfake.Fault{Action: "CreateUser", Lost: true, Count: 1, Hook: func(awsfake.Call) { e.kill() }})
	_, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.Error(t, err)
	e.heal()
	require.Len(t, e.issuedUsers(), 1)
	e.advance(settlingTime)
	e.reap()
	e.requireNothingLeft()
}

// A deletion that a reload stops may have met a stranger: it is none that a process died
// in. Break it by noting no failure in noteFailure once the backend has ended.
func TestADeletionThatAReloadStopsSparesAStranger(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	l, unchanged := e.replaced()
	reached, release := make(chan struct{}), make(chan struct{})
	e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", Count: 1, Hook: func(awsfake.Call) { close(reached); <-release }})
	revoked := make(chan error, 1)
	go func() { revoked <- e.revoke(l) }()
	<-reached
	e.b.Cleanup(t.Context())
	close(release)
	require.Error(t, <-revoked)
	e.start()
	e.aws.Inject(awsfake.Fault{Action: "GetUser", Code: codeAccessDenied, Count: 2})
	for range 5 {
		e.advance(time.Minute)
		e.reap()
	}
	unchanged()
}

// iam:GetUser has settled a doubt: a denial met later begins another. Break it by not
// forgetting DoubtedSince in deletion.checkOwnership.
func TestADoubtThatAWSHasSettledIsNotBelievedLater(t *testing.T) {
	t.Parallel()
	e := newEnv(t, unlistedPolicy)
	l := e.emptied(e.issue("app", nil))
	e.advance(10 * time.Minute)
	e.aws.Inject(awsfake.Fault{Action: "GetUser", Code: "AccessDenied", Count: 1})
	require.ErrorContains(t, e.revoke(l), "not settled yet")
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: "ServiceFailure"})
	require.Error(t, e.revoke(l), "iam:GetUser has shown that it is ours")
	remove()
	e.deleteAll(l.username())
	untouched := e.bareUser(l.username())
	e.advance(10 * time.Minute)
	e.start()
	e.aws.Inject(awsfake.Fault{Action: "GetUser", Code: "AccessDenied", Count: 1})
	require.ErrorContains(t, e.revoke(l), "not settled yet")
	untouched()
}

// What iam:GetUser has shown of a stranger does not settle whether ours was renamed; but
// time does. Break it by forgetting KeyDoubtedSince whomever iam:GetUser shows.
func TestADoubtAboutTheKeyEndsWhereAStrangerHasTheName(t *testing.T) {
	t.Parallel()
	e := newEnv(t, followedPolicy)
	renamed, l := e.issue("app", nil), e.issue("app", nil)
	e.advance(time.Hour)
	e.rename(renamed.username(), "renamed")
	require.NoError(t, e.revoke(renamed), "its key tells")
	e.deleteByHand(l.username())
	e.strangerNamed(l.username())
	untouched := e.untouched(l.username())
	require.ErrorContains(t, e.revoke(l), "not settled yet")
	e.advance(10 * time.Minute)
	require.NoError(t, e.revoke(l))
	untouched()
	require.Empty(t, e.records())
}

// iam:GetUser has shown a stranger, in an attempt that failed for another reason: one denial
// of it in another process is not believed. Break it by forgetting DoubtedSince only where
// deletion.checkOwnership finds ours.
func TestAStrangerThatAWSHasShownIsInDoubtAnew(t *testing.T) {
	t.Parallel()
	e := newEnv(t, unlistedPolicy)
	l, unchanged := e.replaced()
	e.aws.Inject(awsfake.Fault{Action: "GetUser", Code: "AccessDenied", Count: 1})
	require.ErrorContains(t, e.revoke(l), "not settled yet")
	remove := e.aws.Inject(awsfake.Fault{Action: "GetAccessKeyLastUsed", Code: "ServiceFailure"})
	require.Error(t, e.revoke(l), "iam:GetUser has shown that it is not ours")
	remove()
	e.advance(10 * time.Minute)
	e.start()
	e.aws.Inject(awsfake.Fault{Action: "GetUser", Code: "AccessDenied", Count: 1})
	require.ErrorContains(t, e.revoke(l), "not settled yet")
	unchanged()
}

// A doubt about the key is none about whose the user is, which is denied for the first
// time. Break it by dating that doubt by KeyDoubtedSince in deletion.traceless.
func TestADoubtAboutTheKeyIsNoneAboutTheUser(t *testing.T) {
	t.Parallel()
	e := newEnv(t, followedPolicy)
	renamed, l := e.issue("app", nil), e.issue("app", nil)
	e.advance(time.Hour)
	e.rename(renamed.username(), "renamed")
	require.NoError(t, e.revoke(renamed), "its key tells")
	e.deleteByHand(l.username())
	untouched := e.bareUser(l.username())
	require.ErrorContains(t, e.revoke(l), "denies iam:GetAccessKeyLastUsed") // iam:GetUser has answered
	e.advance(10 * time.Minute)
	e.start()
	e.aws.Inject(awsfake.Fault{Action: "GetUser", Code: "AccessDenied", Count: 1})
	require.ErrorContains(t, e.revoke(l), "not settled yet")
	untouched()
}

// bareUser has somebody make a user without anything in the mount's path.
func (e *env) bareUser(name string) (untouched func()) {
	e.t.Helper()
	_, err := e.byHand().CreateUser(e.t.Context(), &iam.CreateUserInput{UserName: &name, Path: aws.String(testPath)})
	require.NoError(e.t, err)
	return e.untouched(name)
}

// Two doubts that begin together end together: neither waits for the other. Break it by
// dating the doubt about the user in deletion.traceless alone.
func TestDoubtsAreOverTogether(t *testing.T) {
	t.Parallel()
	e := newEnv(t, byKey)
	renamed, l := e.issue("app", nil), e.emptied(e.issue("app", nil))
	e.advance(time.Hour)
	e.rename(renamed.username(), "renamed")
	require.NoError(t, e.revoke(renamed), "its key tells")
	require.ErrorContains(t, e.revoke(l), "denies iam:GetAccessKeyLastUsed")
	e.advance(settlingTime + time.Second)
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

// A doubt is over when the key shows that the user is ours: who has the name later is in
// doubt anew. Break it by keeping DoubtedSince in deletion.checkTraces.
func TestADoubtThatTheKeyHasSettledIsNotBelievedLater(t *testing.T) {
	t.Parallel()
	e := newEnv(t, groupsPolicy)
	e.acct.AddGroup("team")
	e.write("roles/grouped", map[string]any{"iam_groups": "team", "enforce_expiry": false})
	l := e.issue("grouped", nil)
	e.advance(10 * time.Minute)
	heal := e.answered(noKeys, "ListAccessKeys")
	e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", Code: "NoSuchEntity", Count: 1})
	require.ErrorContains(t, e.revoke(l), "neither an access key nor a policy")
	heal()
	var heals []func()
	for _, action := range []string{"DeleteAccessKey", "DeleteUser"} {
		heals = append(heals, e.aws.Inject(awsfake.Fault{Action: action, Code: "ServiceFailure"}))
	}
	require.Error(t, e.revoke(l))
	for _, heal := range heals {
		heal()
	}
	e.deleteAll(l.username())
	untouched := e.bareUser(l.username())
	e.advance(15 * time.Minute)
	require.ErrorContains(t, e.revoke(l), "neither an access key nor a policy")
	untouched()
}
