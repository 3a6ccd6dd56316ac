package awsiam

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// told is an event as Vault was sent it.
type told map[string]string

// listener is a server's event system.
type listener struct {
	mu    sync.Mutex
	heard []told
	// answer is what the server makes of an event; nil: it takes it.
	answer func(context.Context) error
}

func (l *listener) SendEvent(ctx context.Context, kind logical.EventType, event *logical.EventData) error {
	l.mu.Lock()
	answer := l.answer
	l.mu.Unlock()
	if answer != nil {
		if err := answer(ctx); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	sent := told{"type": string(kind)}
	for key, value := range event.GetMetadata().GetFields() {
		sent[key] = value.GetStringValue()
	}
	l.heard = append(l.heard, sent)
	return nil
}

func (l *listener) answers(answer func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
}

// listen has the env's backend begin again, on a server with events.
func (e *env) listen() *listener {
	e.t.Helper()
	return e.listenTo(&logical.PluginEnvironment{VaultVersion: "1.21.1", VaultVersionMetadata: "ent.hsm"})
}

func (e *env) listenTo(server *logical.PluginEnvironment) *listener {
	e.t.Helper()
	e.system.PluginEnvironment = server
	l := new(listener)
	e.sender = l
	e.b.Cleanup(e.t.Context())
	e.start()
	return l
}

// told returns what was sent since it was last asked.
func (e *env) told(l *listener) []told {
	e.t.Helper()
	e.settle()
	e.b.events.idle()
	l.mu.Lock()
	defer l.mu.Unlock()
	heard := l.heard
	l.heard = nil
	return heard
}

// idle returns when nothing is being sent.
func (e *events) idle() {
	for {
		e.mu.Lock()
		sending := e.sending
		e.mu.Unlock()
		if sending == nil {
			return
		}
		<-sending
	}
}

// onUser is what an event of the operation says of the lease's user.
func onUser(operation string, l lease, more ...string) told {
	sent := told{
		"type": "aws-iam/" + operation, "operation": operation, "modified": "true", "path": "creds/app",
		"role": "app", "integration": "default", "account_id": testAccount,
		"username": l.username(), "access_key_id": l.data["access_key_id"].(string),
	}
	for ; len(more) > 1; more = more[2:] {
		sent[more[0]] = more[1]
	}
	return sent
}

// Every event, with all that it says. Break it by leaving out any of them, or the
// error of what it tells.
func TestEvents(t *testing.T) {
	e := newEnv(t, widePolicy)
	listener := e.listen()
	require.Empty(t, e.told(listener))

	key := e.anotherKey(widePolicy)
	e.write("config/other", e.connection(key))
	onOther := told{
		"type": "aws-iam/config-write", "operation": "config-write", "modified": "true", "path": "config/other", "data_path": "config/other",
		"integration": "other", "account_id": testAccount, "access_key_id": key.AccessKeyID,
	}
	require.Equal(t, []told{onOther}, e.told(listener))
	e.must(logical.DeleteOperation, "config/other", nil)
	require.Equal(t, []told{{
		"type": "aws-iam/config-delete", "operation": "config-delete", "modified": "true", "path": "config/other", "integration": "other",
	}}, e.told(listener))
	e.write("config", map[string]any{"max_retries": 2})
	require.Equal(t, []told{{
		"type": "aws-iam/config-write", "operation": "config-write", "modified": "true", "path": "config/default", "data_path": "config/default",
		"integration": "default", "account_id": testAccount, "access_key_id": e.key.AccessKeyID,
	}}, e.told(listener))

	e.write("roles/more", map[string]any{"policy_document": testPolicy})
	onRole := told{
		"type": "aws-iam/role-write", "operation": "role-write", "modified": "true", "path": "roles/more", "data_path": "roles/more",
		"role": "more", "integration": "default",
	}
	require.Equal(t, []told{onRole}, e.told(listener))
	e.must(logical.DeleteOperation, "roles/more", nil)
	require.Equal(t, []told{{
		"type": "aws-iam/role-delete", "operation": "role-delete", "modified": "true", "path": "roles/more", "role": "more",
	}}, e.told(listener))

	l := e.issue("app", nil)
	created := e.told(listener)
	require.Len(t, created, 1)
	requireSoon(t, l.data["lease_expiration"].(string), created[0]["lease_expiration"])
	require.Equal(t, onUser("creds-create", l, "data_path", "users/"+l.username(), "lease_expiration", created[0]["lease_expiration"]), created[0])
	_, err := e.renew(l, 2*time.Hour)
	require.NoError(t, err)
	renewed := e.told(listener)
	require.Len(t, renewed, 1)
	requireSoon(t, timestamp(time.Now().Add(2*time.Hour)), renewed[0]["lease_expiration"])
	require.Equal(t, onUser("creds-renew", l, "data_path", "users/"+l.username(), "lease_expiration", renewed[0]["lease_expiration"]), renewed[0])
	require.NoError(t, e.revoke(l))
	require.Equal(t, []told{onUser("creds-revoke", l)}, e.told(listener))
	require.NoError(t, e.revoke(l))
	require.Empty(t, e.told(listener), "nothing has happened")

	e.must(logical.UpdateOperation, "rotate-root", nil)
	now := e.read("config")["access_key"].(string)
	require.NotEqual(t, e.key.AccessKeyID, now)
	require.Equal(t, []told{{
		"type": "aws-iam/config-rotate", "operation": "config-rotate", "modified": "true", "path": "rotate-root/default", "data_path": "config/default",
		"integration": "default", "access_key_id": now, "previous_access_key_id": e.key.AccessKeyID,
	}}, e.told(listener))
}

// requireSoon checks that the times are the same, but for what a test takes.
func requireSoon(t *testing.T, expected, found string) {
	t.Helper()
	one, err := time.Parse(time.RFC3339, expected)
	require.NoError(t, err)
	other, err := time.Parse(time.RFC3339, found)
	require.NoError(t, err)
	require.WithinDuration(t, one, other, 10*time.Second)
}

// Whoever ends a user says so, once: a consumer learns that a key is dead by
// whatever way that came. Break it by leaving out an ending.
func TestEventsOfEachEnd(t *testing.T) {
	e := newEnv(t, widePolicy)
	listener := e.listen()
	issue := func() lease {
		l := e.issue("app", nil)
		e.told(listener)
		return l
	}

	l := issue()
	e.must(logical.DeleteOperation, "users/"+l.username(), nil)
	require.Equal(t, []told{onUser("creds-delete", l)}, e.told(listener))
	e.must(logical.DeleteOperation, "users/"+l.username(), nil)
	require.NoError(t, e.revoke(l))
	require.Empty(t, e.told(listener))

	l = issue()
	e.advance(25 * time.Hour)
	e.reap()
	require.Equal(t, []told{onUser("creds-reap", l, "state", "active")}, e.told(listener), "its lease was never stored")

	l = issue()
	e.damage(userPrefix+l.username(), "{")
	require.NoError(t, e.revoke(l))
	require.Equal(t, []told{onUser("creds-revoke", l)}, e.told(listener))

	l = issue()
	require.NoError(t, e.storage.Delete(t.Context(), userPrefix+l.username())) // as a snapshot of before it
	e.advance(2 * time.Hour)
	e.must(logical.UpdateOperation, "tidy", map[string]any{"dry_run": false})
	require.Equal(t, []told{{
		"type": "aws-iam/creds-tidy", "operation": "creds-tidy", "modified": "true", "path": "users/" + l.username(),
		"integration": "default", "account_id": testAccount, "username": l.username(),
	}}, e.told(listener))
	e.requireNothingLeft()
}

// What did not come about is not told, or told as that. Break it by sending ahead
// of what an event tells.
func TestEventsOfWhatFails(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	listener := e.listen()

	e.refused(logical.UpdateOperation, "config", map[string]any{"region": "nowhere at all"})
	e.refused(logical.UpdateOperation, "roles/app", map[string]any{"max_users": -1})
	e.refused(logical.DeleteOperation, "config", nil)
	e.storage.on(func(op, _ string) (bool, error) { return false, failIf(op != "get" && op != "list") })
	for op, path := range map[logical.Operation]string{logical.UpdateOperation: "roles/app", logical.DeleteOperation: "roles/app", logical.ReadOperation: "creds/app"} {
		_, err := e.do(op, path, nil)
		require.Error(t, err)
	}
	e.storage.on(nil)
	require.Empty(t, e.told(listener))

	// Undone, and nobody was given it.
	heal := e.aws.Inject(awsfake.Fault{Action: "PutUserPolicy", Status: 409, Code: "LimitExceeded", Count: 1})
	resp, err := e.do(logical.ReadOperation, "creds/app", nil)
	heal()
	require.True(t, err != nil || resp.IsError())
	require.Empty(t, e.told(listener))
	e.requireNothingLeft()

	// Not undone at once: the reaper says what it found.
	heal = e.aws.Inject(awsfake.Fault{Action: "PutUserPolicy", Status: 409, Code: "LimitExceeded"})
	stays := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 503, Code: "ServiceUnavailable"})
	resp, err = e.do(logical.ReadOperation, "creds/app", nil)
	require.True(t, err != nil || resp.IsError())
	require.Empty(t, e.told(listener))
	heal()
	stays()
	e.advance(time.Hour)
	e.reap()
	finished := e.told(listener)
	require.Len(t, finished, 1)
	require.Equal(t, []string{"creds-reap", "deleting"}, []string{finished[0]["operation"], finished[0]["state"]})
	e.requireNothingLeft()

	l := e.issue("app", nil)
	e.told(listener)
	require.NoError(t, dependentsByHand["login profile"](t.Context(), e.byHand(), e.acct, l.username()))
	heal = e.aws.Inject(awsfake.Fault{Action: "DeleteLoginProfile", Status: 403, Code: "AccessDenied"})
	require.Error(t, e.revoke(l))
	require.Equal(t, []told{onUser("creds-revoke-fail", l, "data_path", "users/"+l.username())}, e.told(listener))
	e.advance(time.Hour)
	e.reap()
	require.Equal(t, []told{onUser("creds-reap-fail", l, "data_path", "users/"+l.username(), "state", "deleting")}, e.told(listener))
	heal()
	e.advance(2 * time.Hour)
	e.reap()
	require.Equal(t, []told{onUser("creds-reap", l, "state", "deleting")}, e.told(listener))
	require.NoError(t, e.revoke(l), "Vault's own attempt comes late")
	require.Empty(t, e.told(listener))
}

// A rotation in the background whose caller is nobody. Break it by leaving the
// event out of rotations.work.
func TestEventOfARotationThatFails(t *testing.T) {
	e := newEnv(t, widePolicy)
	e.write("config", map[string]any{"rotation_period": "1h"})
	listener := e.listen()
	e.advance(2 * time.Hour)
	heal := e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Status: 409, Code: "LimitExceeded"})
	e.reap()
	require.Equal(t, []told{{
		"type": "aws-iam/config-rotate-fail", "operation": "config-rotate-fail", "modified": "true", "path": "rotate-root/default",
		"data_path": "config/default", "integration": "default", "access_key_id": e.key.AccessKeyID,
	}}, e.told(listener))
	heal()
	e.advance(2 * time.Hour)
	e.reap()
	sent := e.told(listener)
	require.Len(t, sent, 1)
	require.Equal(t, "aws-iam/config-rotate", sent[0]["type"])
}

// A user that waits for a lease is nobody's: it is told of from its lease on.
// Break it by not looking at Ahead in aboutEnd.
func TestEventsOfPooledUsers(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	listener := e.listen()
	e.pool("app", 1)
	e.told(listener)
	e.advance(25 * time.Hour) // another takes its place
	e.reap()
	require.Empty(t, e.told(listener))
	require.NotEmpty(t, e.pooled())
	e.leaveShort("app")
	l := e.issue("app", nil)
	sent := e.told(listener)
	require.Len(t, sent, 1)
	require.Equal(t, onUser("creds-create", l, "data_path", "users/"+l.username(), "lease_expiration", sent[0]["lease_expiration"]), sent[0])
	require.NoError(t, e.revoke(l))
	require.Equal(t, []told{onUser("creds-revoke", l)}, e.told(listener))

	e.advance(1000 * time.Hour)
	e.reap()
	require.Len(t, e.pooled(), 1)
	e.write("roles/app", map[string]any{"pool_size": 0})
	sent = e.told(listener)
	require.Len(t, sent, 1)
	require.Equal(t, "aws-iam/role-write", sent[0]["type"])
	e.requireNothingLeft()
}

// No event has a secret. Break it by telling the response's data.
func TestNoSecretInEvents(t *testing.T) {
	e := newEnv(t, widePolicy)
	listener := e.listen()
	secrets := []string{e.key.SecretAccessKey}
	other := e.anotherKey(widePolicy)
	e.write("config/other", e.connection(other))
	secrets = append(secrets, other.SecretAccessKey)
	e.pool("app", 2)
	for i := range 6 {
		l := e.issue("app", nil)
		secrets = append(secrets, l.data["secret_access_key"].(string))
		_, err := e.renew(l, time.Hour)
		require.NoError(t, err)
		switch i % 3 {
		case 0:
			require.NoError(t, e.revoke(l))
		case 1:
			e.must(logical.DeleteOperation, "users/"+l.username(), nil)
		}
	}
	e.settle()
	e.advance(25 * time.Hour)
	e.reap()
	e.must(logical.UpdateOperation, "rotate-root", nil)
	in, err := getIntegration(t.Context(), e.storage, "default")
	require.NoError(t, err)
	secrets = append(secrets, in.SecretKey)
	sent := e.told(listener)
	require.Greater(t, len(sent), 20)
	for _, event := range sent {
		for _, secret := range secrets {
			require.NotContains(t, fmt.Sprint(event), secret)
		}
	}
}

// Whatever the server does with an event, requests go their way, and take no
// longer. Break it by calling deliver in tell, or without recover.
func TestServersThatTakeNoEvents(t *testing.T) {
	for name, answer := range map[string]func(context.Context) error{
		"refuses":  func(context.Context) error { return errors.New("no such event") },
		"has none": func(context.Context) error { return framework.ErrNoEvents },
		"panics":   func(context.Context) error { panic("no such event") },
		"does not answer": func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			var log bytes.Buffer
			e.logger = hclog.New(&hclog.LoggerOptions{Output: &log, Mutex: new(sync.Mutex)})
			e.listen().answers(answer)
			begun := time.Now()
			for range 5 {
				l := e.issue("app", nil)
				_, err := e.renew(l, time.Hour)
				require.NoError(t, err)
				require.NoError(t, e.revoke(l))
			}
			require.Less(t, time.Since(begun), eventTimeout)
			e.requireNothingLeft()
			ended := time.Now()
			e.b.Cleanup(t.Context())
			require.Less(t, time.Since(ended), 2*eventFlush+time.Second)
			switch name {
			case "has none":
				require.NotContains(t, log.String(), "events")
			case "does not answer":
				require.Regexp(t, "events are lost.* lost=1 (.|\\n)*events are lost.* lost=14 ", log.String())
				require.Equal(t, 2, strings.Count(log.String(), "events are lost"))
			default:
				require.Contains(t, log.String(), "no such event")
				require.Regexp(t, "events are lost.* lost=1 (.|\\n)*events are lost.* lost=14 ", log.String())
				require.Equal(t, 2, strings.Count(log.String(), "events are lost"), "once, and in the end: %s", log.String())
			}
		})
	}
}

// On the Community edition nobody can subscribe, and events cost nothing. Break it by
// having hasSubscribers return true.
func TestEventsAreForServersWithSubscribers(t *testing.T) {
	for name, server := range map[string]*logical.PluginEnvironment{
		"community":                   {VaultVersion: "1.21.1"},
		"community, a build":          {VaultVersion: "1.21.1", VaultVersionMetadata: "nightly"},
		"enterprise":                  {VaultVersion: "1.21.1", VaultVersionMetadata: "ent"},
		"enterprise, of another kind": {VaultVersion: "1.21.1", VaultVersionMetadata: "ent.hsm.fips1403"},
		"unknown":                     {},
		"silent":                      nil,
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, corePolicy)
			listener := e.listenTo(server)
			for range 3 {
				require.NoError(t, e.revoke(e.issue("app", nil)))
			}
			if strings.HasPrefix(name, "community") {
				require.Empty(t, e.told(listener))
				require.False(t, e.b.events.wanted.Load())
				return
			}
			require.Len(t, e.told(listener), 6)
		})
	}
}

// vagueView is of a server that does not get to say what it is.
type vagueView struct {
	logical.SystemView
	fail func() error
}

func (v *vagueView) PluginEnv(ctx context.Context) (*logical.PluginEnvironment, error) {
	if err := v.fail(); err != nil {
		return nil, err
	}
	return v.SystemView.PluginEnv(ctx)
}

// What the server is it may say later, and nobody is harmed until then. Break it by
// asking outside of deliver, or once only.
func TestEventsOfServersThatFailToSayWhatTheyAre(t *testing.T) {
	for name, failure := range map[string]func() error{
		"fails":  func() error { return errInjected },
		"panics": func() error { panic("no such call") },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, corePolicy)
			listener := e.listenTo(&logical.PluginEnvironment{VaultVersion: "1.21.1"})
			fails := 3
			attentive := e.b.System()
			require.NoError(t, e.b.Setup(t.Context(), &logical.BackendConfig{Logger: e.logger, EventsSender: listener, System: &vagueView{attentive, func() error {
				fails--
				if fails >= 0 {
					return failure()
				}
				return nil
			}}}))
			for range 3 {
				e.write("roles/app", nil)
			}
			require.True(t, e.b.events.wanted.Load())
			e.told(listener)
			e.write("roles/app", nil)
			require.Empty(t, e.told(listener), "it is the Community edition")
			require.False(t, e.b.events.wanted.Load())
		})
	}
}

// Events get to Vault's process by way of the plugin protocol, which lets only what it
// knows pass.
func TestEventsByWayOfThePluginProtocol(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := new(listener)
	client, _ := goplugin.TestPluginGRPCConn(t, false, map[string]goplugin.Plugin{
		"backend": &plugin.GRPCBackendPlugin{Factory: Factory, Logger: hclog.NewNullLogger()},
	})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	dispensed, err := client.Dispense("backend")
	require.NoError(t, err)
	b := dispensed.(logical.Backend)
	require.NoError(t, b.Setup(t.Context(), &logical.BackendConfig{
		Logger: hclog.NewNullLogger(), StorageView: e.storage, BackendUUID: testUUID, EventsSender: l,
		System: &logical.StaticSystemView{
			DefaultLeaseTTLVal: time.Hour, MaxLeaseTTLVal: 24 * time.Hour,
			PluginEnvironment: &logical.PluginEnvironment{VaultVersion: "1.21.1", VaultVersionMetadata: "ent"},
		},
	}))
	issued, err := b.HandleRequest(t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: "creds/app", Storage: e.storage})
	require.NoError(t, err)
	require.False(t, issued.IsError(), "%v", issued)
	_, err = b.HandleRequest(t.Context(), &logical.Request{Operation: logical.RevokeOperation, Path: "creds/app", Storage: e.storage, Secret: issued.Secret, Data: issued.Data})
	require.NoError(t, err)
	b.Cleanup(t.Context())

	l.mu.Lock()
	defer l.mu.Unlock()
	require.Len(t, l.heard, 2)
	made := newLease(t, issued)
	require.Equal(t, onUser("creds-create", made, "data_path", "users/"+made.username(), "lease_expiration", l.heard[0]["lease_expiration"]), l.heard[0])
	require.Equal(t, onUser("creds-revoke", made), l.heard[1])
}

// A sender that hears of no end holds up nobody, and no more is kept for it than
// fits. What it was not sent is counted, and logged once in a while. Break it by
// leaving out the bound, or the reminder.
func TestEventsThatNobodyTakesAreCounted(t *testing.T) {
	e := newEnv(t, corePolicy)
	var log bytes.Buffer
	e.logger = hclog.New(&hclog.LoggerOptions{Output: &log, Mutex: new(sync.Mutex)})
	listener := e.listen()
	var stuck, released sync.WaitGroup
	stuck.Add(1)
	released.Add(1)
	listener.answers(func(context.Context) error {
		listener.answers(nil)
		stuck.Done()
		released.Wait()
		return nil
	})
	tell := func(n int) {
		for i := range n {
			e.b.events.tell(eventRoleWrite, fmt.Sprintf("roles/%d", i), "")
		}
	}
	tell(1)
	stuck.Wait()
	tell(maxEventsWaiting)
	require.Empty(t, log.String())
	tell(10)
	require.Equal(t, 1, strings.Count(log.String(), "lost=1 "), log.String())
	e.advance(eventReminder)
	tell(1)
	require.Equal(t, 1, strings.Count(log.String(), "lost=10 "), log.String())
	require.Equal(t, 2, strings.Count(log.String(), "events are lost"))

	begun := time.Now()
	e.b.Cleanup(t.Context())
	require.Less(t, time.Since(begun), 2*eventFlush+time.Second, "it cannot be ended")
	require.Contains(t, log.String(), fmt.Sprintf("lost=%d ", maxEventsWaiting))
	released.Done()
	heard := e.told(listener)
	require.Len(t, heard, 1, "the others are not sent by a backend that has ended")
	tell(1)
	require.Empty(t, e.told(listener))
}

// What has happened just before the end is told, in order: as with the leases that
// are revoked when a mount is disabled. Break it by leaving the wait out of stop.
func TestEventsBeforeTheEndAreSent(t *testing.T) {
	e := newEnv(t, corePolicy)
	listener := e.listen()
	var leases []lease
	for range 20 {
		leases = append(leases, e.issue("app", nil))
	}
	e.told(listener)
	listener.answers(func(context.Context) error {
		time.Sleep(5 * time.Millisecond)
		return nil
	})
	var expected []told
	for _, l := range leases {
		require.NoError(t, e.revoke(l))
		expected = append(expected, onUser("creds-revoke", l))
	}
	e.b.Cleanup(t.Context())
	listener.mu.Lock()
	defer listener.mu.Unlock()
	require.Equal(t, expected, listener.heard)
}

// A damaged record is replaced on request, and the end of its user told, whatever
// was legible. Break it by taking the stand-in for a user that waits.
func TestEventOfAUserWithoutAReadableRecord(t *testing.T) {
	e := newEnv(t, widePolicy)
	listener := e.listen()
	l := e.issue("app", nil)
	e.told(listener)
	e.damage(userPrefix+l.username(), "{")
	heal := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 403, Code: "AccessDenied"})
	_, err := e.byHand().CreateLoginProfile(t.Context(), &iam.CreateLoginProfileInput{UserName: aws.String(l.username()), Password: aws.String("Passw0rd!Passw0rd")})
	require.NoError(t, err)
	e.refused(logical.DeleteOperation, "users/"+l.username(), nil, "not confirmed deleted")
	heal()
	failed := told{
		"type": "aws-iam/creds-delete-fail", "operation": "creds-delete-fail", "modified": "true", "path": "users/" + l.username(),
		"data_path": "users/" + l.username(), "integration": "default", "account_id": testAccount, "username": l.username(),
	}
	require.Equal(t, []told{failed}, e.told(listener))
	e.advance(time.Hour)
	e.reap()
	delete(failed, "data_path")
	failed["type"], failed["operation"], failed["state"] = "aws-iam/creds-reap", "creds-reap", "deleting"
	require.Equal(t, []told{failed}, e.told(listener))
}

// What a lease pays for an event. The rest is done beside it.
func BenchmarkTellingAnEvent(b *testing.B) {
	made, err := Factory(b.Context(), &logical.BackendConfig{
		Logger: hclog.NewNullLogger(), System: new(logical.StaticSystemView), BackendUUID: testUUID, EventsSender: new(forgetful),
	})
	require.NoError(b, err)
	b.Cleanup(func() { made.Cleanup(context.Background()) })
	u := &issuedUser{Role: "app", Integration: "default", AccountID: testAccount, Username: "vault-app-0123456789abcdefghij", AccessKeyID: "AKIA0123456789ABCDEF"}
	b.ReportAllocs()
	for b.Loop() {
		made.(*backend).events.aboutUser(eventCredsCreate, u)
	}
}

type forgetful struct{}

func (*forgetful) SendEvent(context.Context, logical.EventType, *logical.EventData) error { return nil }
