package awsiam

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// Nothing of others is touched, and nothing of ours is forgotten. Users of the
// very name of one of ours are in user_delete_test.go as well.

const (
	otherUUID = "ffffffff-0000-0000-0000-000000000000"
	otherPath = "/vault/ffffffff/" // of that mount
)

// mount is another mount on the same AWS, with a storage of its own.
func (e *env) mount(uuid string, storage logical.Storage) *env {
	e.t.Helper()
	m := &env{
		t: e.t, aws: e.aws, acct: e.acct, url: e.url, system: e.system, clock: e.clock, key: e.key,
		storage: &faultyStorage{Storage: storage},
	}
	m.load(uuid, hclog.NewNullLogger())
	return m
}

// strangers makes users that are not the engine's, wherever they could be
// mistaken for its own, and returns what checks that they are as they were.
func (e *env) strangers(acct *awsfake.Account) (unchanged func()) {
	e.t.Helper()
	for i, path := range []string{"/", "/vault/", "/vault/team/", otherPath, testPath} {
		acct.AddUser(path, "vault-app-"+strings.Repeat(string(rune('a'+i)), 20), testPolicy)
	}
	before := acct.Users()
	return func() {
		e.t.Helper()
		for _, user := range before {
			found, ok := acct.User(user.Name)
			require.True(e.t, ok, "%s%s was deleted", user.Path, user.Name)
			require.Equal(e.t, user, found)
		}
	}
}

// repoint makes an integration use another key past the guards of its write, as
// storage restored from a snapshot may have it.
func (e *env) repoint(name string, key awsfake.Credentials, account string) {
	e.t.Helper()
	in, err := getIntegration(e.t.Context(), e.storage, name)
	require.NoError(e.t, err)
	in.AccessKey, in.SecretKey, in.AccountID, in.Revision = key.AccessKeyID, key.SecretAccessKey, account, "restored"
	require.NoError(e.t, e.b.putIntegration(e.t.Context(), e.storage, in))
}

// Break the first half by skipping checkAccountOfUsers, the second by dropping
// the comparison of accounts in deleteInAWS.
func TestAnIntegrationPointedAtAnotherAccount(t *testing.T) {
	e := newEnv(t, corePolicy)
	elsewhere := e.aws.Account(otherAccount)
	_, key := elsewhere.AddUser("/", "integration", widePolicy)
	l := e.issue("app", nil)
	elsewhere.AddUser(testPath, l.username(), testPolicy)
	unchanged := e.strangers(elsewhere)

	e.refused(logical.UpdateOperation, "config", e.connection(key), "cannot move to account "+otherAccount, l.username())
	e.repoint(defaultIntegration, key, otherAccount)
	there := e.issue("app", nil)
	require.Equal(t, otherAccount, there.data["account_id"])
	require.ErrorContains(t, e.revoke(l), otherAccount)
	e.advance(20 * time.Minute)
	_, err := e.renew(there, time.Hour)
	require.NoError(t, err)
	for range 3 {
		e.reap()
		e.advance(10 * time.Minute)
	}
	unchanged()
	record := e.records()[l.username()]
	require.Equal(t, stateDeleting, record.State)
	require.Contains(t, record.LastError, "connect it to that account again")
	_, found := e.acct.User(l.username())
	require.True(t, found)

	// The way back, which passes the guards.
	e.refused(logical.UpdateOperation, "config", e.connection(e.key), "cannot move to account "+testAccount, there.username())
	require.NoError(t, e.revoke(there))
	e.write("config", e.connection(e.key))
	e.finish()
	e.requireNothingLeft()
	unchanged()
}

// The path of a user is that of its issue, whatever the integration or the role
// say later. Break it by letting deletion.checkTraces take a denial for "gone".
func TestAPathChangedBetweenIssueAndRevocation(t *testing.T) {
	both := strings.Replace(corePolicy, `"arn:aws:iam::*:user/vault/*"`, `["arn:aws:iam::*:user/vault/*","arn:aws:iam::*:user/team/*"]`, 1)
	onlyNew := strings.Replace(corePolicy, "user/vault/*", "user/team/*", 1)
	for name, change := range map[string]func(*env){
		"integration's": func(e *env) { e.write("config", map[string]any{"user_path": "/team/"}) },
		"role's":        func(e *env) { e.write("roles/app", map[string]any{"user_path": "/vault/team/"}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, both)
			unchanged := e.strangers(e.acct)
			revoked, byHand, expired := e.issue("app", nil), e.issue("app", nil), e.issue("app", nil)
			change(e)
			e.start()
			moved := e.issue("app", nil)
			e.deleteByHand(byHand.username())
			e.advance(10 * time.Minute)

			for _, l := range []lease{revoked, byHand} {
				require.NoError(t, e.revoke(l))
				_, found := e.acct.User(l.username())
				require.False(t, found)
			}
			require.NoError(t, e.revoke(moved))
			e.advance(30 * time.Minute)
			e.reap()
			_, found := e.acct.User(expired.username())
			require.False(t, found)
			require.Empty(t, e.records())
			unchanged()
		})
	}
	t.Run("with the permissions", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, corePolicy)
		unchanged := e.strangers(e.acct)
		l := e.issue("app", nil)
		_, narrow := e.acct.AddUser("/", "narrow", onlyNew)
		e.write("config", changed(e.connection(narrow), map[string]any{"user_path": "/team/"}))
		e.advance(10 * time.Minute)
		require.ErrorContains(t, e.revoke(l), "AccessDenied")
		e.finish()
		require.Len(t, e.records(), 1, "it is not forgotten")
		_, found := e.acct.User(l.username())
		require.True(t, found)

		e.write("config", changed(e.connection(e.key), map[string]any{"user_path": "/vault/"}))
		e.finish()
		require.Empty(t, e.records())
		_, found = e.acct.User(l.username())
		require.False(t, found)
		unchanged()
	})
}

// Two mounts with the same user_path, in one account, with the same key.
// Break it by leaving the mount's segment out of recordUser's path.
func TestTwoMountsWithOneUserPath(t *testing.T) {
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			other := e.mount(otherUUID, new(logical.InmemStorage))
			other.write("config", e.connection(e.key))
			other.write("roles/app", map[string]any{"policy_document": testPolicy})
			unchanged := e.strangers(e.acct)
			l, expired := e.issue("app", nil), e.issue("app", nil)
			theirs := other.issue("app", map[string]any{"ttl": "20h"})
			before, _ := e.acct.User(theirs.username())
			require.Equal(t, otherPath, before.Path)

			require.NoError(t, e.revoke(l))
			require.NoError(t, e.revoke(theirs), "a lease of the other mount names no record of this one")
			e.finish() // and with it the other's clock moves, not its reaper
			_, found := e.acct.User(expired.username())
			require.False(t, found)
			e.must(logical.DeleteOperation, "roles/app", nil)
			e.must(logical.DeleteOperation, "config", nil)
			require.Empty(t, e.records())
			unchanged()
			after, found := e.acct.User(theirs.username())
			require.True(t, found)
			require.Equal(t, before, after)
			other.reap()
			require.Contains(t, other.records(), theirs.username())
			require.NoError(t, other.revoke(theirs))
			require.Empty(t, other.records())
		})
	}
}

// Several integrations of one mount in one account: what happens to one leaves
// the users of the others alone, and forgets none of its own. Break it by
// counting users of all integrations in refuseUsers, or none.
func TestSeveralIntegrationsOfOneAccount(t *testing.T) {
	e := newEnv(t, corePolicy)
	unchanged := e.strangers(e.acct)
	leases := make(map[string]lease)
	for _, name := range []string{"kept", "rekeyed", "broken", "deleted"} {
		e.connect(name, testAccount, corePolicy)
		leases[name] = e.issue(name, map[string]any{"ttl": "20h"})
	}
	e.advance(10 * time.Minute)
	kept, _ := e.acct.User(leases["kept"].username())

	_, key := e.acct.AddUser("/", "next", corePolicy)
	e.write("config/rekeyed", e.connection(key))
	e.repoint("broken", awsfake.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "gone"}, testAccount)
	e.must(logical.DeleteOperation, "roles/deleted", nil)
	e.refused(logical.DeleteOperation, "config/deleted", nil, leases["deleted"].username(), "revoke their leases first")
	require.NoError(t, e.revoke(leases["deleted"]))
	e.must(logical.DeleteOperation, "config/deleted", nil)
	require.ErrorContains(t, e.revoke(leases["broken"]), "InvalidClientTokenId")
	e.start()
	e.finish()

	require.ElementsMatch(t, []string{leases["kept"].username(), leases["rekeyed"].username(), leases["broken"].username()},
		slices.Collect(maps.Keys(e.records())))
	found, _ := e.acct.User(kept.Name)
	require.Equal(t, kept, found)
	require.NoError(t, e.revoke(leases["rekeyed"]))
	require.NoError(t, e.revoke(leases["kept"]))
	e.write("config/broken", e.connection(e.anotherKey(corePolicy)))
	e.finish()
	require.Empty(t, e.records())
	_, left := e.acct.User(leases["broken"].username())
	require.False(t, left)
	unchanged()
}

// copied is a copy of a storage as it is now.
func copied(t *testing.T, from logical.Storage) logical.Storage {
	t.Helper()
	keys, err := logical.CollectKeys(t.Context(), from)
	require.NoError(t, err)
	to := new(logical.InmemStorage)
	for _, key := range keys {
		entry, err := from.Get(t.Context(), key)
		require.NoError(t, err)
		require.NoError(t, to.Put(t.Context(), entry))
	}
	return to
}

// A restored copy of the cluster, which must not be run against the same account
// and is all the same: what it does to the original, and what it does not.
// Break it by making userRecord.due ignore Expires.
func TestARestoredCopyOfTheCluster(t *testing.T) {
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			unchanged := e.strangers(e.acct)
			users := func() []string {
				var names []string
				for _, user := range e.issuedUsers() {
					names = append(names, user.Name)
				}
				return names
			}
			stranger := users()[0]
			kept := e.issue("app", map[string]any{"ttl": "20h"})
			renewed, revoked := e.issue("app", nil), e.issue("app", nil)
			duplicate := e.mount(testUUID, copied(t, e.storage.Storage))
			e.advance(6 * time.Minute)
			_, err := e.renew(renewed, 5*time.Hour)
			require.NoError(t, err)
			require.NoError(t, e.revoke(revoked))
			later := e.issue("app", map[string]any{"ttl": "20h"})
			theirs := duplicate.issue("app", map[string]any{"ttl": "20h"})

			// While the copy's records have not expired it touches nothing.
			e.aws.ResetCalls()
			e.advance(20 * time.Minute)
			duplicate.reap()
			require.Empty(t, e.aws.Calls())

			// Then it ends what to its knowledge has ended: the renewed lease too,
			// which is why a copy must not run. What it does not know stays.
			e.advance(10 * time.Minute)
			duplicate.finish()
			require.ElementsMatch(t, []string{stranger, kept.username(), later.username(), theirs.username()}, users())
			require.ElementsMatch(t, []string{kept.username(), theirs.username()}, slices.Collect(maps.Keys(duplicate.records())))

			// The original forgets nothing until it is sure.
			e.reap()
			require.ElementsMatch(t, []string{kept.username(), renewed.username(), later.username()}, slices.Collect(maps.Keys(e.records())))
			require.NoError(t, e.revoke(renewed), "its user is gone")
			require.NoError(t, e.revoke(later))

			// Both end the same user at the same time.
			var wg sync.WaitGroup
			for _, m := range []*env{e, duplicate} {
				wg.Go(func() { _ = m.revoke(kept) }) // either may be unsure
			}
			wg.Wait()
			e.finish()
			duplicate.finish()
			require.ElementsMatch(t, []string{stranger, theirs.username()}, users(), "the original does not know what the copy made")
			require.NoError(t, duplicate.revoke(theirs))
			require.Empty(t, e.records())
			require.Empty(t, duplicate.records())
			require.Equal(t, []string{stranger}, users())
			unchanged()
		})
	}
}

// Ours was deleted by hand, and somebody else's user has its name now, outside
// this mount's path. Break it by skipping deletion.checkOwnership.
func TestAStrangersUserInAnotherPathIsLeftAlone(t *testing.T) {
	for name, policy := range policies {
		for _, path := range []string{"/", "/vault/", otherPath} {
			t.Run(name+path, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, policy)
				l := e.issue("app", nil)
				e.deleteByHand(l.username())
				stranger, _ := e.acct.AddUser(path, l.username(), testPolicy)
				e.advance(10 * time.Minute)
				err := e.revoke(l)
				e.finish()
				found, ok := e.acct.User(l.username())
				require.True(t, ok)
				require.Equal(t, stranger, found)
				if name == "wide" {
					require.NoError(t, err, "the ids differ, so ours is gone")
					require.Empty(t, e.records())
				} else {
					require.Error(t, err)
					require.Len(t, e.records(), 1, "whose it is cannot be told")
				}
			})
		}
	}
}

// A creation that never reached AWS, and somebody else's user of its name:
// recent, but in another path than the engine could have made one in. Break it
// by taking the path out of deletion.isOurs.
func TestAStrangersUserIsNotTakenForALostCreation(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/vault/", otherPath} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, widePolicy)
			var stranger awsfake.UserInfo
			e.aws.Inject(awsfake.Fault{Action: "CreateUser", LostBefore: true, Count: 1, Hook: func(c awsfake.Call) {
				stranger, _ = e.acct.AddUser(path, c.User, testPolicy)
			}})
			require.NotEqual(t, stranger.Name, e.issue("app", nil).username())
			e.finish()
			found, ok := e.acct.User(stranger.Name)
			require.True(t, ok)
			require.Equal(t, stranger, found)
			require.Contains(t, e.records()[stranger.Name].LastError, "delete it by hand")
		})
	}
}

// Asking for a name that turned out taken has made nothing: there is nothing that
// would have to settle before it is asked for again, and who bears it is not to be
// taken for what it would have made. Break it by keeping RecreatedAt in
// deletion.recreate.
func TestATakenNameIsNotTakenForOneJustMade(t *testing.T) {
	for _, path := range []string{"/", "/elsewhere/"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			l := e.issue("app", nil)
			e.deleteByHand(l.username())
			e.advance(10 * time.Minute)
			stranger, _ := e.acct.AddUser(path, l.username(), testPolicy)
			for range 2 {
				require.ErrorContains(t, e.revoke(l), "exists, and the integration may not see whether it is ours")
			}
			e.write("config", e.connection(e.wideKey())) // which tells more
			e.finish()
			found, ok := e.acct.User(stranger.Name)
			require.True(t, ok)
			require.Equal(t, stranger, found)
			require.Empty(t, e.records(), "ours is gone, since the ids differ")
		})
	}
}
