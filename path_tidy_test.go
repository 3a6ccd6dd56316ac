package awsiam

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// listingPolicy is the core's, and what tidy needs.
var listingPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*"},` +
	corePolicy[len(`{"Version":"2012-10-17","Statement":[`):]

// snapshot copies what is stored, as a snapshot of Vault has it.
func (e *env) snapshot() logical.Storage {
	e.t.Helper()
	copied := new(logical.InmemStorage)
	for _, prefix := range []string{integrationPrefix, rolePrefix, userPrefix, poolPrefix, tidyPrefix} {
		names, err := e.storage.List(e.t.Context(), prefix)
		require.NoError(e.t, err)
		for _, name := range names {
			entry, err := e.storage.Get(e.t.Context(), prefix+name)
			require.NoError(e.t, err)
			require.NoError(e.t, copied.Put(e.t.Context(), entry))
		}
	}
	return copied
}

// restore goes on with a snapshot, in a new process.
func (e *env) restore(snapshot logical.Storage) {
	e.t.Helper()
	e.b.Cleanup(e.t.Context())
	e.storage.Storage = snapshot
	e.start()
}

// tidy starts a run, waits for its end and returns its status.
func (e *env) tidy(data map[string]any) map[string]any {
	e.t.Helper()
	require.Equal(e.t, "running", e.write("tidy", data).Data["state"])
	e.b.reaper.done.Wait()
	return e.read("tidy-status")
}

// forReal is a run that deletes whatever it finds.
var forReal = map[string]any{"dry_run": false, "safety_buffer": 0}

// After a restored snapshot exactly the users are found that were issued since,
// and leases that came back for users long gone end quietly. Break it by
// skipping the records in tidying.tidy, or the segment in tidying.list.
func TestTidyAfterARestoredSnapshot(t *testing.T) {
	e := newEnv(t, listingPolicy)
	e.write("config/second", e.connection(e.anotherKey(listingPolicy)))
	e.write("roles/other", map[string]any{"policy_document": testPolicy, "integration": "second"})
	kept, gone, other := e.issue("app", nil), e.issue("app", nil), e.issue("other", nil)
	snapshot := e.snapshot()
	require.NoError(t, e.revoke(gone))
	var lost []string
	for range 3 {
		lost = append(lost, e.issue("app", nil).username())
	}
	strangers := map[string]string{"/vault/99999999/": "of-another-mount", "/vault/": "by-hand", "/": "somebody", "/other/1a2b3c4d/x/": "deeper"}
	for path, name := range strangers {
		e.acct.AddUser(path, name, testPolicy)
	}
	e.advance(2 * time.Hour)
	e.restore(snapshot)
	before := e.acct.Users()

	dry := e.tidy(nil)
	require.Equal(t, "done", dry["state"])
	require.Equal(t, true, dry["dry_run"])
	require.ElementsMatch(t, lost, dry["unknown_users"])
	require.ElementsMatch(t, []string{"by-hand", "of-another-mount"}, dry["foreign_users"])
	require.Equal(t, before, e.acct.Users(), "a dry run deletes nothing")

	done := e.tidy(map[string]any{"dry_run": "false"})
	require.Equal(t, "done", done["state"])
	require.Equal(t, []any{3, 3, 0, 2}, []any{done["users_unknown"], done["users_deleted"], done["users_failed"], done["users_foreign"]})
	var left []string
	for _, u := range e.issuedUsers() {
		left = append(left, u.Name)
	}
	require.ElementsMatch(t, []string{kept.username(), other.username()}, left)
	for _, name := range strangers {
		_, ok := e.acct.User(name)
		require.True(t, ok, name)
	}

	log := e.capturedLog()
	require.NoError(t, e.revoke(gone))
	require.Empty(t, log.String(), "without noise")
	require.NoError(t, e.revoke(kept))
	require.NoError(t, e.revoke(other))
	e.requireNothingLeft()
	require.Equal(t, 0, e.tidy(forReal)["users_unknown"])
}

func TestTidySparesTheYoung(t *testing.T) {
	e := newEnv(t, listingPolicy)
	e.acct.AddUser(testPath, "old", testPolicy)
	e.advance(time.Hour)
	e.acct.AddUser(testPath, "young", testPolicy)
	e.advance(30 * time.Minute)
	status := e.tidy(map[string]any{"dry_run": false})
	require.Equal(t, []any{2, 1, 1}, []any{status["users_unknown"], status["users_young"], status["users_deleted"]})
	require.Equal(t, []string{"old"}, status["unknown_users"])
	require.Len(t, e.issuedUsers(), 1)
}

// The list is older than the deletion: a user that got a record in between is
// spared. So is one whose name somebody has changed. Break it by writing the
// record over another in addUser, or by dropping the ids in userIndex.has.
func TestTidySparesWhatARecordKnows(t *testing.T) {
	e := newEnv(t, listingPolicy)
	renamed := e.issue("app", nil)
	_, err := e.byHand().UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String(renamed.username()), NewUserName: aws.String("renamed")})
	require.NoError(t, err)
	e.acct.AddUser(testPath, "just-recorded", testPolicy)
	e.advance(time.Hour)
	status := e.tidy(map[string]any{"dry_run": true, "safety_buffer": 0})
	require.Equal(t, []string{"just-recorded"}, status["unknown_users"])

	record := e.healthyRecord(defaultIntegration)
	record.Username, record.AccountID = "just-recorded", testAccount
	added, err := e.b.addUser(t.Context(), e.storage, record)
	require.NoError(t, err)
	require.True(t, added)
	conn, err := e.b.connect(t.Context(), e.storage, defaultIntegration)
	require.NoError(t, err)
	out, err := e.byHand().GetUser(t.Context(), &iam.GetUserInput{UserName: aws.String("just-recorded")})
	require.NoError(t, err)
	adopted, err := e.b.adoptUser(t.Context(), e.storage, conn, defaultIntegration, *out.User)
	require.NoError(t, err)
	require.False(t, adopted)
	require.Equal(t, stateActive, e.records()["just-recorded"].State)
	require.Len(t, e.issuedUsers(), 2)
}

// What cannot be deleted is on record from then on, for the reaper.
func TestTidyLeavesWhatFailsToTheReaper(t *testing.T) {
	e := newEnv(t, listingPolicy)
	e.acct.AddUser(testPath, "lost", testPolicy)
	e.advance(2 * time.Hour)
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 403, Code: "AccessDenied", Message: "no"})
	status := e.tidy(forReal)
	require.Equal(t, []any{"done", 0, 1}, []any{status["state"], status["users_deleted"], status["users_failed"]})
	require.Contains(t, e.read("users/lost")["last_error"], "AccessDenied")
	remove()
	e.finish()
	e.requireNothingLeft()
}

func TestTidyTellsWhyItFailed(t *testing.T) {
	for name, c := range map[string]struct {
		policy string
		fail   func(*env)
		says   []string
	}{
		"no permission": {corePolicy, func(*env) {}, []string{"AccessDenied", `iam:ListUsers can only be granted on "*"`}},
		"the key was rotated since": {listingPolicy, func(e *env) {
			_, err := e.byHand().DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: aws.String("vault-integration"), AccessKeyId: &e.key.AccessKeyID})
			require.NoError(t, err)
		}, []string{"InvalidClientTokenId", "rotated since the snapshot", "write the integration"}},
		"storage": {listingPolicy, func(e *env) {
			e.storage.on(func(op, _ string) (bool, error) {
				if op == "list" {
					return false, fmt.Errorf("the disk is gone")
				}
				return true, nil
			})
		}, []string{"the disk is gone"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, c.policy)
			e.issue("app", nil)
			c.fail(e)
			status := e.tidy(forReal)
			require.Equal(t, "failed", status["state"])
			for _, text := range c.says {
				require.Contains(t, status["error"], text)
			}
			require.Len(t, e.issuedUsers(), 1)
		})
	}
}

// held keeps a run of tidy waiting for AWS, after it was begun.
func (e *env) held() (release func()) {
	e.t.Helper()
	for i := range 20 {
		e.acct.AddUser(testPath, fmt.Sprintf("lost-%d", i), testPolicy)
	}
	e.advance(2 * time.Hour)
	waiting, blocked := make(chan struct{}, 100), make(chan struct{})
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Hook: func(awsfake.Call) {
		waiting <- struct{}{}
		<-blocked
	}})
	e.write("tidy", forReal)
	for range reaperWorkers {
		<-waiting
	}
	return func() {
		remove()
		close(blocked)
	}
}

func TestTidyOneAtATimeAndItsProgress(t *testing.T) {
	e := newEnv(t, listingPolicy)
	release := e.held()
	status := e.read("tidy-status")
	require.Equal(t, []any{"running", 21, 20, 0, ""}, []any{status["state"], status["users_listed"], status["users_unknown"], status["users_deleted"], status["finished"]})
	e.refused(logical.UpdateOperation, "tidy", forReal, "has been running since", "tidy-cancel/default")
	e.must(logical.DeleteOperation, "roles/app", nil)
	e.refused(logical.DeleteOperation, "config", nil, "tidy")
	release()
	e.b.reaper.done.Wait()
	require.Equal(t, 20, e.read("tidy-status")["users_deleted"])
	require.Empty(t, e.issuedUsers())
	e.must(logical.DeleteOperation, "config", nil)
	require.Nil(t, e.must(logical.ReadOperation, "tidy-status", nil))
}

// Break it by not looking at the context in tidying.remove.
func TestTidyCancelled(t *testing.T) {
	e := newEnv(t, listingPolicy)
	e.refused(logical.UpdateOperation, "tidy-cancel", nil, "no tidy is running")
	release := e.held()
	e.damage(tidyPrefix+defaultIntegration, rotten) // a run under way is known without
	e.must(logical.UpdateOperation, "tidy-cancel", nil)
	release()
	e.b.reaper.done.Wait()
	status := e.read("tidy-status")
	require.Equal(t, "cancelled", status["state"])
	require.NotEmpty(t, status["finished"])
	require.Equal(t, []any{reaperWorkers, 0}, []any{status["users_deleted"], status["users_failed"]}, "the rest was not tried")
	require.Len(t, e.issuedUsers(), 20-reaperWorkers)
	e.reap()
	require.Equal(t, "cancelled", e.read("tidy-status")["state"], "and is not gone on with")
}

// The node is lost in the middle: the next one goes on. Break it by leaving
// tidies.resume out of reaper.pass.
func TestTidyGoesOnAfterAFailover(t *testing.T) {
	e := newEnv(t, listingPolicy)
	release := e.held()
	e.b.reaper.end() // the process stops in its tracks
	release()
	e.b.Cleanup(t.Context())
	e.start()
	require.Equal(t, "running", e.read("tidy-status")["state"])
	require.NotEmpty(t, e.issuedUsers())
	e.reap()
	require.Equal(t, "done", e.read("tidy-status")["state"])
	e.finish()
	e.requireNothingLeft()
}

func TestTidyBadInput(t *testing.T) {
	e := newEnv(t, listingPolicy)
	e.refused(logical.UpdateOperation, "tidy/none", nil, "there is no integration", "config/none")
	e.refused(logical.UpdateOperation, "tidy/a b", nil, "integration", "letters")
	e.refused(logical.UpdateOperation, "tidy", map[string]any{"dry_run": "perhaps"}, "dry_run", "true or false")
	e.refused(logical.UpdateOperation, "tidy", map[string]any{"safety_buffer": "-1h"}, "safety_buffer")
	e.refused(logical.UpdateOperation, "tidy", map[string]any{"dryrun": false}, "dryrun", "dry_run")
	require.Nil(t, e.must(logical.ReadOperation, "tidy-status/none", nil))
}

// An account of many pages.
func TestTidyListsAllPages(t *testing.T) {
	e := newEnv(t, listingPolicy)
	for i := range 2100 {
		e.acct.AddUser("/", fmt.Sprintf("somebody-%d", i))
	}
	e.acct.AddUser(strings.Repeat("/vault", 2)+"/1a2b3c4d/", "lost", testPolicy)
	e.advance(2 * time.Hour)
	status := e.tidy(forReal)
	require.Equal(t, 2102, status["users_listed"])
	require.Equal(t, 1, status["users_deleted"])
}
