package awsiam

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// TestPoolFollowsItsRole: users that do not fit any more are replaced, and those
// that are too many go, without waiting for the reaper.
//
// Break it by leaving the field out of backend.fingerprint.
func TestPoolFollowsItsRole(t *testing.T) {
	t.Parallel()
	replacing := map[string]func(e *env){
		"tags": func(e *env) { e.write("roles/app", map[string]any{"iam_tags": "a=b"}) },
		"boundary": func(e *env) {
			e.write("roles/app", map[string]any{"permissions_boundary_arn": e.acct.AddManagedPolicy("/", "limit", testPolicy)})
		},
		"template": func(e *env) { e.write("roles/app", map[string]any{"username_template": "other-{{ random 20 }}"}) },
		"path":     func(e *env) { e.write("roles/app", map[string]any{"user_path": "/vault/deep/"}) },
		"integration": func(e *env) {
			e.write("config/other", e.connection(e.anotherKey(corePolicy)))
			e.write("roles/app", map[string]any{"integration": "other"})
		},
		"integration's template": func(e *env) {
			e.write("config", map[string]any{"username_template": "other-{{ random 20 }}"})
			e.reap()
		},
	}
	for name, change := range replacing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, widePolicy)
			e.pool("app", 1)
			before := e.pooled()
			change(e)
			e.settle()
			require.Len(t, e.pooled(), 1)
			require.NotEqual(t, before, e.pooled())
			require.Equal(t, e.pooled(), e.secrets())
			_, there := e.acct.User(before[0])
			require.False(t, there)
			require.Contains(t, e.pooled(), e.issue("app", nil).username())
		})
	}
}

// TestPoolKeepsWhatFits: what is given at the lease does not matter before.
func TestPoolKeepsWhatFits(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.pool("app", 3)
	before := e.pooled()
	document := strings.Replace(testPolicy, "ListGroups", "ListUsers", 1)
	e.write("roles/app", map[string]any{"policy_document": document, "default_ttl": "10m"})
	e.settle()
	require.Equal(t, before, e.pooled())
	l := e.issue("app", nil)
	require.Contains(t, before, l.username())
	user, _ := e.acct.User(l.username())
	require.Contains(t, user.Policies[l.username()], "ListUsers")
	e.settle()

	e.write("roles/app", map[string]any{"pool_size": 1})
	e.settle()
	require.Len(t, e.pooled(), 1)
	require.Equal(t, e.pooled(), e.secrets())
	require.Len(t, e.issuedUsers(), 2)
	e.write("roles/app", map[string]any{"pool_size": 0})
	e.settle()
	require.Empty(t, e.secrets())
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

// TestPoolOfADeletedRole: the pool empties at once, or after a restart, and then
// nothing stands against deleting the integration, and nothing is kept in memory.
func TestPoolOfADeletedRole(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"at once": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.pool("app", 3)
			if restart {
				e.start()
			}
			e.must(logical.DeleteOperation, "roles/app", nil)
			if restart {
				e.refused(logical.DeleteOperation, "config", nil, "issued users that may still exist")
				e.reap()
			}
			e.settle()
			e.requireNothingLeft()
			require.Empty(t, e.secrets())
			require.Empty(t, e.b.pools.byRole)
			e.must(logical.DeleteOperation, "config", nil)
		})
	}
}

// TestPoolLeasesNobodyUnfit: what has become of a user since it was found to wait
// is seen when it is taken, and another one serves the caller.
//
// Break it by leaving out the end of its time in claim; or the look at its secret,
// or at what it fits, in pools.take.
func TestPoolLeasesNobodyUnfit(t *testing.T) {
	for name, change := range map[string]func(e *env, username string){
		"too old": func(e *env, _ string) { e.advance(poolAge) },
		"its secret is gone": func(e *env, username string) {
			require.NoError(e.t, e.storage.Delete(e.t.Context(), poolPrefix+username))
		},
		"its secret cannot be read": func(e *env, username string) {
			require.NoError(e.t, e.storage.Put(e.t.Context(), &logical.StorageEntry{Key: poolPrefix + username, Value: []byte("}")}))
		},
		"its secret cannot be decrypted": func(e *env, username string) { e.damage(poolPrefix+username, rotten) },
		"the role changed":               func(e *env, _ string) { e.write("roles/app", map[string]any{"iam_tags": "a=b"}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, widePolicy)
			e.pool("app", 1)
			unfit := e.pooled()[0]
			p := e.b.pools
			p.mu.Lock()
			q := p.of("app")
			q.busy = true // nobody looks at the pool meanwhile
			p.mu.Unlock()
			change(e, unfit)
			l := e.issue("app", nil)
			require.NotEqual(t, unfit, l.username())
			p.mu.Lock()
			q.busy = false
			p.mu.Unlock()
			require.Equal(t, 1, e.authenticates(l, 1))
			require.NoError(t, e.revoke(l))
			e.reap()
			_, there := e.acct.User(unfit)
			require.False(t, there)
			e.requireEmptied("app")
		})
	}
}

// TestPoolUserDeletedByHand: the caller is served with another, without a pause.
//
// Break it by having creation.change wait whatever the user.
func TestPoolUserDeletedByHand(t *testing.T) {
	t.Parallel()
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			e.pool("app", 1)
			e.leaveShort("app")
			gone := e.pooled()[0]
			e.advance(time.Hour)
			e.deleteByHand(gone)
			var l lease
			promptly(t, "a lease", func() error { l = e.issue("app", nil); return nil })
			require.NotEqual(t, gone, l.username())
			e.settle()
			tried := slices.DeleteFunc(e.callsOn(gone), func(action string) bool { return action != "PutUserPolicy" })
			require.Len(t, tried, 1, "a pause of ten seconds")
			require.NoError(t, e.revoke(l))
			e.requireEmptied("app")
		})
	}
}

// TestPoolEndsWithTheBackend, whatever it is doing.
func TestPoolEndsWithTheBackend(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.aws.SetLag(awsfake.Lag{Key: time.Hour})
	e.reap()
	e.write("roles/app", map[string]any{"pool_size": 40})
	require.Eventually(t, func() bool { return e.aws.Count("GetCallerIdentity") > 0 }, patience, time.Millisecond)
	promptly(t, "the end", e.reload)
	e.aws.SetLag(awsfake.Lag{})
	e.start()
	e.requireEmptied("app")
}

// TestPoolSecretsStayInThePool: the secret of a user that waits is nowhere but
// there, and when it is leased, nowhere but in the response.
//
// Break it by putting the secret into the record.
func TestPoolSecretsStayInThePool(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	book := new(logBook)
	e.load(testUUID, hclog.New(&hclog.LoggerOptions{Output: book, Level: hclog.Trace}))
	e.pool("app", 2)
	e.leaveShort("app")
	e.aws.Inject(awsfake.Fault{Action: "PutUserPolicy", Code: "AccessDenied", Count: 1})
	failed := e.issue("app", nil) // of which one is wasted
	var known []string
	for _, name := range e.secrets() {
		secret, err := getPooledSecret(t.Context(), e.storage, name)
		require.NoError(t, err)
		known = append(known, secret)
	}
	l := e.issue("app", nil)
	known = append(known, l.data["secret_access_key"].(string), failed.data["secret_access_key"].(string))
	require.Contains(t, known[:len(known)-2], l.data["secret_access_key"])
	e.settle()

	require.Contains(t, e.b.PathsSpecial.SealWrapStorage, poolPrefix)
	internals, err := json.Marshal(l.secret.InternalData)
	require.NoError(t, err)
	places := map[string]string{"the lease": string(internals), "the log": strings.Join(book.lines(""), "")}
	require.NoError(t, logical.ScanView(t.Context(), e.storage.Storage.(logical.ClearableView), func(key string) {
		entry, err := e.storage.Storage.Get(context.Background(), key)
		require.NoError(t, err)
		places[key] = string(entry.Value)
	}))
	require.NotEmpty(t, places["the log"])
	for place, text := range places {
		for _, secret := range known {
			require.NotEmpty(t, secret)
			require.NotContains(t, text, secret, place)
		}
	}
}
