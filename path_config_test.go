package awsiam

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

func TestIntegrationShowsAllButTheSecret(t *testing.T) {
	e := newEnv(t, corePolicy)
	verifiedAt, err := time.Parse(time.RFC3339, e.read("config")["verified_at"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), verifiedAt, time.Minute)
	require.Equal(t, map[string]any{
		"access_key": e.key.AccessKeyID, "max_users": 0, "role_arn": "", "external_id": "", "session_name": "", "source_integration": "", "identity_token_audience": "", "identity_token_ttl": int64(0),
		"region": "", "iam_endpoint": e.url, "sts_endpoint": e.url, "ca_pem": "", "max_retries": 1,
		"user_path": "/vault/", "issued_user_path": testPath, "username_template": "",
		"account_id": testAccount, "caller_arn": "arn:aws:iam::111122223333:user/vault-integration", "partition": "aws",
		"verified": true, "verified_at": timestamp(verifiedAt),
		"rotation_period": int64(0), "last_rotation": "", "next_rotation": "", "last_rotation_error": "",
	}, e.read("config"))
	require.Equal(t, e.read("config"), e.read("config/default"))

	for path, op := range map[string]logical.Operation{"config": logical.ReadOperation, "config/": logical.ListOperation} {
		shown, err := json.Marshal(e.must(op, path, nil))
		require.NoError(t, err)
		require.NotContains(t, string(shown), e.key.SecretAccessKey)
	}
}

func TestIntegrationDefaults(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("config/b", map[string]any{"verify_connection": false})
	shown := e.read("config/b")
	require.Equal(t, -1, shown["max_retries"])
	require.Equal(t, "/vault/", shown["user_path"])
	for _, field := range []string{"access_key", "region", "role_arn", "username_template", "account_id", "caller_arn", "partition"} {
		require.Empty(t, shown[field], field)
	}
}

// Break it by starting from newIntegration whatever is stored.
func TestIntegrationUpdateKeepsWhatItDoesNotMention(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("config", map[string]any{"region": "eu-west-1", "username_template": "{{ random 30 }}"})
	before := e.read("config")
	e.write("config", map[string]any{"max_retries": 3})
	after := e.read("config")
	before["max_retries"], before["verified_at"] = 3, after["verified_at"]
	require.Equal(t, before, after)
	require.Equal(t, 2, e.aws.Count("GetCallerIdentity"), "the stored secret was verified each time")

	e.write("config", map[string]any{"username_template": "", "region": ""})
	require.Empty(t, e.read("config")["username_template"])
	require.NoError(t, e.revoke(e.issue("app", nil)))
}

func TestIntegrationList(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("config/b.c_d-1", e.connection(e.anotherKey(corePolicy)))
	require.Equal(t, []string{"b.c_d-1", "default"}, e.must(logical.ListOperation, "config/", nil).Data["keys"])
}

func TestAbsentIsNotFound(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.must(logical.DeleteOperation, "roles/app", nil)
	e.must(logical.DeleteOperation, "config", nil)
	for _, path := range []string{"config", "config/default", "config/nope", "roles/app"} {
		require.Nil(t, e.must(logical.ReadOperation, path, nil), path)
		require.Nil(t, e.must(logical.DeleteOperation, path, nil), path)
	}
	require.Empty(t, e.dump(t))
}

// Both are needed: a role would have nowhere to make users, a user nobody to
// delete it. Where a role decides users are not read, which holds up who asks for one.
// Break it by leaving refuseRoles or refuseUsers out, or by having users come first.
func TestIntegrationDeletionGuards(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	e.storage.on(func(_, key string) (bool, error) { return true, failIf(strings.HasPrefix(key, userPrefix)) })
	e.refused(logical.DeleteOperation, "config", nil, "app", "delete them or give them another integration")
	e.storage.on(nil)
	e.must(logical.DeleteOperation, "roles/app", nil)
	e.refused(logical.DeleteOperation, "config", nil, l.username(), "revoke their leases first")
	require.NoError(t, e.revoke(l))
	e.must(logical.DeleteOperation, "config", nil)
	require.Empty(t, e.dump(t))
}

func TestIntegrationCanMoveToAnotherUserOfTheAccount(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	_, key := e.acct.AddUser("/", "next", corePolicy)
	e.write("config", e.connection(key))
	require.Contains(t, e.read("config")["caller_arn"], "user/next")
	require.NoError(t, e.revoke(l))
	for _, call := range e.aws.Calls() {
		if call.Action == "DeleteUser" {
			require.Equal(t, key.AccessKeyID, call.AccessKeyID)
		}
	}
}

func TestIntegrationCanMoveToAnotherAccountOnceNoUserIsLeft(t *testing.T) {
	e := newEnv(t, corePolicy)
	_, other := e.aws.Account(otherAccount).AddUser("/", "other", corePolicy)
	l := e.issue("app", nil)
	e.refused(logical.UpdateOperation, "config", e.connection(other), "cannot move to account 444455556666", l.username())
	require.NoError(t, e.revoke(l))
	e.write("config", e.connection(other))
	require.Equal(t, otherAccount, e.read("config")["account_id"])
	require.Equal(t, otherAccount, e.issue("app", nil).data["account_id"])
}

// An integration that was not verified learns its account from its first user.
func TestUnverifiedIntegration(t *testing.T) {
	e := newEnv(t, corePolicy)
	unverified := func(key awsfake.Credentials) map[string]any {
		return changed(e.connection(key), map[string]any{"verify_connection": false})
	}
	e.aws.ResetCalls()
	first := e.anotherKey(corePolicy)
	e.write("config/b", unverified(first))
	require.Empty(t, e.aws.Calls())
	require.Empty(t, e.read("config/b")["account_id"])
	e.write("roles/b", map[string]any{"integration": "b", "policy_document": testPolicy})
	require.Equal(t, testAccount, e.issue("b", nil).data["account_id"])

	_, other := e.aws.Account(otherAccount).AddUser("/", "other", corePolicy)
	e.refused(logical.UpdateOperation, "config/b", unverified(other), "must not change unseen")
	e.refused(logical.UpdateOperation, "config/b", e.connection(other), "cannot move to account 444455556666")
	e.write("config/b", map[string]any{"max_retries": 2, "verify_connection": false})
	require.Empty(t, e.read("config/b")["account_id"])
	e.write("config/b", e.connection(first))
	require.Equal(t, testAccount, e.read("config/b")["account_id"])
	e.write("config/b", map[string]any{"max_retries": 3, "verify_connection": false})
	require.Equal(t, testAccount, e.read("config/b")["account_id"], "nothing that decides the account has changed")
	e.refused(logical.UpdateOperation, "config/b", changed(unverified(first), map[string]any{"region": "us-west-2"}), "must not change unseen")
}

// Where another attempt can help the answer is a 502, which Vault's client
// retries; and nothing is stored.
func TestVerificationFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   map[string]any
		fault  awsfake.Fault
		status int // 0: a 400
		says   string
	}{
		"nobody there":  {body: map[string]any{"sts_endpoint": "http://127.0.0.1:1"}, status: http.StatusBadGateway, says: "connection refused"},
		"AWS is down":   {fault: awsfake.Fault{Action: "GetCallerIdentity", Status: 500}, status: http.StatusBadGateway, says: "ServiceFailure"},
		"unavailable":   {fault: awsfake.Fault{Action: "GetCallerIdentity", Status: 503, Code: "ServiceUnavailable"}, status: http.StatusBadGateway, says: "ServiceUnavailable"},
		"throttled":     {fault: awsfake.Fault{Action: "GetCallerIdentity", Code: "Throttling"}, status: http.StatusBadGateway, says: "try again"},
		"answer lost":   {fault: awsfake.Fault{Action: "GetCallerIdentity", LostBefore: true}, status: http.StatusBadGateway, says: "EOF"},
		"refused":       {fault: awsfake.Fault{Action: "GetCallerIdentity", Code: "AccessDenied"}, says: "AccessDenied"},
		"wrong secret":  {body: map[string]any{"secret_key": long(40)}, says: "SignatureDoesNotMatch"},
		"unknown key":   {body: map[string]any{"access_key": "AKIAIOSFODNN7EXAMPLE"}, says: "InvalidClientTokenId"},
		"unknown role":  {body: map[string]any{"role_arn": testRoleARN + "nope"}, says: "AccessDenied"},
		"wrong role id": {body: map[string]any{"role_arn": "arn:aws:iam::999999999999:role/a"}, says: "sts:AssumeRole"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // retries take seconds
			e := newEnv(t, corePolicy)
			before := e.dump(t)
			if c.fault.Action != "" {
				e.aws.Inject(c.fault)
			}
			resp, err := e.do(logical.UpdateOperation, "config/b", changed(e.connection(e.key), c.body))
			if c.status == 0 {
				require.NoError(t, err)
				err = resp.Error()
			} else {
				var coded logical.HTTPCodedError
				require.ErrorAs(t, err, &coded)
				require.Equal(t, c.status, coded.Code())
			}
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, `integration "b" was not stored`)
			require.NotContains(t, err.Error(), e.key.SecretAccessKey)
			require.Equal(t, before, e.dump(t))
		})
	}
}

// Break it by passing in.MaxRetries on to the verification.
func TestVerificationIsImpatient(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	defer e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Status: 500})()
	_, err := e.do(logical.UpdateOperation, "config", map[string]any{"max_retries": 50})
	require.Error(t, err)
	require.Equal(t, 1+verifyRetries, e.aws.Count("GetCallerIdentity"))
}

// A storage failure is the server's fault, never a 400.
func TestStorageFailuresOfWrites(t *testing.T) {
	type request struct {
		op   logical.Operation
		path string
		data map[string]any
	}
	for name, c := range map[string]struct {
		request
		storage string // the operations it takes, each of which fails once
	}{
		"read config":     {request{logical.ReadOperation, "config", nil}, "get config/default"},
		"list config":     {request{logical.ListOperation, "config/", nil}, "list config/"},
		"write config":    {request{logical.UpdateOperation, "config", map[string]any{"verify_connection": false, "region": "eu-west-1"}}, "get config/default, list roles/, get roles/app, list users/, put config/default"},
		"delete config":   {request{logical.DeleteOperation, "config/b", nil}, "list roles/, get roles/app, list users/, delete config/b"},
		"read a role":     {request{logical.ReadOperation, "roles/app", nil}, "get roles/app"},
		"list roles":      {request{logical.ListOperation, "roles/", nil}, "list roles/"},
		"write a role":    {request{logical.UpdateOperation, "roles/app", map[string]any{"max_ttl": "2h"}}, "get roles/app, get config/default, put roles/app"},
		"delete a role":   {request{logical.DeleteOperation, "roles/app", nil}, "delete roles/app"},
		"issue to a role": {request{logical.ReadOperation, "creds/app", nil}, "get roles/app, get config/default"},
	} {
		for step := range strings.SplitSeq(c.storage, ", ") {
			t.Run(name+": "+step, func(t *testing.T) {
				e := newEnv(t, corePolicy)
				e.write("config/b", e.connection(e.anotherKey(corePolicy)))
				e.b.reaper.done.Wait() // it looks at an integration that was written
				before := e.dump(t)
				var failed atomic.Bool
				e.storage.on(func(op, key string) (bool, error) {
					if op+" "+key != step {
						return true, nil
					}
					failed.Store(true)
					return false, errInjected
				})
				resp, err := e.do(c.op, c.path, c.data)
				require.True(t, failed.Load(), "it was never asked for")
				require.Error(t, err, "%v", resp)
				require.ErrorContains(t, err, "injected")
				var coded logical.HTTPCodedError
				require.NotErrorAs(t, err, &coded)
				require.Equal(t, before, e.dump(t))
			})
		}
	}
}

// A connection made before a change must not be used after it, even where the
// write was answered with an error. Break it by neither comparing revisions nor
// dropping the connection.
func TestChangedIntegrationIsUsedAtOnce(t *testing.T) {
	e := newEnv(t, corePolicy)
	require.NoError(t, e.revoke(e.issue("app", nil)))
	_, next := e.acct.AddUser("/", "next", corePolicy)
	e.storage.on(func(op, key string) (bool, error) { return true, failIf(op == "put" && key == "config/default") })
	_, err := e.do(logical.UpdateOperation, "config", e.connection(next))
	require.ErrorIs(t, err, errInjected)
	e.storage.on(nil)
	e.aws.ResetCalls()
	e.issue("app", nil)
	for _, call := range e.aws.Calls() {
		require.Equal(t, next.AccessKeyID, call.AccessKeyID, call.Action)
	}
}

// Break it by taking either out of invalidate: the integration, or its connection
// and the comparison of revisions.
func TestIntegrationChangedOnAnotherNodeIsUsedAtOnce(t *testing.T) {
	e := newEnv(t, corePolicy)
	require.NoError(t, e.revoke(e.issue("app", nil)))
	_, next := e.acct.AddUser("/", "next", corePolicy)
	here := e.b
	e.start()
	e.write("config", e.connection(next))
	e.b = here
	e.b.invalidate(t.Context(), "config/default") // core tells the other nodes
	e.aws.ResetCalls()
	e.issue("app", nil)
	require.Equal(t, next.AccessKeyID, e.aws.Calls()[0].AccessKeyID)
}

// Break it by making the revision a constant.
func TestDeletedIntegrationsConnectionIsNotUsedByTheNext(t *testing.T) {
	e := newEnv(t, corePolicy)
	_, other := e.aws.Account(otherAccount).AddUser("/", "other", corePolicy)
	require.NoError(t, e.revoke(e.issue("app", nil)))
	e.must(logical.DeleteOperation, "roles/app", nil)
	e.must(logical.DeleteOperation, "config", nil)
	e.write("config", e.connection(other))
	e.write("roles/app", map[string]any{"policy_document": testPolicy})
	require.Equal(t, otherAccount, e.issue("app", nil).data["account_id"])
}

// Integrations and roles are written, read and deleted at once, with users
// being issued: for the race detector, and to find deadlocks.
func TestConcurrentWrites(t *testing.T) {
	e := newEnv(t, corePolicy)
	shared := e.anotherKey(corePolicy)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			own := fmt.Sprintf("c%d", i)
			key := e.anotherKey(corePolicy)
			for range 5 {
				e.write("config/"+own, e.connection(key))
				e.write("config/shared", e.connection(shared))
				e.write("roles/"+own, map[string]any{"integration": own, "policy_document": testPolicy})
				e.write("roles/shared", map[string]any{"integration": "shared", "policy_document": testPolicy})
				e.must(logical.ListOperation, "roles/", nil)
				e.read("config/shared")
				l := e.issue("shared", nil)
				if err := e.revoke(l); err != nil {
					t.Error(err)
				}
				e.must(logical.DeleteOperation, "roles/"+own, nil)
				e.must(logical.DeleteOperation, "config/"+own, nil)
			}
		})
	}
	wg.Wait()
	e.requireNothingLeft()
	require.Len(t, e.must(logical.ListOperation, "config/", nil).Data["keys"], 2)
}
