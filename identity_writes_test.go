package awsiam

import (
	"sync"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

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
	says := map[bool]string{true: "instead of it", false: "may be deleted in a moment"}
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
						`integration "default" has this key`, says[key.ID == e.integration().AccessKey], "source_integration=default")
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
	e.refused(logical.UpdateOperation, "config", changed(e.connection(elsewhere), map[string]any{"verify_connection": false}), `"near" has issued users`, "try again with verify_connection=true")
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

// What the server's environment gives may come to be of another account without a change
// of the source's fields. Break it by having replaceIntegration go by connectsAs alone.
func TestTheEnvironmentOfASourceMoves(t *testing.T) {
	clearAWSEnvironment(t)
	e := newEnv(t, corePolicy)
	provide := func(key awsfake.Credentials) {
		t.Setenv("AWS_ACCESS_KEY_ID", key.AccessKeyID)
		t.Setenv("AWS_SECRET_ACCESS_KEY", key.SecretAccessKey)
	}
	provide(e.anotherKey(corePolicy))
	e.write("config/env", e.borrowing("", nil))
	e.write("config/near", e.borrowing("env", nil))
	e.write("roles/near", map[string]any{"integration": "near", "policy_document": testPolicy})
	lease := e.issue("near", nil)
	_, elsewhere := e.aws.Account(otherAccount).AddUser("/", "elsewhere", corePolicy)
	provide(elsewhere)
	e.refused(logical.UpdateOperation, "config/env", nil, `"near" cannot move to account `+otherAccount)
	require.NoError(t, e.revoke(lease))
	e.write("config/env", nil)
	require.Equal(t, otherAccount, e.read("config/near")["account_id"])
	require.Equal(t, false, e.read("config/near")["verified"])
	require.NoError(t, e.serve("near"))
}

// A source of which nothing is known yet is checked against its borrowers once it is,
// and its users keep it from being written as somebody else unseen. Break it by leaving
// the identity out of what checkBorrowers compares, or the source out of borrowsAs.
func TestAnUnverifiedSourceHasBorrowers(t *testing.T) {
	e := newEnv(t, corePolicy)
	_, china := e.aws.AccountIn("aws-cn", "222222222222").AddUser("/", "elsewhere", corePolicyIn("aws-cn"))
	unseen := func(key awsfake.Credentials) map[string]any {
		return changed(e.connection(key), map[string]any{"region": "cn-north-1", "verify_connection": false})
	}
	e.write("config/cn", unseen(china))
	e.write("config/near", e.borrowing("cn", map[string]any{"verify_connection": false}))
	e.write("roles/near", map[string]any{"integration": "near", "policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess"})
	e.refused(logical.UpdateOperation, "config/cn", nil, "role(s) near would not be valid", `"aws-cn"`)

	e.write("roles/near", map[string]any{"policy_arns": "", "policy_document": testPolicy})
	lease := e.issue("near", nil)
	e.refused(logical.UpdateOperation, "config/cn", unseen(e.anotherKey(corePolicy)), `"near" has issued users`)
	require.NoError(t, e.revoke(lease))
}
