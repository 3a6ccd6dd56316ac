package awsiam

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
	"vault-plugin-secrets-aws-iam/internal/governor"
)

// TestThrottledAccount: many leases at once under a low limit of AWS all come
// about and all end, and few calls are thrown away on it.
//
// Break it by leaving governed out of integration.connection: calls give up, or
// most of them are throttled.
func TestThrottledAccount(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.write("config", map[string]any{"max_retries": 10})
	e.aws.SetThrottle(60, 10)
	e.aws.ResetCalls()
	leases := make([]lease, 40)
	var all errgroup.Group
	for i := range leases {
		all.Go(func() error {
			resp, err := e.do(logical.ReadOperation, "creds/app", nil)
			if err == nil && resp.IsError() {
				err = resp.Error()
			}
			if err == nil {
				leases[i] = newLease(t, resp)
			}
			return err
		})
	}
	require.NoError(t, all.Wait())
	for _, l := range leases {
		all.Go(func() error { return e.revoke(l) })
	}
	require.NoError(t, all.Wait())
	e.requireNothingLeft()
	require.Less(t, float64(e.aws.Throttled())/float64(len(e.aws.Calls())), 0.2, "few calls make the share high")
}

// TestGovernorOfAccount: whatever mounts and integrations talk to an account
// share its governor; another account, or endpoint, has another.
func TestGovernorOfAccount(t *testing.T) {
	e := newEnv(t, corePolicy)
	_, other := e.acct.AddUser("/", "another-integration", corePolicy)
	e.write("config/same", e.connection(other))
	e.connect("elsewhere", "200000000000", corePolicy)
	governorOf := func(name string) *governor.Governor {
		in, err := getIntegration(t.Context(), e.storage, name)
		require.NoError(t, err)
		return in.governor(in.AccountID)
	}
	require.Same(t, governorOf("default"), governorOf("same"))
	require.NotSame(t, governorOf("default"), governorOf("elsewhere"))
}

// TestNoTurnInTime: a lease for which AWS's limit leaves no time is refused in
// words that help, and leaves no record.
func TestNoTurnInTime(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.aws.SetThrottle(2, 1)
	var crowd errgroup.Group
	ctx, cancel := context.WithCancel(t.Context())
	for range 30 {
		crowd.Go(func() error {
			_, _ = e.doCtx(ctx, logical.ReadOperation, "creds/app", nil)
			return nil
		})
	}
	require.Eventually(t, func() bool {
		hasty, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := e.doCtx(hasty, logical.ReadOperation, "creds/app", nil)
		var answer logical.HTTPCodedError
		return errors.As(err, &answer) && answer.Code() == http.StatusBadGateway &&
			strings.Contains(err.Error(), "too many calls for AWS's rate limit") && strings.Contains(err.Error(), "try again later")
	}, patience, 10*time.Millisecond)
	cancel()
	require.NoError(t, crowd.Wait())
	e.aws.SetThrottle(0, 0)
	require.Eventually(t, func() bool {
		e.advance(settlingTime)
		e.reap()
		return len(e.records()) == 0
	}, patience, 10*time.Millisecond)
	e.requireNothingLeft()
}

// TestOutcome: the governor is told how each call ended.
func TestOutcome(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	conn, err := e.b.connect(t.Context(), e.storage, "default")
	require.NoError(t, err)
	api := conn.iam
	outcome := func(err error) governor.Outcome { // what the client wraps is what the governor sees
		var operation *smithy.OperationError
		require.ErrorAs(t, err, &operation)
		return outcome(operation.Err)
	}
	_, err = api.CreateUser(t.Context(), &iam.CreateUserInput{UserName: new(string)})
	require.Equal(t, governor.Admitted, outcome(err), "AWS refused it, having let it in: %v", err)
	e.aws.Inject(awsfake.Fault{Code: "Throttling", Count: 2})
	_, err = api.ListAccessKeys(t.Context(), &iam.ListAccessKeysInput{})
	require.Equal(t, governor.Throttled, outcome(err))
	e.aws.Inject(awsfake.Fault{LostBefore: true, Count: 2})
	_, err = api.ListAccessKeys(t.Context(), &iam.ListAccessKeysInput{})
	require.Equal(t, governor.Unanswered, outcome(err))
}

// TestPauseForASession: STS paces the sessions that it has refused, the governor
// does not.
func TestPauseForASession(t *testing.T) {
	p := pacedRetryer{newRetryer(-1)}
	pause := func(err error) (longest time.Duration) {
		for range 20 { // it is drawn
			drawn, err := p.RetryDelay(3, err)
			require.NoError(t, err)
			longest = max(longest, drawn)
		}
		return longest
	}
	refusal := &smithy.GenericAPIError{Code: "Throttling"}
	require.Zero(t, pause(refusal))
	require.NotZero(t, pause(fmt.Errorf("get identity: %w", &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRole", Err: refusal})))
}

// assume connects integration "assumed" to the account of "default" by a role of
// it, whose session is had with the first lease of role "assumed".
func (e *env) assume() {
	e.t.Helper()
	key := e.assumedRole()
	e.write("config/assumed", changed(e.connection(key), map[string]any{"role_arn": roleForRoot}))
	e.write("roles/assumed", map[string]any{"integration": "assumed", "policy_document": testPolicy})
}

// TestSessionsTakeNoTurns: while STS does not answer one integration, another of
// the same account is served.
//
// Break it by having Governor come before GetIdentity in the stack.
func TestSessionsTakeNoTurns(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.assume()
	asked, answer := make(chan struct{}), make(chan struct{})
	defer e.aws.Inject(awsfake.Fault{Action: "AssumeRole", Count: 1, Hook: func(awsfake.Call) { close(asked); <-answer }})()
	var crowd errgroup.Group
	for range 64 { // as many calls as the governor ever lets go at once
		crowd.Go(func() error { return e.serve("assumed") })
	}
	<-asked
	ctx, cancel := context.WithTimeout(t.Context(), attemptTimeout/2) // before the wait for STS is given up
	defer cancel()
	resp, err := e.doCtx(ctx, logical.ReadOperation, "creds/app", nil)
	close(answer)
	require.NoError(t, err)
	require.NoError(t, e.revoke(newLease(t, resp)))
	require.NoError(t, crowd.Wait())
	e.requireNothingLeft()
}

// TestNoSession: a call without a session to sign it with was never made, so that
// no user can have come of it. The error names what AWS has refused.
//
// Break it by having AttemptTracker come before GetIdentity in the stack, or by
// tracking the calls of STS as well.
func TestNoSession(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.assume()
	defer e.aws.Inject(awsfake.Fault{Action: "AssumeRole", Status: http.StatusServiceUnavailable})()
	_, err := e.do(logical.ReadOperation, "creds/assumed", nil)
	require.ErrorContains(t, err, "IAM:CreateUser needs a session: STS:AssumeRole: ServiceFailure")
	require.Empty(t, e.records())
}

// TestDeniedSession: what STS says of the session is no answer of IAM's about the
// user, on which much turns: nothing is asked further, and nothing put on record
// but the failure.
//
// Break it by having hasCode take STS's code for the call's.
func TestDeniedSession(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.assume()
	l := e.issue("assumed", nil)
	e.advance(2 * settlingTime)
	e.start() // without a session
	heal := e.aws.Inject(awsfake.Fault{Action: "AssumeRole", Code: codeAccessDenied})
	err := e.revoke(l)
	require.ErrorContains(t, err, "needs a session: STS:AssumeRole: AccessDenied")
	require.NotContains(t, err.Error(), "grant iam:")
	for _, u := range e.records() {
		require.Zero(t, u.RecreatedAt)
	}
	heal()
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

// A creation says how many calls it takes, so that one that cannot be finished in its time
// is refused before its first. Break it by having creation.run reckon with three.
func TestALargeCreationIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	var arns []string
	for i := range 20 {
		arns = append(arns, fmt.Sprintf("arn:aws:iam::aws:policy/p%d", i))
	}
	e.admitsFourASecond()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	large := &creation{role: &role{}, user: &issuedUser{PolicyARNs: arns}}
	large.conn, _ = e.b.connect(ctx, e.storage, "default")
	start := time.Now()
	var busy *governor.BusyError
	require.ErrorAs(t, large.run(ctx), &busy)
	require.NoError(t, ctx.Err())
	require.Less(t, time.Since(start), 5*time.Second)
	require.Zero(t, e.aws.Count("CreateUser"))
	require.NotEmpty(t, e.issue("app", nil), "one of three calls has the time")
}

// admitsFourASecond has the account's governor learn that, or less, from calls that wait
// all the time, of which AWS admits one in the quarter of a second between two that it
// throttles.
func (e *env) admitsFourASecond() {
	e.t.Helper()
	g := governors.Of(e.url + " " + testAccount)
	turn := func() func(governor.Outcome) {
		done, err := g.Acquire(governor.WithTask(e.t.Context(), governor.Deleting, time.Now()))
		assert.NoError(e.t, err)
		return done
	}
	var underWay []func(governor.Outcome)
	for range 8 { // as many as go before anything is known
		underWay = append(underWay, turn())
	}
	next := make(chan func(governor.Outcome), 3)
	for range 3 { // one more than go while the rate is measured
		go func() { next <- turn() }()
	}
	require.Eventually(e.t, func() bool { return g.Load().Waiting == 3 }, time.Minute, time.Millisecond)
	underWay[0](governor.Throttled)
	underWay[1](governor.Admitted)
	for _, done := range underWay[2:] {
		done(governor.Unanswered)
	}
	(<-next)(governor.Throttled)
	for range 2 {
		(<-next)(governor.Unanswered)
	}
	require.Positive(e.t, g.Load().Rate)
	require.LessOrEqual(e.t, g.Load().Rate, 4.0, "a busy machine makes it less")
}
