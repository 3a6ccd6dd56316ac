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

// While AWS is asked about one integration another is written, so that the two do not
// go together: the one that comes last is refused, whatever was so when it began.
// Break it by calling checkSource or refuseKeyOfAnother before verify.
func TestTwoWritersOfIdentities(t *testing.T) {
	for name, c := range map[string]struct {
		first, meanwhile func(e *env) map[string]any // of config/a and config/b
		says             string
	}{
		"each borrows from the other": {
			func(e *env) map[string]any { return e.borrowing("b", nil) },
			func(e *env) map[string]any { return e.borrowing("a", nil) },
			`integration "b" itself borrows from "a"`,
		},
		"the source comes to borrow": {
			func(e *env) map[string]any { return e.borrowing("b", nil) },
			func(e *env) map[string]any { return e.borrowing(defaultIntegration, nil) },
			`integration "b" itself borrows from "default"`,
		},
		"the source is deleted": {
			func(e *env) map[string]any { return e.borrowing("b", nil) },
			func(*env) map[string]any { return nil },
			`there is no integration "b"`,
		},
		"the same key": {
			func(e *env) map[string]any { return e.connection(e.key) },
			func(e *env) map[string]any { return e.connection(e.key) },
			`integration "b" has this key`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, corePolicy)
			for _, name := range []string{"a", "b"} {
				e.write("config/"+name, e.connection(e.anotherKey(corePolicy)))
			}
			e.write("config", e.connection(e.anotherKey(corePolicy))) // so that e.key is free
			keyless := map[string]any{"access_key": "", "secret_key": ""}
			defer e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Count: 1, Hook: func(awsfake.Call) {
				if body := c.meanwhile(e); body != nil {
					e.write("config/b", changed(changed(keyless, body), map[string]any{"verify_connection": false}))
				} else {
					e.must(logical.DeleteOperation, "config/b", nil)
				}
			}})()
			before := e.dump(t)["config/a"]
			e.refused(logical.UpdateOperation, "config/a", changed(keyless, c.first(e)), c.says)
			require.Equal(t, before, e.dump(t)["config/a"])
		})
	}
}

// A key is stored once, whether it is in use or one that a rotation has still to
// delete. Break it by leaving the journal out of integration.holdsKey.
func TestAKeyIsStoredOnce(t *testing.T) {
	for _, state := range []rotationState{"", rotationProving, rotationRetiring} {
		t.Run("rotation "+string(state), func(t *testing.T) {
			e := newEnv(t, rotatingPolicy)
			if state != "" {
				e.cutOff(state)
			}
			journal := e.integration().Rotation.Journal
			for _, key := range []accessKey{e.integration().key(), journal.Old, journal.New} {
				if key.ID == "" {
					continue
				}
				body := e.connection(awsfake.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret})
				for _, verify := range []bool{true, false} {
					e.refused(logical.UpdateOperation, "config/twin", changed(body, map[string]any{"verify_connection": verify}),
						`integration "default" has this key`, "source_integration=default")
				}
			}
		})
	}
}

// What a source is written as must suit those who are the same caller; those with a
// role stay where they are. Break it by leaving checkBorrowers out of
// replaceIntegration, or the partition, the account or the path out of what it checks.
func TestASourceIsWrittenAsSomebodyElse(t *testing.T) {
	e, roles := newHub(t, "777788889999")
	e.lend("far", map[string]any{"role_arn": roles[0]})
	e.lend("near", nil)
	e.must(logical.DeleteOperation, "roles/app", nil)
	before := e.dump(t)
	lease := e.issue("near", nil)
	_, elsewhere := e.aws.Account(otherAccount).AddUser("/", "elsewhere", corePolicy)
	_, china := e.aws.AccountIn("aws-cn", "222222222222").AddUser("/", "elsewhere", corePolicyIn("aws-cn"))
	_, beneath := e.acct.AddUser("/vault/near/", "beneath", corePolicy)

	e.refused(logical.UpdateOperation, "config", e.connection(elsewhere), `integration "near" cannot move to account `+otherAccount, lease.username())
	e.refused(logical.UpdateOperation, "config", changed(e.connection(elsewhere), map[string]any{"verify_connection": false}), `"near" has issued users`)
	require.NoError(t, e.revoke(lease))
	e.write("roles/near", map[string]any{"policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess"})
	e.refused(logical.UpdateOperation, "config", changed(e.connection(china), map[string]any{"region": "cn-north-1"}), "role(s) near would not be valid", `"aws-cn"`)
	e.write("roles/near", map[string]any{"policy_arns": ""})
	e.write("config", map[string]any{"user_path": "/own/"})
	e.refused(logical.UpdateOperation, "config", e.connection(beneath), `"near" borrows from it`, "lies beneath")
	for _, name := range []string{"far", "near"} {
		require.Equal(t, before["config/"+name], e.dump(t)["config/"+name])
		require.Equal(t, true, e.read("config/" + name)["verified"])
	}

	resp := e.write("config", e.connection(elsewhere))
	require.Contains(t, resp.Warnings[0], "far, near borrow this identity")
	far, near := e.read("config/far"), e.read("config/near")
	for _, shown := range []map[string]any{far, near} {
		require.Equal(t, false, shown["verified"])
		require.Empty(t, shown["verified_at"])
	}
	require.Equal(t, "777788889999", far["account_id"], "its role's")
	require.Equal(t, otherAccount, near["account_id"], "who it is now")
	l := e.issue("near", nil)
	require.Equal(t, otherAccount, l.data["account_id"])
	require.NoError(t, e.revoke(l))
	e.refused(logical.ReadOperation, "creds/far", nil, "sts:AssumeRole", "AccessDenied")
	e.write("config/near", nil)
	require.Equal(t, true, e.read("config/near")["verified"])
	e.refused(logical.UpdateOperation, "config/far", nil, "could not be verified", "sts:AssumeRole")
	e.requireNothingLeft()
}

// The source was changed while AWS was asked about who borrows: what was verified is
// not what is stored. Break it by not comparing in checkSource.
func TestASourceIsWrittenWhileABorrowerIsVerified(t *testing.T) {
	e := newEnv(t, corePolicy)
	other := e.anotherKey(corePolicy)
	defer e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Count: 1, Hook: func(awsfake.Call) {
		e.write("config", changed(e.connection(other), map[string]any{"verify_connection": false}))
	}})()
	e.refused(logical.UpdateOperation, "config/near", e.borrowing(defaultIntegration, nil), "was changed meanwhile: try again")
	require.Nil(t, e.must(logical.ReadOperation, "config/near", nil))
	e.write("config/near", e.borrowing(defaultIntegration, nil))
}

// A source that takes long holds up nobody but its own writers. Break it by holding
// backend.integrations in verify.
func TestBorrowersWhileASourceIsVerified(t *testing.T) {
	e, roles := newHub(t, otherAccount)
	e.lend("far", map[string]any{"role_arn": roles[0]})
	asked, answer := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release)
	arrived := sync.OnceFunc(func() { close(asked) })
	defer e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Hook: func(awsfake.Call) { arrived(); <-answer }})()
	written := make(chan error, 1)
	go func() {
		_, err := e.do(logical.UpdateOperation, "config", nil)
		written <- err
	}()
	<-asked
	promptly(t, "a lease", func() error { return e.serve("far") })
	release()
	require.NoError(t, <-written)
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

// Break it by taking the refusals out of prepareRotation and validateRotation.
func TestABorrowedKeyIsRotatedWhereItIs(t *testing.T) {
	e, roles := newHub(t, otherAccount)
	e.lend("far", map[string]any{"role_arn": roles[0]})
	e.refused(logical.UpdateOperation, "rotate-root/far", nil, `borrows its key from integration "default"`, "rotate-root/default")
	e.refused(logical.UpdateOperation, "config/far", map[string]any{"rotation_period": "24h"}, `source_integration "default"`)
	e.rotated()
	require.Equal(t, true, e.read("config/far")["verified"], "it is the same caller")
	require.NoError(t, e.serve("far"))
	e.pass(retireAfter)
	e.requireOneKey()
	require.NoError(t, e.serve("far"))
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
