package awsiam

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// Storage that returns damaged entries. What fails and what is slow is in
// bad_disk_slow_test.go, and, operation by operation, in faults_test.go.

// logBook is what a backend has logged.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// lines are the warnings and errors that contain the text.
func (l *logBook) lines(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// load is start for any mount and logger.
func (e *env) load(uuid string, logger hclog.Logger) {
	e.t.Helper()
	made, err := Factory(e.t.Context(), &logical.BackendConfig{
		Logger: logger, System: e.system, StorageView: e.storage, BackendUUID: uuid,
	})
	require.NoError(e.t, err)
	e.b = made.(*backend)
	e.b.now = e.clock.now
	e.t.Cleanup(func() { e.b.Cleanup(context.Background()) })
}

// startLogged is start with a logger that is read.
func (e *env) startLogged() *logBook {
	e.t.Helper()
	book := new(logBook)
	e.load(testUUID, hclog.New(&hclog.LoggerOptions{Output: book, Level: hclog.Warn}))
	return book
}

// entry is what storage has of a user, byte for byte; empty if there is none.
func (e *env) entry(username string) string {
	e.t.Helper()
	entry, err := e.storage.Storage.Get(e.t.Context(), userPrefix+username)
	require.NoError(e.t, err)
	if entry == nil {
		return ""
	}
	return string(entry.Value)
}

// damage replaces an entry by the text.
func (e *env) damage(key, text string) {
	e.t.Helper()
	require.NoError(e.t, e.storage.Storage.Put(e.t.Context(), &logical.StorageEntry{Key: key, Value: []byte(text)}))
}

// without cuts a field out of records.
func without(field string) func(record string) string {
	return func(record string) string {
		fields := make(map[string]any)
		if err := json.Unmarshal([]byte(record), &fields); err != nil || fields[field] == nil {
			panic(fmt.Sprintf("there is no %s in %s", field, record))
		}
		delete(fields, field)
		text, err := json.Marshal(fields)
		if err != nil {
			panic(err)
		}
		return string(text)
	}
}

func replaced(text string) func(string) string { return func(string) string { return text } }

// damages are what may have become of a record, from what it was.
var damages = map[string]func(record string) string{
	"empty":             replaced(""),
	"cut short":         func(record string) string { return record[:len(record)/2] },
	"undecryptable":     replaced(rotten),
	"zeroes":            func(record string) string { return strings.Repeat("\x00", len(record)) },
	"null":              replaced("null"),
	"an empty object":   replaced("{}"),
	"a list":            replaced(`["vault"]`),
	"a string":          replaced(`"vault"`),
	"fields of a type":  replaced(`{"version":1,"username":7,"created":[]}`),
	"no version":        without("version"),
	"no name":           without("username"),
	"no date":           without("created"),
	"no end":            without("expires"),
	"no key":            without("access_key_id"),
	"no integration":    without("integration"),
	"no account":        without("account_id"),
	"no state":          without("state"),
	"an unknown state":  func(record string) string { return strings.ReplaceAll(record, `"active"`, `"dormant"`) },
	"a newer plugin's":  replaced(`{"version":2,"users":[{"name":"vault"}]}`),
	"a newer, and more": replaced(`{"version":2,"username":{"first":"vault"}}`),
}

// A record that cannot be understood is kept, and its user left alone, for as
// long as the user may exist; the log says so once an hour, and the lease, which
// has all that is needed, still ends the user. Break it by taking a case out of
// userRecord.check, by taking "unreadable" out of reaper.learn or reaper.reap,
// or by returning the error of a damaged record in secretIAMUserRevoke.
func TestADamagedRecordHurtsOnlyItself(t *testing.T) {
	for name, damage := range damages {
		for _, known := range []bool{false, true} { // to the reaper, before it was damaged
			t.Run(name+map[bool]string{false: "", true: ", known before"}[known], func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, corePolicy)
				e.write("config/other", e.connection(e.anotherKey(corePolicy)))
				book := e.startLogged()
				stranger := e.strangerNamed("vault") // whom damaged records name
				l := e.issue("app", map[string]any{"ttl": "10m"})
				bystander := e.issue("app", map[string]any{"ttl": "3h"})
				user, _ := e.acct.User(l.username())
				damaged := damage(e.entry(l.username()))
				e.damage(userPrefix+l.username(), damaged)
				if !known {
					book = e.startLogged()
				}
				e.aws.ResetCalls()

				for range 60 { // an hour of Vault's ticks: the lease is long over
					e.reap()
					e.advance(time.Minute)
				}
				require.Empty(t, e.aws.Calls())
				require.Equal(t, damaged, e.entry(l.username()))
				lines := book.lines(l.username())
				require.Len(t, lines, 1, "%s", lines)
				require.Contains(t, lines[0], "cannot be read")
				_, err := e.renew(l, time.Minute)
				require.ErrorContains(t, err, l.username())
				// One that no role keeps might be the user's.
				e.refused(logical.DeleteOperation, "config/other", nil, l.username(), "cannot be read", "revoke their leases first")

				if strings.HasPrefix(name, "a newer") {
					require.ErrorContains(t, e.revoke(l), "newer plugin")
					require.Equal(t, damaged, e.entry(l.username()))
					found, _ := e.acct.User(l.username())
					require.Equal(t, user, found)
				} else {
					require.NoError(t, e.revoke(l))
					require.Empty(t, e.entry(l.username()))
					require.Len(t, e.issuedUsers(), 2)
				}
				_, err = e.renew(bystander, time.Hour)
				require.NoError(t, err)
				require.NoError(t, e.revoke(bystander))
				found, _ := e.acct.User(stranger.Name)
				require.Equal(t, stranger, found)
			})
		}
	}
}

// A record that has got under another's key must not end the user it names,
// which has a record of its own. Break it by taking the user name out of
// userRecord.check.
func TestARecordUnderAnotherKeyEndsNobody(t *testing.T) {
	e := newEnv(t, corePolicy)
	ended := e.issue("app", nil)
	live := e.issue("app", nil)
	e.damage(userPrefix+ended.username(), e.entry(live.username()))
	_, err := e.renew(live, 5*time.Hour)
	require.NoError(t, err)
	e.start()
	e.advance(time.Hour)
	e.reap()
	require.NoError(t, e.revoke(ended))
	_, found := e.acct.User(ended.username())
	require.False(t, found, "the lease was revoked by what it holds")
	_, found = e.acct.User(live.username())
	require.True(t, found)
	require.Equal(t, stateActive, e.records()[live.username()].State)
}

// A damaged record whose lease is revoked while AWS fails is replaced by one
// that the reaper goes on with. Break it by not storing what the lease knows.
func TestTheReaperGoesOnAfterADamagedRecordWasReplaced(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.damage(userPrefix+l.username(), "{")
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500})
	require.Error(t, e.revoke(l))
	remove()
	require.Equal(t, stateDeleting, e.records()[l.username()].State)
	e.start() // and Vault has given up
	e.finish()
	e.requireNothingLeft()
}

// A role that cannot be read is in the way of itself alone, and can be deleted
// and written again. Break it by reading the role in roleDelete.
func TestADamagedRoleHurtsOnlyItself(t *testing.T) {
	for _, damaged := range []string{`{"name":"app","default_ttl":"half an hour"}`, rotten} {
		t.Run(damaged, func(t *testing.T) {
			e := newEnv(t, corePolicy)
			e.write("roles/other", map[string]any{"policy_document": testPolicy})
			l := e.issue("app", nil)
			e.damage(rolePrefix+"app", damaged)
			e.b.invalidate(t.Context(), rolePrefix+"app")

			for op, path := range map[logical.Operation]string{logical.ReadOperation: "roles/app", logical.UpdateOperation: "roles/app"} {
				_, err := e.do(op, path, map[string]any{"policy_document": testPolicy})
				require.ErrorContains(t, err, "the role is damaged")
			}
			_, err := e.do(logical.ReadOperation, "creds/app", nil)
			require.ErrorContains(t, err, "the role is damaged")
			_, err = e.renew(l, time.Hour)
			require.ErrorContains(t, err, "the role is damaged")
			require.Len(t, e.must(logical.ListOperation, "roles/", nil).Data["keys"], 2)
			require.NoError(t, e.revoke(l))
			require.NoError(t, e.revoke(e.issue("other", nil)))
			e.write("config", map[string]any{"max_retries": 2}) // concerns no role
			e.write("config/idle", e.connection(e.anotherKey(corePolicy)))
			e.refused(logical.DeleteOperation, "config/idle", nil, "role(s) app cannot be read", "delete them first")

			e.must(logical.DeleteOperation, "roles/app", nil)
			e.write("roles/app", map[string]any{"policy_document": testPolicy})
			require.NoError(t, e.revoke(e.issue("app", nil)))
			e.requireNothingLeft()
		})
	}
}

// An integration that cannot be read stops its own users only, and forgets none.
func TestADamagedIntegrationHurtsOnlyItself(t *testing.T) {
	for name, damaged := range map[string]func(string) string{"cut short": damages["cut short"], "undecryptable": damages["undecryptable"]} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, corePolicy)
			e.connect("other", otherAccount, corePolicy)
			l := e.issue("app", nil)
			sound, err := e.storage.Storage.Get(t.Context(), integrationPrefix+defaultIntegration)
			require.NoError(t, err)
			e.damage(integrationPrefix+defaultIntegration, damaged(string(sound.Value)))
			book := e.startLogged()

			_, err = e.do(logical.ReadOperation, "config", nil)
			require.ErrorContains(t, err, "the integration is damaged")
			_, err = e.do(logical.ReadOperation, "creds/app", nil)
			require.ErrorContains(t, err, "the integration is damaged")
			require.ErrorContains(t, e.revoke(l), "the integration is damaged")
			require.NoError(t, e.revoke(e.issue("other", nil)))
			require.Len(t, e.must(logical.ListOperation, "config/", nil).Data["keys"], 2)
			for range 60 {
				e.reap()
				e.advance(time.Minute)
			}
			require.Len(t, book.lines("the integration is damaged"), 1)
			require.Equal(t, stateDeleting, e.records()[l.username()].State)
			require.Contains(t, e.records()[l.username()].LastError, "the integration is damaged")

			require.NoError(t, e.storage.Storage.Put(t.Context(), sound))
			e.finish()
			e.requireNothingLeft()
		})
	}
}

// An integration that cannot be read has users, so that it cannot be deleted: it
// is written again, whole, and must be of the account of its users. Break it by
// returning the error in integrationWrite, or by taking no account at all for old.
func TestADamagedIntegrationIsWrittenAgain(t *testing.T) {
	for _, damaged := range []string{"{", rotten} {
		t.Run(damaged, func(t *testing.T) {
			e := newEnv(t, corePolicy)
			_, elsewhere := e.aws.Account(otherAccount).AddUser("/", "integration", corePolicy)
			l := e.issue("app", nil)
			e.damage(integrationPrefix+defaultIntegration, damaged)
			_, exists, err := e.b.HandleExistenceCheck(t.Context(), &logical.Request{Operation: logical.UpdateOperation, Path: "config", Storage: e.storage})
			require.NoError(t, err, "core asks first")
			require.True(t, exists)
			_, err = e.do(logical.UpdateOperation, "config", changed(e.connection(e.key), map[string]any{"verify_connection": false}))
			require.ErrorContains(t, err, "write it again, whole")
			e.refused(logical.UpdateOperation, "config", e.connection(elsewhere), "cannot move to account", l.username())
			e.write("config", e.connection(e.key))
			require.NoError(t, e.revoke(l))
			e.requireNothingLeft()
		})
	}
}
