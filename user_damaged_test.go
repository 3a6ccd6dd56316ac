package awsiam

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// However a record is damaged: deleting its user ends the user and the record, and
// nobody else. Under the eight actions the user's own policy shows whose it is, with
// iam:GetUser its path. A newer plugin's record is left to that. Break it by taking
// over in salvage what a record of another user says.
func TestAUserWithADamagedRecordIsDeletedOnRequest(t *testing.T) {
	for name, damage := range damages {
		for permissions, policy := range policies {
			t.Run(name+"/"+permissions, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, policy)
				stranger := e.strangerNamed("vault") // whom damaged records name
				l, bystander := e.issue("app", nil), e.issue("app", map[string]any{"ttl": "12h"})
				e.advance(3 * time.Hour) // the user is older than what clocks are allowed to differ by
				damaged := damage(e.entry(l.username()))
				e.damage(userPrefix+l.username(), damaged)

				if strings.HasPrefix(name, "a newer") {
					e.refused(logical.DeleteOperation, "users/"+l.username(), nil, l.username(), "newer plugin")
					require.Equal(t, damaged, e.entry(l.username()))
					require.Len(t, e.issuedUsers(), 3)
					return
				}
				e.must(logical.DeleteOperation, "users/"+l.username(), nil)
				require.Empty(t, e.entry(l.username()))
				_, found := e.acct.User(l.username())
				require.False(t, found)
				require.NoError(t, e.revoke(l))

				_, err := e.renew(bystander, time.Hour)
				require.NoError(t, err)
				require.NoError(t, e.revoke(bystander))
				kept, _ := e.acct.User(stranger.Name)
				require.Equal(t, stranger, kept)
				require.Empty(t, e.records())
			})
		}
	}
}

// Whichever step goes wrong, the user is on record until it is gone.
func TestEveryStepOfDeletingAUserWithADamagedRecordGoesWrong(t *testing.T) {
	t.Parallel()
	var table []breakage
	for _, action := range []string{"GetUser", "DeleteUserPolicy", "DeleteUser"} {
		table = append(table, awsBreakages(action)...)
	}
	for n := range 3 {
		table = append(table, storageBreakages("get", userPrefix, n+1)...)
	}
	table = append(table, storageBreakages("list", integrationPrefix, 1)...)
	table = append(table, storageBreakages("put", userPrefix, 1)...)
	table = append(table, storageBreakages("delete", poolPrefix, 1)...)
	table = append(table, storageBreakages("delete", userPrefix, 1)...)
	for _, broken := range table {
		t.Run(broken.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, widePolicy)
			l := e.issue("app", nil)
			e.advance(10 * time.Minute)
			e.damage(userPrefix+l.username(), "{")
			broken.arm(e)
			resp, err := e.do(logical.DeleteOperation, "users/"+l.username(), nil)
			e.heal()
			if err == nil && !resp.IsError() {
				require.Empty(t, e.entry(l.username()))
			}
			if _, found := e.acct.User(l.username()); found {
				require.NotEmpty(t, e.entry(l.username()))
			}
			if e.entry(l.username()) == "{" { // it has not begun: asked again
				e.must(logical.DeleteOperation, "users/"+l.username(), nil)
			}
			e.finish()
			e.requireNothingLeft()
		})
	}
}

// Where a damaged record does not tell its integration, and there are several, the
// request has to. Break it by taking the first integration.
func TestADamagedRecordNeedsItsIntegration(t *testing.T) {
	e := newEnv(t, corePolicy)
	other := e.connect("other", otherAccount, corePolicy)
	l := e.issue("other", nil)
	path, legible := "users/"+l.username(), without("state")(e.entry(l.username()))
	e.damage(userPrefix+l.username(), "{")
	e.refused(logical.DeleteOperation, path, nil, "does not tell", "default, other", "integration=<name>")
	e.refused(logical.DeleteOperation, path, map[string]any{"integration": "none"}, "there is no integration")
	e.refused(logical.DeleteOperation, path, map[string]any{"integration": "a b"}, "integration")
	e.damage(userPrefix+l.username(), legible)
	e.refused(logical.DeleteOperation, path, map[string]any{"integration": "default"}, `"other"`, "leave it out")
	require.Equal(t, legible, e.entry(l.username()))
	e.damage(userPrefix+l.username(), "{")
	e.must(logical.DeleteOperation, path, map[string]any{"integration": "other"})
	_, found := other.User(l.username())
	require.False(t, found)
	require.Empty(t, e.records())
}

// A user that is not there is not taken for gone at once: nobody knows how old it
// is. The reaper ends the record. Break it by leaving Created zero.
func TestADamagedRecordOfAUserThatIsGone(t *testing.T) {
	e := newEnv(t, widePolicy)
	l := e.issue("app", nil)
	e.deleteByHand(l.username())
	e.damage(userPrefix+l.username(), "{")
	_, err := e.do(logical.DeleteOperation, "users/"+l.username(), nil)
	require.ErrorContains(t, err, l.username())
	require.Equal(t, stateDeleting, e.records()[l.username()].State)
	e.finish()
	e.requireNothingLeft()
}

// A stranger's user of the name is left alone: in another path, or with a key and
// nothing that shows it to be ours.
func TestADamagedRecordOfAStranger(t *testing.T) {
	for permissions, path := range map[string]string{"core": testPath, "wide": "/people/"} {
		t.Run(permissions, func(t *testing.T) {
			e := newEnv(t, policies[permissions])
			l := e.issue("app", nil)
			e.deleteByHand(l.username())
			stranger, _ := e.acct.AddUser(path, l.username(), testPolicy)
			e.advance(3 * time.Hour)
			e.damage(userPrefix+l.username(), "{")
			_, _ = e.do(logical.DeleteOperation, "users/"+l.username(), nil)
			e.finish()
			found, _ := e.acct.User(stranger.Name)
			require.Equal(t, stranger, found)
		})
	}
}

// A record that is damaged while its user is being made is left to the creation, if
// it still tells. Break it by not asking for the state in replaceDamaged.
func TestADamagedRecordOfAUserThatIsBeingMade(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Count: 1, Hook: func(c awsfake.Call) {
		e.damage(userPrefix+c.User, without("version")(e.entry(c.User)))
		e.refused(logical.DeleteOperation, "users/"+c.User, nil, "still being made")
	}})
	e.requireServiceable(e.issue("app", nil))
}

// The secret of a user that waited for a lease goes, too.
func TestADamagedRecordOfAPooledUser(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("roles/pooled", map[string]any{"policy_document": testPolicy, "pool_size": 1})
	e.reap()
	waiting := e.listed(map[string]any{"state": "pooled"})
	require.Len(t, waiting, 1)
	e.damage(userPrefix+waiting[0], without("version")(e.entry(waiting[0])))
	e.must(logical.DeleteOperation, "users/"+waiting[0], nil)
	left, err := e.storage.Storage.Get(t.Context(), poolPrefix+waiting[0])
	require.NoError(t, err)
	require.Nil(t, left)
	e.requireNothingLeft()
}

// A record that stands in place of a damaged one does not know the key: the lease
// does. Until the user is gone its lease is not over. Break it by taking any other
// key for another's in completeFromLease.
func TestALeaseWhoseRecordWasReplacedEndsWithItsUser(t *testing.T) {
	for _, refusal := range []awsfake.Fault{{Status: 500, Code: "ServiceFailure"}, {Status: 400, Code: "Throttling"}} {
		t.Run(refusal.Code, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			l := e.issue("app", nil)
			e.advance(10 * time.Minute)
			e.damage(userPrefix+l.username(), "{")
			var healers []func()
			for _, action := range []string{"DeleteUserPolicy", "DeleteUser", "ListAccessKeys"} {
				fault := refusal
				fault.User, fault.Action = l.username(), action
				healers = append(healers, e.aws.Inject(fault))
			}
			_, err := e.do(logical.DeleteOperation, "users/"+l.username(), nil)
			require.Error(t, err)

			require.Error(t, e.revoke(l))
			user, found := e.acct.User(l.username())
			require.True(t, found)
			require.Empty(t, user.AccessKeys, "the lease has told whose it was")
			require.Contains(t, e.entry(l.username()), l.key().AccessKeyID)
			for _, heal := range healers {
				heal()
			}
			require.NoError(t, e.revoke(l))
			e.requireNothingLeft()
		})
	}
}

// Another's record is left alone, also one without a key: the lease's own user is gone.
func TestALeaseIsNotTakenForThatOfALaterUser(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	later := e.records()[l.username()]
	later.AccessKeyID, later.UserID, later.State = "", "AIDAIOSFODNN7EXAMPLE", stateDeleting
	require.NoError(t, e.b.storeUser(t.Context(), e.storage, later))
	require.NoError(t, e.revoke(l))
	require.Equal(t, later.UserID, e.records()[l.username()].UserID)
	require.Len(t, e.issuedUsers(), 1)

	making := e.records()[l.username()]
	making.UserID, making.State, making.Created = "", stateCreating, e.b.now()
	require.NoError(t, e.b.storeUser(t.Context(), e.storage, making))
	require.NoError(t, e.revoke(l))
	require.Equal(t, stateCreating, e.records()[l.username()].State, "nor for that of one that is being made")
	require.Len(t, e.issuedUsers(), 1)
}

// What the record still tells of the user's end is taken over: without its other name
// the user would be taken for gone. Break it by leaving RenamedTo out of
// backend.inPlaceOf.
func TestADamagedRecordOfARenamedUser(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*env, lease) error{
		"deleted on request": func(e *env, l lease) error {
			_, err := e.do(logical.DeleteOperation, "users/"+l.username(), nil)
			return err
		},
		"revoked": (*env).revoke,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, byKey)
			l := e.issue("app", nil)
			e.advance(time.Hour)
			e.rename(l.username(), "renamed")
			remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", User: "renamed", Code: "ServiceFailure"})
			require.Error(t, e.revoke(l))
			remove()
			e.damage(userPrefix+l.username(), without("version")(e.entry(l.username())))
			e.advance(10 * time.Minute)
			_ = end(e, l) // it may have to wait
			e.finish()
			_, found := e.acct.User("renamed")
			require.False(t, found)
			require.Empty(t, e.records())
		})
	}
}
