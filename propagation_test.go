package awsiam

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// waitingRole is a role whose leases wait for their keys, so long at most.
func (e *env) waitingRole(timeout string) {
	e.t.Helper()
	e.write("roles/app", map[string]any{"propagation_timeout": timeout})
}

// hurry has AWS's clock go by a second with each attempt to prove a key,
// beside the time that really goes by.
func (e *env) hurry() (stop func()) {
	return e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Hook: func(awsfake.Call) { e.aws.Advance(time.Second) }})
}

// authenticates tells how many of so many new connections let the lease's key in.
func (e *env) authenticates(l lease, connections int) (letIn int) {
	client := sts.New(sts.Options{
		Region: "us-east-1", BaseEndpoint: &e.url, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(l.data["access_key_id"].(string), l.data["secret_access_key"].(string), ""),
		HTTPClient:  &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
	for range connections {
		if _, err := client.GetCallerIdentity(e.t.Context(), nil); err == nil {
			letIn++
		}
	}
	return letIn
}

// TestPropagation: a key that was handed over without a warning is let in by
// every server of AWS, however long AWS took to let them know.
//
// Break it by proving the key once, or over a connection that is kept.
func TestPropagation(t *testing.T) {
	t.Parallel()
	for _, lag := range []time.Duration{0, 2 * time.Second, 5 * time.Second, 9 * time.Second} {
		t.Run(lag.String(), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.waitingRole("45s")
			stop := e.hurry()
			e.aws.SetLag(awsfake.Lag{Key: lag, KeySpread: lag})
			l := e.issue("app", nil)
			require.Empty(t, l.warnings)
			require.Positive(t, l.data["propagation_seconds"])
			stop()
			require.Equal(t, 8, e.authenticates(l, 8))
			require.NoError(t, e.revoke(l))
			e.requireNothingLeft()
		})
	}
}

// leastConnections is a balancer before AWS's servers: each request goes to the
// server that has the fewest, so that who asks one after another meets the first
// server only.
type leastConnections struct {
	servers []http.Handler
	mu      sync.Mutex
	open    []int
}

func (b *leastConnections) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	fewest := slices.Index(b.open, slices.Min(b.open))
	b.open[fewest]++
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.open[fewest]--
	}()
	b.servers[fewest].ServeHTTP(w, r)
}

// TestPropagationBehindABalancer: AWS may well give connections that are made one
// after another the same server.
//
// Break it by asking over one connection at a time in prove.
func TestPropagationBehindABalancer(t *testing.T) {
	e := newEnv(t, corePolicy)
	balancer := &leastConnections{open: make([]int, awsfake.Servers)}
	for n := range awsfake.Servers {
		balancer.servers = append(balancer.servers, e.aws.Server(n))
	}
	endpoint := httptest.NewServer(balancer)
	t.Cleanup(endpoint.Close)
	e.write("config", map[string]any{"sts_endpoint": endpoint.URL})
	e.waitingRole("45s")
	stop := e.hurry()
	e.aws.SetLatency(50 * time.Millisecond) // so that calls meet
	e.aws.SetLag(awsfake.Lag{KeySpread: 20 * time.Second})
	l := e.issue("app", nil)
	stop()
	require.Empty(t, l.warnings)
	require.Equal(t, 8, e.authenticates(l, 8))
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

// TestPropagationTimeout: a key that AWS does not let in before that is handed over
// all the same, with a warning.
func TestPropagationTimeout(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.waitingRole("1s")
	e.aws.SetLag(awsfake.Lag{Key: time.Hour})
	l := e.issue("app", nil)
	require.Len(t, l.warnings, 1)
	require.Contains(t, l.warnings[0], "did not let the access key in 5 times in a row within 1s")
	require.InDelta(t, 1, l.data["propagation_seconds"], 0.9)
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

// TestPropagationSTSOutOfReach: the wait ends with the first failure, which the
// response tells.
func TestPropagationSTSOutOfReach(t *testing.T) {
	e := newEnv(t, corePolicy)
	gone := httptest.NewServer(e.aws)
	e.write("config", map[string]any{"sts_endpoint": gone.URL})
	e.waitingRole("45s")
	gone.Close()
	l := e.issue("app", nil)
	require.Len(t, l.warnings, 1)
	require.Contains(t, l.warnings[0], "whether AWS lets the access key in yet is not known")
	require.Contains(t, l.warnings[0], "propagation_timeout")
	require.NotContains(t, l.warnings[0], l.data["secret_access_key"])
	require.NoError(t, e.revoke(l))
}

// TestPropagationSTSSilent: where a firewall drops what goes to STS, that is what
// the response tells, and nobody waits for long.
//
// Break it by leaving provingAttempt out; or, for the second, by taking the end of
// the time for an answer of AWS.
func TestPropagationSTSSilent(t *testing.T) {
	for _, timeout := range []string{"45s", "1s"} {
		t.Run(timeout, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			var silent atomic.Bool
			over := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if silent.Load() {
					<-over
				}
				e.aws.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			t.Cleanup(func() { close(over) })
			e.write("config", map[string]any{"sts_endpoint": server.URL})
			e.waitingRole(timeout)
			silent.Store(true)
			l := e.issue("app", nil)
			require.Len(t, l.warnings, 1)
			require.Contains(t, l.warnings[0], "Give Vault a way to STS")
			require.Less(t, l.data["propagation_seconds"], 2*provingAttempt.Seconds())
			require.NoError(t, e.revoke(l))
		})
	}
}

// TestPropagationTooLate: where no time is left to prove the key, that is told, too.
//
// Break it by having prove take that for not having to wait.
func TestPropagationTooLate(t *testing.T) {
	e := newEnv(t, corePolicy)
	conn, err := e.b.connect(t.Context(), e.storage, defaultIntegration)
	require.NoError(t, err)
	proved, err := conn.prove(t.Context(), e.key.AccessKeyID, e.key.SecretAccessKey, -time.Second)
	require.NoError(t, err)
	require.NotEmpty(t, proved.warning)
}

// TestPropagationOff: nothing is asked of STS.
func TestPropagationOff(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	require.Zero(t, e.aws.Count("GetCallerIdentity"))
	require.Zero(t, l.data["propagation_seconds"])
	require.Empty(t, l.warnings)
}

// TestPropagationPassingFailures: STS's own trouble is waited out, also a connection
// that is lost where others were answered; and a refusal
// of the call by other policies than the user's is not one of the key.
func TestPropagationPassingFailures(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"Throttling", "ServiceFailure", "SignatureDoesNotMatch"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.waitingRole("45s")
			e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Code: code, Skip: 2, Count: 2})
			require.Empty(t, e.issue("app", nil).warnings)
			const failing, anew = 1 + provingConnections, 1 + (provingSuccesses-1)*provingConnections
			require.Equal(t, failing+anew, e.aws.Count("GetCallerIdentity"), "the count began anew")
		})
	}
	t.Run("a lost connection", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, corePolicy)
		e.waitingRole("45s")
		e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", LostBefore: true, Skip: 2, Count: 1})
		require.Empty(t, e.issue("app", nil).warnings)
	})
	t.Run("AccessDenied", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, corePolicy)
		e.waitingRole("45s")
		e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Code: "AccessDenied"})
		require.Empty(t, e.issue("app", nil).warnings)
	})
}

// TestCallerGoesAwayWhileTheKeyIsProved leaves no user behind.
//
// Break it by leaving out the undoing in issueUser.
func TestCallerGoesAwayWhileTheKeyIsProved(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.waitingRole("45s")
	e.aws.SetLag(awsfake.Lag{Key: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Skip: 1, Count: 1, Hook: func(awsfake.Call) { cancel() }})
	_, err := e.doCtx(ctx, logical.ReadOperation, "creds/app", nil)
	require.Error(t, err)
	e.requireNothingLeft()
}

// TestPropagationHoldsNothing: while keys are proved, as many as can be, other
// leases come about and end.
func TestPropagationHoldsNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.write("roles/quick", map[string]any{"policy_document": testPolicy})
	e.waitingRole("45s")
	e.aws.SetLag(awsfake.Lag{Key: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	const readers = 300 // more than there are locks, or turns
	for range readers {
		go func() {
			_, err := e.doCtx(ctx, logical.ReadOperation, "creds/app", nil)
			waiting <- err
		}()
	}
	require.Eventually(t, func() bool { return len(e.issuedUsers()) == readers }, patience, 10*time.Millisecond)
	promptly(t, "a lease", func() error { return e.serve("quick") })
	promptly(t, "writing the integration", func() error {
		_, err := e.do(logical.UpdateOperation, "config", map[string]any{"max_retries": 2})
		return err
	})
	cancel()
	for range readers {
		require.Error(t, <-waiting)
	}
	e.requireNothingLeft()
}
