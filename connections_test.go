package awsiam

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// unverified makes integration "late", whose account AWS is asked for when it is
// connected, and a role of that name.
func (e *env) unverified() {
	e.t.Helper()
	e.write("config/late", changed(e.connection(e.anotherKey(corePolicy)), map[string]any{"verify_connection": false}))
	e.write("roles/late", map[string]any{"integration": "late", "policy_document": testPolicy})
	e.aws.ResetCalls()
}

// Break it by calling newConnection without the singleflight, or without looking
// again in it.
func TestAConnectionIsMadeOnce(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.unverified()
	defer e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Delay: 50 * time.Millisecond})()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if err := e.revoke(e.issue("late", nil)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, e.aws.Count("GetCallerIdentity"))
	e.requireNothingLeft()
}

// The one who came first goes away; those who wait for its connection get it.
// Break it by making the connection with the caller's context, or by waiting for
// it without looking at that.
func TestAConnectionOutlivesTheCallerWhoBeganIt(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.unverified()
	asked, answer := make(chan struct{}), make(chan struct{})
	defer e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Count: 1, Hook: func(awsfake.Call) { close(asked); <-answer }})()
	ctx, goAway := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := e.doCtx(ctx, logical.ReadOperation, "creds/late", nil)
		first <- err
	}()
	<-asked
	goAway()
	promptly(t, "the caller who went away", func() error {
		if <-first == nil {
			return fmt.Errorf("it was served")
		}
		return nil
	})
	second := make(chan error, 1)
	go func() { second <- e.revoke(e.issue("late", nil)) }()
	close(answer)
	promptly(t, "the other", func() error { return <-second })
	require.Equal(t, 1, e.aws.Count("GetCallerIdentity"))
	e.requireNothingLeft()
}

// A reload does not wait for AWS. Break it by taking the lifetime out of
// makeConnection.
func TestAReloadEndsTheMakingOfAConnection(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.unverified()
	asked, answer := make(chan struct{}), make(chan struct{})
	defer close(answer) // the server waits for it
	defer e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Count: 1, Hook: func(awsfake.Call) { close(asked); <-answer }})()
	served := make(chan error, 1)
	go func() {
		_, err := e.do(logical.ReadOperation, "creds/late", nil)
		served <- err
	}()
	<-asked
	promptly(t, "a reload", e.reload)
	promptly(t, "the request", func() error {
		if <-served == nil {
			return fmt.Errorf("it was served")
		}
		return nil
	})
}

// Nothing would drop the connection of an integration that was deleted while it
// was being made. Break it by having fill keep whatever it is given.
func TestAConnectionThatWasOvertakenIsNotKept(t *testing.T) {
	for name, overtake := range map[string]func(*connections){
		"deleted":     func(c *connections) { c.drop("app") },
		"invalidated": func(c *connections) { c.dropAll() },
		"written":     func(c *connections) { c.reserve(&integration{Name: "app", Revision: "next"}) },
	} {
		t.Run(name, func(t *testing.T) {
			c := new(connections)
			in := &integration{Name: "app", Revision: "first"}
			require.Nil(t, c.reserve(in))
			overtake(c)
			c.fill("app", &connection{revision: "first"})
			require.Nil(t, c.get(in))
			require.Nil(t, c.get(&integration{Name: "app", Revision: "next"}))
		})
	}
}

// Nothing may use the connection of another revision, nor does it wait in memory,
// with its secret key, for somebody to do so. Break it by dropping none in
// changeIntegration or in invalidate, or by not comparing revisions in get.
func TestAConnectionGoesWithItsRevision(t *testing.T) {
	for name, change := range map[string]func(*env){
		"deleted":                 func(e *env) { e.must(logical.DeleteOperation, "config/other", nil) },
		"written":                 func(e *env) { e.write("config/other", map[string]any{"max_retries": 3}) },
		"changed on another node": func(e *env) { e.b.InvalidateKey(e.t.Context(), "config/other") },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, corePolicy)
			e.write("config/other", e.connection(e.anotherKey(corePolicy)))
			in, conn, err := e.b.connected(t.Context(), e.storage, "other")
			require.NoError(t, err)
			require.Same(t, conn, e.b.connections.get(in))
			require.Nil(t, e.b.connections.get(&integration{Name: "other", Revision: "next"}))
			change(e)
			require.NotContains(t, e.b.connections.byName, "other")
		})
	}
}

// The same where it was deleted, or written, after its connection was wanted and
// before one was begun. Break it by not looking at the integration again in
// makeConnection.
func TestAConnectionWantedTooLateIsNotKept(t *testing.T) {
	for name, overtake := range map[string]func(*env){
		"deleted": func(e *env) { e.must(logical.DeleteOperation, "config/other", nil) },
		"written": func(e *env) { e.write("config/other", map[string]any{"max_retries": 3}) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, corePolicy)
			e.write("config/other", e.connection(e.anotherKey(corePolicy)))
			in, err := e.b.integrationCache.get(t.Context(), e.storage, "other")
			require.NoError(t, err)
			overtake(e)
			_, err = e.b.makeConnection(t.Context(), e.storage, in)
			require.NoError(t, err)
			require.Nil(t, e.b.connections.get(in))
		})
	}
}

// While an integration is written again and again, with two keys in turn, no
// lease fails, and nothing is signed with anything else. For the race detector
// above all.
func TestAnIntegrationIsRewrittenWhileItIsUsed(t *testing.T) {
	e := newEnv(t, corePolicy)
	_, second := e.acct.AddUser("/", "second", corePolicy)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil && !t.Failed() {
				if err := e.serve("app"); err != nil { //nolint:contextcheck // a lease that has begun is finished
					t.Error(err)
				}
			}
		})
	}
	stored := []awsfake.Credentials{e.key, second}
	for i := range 50 {
		e.write("config", e.connection(stored[i%2]))
	}
	cancel()
	wg.Wait()
	used := make(map[string]bool)
	for _, call := range e.aws.Calls() {
		used[call.AccessKeyID] = true
		require.Equal(t, 200, call.Status, "%s: %s", call.Action, call.Code)
	}
	require.Equal(t, map[string]bool{e.key.AccessKeyID: true, second.AccessKeyID: true}, used)
	e.requireNothingLeft()
}
