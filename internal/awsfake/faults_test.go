package awsfake_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// TestFaults: what the client is told, and whether the effect happened.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault  awsfake.Fault
		want   string // code; "lost" = no answer
		status int
		effect bool
	}{
		"none":                  {awsfake.Fault{Action: "DeleteUser", Code: "AccessDenied"}, "", 200, true},
		"an error":              {awsfake.Fault{Status: 503, Code: "ServiceUnavailable", Message: "busy"}, "ServiceUnavailable", 503, false},
		"an error by its code":  {awsfake.Fault{Code: "EntityTemporarilyUnmodifiable"}, "EntityTemporarilyUnmodifiable", 409, false},
		"throttling":            {awsfake.Fault{Code: "Throttling"}, "Throttling", 400, false},
		"an error by status":    {awsfake.Fault{Status: 500}, "ServiceFailure", 500, false},
		"a lost answer":         {awsfake.Fault{Lost: true}, "lost", 0, true},
		"a lost call":           {awsfake.Fault{LostBefore: true}, "lost", 0, false},
		"failure after":         {awsfake.Fault{FailAfter: true}, "ServiceFailure", 500, true},
		"failure after, chosen": {awsfake.Fault{FailAfter: true, Code: "ConcurrentModification"}, "ConcurrentModification", 409, true},
		"delay":                 {awsfake.Fault{Delay: time.Millisecond}, "", 200, true},
		"by service":            {awsfake.Fault{Service: "iam", LostBefore: true}, "lost", 0, false},
		"by another service":    {awsfake.Fault{Service: "sts", LostBefore: true}, "", 200, true},
		"by action":             {awsfake.Fault{Action: "CreateUser", LostBefore: true}, "lost", 0, false},
		"by user":               {awsfake.Fault{User: "bob", LostBefore: true}, "lost", 0, false},
		"by another user":       {awsfake.Fault{User: "eve", LostBefore: true}, "", 200, true},
		"by account":            {awsfake.Fault{Account: testAccount, LostBefore: true}, "lost", 0, false},
		"by another account":    {awsfake.Fault{Account: "444455556666", LostBefore: true}, "", 200, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			root := w.root()
			remove := w.Inject(c.fault)
			err := create("/", "bob")(t.Context(), root)
			if c.want == "lost" {
				require.ErrorContains(t, err, "EOF")
			} else {
				requireCode(t, c.want, err)
			}
			if c.fault.Message != "" {
				require.ErrorContains(t, err, c.fault.Message)
			}
			_, made := w.Account(testAccount).User("bob")
			require.Equal(t, c.effect, made)
			last := w.Calls()[0]
			require.Equal(t, c.status, last.Status)
			require.Equal(t, c.want == "lost", last.Lost)
			require.Equal(t, 1, w.Count("CreateUser"), "failed calls count")
			remove()
			require.NoError(t, create("/", "bob2")(t.Context(), root), "the fault is removed")
		})
	}
}

// outcomes calls GetUser n times: true where it was answered.
func (w world) outcomes(t *testing.T, n int) (ok []bool) {
	t.Helper()
	w.Account(testAccount).AddUser("/", "probe")
	for range n {
		ok = append(ok, get("probe")(t.Context(), w.root()) == nil)
	}
	return ok
}

func TestFaultSkipAndCount(t *testing.T) {
	w := newWorld(t)
	w.Inject(awsfake.Fault{Action: "GetUser", Skip: 1, Count: 2, Code: "Throttling"})
	require.Equal(t, []bool{true, false, false, true, true}, w.outcomes(t, 5))
}

func TestFirstDueFaultApplies(t *testing.T) {
	w := newWorld(t)
	w.Inject(awsfake.Fault{Action: "GetUser", Skip: 1, Count: 1, Code: "AccessDenied"})
	w.Inject(awsfake.Fault{Action: "GetUser", Code: "Throttling"})
	w.Account(testAccount).AddUser("/", "probe")
	for _, want := range []string{"Throttling", "AccessDenied", "Throttling"} {
		requireCode(t, want, get("probe")(t.Context(), w.root()))
	}
}

func TestFaultProbabilityIsSeeded(t *testing.T) {
	run := func(seed int64) []bool {
		w := newWorld(t)
		w.Seed(seed)
		w.Inject(awsfake.Fault{Action: "GetUser", Probability: 0.5, Code: "Throttling"})
		return w.outcomes(t, 64)
	}
	first := run(7)
	require.Equal(t, first, run(7))
	require.NotEqual(t, first, run(8))
	require.Contains(t, first, true)
	require.Contains(t, first, false)
}

// TestFaultHooks: a hook sees the world as its fault leaves it at that point, and may use the API.
func TestFaultHooks(t *testing.T) {
	for name, c := range map[string]struct {
		fault  awsfake.Fault
		effect bool // already there when the hook is called
	}{
		"plain":      {awsfake.Fault{}, false},
		"error":      {awsfake.Fault{Code: "Throttling"}, false},
		"lost":       {awsfake.Fault{Lost: true}, true},
		"lostBefore": {awsfake.Fault{LostBefore: true}, false},
		"failAfter":  {awsfake.Fault{FailAfter: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var seen []awsfake.Call
			var effect bool
			c.fault.Hook = func(call awsfake.Call) {
				seen = append(seen, call)
				_, effect = w.Account(testAccount).User("bob")
				_ = get("bob")(context.Background(), w.root()) // no lock is held
			}
			c.fault.Action = "CreateUser"
			w.Inject(c.fault)
			_ = create("/", "bob")(t.Context(), w.root())
			require.Len(t, seen, 1)
			require.Equal(t, "bob", seen[0].User)
			require.Equal(t, c.effect, effect)
		})
	}
}

// TestClientGone: a client that hangs up while its call waits gets nothing done.
func TestClientGone(t *testing.T) {
	w := newWorld(t)
	w.Inject(awsfake.Fault{Action: "CreateUser", Delay: time.Hour})
	ended, failed := make(chan awsfake.Call, 1), make(chan error, 1)
	w.Watch(func(c awsfake.Call) { ended <- c })
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	go func() { failed <- create("/", "bob")(ctx, w.root()) }()
	require.Eventually(t, func() bool { return w.Count("CreateUser") == 1 }, 10*time.Second, time.Millisecond)
	hangUp()
	require.Error(t, <-failed)
	select {
	case call := <-ended:
		require.True(t, call.Lost)
	case <-time.After(10 * time.Second):
		require.Fail(t, "the call does not end")
	}
	require.Zero(t, w.Account(testAccount).UserCount())
}

func TestLatency(t *testing.T) {
	w := newWorld(t)
	w.SetLatency(30 * time.Millisecond)
	require.NoError(t, create("/", "bob")(t.Context(), w.root()))
	call := w.Calls()[0]
	require.GreaterOrEqual(t, call.End.Sub(call.Start), 30*time.Millisecond)
}

// TestThrottle: IAM calls beyond an account's rate are refused, and counted.
func TestThrottle(t *testing.T) {
	w := newWorld(t)
	w.Account(testAccount).AddUser("/", "bob")
	w.SetThrottle(0.001, 2)
	ctx, root := t.Context(), w.root()
	for range 2 {
		require.NoError(t, get("bob")(ctx, root))
	}
	requireCode(t, "Throttling", get("bob")(ctx, root))
	require.ErrorContains(t, get("bob")(ctx, root), "Rate exceeded")
	w.Advance(24 * time.Hour)
	requireCode(t, "Throttling", get("bob")(ctx, root), "AWS's clock does not fill the bucket")
	require.NoError(t, w.who(ctx, w.Account(testAccount).Root()), "STS has limits of its own")
	requireCode(t, "NoSuchEntity", get("bob")(ctx, w.iam(w.Account("444455556666").Root())), "each account has its own")
	require.Equal(t, 3, w.Throttled())
	require.Equal(t, 6, w.Count("GetUser"), "throttled calls count")
	w.SetThrottle(1000, 1)
	require.Eventually(t, func() bool { return get("bob")(ctx, root) == nil }, 10*time.Second, time.Millisecond)
	w.SetThrottle(0, 0)
	for range 5 {
		require.NoError(t, get("bob")(ctx, root))
	}
	w.ResetCalls()
	require.Zero(t, w.Throttled())
}

// TestCalls: what is noted of a call.
func TestCalls(t *testing.T) {
	w := newWorld(t)
	info, key := w.Account(testAccount).AddUser("/", "bob", statement("Allow", "iam:GetUser", "*"))
	require.Empty(t, w.Calls(), "set-up does not count")
	before := time.Now()
	require.NoError(t, get("bob")(t.Context(), w.iam(key)))
	require.Error(t, create("/", "eve")(t.Context(), w.iam(key)))
	require.NoError(t, w.who(t.Context(), key))
	calls := w.Calls()
	require.Len(t, calls, 3)
	for i, want := range []awsfake.Call{
		{Service: "iam", Action: "GetUser", User: "bob", Status: 200},
		{Service: "iam", Action: "CreateUser", User: "eve", Status: 403, Code: "AccessDenied"},
		{Service: "sts", Action: "GetCallerIdentity", Status: 200},
	} {
		got := calls[i]
		require.False(t, got.Start.Before(before) || got.End.Before(got.Start) || got.End.After(time.Now()))
		want.Start, want.End = got.Start, got.End
		want.Account, want.CallerARN, want.AccessKeyID = testAccount, info.ARN, key.AccessKeyID
		require.Equal(t, want, got)
	}
	w.ResetCalls()
	require.Empty(t, w.Calls())
	require.Zero(t, w.Count("GetUser"))
}

// TestCallsGoingOn: a call that is not over is listed without an end.
func TestCallsGoingOn(t *testing.T) {
	w := newWorld(t)
	w.Account(testAccount).AddUser("/", "bob")
	proceed := make(chan struct{})
	release := sync.OnceFunc(func() { close(proceed) })
	t.Cleanup(release) // or a failed test would wait for its server for ever
	w.Inject(awsfake.Fault{Action: "GetUser", Hook: func(awsfake.Call) { <-proceed }})
	done := make(chan error, 1)
	go func() {
		name := "bob"
		_, err := w.root().GetUser(context.Background(), &iam.GetUserInput{UserName: &name})
		done <- err
	}()
	require.Eventually(t, func() bool { return len(w.Calls()) == 1 }, 10*time.Second, time.Millisecond)
	require.Zero(t, w.Calls()[0].End)
	require.NoError(t, w.who(t.Context(), w.Account(testAccount).Root()), "others are served meanwhile")
	release()
	require.NoError(t, <-done)
	require.NotZero(t, w.Calls()[0].End)
}
