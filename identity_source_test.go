package awsiam

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// mayAssume is a policy that lets its owner assume the roles, on top of another.
func mayAssume(policy string, roles ...string) string {
	own := `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":["` + strings.Join(roles, `","`) + `"]},`
	return strings.Replace(policy, `"Statement":[`, `"Statement":[`+own, 1)
}

// borrowing is the body of a config write for an integration that borrows.
func (e *env) borrowing(source string, more map[string]any) map[string]any {
	return changed(map[string]any{
		"source_integration": source, "iam_endpoint": e.url, "sts_endpoint": e.url, "max_retries": 1,
	}, more)
}

// newHub has the default integration's user assume roles named "vault" that trust it,
// with the core's rights, in the accounts. They are in the order of the accounts.
func newHub(t *testing.T, accounts ...string) (e *env, roles []string) {
	t.Helper()
	e = newEnv(t, mayAssume(rotatingPolicy, "arn:aws:iam::*:role/vault*"))
	user, _ := e.acct.User(integrationUser)
	for _, account := range accounts {
		roles = append(roles, e.aws.Account(account).AddRole("vault", user.ARN, mayAssume(corePolicy, "arn:aws:iam::*:role/vault*")))
	}
	return e, roles
}

// lend makes an integration that borrows from the default one, and a role of the name.
func (e *env) lend(name string, more map[string]any) {
	e.t.Helper()
	e.write("config/"+name, e.borrowing(defaultIntegration, more))
	e.write("roles/"+name, map[string]any{"integration": name, "policy_document": testPolicy})
}

// Another integration's identity serves another account, by a role, and another path
// of its own account, without. Break it by leaving source_integration out of awsConfig.
func TestBorrowedIdentity(t *testing.T) {
	e, roles := newHub(t, otherAccount)
	e.lend("far", map[string]any{"role_arn": roles[0], "session_name": "from-afar"})
	e.lend("near", map[string]any{"user_path": "/vault/near/"})
	own := "arn:aws:iam::" + testAccount + ":user/" + integrationUser
	for name, c := range map[string]struct{ account, caller, path string }{
		"far":  {otherAccount, "arn:aws:sts::" + otherAccount + ":assumed-role/vault/from-afar", testPath},
		"near": {testAccount, own, "/vault/near/1a2b3c4d/"},
	} {
		shown := e.read("config/" + name)
		require.Equal(t, "default", shown["source_integration"])
		require.Empty(t, shown["access_key"])
		require.Equal(t, c.account, shown["account_id"])
		require.Equal(t, c.caller, shown["caller_arn"])
		require.Equal(t, "aws", shown["partition"])
		require.Equal(t, true, shown["verified"])
		require.NotEmpty(t, shown["verified_at"])

		l := e.issue(name, nil)
		require.Contains(t, l.data["arn"], c.account+":user"+c.path)
		_, err := e.renew(l, time.Hour)
		require.NoError(t, err)
		require.NoError(t, e.revoke(l))
		require.NotContains(t, e.dump(t)["config/"+name], e.key.SecretAccessKey)
	}
	e.requireNothingLeft()
	require.Zero(t, e.aws.Account(otherAccount).UserCount())
}

// Break each by taking its check out of mayBorrow, checkBorrowers or
// forgetIntegration.
func TestASourceIsOneLevelDeep(t *testing.T) {
	e, roles := newHub(t, otherAccount)
	e.lend("far", map[string]any{"role_arn": roles[0]})
	e.refused(logical.UpdateOperation, "config/further", e.borrowing("far", nil), `"far" itself borrows from "default"`)
	e.refused(logical.UpdateOperation, "config/further", e.borrowing("nobody", map[string]any{"verify_connection": false}), `there is no integration "nobody"`)
	e.write("config/other", e.connection(e.anotherKey(corePolicy)))
	e.refused(logical.UpdateOperation, "config", e.borrowing("other", map[string]any{"access_key": "", "secret_key": ""}), "far borrow from", `have them name "other"`)
	e.must(logical.DeleteOperation, "roles/app", nil)
	e.refused(logical.DeleteOperation, "config", nil, "far borrow the identity")

	e.must(logical.DeleteOperation, "roles/far", nil)
	e.must(logical.DeleteOperation, "config/far", nil)
	e.must(logical.DeleteOperation, "config", nil)
}

// A source that has gone, as on another node, or cannot be read: leases fail with what
// is wrong, and go on when it is back. Break it by returning nil for a missing source
// in mayBorrow.
func TestASourceThatIsNotThere(t *testing.T) {
	e, roles := newHub(t, otherAccount)
	e.lend("far", map[string]any{"role_arn": roles[0]})
	l := e.issue("far", nil)
	stored, err := e.storage.Get(t.Context(), integrationPrefix+defaultIntegration)
	require.NoError(t, err)
	for what, value := range map[string]string{"damaged": "{", "itself a borrower": `{"name":"default","source_integration":"x"}`, "deleted": ""} {
		t.Run(what, func(t *testing.T) {
			if value == "" {
				require.NoError(t, e.storage.Storage.Delete(t.Context(), stored.Key))
			} else {
				require.NoError(t, e.storage.Storage.Put(t.Context(), &logical.StorageEntry{Key: stored.Key, Value: []byte(value)}))
			}
			e.b.InvalidateKey(t.Context(), stored.Key)
			e.refused(logical.ReadOperation, "creds/far", nil, `source_integration: `, `integration "default"`)
			require.ErrorContains(t, e.revoke(l), "source_integration: ")
			require.Equal(t, false, e.read("config/far")["verified"])
			require.Equal(t, otherAccount, e.read("config/far")["account_id"])
			e.must(logical.ReadOperation, "policy/far", nil)
			e.refused(logical.UpdateOperation, "config/far", nil, "source_integration: ")
			require.NoError(t, e.storage.Storage.Put(t.Context(), stored))
			e.b.InvalidateKey(t.Context(), stored.Key)
			require.NoError(t, e.serve("far"))
		})
	}
	e.storage.on(func(op, key string) (bool, error) {
		if op == "get" && key == stored.Key {
			return false, errInjected
		}
		return true, nil
	})
	e.b.InvalidateKey(t.Context(), stored.Key)
	_, err = e.do(logical.ReadOperation, "creds/far", nil)
	require.ErrorIs(t, err, errInjected)
	e.storage.on(nil)
	require.NoError(t, e.revoke(l))
}

// The borrower's own entry is not invalidated where another node has changed the
// source's. Break it by not dropping the source's borrowers in connections.drop.
func TestASourceChangedOnAnotherNode(t *testing.T) {
	e, roles := newHub(t, otherAccount)
	e.lend("far", map[string]any{"role_arn": roles[0]})
	e.lend("near", nil)
	for range 2 {
		require.NoError(t, errors.Join(e.serve("far"), e.serve("near")))
	}
	require.Equal(t, 1+1, e.aws.Count("AssumeRole"), "to verify, and for the connection")
	in := e.integration()
	out, err := e.byHand().CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String(integrationUser)})
	require.NoError(t, err)
	in.useKey(accessKey{*out.AccessKey.AccessKeyId, *out.AccessKey.SecretAccessKey}, "next", e.clock.now())
	entry, err := logical.StorageEntryJSON(in.path(), in)
	require.NoError(t, err)
	require.NoError(t, e.storage.Storage.Put(t.Context(), entry))
	e.b.InvalidateKey(t.Context(), in.path())
	for name := range e.b.connections.byName {
		require.NotContains(t, []string{"far", "near", "default"}, name, "it holds the key before")
	}
	e.deleteKey(e.key.AccessKeyID)
	require.NoError(t, errors.Join(e.serve("far"), e.serve("near")))
}

// Where AWS does not know the key any more, the error is about who has it. Break it by
// having describeAnswer tell to write the integration that was used.
func TestTheKeyThatIsBorrowedIsGone(t *testing.T) {
	e, roles := newHub(t, otherAccount)
	e.lend("far", map[string]any{"role_arn": roles[0]})
	e.lend("near", nil)
	e.deleteKey(e.key.AccessKeyID)
	for _, name := range []string{"far", "near"} {
		e.refused(logical.ReadOperation, "creds/"+name, nil, codeInvalidClientTokenID, "write the integration that has it with a valid one")
	}
	require.Empty(t, e.records())
}

// A connection that was being made when the key was rotated has the key before: who
// comes after that does not wait for it. Break it by leaving the source's revision out
// of integration.borrow.
func TestAKeyIsRotatedWhileABorrowerIsConnected(t *testing.T) {
	e, roles := newHub(t, otherAccount)
	e.lend("far", map[string]any{"role_arn": roles[0], "verify_connection": false})
	asked, answer := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release)
	defer e.aws.Inject(awsfake.Fault{Action: "AssumeRole", Count: 1, Hook: func(awsfake.Call) { close(asked); <-answer }})()
	before := make(chan error, 1)
	go func() { before <- e.leaseCycle("far") }()
	<-asked
	now := e.rotated()["access_key"]
	promptly(t, "a lease", func() error { return e.leaseCycle("far") })
	release()
	require.NoError(t, <-before)
	keys := make(map[string]int)
	for _, call := range e.aws.Calls() {
		if call.Action == "AssumeRole" {
			keys[call.AccessKeyID]++
		}
	}
	require.Equal(t, map[string]int{e.key.AccessKeyID: 1, now.(string): 1}, keys)
}

// Of the writes of a rotation one concerns who borrows. Break it by taking the refusals
// out of prepareRotation and validateRotation, or by dropping connections whatever is
// written in putIntegration.
func TestABorrowedKeyIsRotatedWhereItIs(t *testing.T) {
	e, roles := newHub(t, otherAccount)
	e.lend("far", map[string]any{"role_arn": roles[0]})
	e.refused(logical.UpdateOperation, "rotate-root/far", nil, `borrows its key from integration "default"`, "rotate-root/default")
	e.refused(logical.UpdateOperation, "config/far", map[string]any{"rotation_period": "24h"}, `source_integration "default"`)
	require.NoError(t, e.serve("far"))
	e.aws.ResetCalls()
	e.rotated()
	require.Equal(t, true, e.read("config/far")["verified"], "it is the same caller")
	require.NoError(t, e.serve("far"))
	e.clock.advance(retireAfter)
	e.reap()
	e.requireOneKey()
	require.NoError(t, e.serve("far"))
	require.Equal(t, 1, e.aws.Count("AssumeRole"), "with the new key")
}

// What failed for who borrows is tried again when the source is mended. Break it by
// hastening the source only in hastenThrough.
func TestMendingASourceHastensItsBorrowers(t *testing.T) {
	e, _ := newHub(t)
	e.lend("near", nil)
	l := e.issue("near", nil)
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Code: "AccessDenied"})
	require.Error(t, e.revoke(l))
	for range 3 {
		e.pass(time.Hour)
	}
	remove()
	e.reap()
	require.Len(t, e.records(), 1)
	e.write("config", nil)
	e.b.reaper.done.Wait()
	e.reap()
	e.requireNothingLeft()
}

// A tidy of a borrower is signed with the source's key for as long as it runs. Break
// it by leaving the borrowers out of backend.tidiedThrough.
func TestTidyOfABorrowerHoldsUpTheRotation(t *testing.T) {
	e, _ := newHub(t)
	e.lend("near", nil)
	e.b.tidies.mu.Lock()
	e.b.tidies.running["near"] = new(tidying)
	e.b.tidies.mu.Unlock()
	e.refused(logical.UpdateOperation, "rotate-root", nil, `a tidy of integration "near" is running`)
	e.b.tidies.mu.Lock()
	delete(e.b.tidies.running, "near")
	e.b.tidies.mu.Unlock()
	e.rotated()
	e.b.tidies.mu.Lock()
	e.b.tidies.running["near"] = new(tidying)
	e.b.tidies.mu.Unlock()
	e.pass(retireAfter)
	require.Len(t, e.ownKeys(), 2)
	e.b.tidies.mu.Lock()
	delete(e.b.tidies.running, "near")
	e.b.tidies.mu.Unlock()
	e.reap()
	e.requireOneKey()
}

// An integration with a key of its own becomes a borrower and back, with its users.
func TestBecomingABorrower(t *testing.T) {
	e, roles := newHub(t, otherAccount)
	e.write("config/own", e.connection(e.anotherKey(corePolicy)))
	e.write("roles/own", map[string]any{"integration": "own", "policy_document": testPolicy})
	first := e.issue("own", nil)
	e.refused(logical.UpdateOperation, "config/own", e.borrowing(defaultIntegration, map[string]any{"access_key": "", "secret_key": "", "role_arn": roles[0]}),
		"cannot move to account "+otherAccount)
	e.write("config/own", e.borrowing(defaultIntegration, map[string]any{"access_key": "", "secret_key": ""}))
	second := e.issue("own", nil)
	require.NoError(t, e.revoke(first))
	e.write("config/own", changed(e.connection(e.anotherKey(corePolicy)), map[string]any{"source_integration": ""}))
	require.NoError(t, e.revoke(second))
	require.Equal(t, true, e.read("config/own")["verified"])
	e.requireNothingLeft()
}

// The region beneath is the default, since it is of the right partition. Break it by
// leaving the lender's region out of awsConfig.
func TestBorrowerInAnotherPartition(t *testing.T) {
	e := newEnv(t, corePolicy)
	_, key := e.aws.AccountIn("aws-cn", otherAccount).AddUser("/", "vault-integration", corePolicyIn("aws-cn"))
	e.write("config/cn", changed(e.connection(key), map[string]any{"region": "cn-northwest-1"}))
	e.write("config/more", e.borrowing("cn", nil))
	require.Equal(t, "aws-cn", e.read("config/more")["partition"])
	e.refused(logical.UpdateOperation, "roles/more", map[string]any{"integration": "more", "policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess"}, `"aws-cn"`)
	e.write("roles/more", map[string]any{"integration": "more", "policy_document": testPolicy})
	require.NoError(t, e.serve("more"))
}

// An unverified source is asked about once, by whoever needs it first. Break it by
// having newConnection ask AWS for a borrower without a role.
func TestBorrowersOfAnUnverifiedSource(t *testing.T) {
	e, roles := newHub(t, otherAccount)
	e.write("config", map[string]any{"region": "us-west-2", "verify_connection": false})
	for i := range 4 {
		e.lend(fmt.Sprintf("near%d", i), map[string]any{"verify_connection": false})
	}
	e.lend("far", map[string]any{"role_arn": roles[0], "verify_connection": false})
	require.Empty(t, e.read("config/near0")["account_id"])
	e.aws.ResetCalls()
	for i := range 4 {
		require.NoError(t, e.serve(fmt.Sprintf("near%d", i)))
	}
	require.Equal(t, 1, e.aws.Count("GetCallerIdentity"))
	require.NoError(t, e.serve("far"))
	require.Equal(t, 2, e.aws.Count("GetCallerIdentity"), "the role's account is not known either")
	e.write("config", nil)
	require.Equal(t, testAccount, e.read("config/near0")["account_id"])
	require.Equal(t, false, e.read("config/near0")["verified"])
}
