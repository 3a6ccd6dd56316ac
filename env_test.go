package awsiam

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

const (
	testAccount = "111122223333"
	testUUID    = "1a2b3c4d-0000-0000-0000-000000000000"
	testPath    = "/vault/1a2b3c4d/"

	// corePolicy is the policy that must be enough for the core.
	corePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:DeleteAccessKey","iam:PutUserPolicy","iam:DeleteUserPolicy","iam:DeleteUser","iam:ListUserPolicies","iam:CreateUser","iam:CreateAccessKey","iam:ListAccessKeys"],"Resource":"arn:aws:iam::*:user/vault/*"}]}`
	// widePolicy allows what a role with managed policies, groups, tags and a
	// boundary needs as well, and comparing user ids.
	widePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*"}]}`

	testPolicy = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:ListGroups", "Resource": "*"}]}`
)

// TestMain lets many tests run at once: they wait for pauses between attempts
// most of the time, not for a processor.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "48"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// env is a backend on in-memory storage, with a simulated AWS behind it.
type env struct {
	t       *testing.T
	b       *backend
	aws     *awsfake.AWS
	acct    *awsfake.Account
	url     string
	storage *faultyStorage
	system  *logical.StaticSystemView
	clock   *clock
	key     awsfake.Credentials // of the integration's user
	logger  hclog.Logger
	sender  logical.EventSender // nil: a server without events

	mu      sync.Mutex
	healers []func() // end the faults of faults_test.go
	killed  bool
}

// clock is Vault's clock as the backend sees it.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return wallClock().Add(c.offset)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// newEnv has an integration "default" whose user has the policy, and a role
// "app" with an inline policy.
func newEnv(t *testing.T, policy string) *env {
	t.Helper()
	e := &env{
		t:       t,
		aws:     awsfake.New(),
		storage: &faultyStorage{Storage: new(logical.InmemStorage)},
		system: &logical.StaticSystemView{
			DefaultLeaseTTLVal: time.Hour, MaxLeaseTTLVal: 24 * time.Hour,
			PluginEnvironment: &logical.PluginEnvironment{VaultVersion: "1.21.1"},
		},
		clock:  new(clock),
		logger: hclog.NewNullLogger(),
	}
	server := httptest.NewServer(e.aws)
	t.Cleanup(server.Close)
	e.url = server.URL
	e.acct = e.aws.Account(testAccount)
	_, e.key = e.acct.AddUser("/", "vault-integration", policy)
	e.start()
	e.write("config", e.connection(e.key))
	e.write("roles/app", map[string]any{"policy_document": testPolicy})
	e.aws.ResetCalls()
	return e
}

// start makes a new backend on the same storage, as after a restart.
func (e *env) start() {
	e.t.Helper()
	made, err := Factory(e.t.Context(), &logical.BackendConfig{
		Logger: e.logger, System: e.system, StorageView: e.storage, BackendUUID: testUUID, EventsSender: e.sender,
	})
	require.NoError(e.t, err)
	e.b = made.(*backend)
	checkAnswers(e.t, e.b)
	e.b.now = e.clock.now
	e.t.Cleanup(func() { e.b.Cleanup(context.Background()) })
}

// connection is the body of a config write for the key. Retries are few and
// quick enough that a test can let them run out.
func (e *env) connection(key awsfake.Credentials) map[string]any {
	return map[string]any{
		"access_key": key.AccessKeyID, "secret_key": key.SecretAccessKey,
		"iam_endpoint": e.url, "sts_endpoint": e.url, "max_retries": 1,
	}
}

// anotherKey is of another user of the account, with the policy: no two integrations
// have the same key.
func (e *env) anotherKey(policy string) awsfake.Credentials {
	_, key := e.acct.AddUser("/", "integration-"+rand.Text(), policy)
	return key
}

// advance moves Vault's clock and AWS's.
func (e *env) advance(d time.Duration) {
	e.clock.advance(d)
	e.aws.Advance(d)
}

// do handles a request as core would pass it on. As of all requests, the response is
// checked against the path's schema: start sees to it.
func (e *env) do(op logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	e.t.Helper()
	return e.doCtx(e.t.Context(), op, path, data)
}

func (e *env) doCtx(ctx context.Context, op logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	e.t.Helper()
	req := &logical.Request{
		Operation: op, Path: path, Data: asTransported(e.t, data), Storage: e.storage, ID: "test-request",
		MountPoint: "test-mount/", EntityID: "test-entity", DisplayName: "test-display", ClientTokenAccessor: "test-accessor",
	}
	if op == logical.UpdateOperation {
		if found, exists, err := e.b.HandleExistenceCheck(ctx, req); err == nil && found && !exists {
			req.Operation = logical.CreateOperation
		}
	}
	return e.b.HandleRequest(ctx, req)
}

// asTransported is what arrives of a request's data: Vault's plugin protocol
// sends it as JSON, so that all numbers are of type float64.
func asTransported(t *testing.T, data map[string]any) map[string]any {
	t.Helper()
	encoded, err := json.Marshal(data)
	require.NoError(t, err)
	var decoded map[string]any
	require.NoError(t, json.Unmarshal(encoded, &decoded))
	return decoded
}

// must is do for what has to succeed.
func (e *env) must(op logical.Operation, path string, data map[string]any) *logical.Response {
	e.t.Helper()
	resp, err := e.do(op, path, data)
	require.NoError(e.t, err)
	require.False(e.t, resp.IsError(), "%s %s: %v", op, path, resp)
	return resp
}

// write is must for writing. Leases of roles that it makes do not wait for keys
// to propagate, unless it is told otherwise.
func (e *env) write(path string, data map[string]any) *logical.Response {
	e.t.Helper()
	if name, ok := strings.CutPrefix(path, rolePrefix); ok && data[fieldPropagationTimeout] == nil {
		if r, err := getRole(e.t.Context(), e.storage.Storage, name); err == nil && r == nil {
			data = maps.Clone(data)
			data[fieldPropagationTimeout] = 0
		}
	}
	return e.must(logical.UpdateOperation, path, data)
}

func (e *env) read(path string) map[string]any {
	e.t.Helper()
	resp := e.must(logical.ReadOperation, path, nil)
	require.NotNil(e.t, resp, "nothing at %s", path)
	return resp.Data
}

// refused checks that the request is answered with a 400 that has each of the
// texts in it.
func (e *env) refused(op logical.Operation, path string, data map[string]any, texts ...string) {
	e.t.Helper()
	resp, err := e.do(op, path, data)
	require.NoError(e.t, err)
	require.True(e.t, resp.IsError(), "%s %s was accepted: %v", op, path, resp)
	for _, text := range texts {
		require.ErrorContains(e.t, resp.Error(), text)
	}
}

// lease is a lease as core keeps it.
type lease struct {
	data     map[string]any
	secret   *logical.Secret
	warnings []string
}

func (l lease) username() string { return l.data["username"].(string) }

func (e *env) issue(role string, data map[string]any) lease {
	e.t.Helper()
	resp := e.must(logical.ReadOperation, "creds/"+role, data)
	return newLease(e.t, resp)
}

// newLease round-trips the secret through JSON, as storing a lease does.
func newLease(t *testing.T, resp *logical.Response) lease {
	t.Helper()
	encoded, err := json.Marshal(resp.Secret.InternalData)
	require.NoError(t, err)
	secret := *resp.Secret
	secret.InternalData = nil
	require.NoError(t, json.Unmarshal(encoded, &secret.InternalData))
	secret.IssueTime = time.Now()
	return lease{data: resp.Data, secret: &secret, warnings: resp.Warnings}
}

func (e *env) revoke(l lease) error {
	_, err := e.b.HandleRequest(e.t.Context(), &logical.Request{
		Operation: logical.RevokeOperation, Path: "creds/any", Storage: e.storage, Secret: l.secret, Data: l.data,
	})
	return err
}

func (e *env) renew(l lease, increment time.Duration) (*logical.Response, error) {
	secret := *l.secret
	secret.Increment = increment
	return e.b.HandleRequest(e.t.Context(), &logical.Request{
		Operation: logical.RenewOperation, Path: "creds/any", Storage: e.storage, Secret: &secret, Data: l.data,
	})
}

// reap runs a pass of the reaper to its end.
func (e *env) reap() {
	e.t.Helper()
	e.b.reaper.pass(e.storage)
	e.b.reaper.done.Wait()
}

// records returns the records in storage, by user name.
func (e *env) records() map[string]*userRecord {
	e.t.Helper()
	records := make(map[string]*userRecord)
	require.NoError(e.t, eachUser(e.t.Context(), e.storage.Storage, func(u *userRecord) { records[u.Username] = u }))
	return records
}

// issuedUsers returns what AWS has beneath the engine's path.
func (e *env) issuedUsers() []awsfake.UserInfo {
	var users []awsfake.UserInfo
	for _, u := range e.acct.Users() {
		if strings.HasPrefix(u.Path, testPath) {
			users = append(users, u)
		}
	}
	return users
}

// requireNothingLeft checks that neither AWS nor storage knows a user.
func (e *env) requireNothingLeft() {
	e.t.Helper()
	require.Empty(e.t, e.issuedUsers())
	require.Empty(e.t, e.records())
}

// faultyStorage fails or observes single operations.
type faultyStorage struct {
	logical.Storage

	mu sync.Mutex
	// before is asked ahead of an operation ("get", "put", "delete", "list").
	// An error is returned to the caller; the operation is performed all the
	// same if perform is true, like a write whose answer was lost.
	before func(op, key string) (perform bool, err error)
}

func (s *faultyStorage) on(before func(op, key string) (bool, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

// check also says what storage across the plugin protocol does of a context that is over.
func (s *faultyStorage) check(ctx context.Context, op, key string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before == nil {
		return true, nil
	}
	return before(op, key)
}

func (s *faultyStorage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if _, err := s.check(ctx, "get", key); err != nil {
		return nil, err
	}
	entry, err := s.Storage.Get(ctx, key)
	if entry != nil && string(entry.Value) == rotten {
		return nil, errors.New("decryption failed: cipher: message authentication failed") // as Vault's barrier says it
	}
	return entry, err
}

// rotten is an entry that Vault cannot decrypt.
const rotten = "rotten"

func (s *faultyStorage) List(ctx context.Context, prefix string) ([]string, error) {
	if _, err := s.check(ctx, "list", prefix); err != nil {
		return nil, err
	}
	return s.Storage.List(ctx, prefix)
}

func (s *faultyStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	perform, fault := s.check(ctx, "put", entry.Key)
	if !perform {
		return fault
	}
	if err := s.Storage.Put(ctx, entry); err != nil {
		return err
	}
	return fault
}

func (s *faultyStorage) Delete(ctx context.Context, key string) error {
	perform, fault := s.check(ctx, "delete", key)
	if !perform {
		return fault
	}
	if err := s.Storage.Delete(ctx, key); err != nil {
		return err
	}
	return fault
}
