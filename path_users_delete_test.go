package awsiam

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// A user goes with a lease that is alive, which cannot be renewed then, and can be
// revoked. Asking twice does no harm.
func TestAnIssuedUserIsDeletedOnRequest(t *testing.T) {
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, policy)
			l, bystander := e.issue("app", nil), e.issue("app", nil)
			require.Nil(t, e.must(logical.DeleteOperation, "users/"+l.username(), nil))
			_, found := e.acct.User(l.username())
			require.False(t, found)
			e.notFound("users/" + l.username())
			_, err := e.renew(l, time.Hour)
			require.ErrorContains(t, err, "was deleted")
			e.must(logical.DeleteOperation, "users/"+l.username(), nil)
			require.NoError(t, e.revoke(l))
			_, err = e.renew(bystander, time.Hour)
			require.NoError(t, err)
			require.NoError(t, e.revoke(bystander))
			e.requireNothingLeft()
		})
	}
}

// Whichever step goes wrong: success means that the user is gone, and what was not
// confirmed is finished by the reaper. Break it by having userDelete answer without
// the error of retireNow.
func TestEveryStepOfDeletingAUserOnRequestGoesWrong(t *testing.T) {
	t.Parallel()
	var table []breakage
	for _, action := range []string{"DeleteAccessKey", "DeleteUserPolicy", "DeleteUser"} {
		table = append(table, awsBreakages(action)...)
	}
	table = append(table, storageBreakages("get", userPrefix, 1)...) // is it there
	table = append(table, storageBreakages("get", userPrefix, 2)...) // condemned
	table = append(table, storageBreakages("put", userPrefix, 1)...)
	table = append(table, storageBreakages("get", integrationPrefix, 1)...)
	table = append(table, storageBreakages("delete", userPrefix, 1)...)
	for _, broken := range table {
		t.Run(broken.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			l, bystander := e.issue("app", nil), e.issue("app", map[string]any{"ttl": "12h"})
			e.b.invalidate(t.Context(), "") // so that the integration is read again
			broken.arm(e)
			resp, err := e.do(logical.DeleteOperation, "users/"+l.username(), nil)
			e.heal()
			if err == nil && !resp.IsError() {
				require.NotContains(t, e.records(), l.username())
				_, found := e.acct.User(l.username())
				require.False(t, found)
			}
			e.finish() // the lease is over by then, too
			require.Contains(t, e.records(), bystander.username())
			require.NoError(t, e.revoke(l))
			require.NoError(t, e.revoke(bystander))
			e.requireNothingLeft()
		})
	}
}

// A creation under way is not cut: its caller would be handed a user that is gone.
// One that was given up is. Break it by leaving the state out of finished.
func TestAUserThatIsBeingMadeIsNotDeleted(t *testing.T) {
	e := newEnv(t, corePolicy)
	var username string
	for _, action := range []string{"CreateUser", "CreateAccessKey"} {
		var asked sync.WaitGroup
		e.aws.Inject(awsfake.Fault{Action: action, Count: 1, Hook: func(c awsfake.Call) {
			asked.Go(func() {
				username = c.User
				e.refused(logical.DeleteOperation, "users/"+c.User, nil, "still being made", "active")
			})
			asked.Wait()
		}})
		l := e.issue("app", nil)
		require.Equal(t, l.username(), username)
		e.requireServiceable(l)
	}

	e.healers = append(e.healers, e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Hook: func(awsfake.Call) { e.kill() }, LostBefore: true, Count: 1}))
	_, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.Error(t, err)
	e.heal()
	cut := e.listed(map[string]any{"state": "creating"})
	require.Len(t, cut, 1)
	e.refused(logical.DeleteOperation, "users/"+cut[0], nil, "still being made")
	e.advance(settlingTime + time.Second)
	e.must(logical.DeleteOperation, "users/"+cut[0], nil)
	e.requireNothingLeft()
}

// A creation that outlives its time, and whose user is deleted then, hands out
// nobody. Break it by not reading the record again in activateUser.
func TestACreationThatWasHeldUpAndDeleted(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("roles/app", map[string]any{"propagation_timeout": "1s"})
	e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Count: 1, Hook: func(awsfake.Call) { // everything is made
		e.advance(settlingTime + time.Second)
		_, err := e.do(logical.DeleteOperation, "users/"+e.listed(map[string]any{"state": "creating"})[0], nil)
		if err != nil {
			t.Error(err)
		}
	}})
	resp, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.True(t, err != nil || resp.IsError(), "%v", resp)
	e.finish()
	e.requireNothingLeft()
}

// An undoing that leaves the user to the reaper is no deletion for whoever shares it: a
// request for that, or the revocation of a lease of an earlier user of the name. Break it
// by returning nil for errNotYet in undoAlone, or errNotYet in undoUser.
func TestADeletionThatSharesAnUndoing(t *testing.T) {
	for what, end := range map[string]func(*env, string) error{
		"on request": func(e *env, name string) error {
			resp, err := e.do(logical.DeleteOperation, "users/"+name, nil)
			if err == nil && resp.IsError() {
				err = resp.Error()
			}
			return err
		},
		"revocation": func(e *env, name string) error {
			return e.b.retireLeased(t.Context(), e.storage, issuedUser{Username: name, AccessKeyID: "AKIAIOSFODNN7EXAMPLE"})
		},
	} {
		t.Run(what, func(t *testing.T) {
			e := newEnv(t, corePolicy)
			book := e.startLogged()
			e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Code: "Throttling"})
			var writes atomic.Int32
			reached, goOn := make(chan struct{}), make(chan struct{})
			e.storage.on(func(op, key string) (bool, error) {
				if op == "put" && strings.HasPrefix(key, userPrefix) && writes.Add(1) == 2 {
					close(reached) // it is being put on record that the user has to go
					<-goOn
				}
				return true, nil
			})
			issued, ended := make(chan error, 1), make(chan error, 1)
			go func() {
				_, err := e.do(logical.ReadOperation, "creds/app", nil)
				issued <- err
			}()
			<-reached
			name := e.issuedUsers()[0].Name
			go func() { ended <- end(e, name) }()
			untilShared(t)
			close(goOn)
			require.ErrorContains(t, <-issued, "Throttling")
			require.ErrorContains(t, <-ended, "not confirmed deleted yet")
			require.Len(t, e.issuedUsers(), 1)
			require.Empty(t, book.lines("could not be undone"), "the reaper's next pass is all there is to it")
			e.finish()
			e.requireNothingLeft()
		})
	}
}

// A user that could not be deleted is tried again at once, and says why it stays.
func TestDeletingAgainWhatCouldNotBeDeleted(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	require.NoError(t, dependentsByHand["login profile"](t.Context(), e.byHand(), e.acct, l.username()))
	e.refused(logical.DeleteOperation, "users/"+l.username(), nil, l.username(), "not confirmed deleted", "DeleteConflict", "iam:DeleteLoginProfile")
	require.Equal(t, "deleting", e.read("users/" + l.username())["state"])
	_, err := e.byHand().DeleteLoginProfile(t.Context(), &iam.DeleteLoginProfileInput{UserName: aws.String(l.username())})
	require.NoError(t, err)
	e.must(logical.DeleteOperation, "users/"+l.username(), nil)
	e.requireNothingLeft()
}

// A user that waits in a pool goes with its secret, and is leased to nobody.
func TestAPooledUserIsDeletedOnRequest(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("roles/pooled", map[string]any{"policy_document": testPolicy, "pool_size": 1})
	e.reap()
	waiting := e.listed(map[string]any{"state": "pooled"})
	require.Len(t, waiting, 1)
	e.must(logical.DeleteOperation, "users/"+waiting[0], nil)
	left, err := e.storage.Storage.Get(t.Context(), poolPrefix+waiting[0])
	require.NoError(t, err)
	require.Nil(t, left)
	l := e.issue("pooled", nil)
	require.NotEqual(t, waiting[0], l.username())
	require.NoError(t, e.revoke(l))
}

// The name has passed to somebody else's user: the record goes, the stranger stays.
func TestDeletingOnRequestSparesAStranger(t *testing.T) {
	e := newEnv(t, widePolicy)
	l := e.issue("app", nil)
	e.deleteByHand(l.username())
	stranger := e.strangerNamed(l.username())
	e.advance(10 * time.Minute)
	e.must(logical.DeleteOperation, "users/"+l.username(), nil)
	found, _ := e.acct.User(stranger.Name)
	require.Equal(t, stranger, found)
	require.Empty(t, e.records())
}

func TestUsersDeleteBadInput(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	path := "users/" + l.username()
	e.refused(logical.DeleteOperation, "users/a b", nil, "username", "letters")
	e.refused(logical.DeleteOperation, path, map[string]any{"force": true}, "force")
	e.refused(logical.DeleteOperation, path, map[string]any{"integration": "other"}, "integration", "default", "leave it out")
	e.refused(logical.ReadOperation, path, map[string]any{"integration": "default"}, "integration")
	e.must(logical.DeleteOperation, "users/"+strings.ToUpper(l.username()), nil) // nobody
	require.Equal(t, "active", e.read(path)["state"])
	e.must(logical.DeleteOperation, path, map[string]any{"integration": "default"})
	e.requireNothingLeft()
}
