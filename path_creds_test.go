package awsiam

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

func TestCredsOfARoleWithEverything(t *testing.T) {
	e := newEnv(t, widePolicy)
	managed := e.acct.AddManagedPolicy("/team/", "managed", testPolicy)
	boundary := e.acct.AddManagedPolicy("/", "boundary", testPolicy)
	e.acct.AddGroup("readers")
	e.write("roles/full", map[string]any{
		"policy_document": testPolicy, "policy_arns": []string{managed, "arn:aws:iam::aws:policy/ReadOnlyAccess"}, "iam_groups": "readers",
		"permissions_boundary_arn": boundary, "iam_tags": map[string]string{"team": "payments"},
		"user_path": "/vault/payments/", "username_template": "pay-{{ random 20 }}",
	})
	l := e.issue("full", nil)
	user, ok := e.acct.User(l.username())
	require.True(t, ok)
	require.True(t, strings.HasPrefix(user.Name, "pay-"))
	require.Equal(t, "/vault/payments/1a2b3c4d/", user.Path)
	require.Equal(t, testPolicyUntil(t, user), user.Policies[l.data["policy_name"].(string)])
	require.ElementsMatch(t, []string{managed, "arn:aws:iam::aws:policy/ReadOnlyAccess"}, user.AttachedPolicies)
	require.Equal(t, []string{"readers"}, user.Groups)
	require.Equal(t, boundary, user.Boundary)
	require.Equal(t, "payments", user.Tags["team"])

	e.must(logical.DeleteOperation, "roles/full", nil)
	e.aws.ResetCalls()
	require.NoError(t, e.revoke(l))
	_, ok = e.acct.User(l.username())
	require.False(t, ok)
	require.Len(t, e.aws.Calls(), 6, "nothing had to be looked up")
	e.requireNothingLeft()
}

func TestCredsWithoutAnInlinePolicy(t *testing.T) {
	e := newEnv(t, widePolicy)
	e.write("roles/managed", map[string]any{"policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess", "enforce_expiry": false})
	l := e.issue("managed", nil)
	require.Empty(t, l.data["policy_name"])
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

// Terraform's vault_aws_access_credentials always sends one.
func TestCredsTakesAnEmptyRoleARN(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	l := e.issue("app", map[string]any{"role_arn": "", "ttl": "15m"})
	require.Equal(t, 15*time.Minute, l.secret.TTL)
}

// A 502 makes Vault's Go client try again by itself; a 400 tells a person.
func TestCredsTellsWhatARetryCanMend(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		fault awsfake.Fault
		texts []string
		retry bool
	}{
		"denied":           {fault: awsfake.Fault{Action: "CreateUser", Status: 403, Code: "AccessDenied", Message: "no"}, texts: []string{"IAM:CreateUser", "AccessDenied", "request id"}},
		"account full":     {fault: awsfake.Fault{Action: "CreateUser", Status: 409, Code: "LimitExceeded"}, texts: []string{"LimitExceeded"}},
		"throttled":        {fault: awsfake.Fault{Action: "CreateUser", Status: 400, Code: "Throttling"}, texts: []string{"Throttling", "try again"}, retry: true},
		"failing":          {fault: awsfake.Fault{Action: "CreateUser", Status: 500, Code: "ServiceFailure"}, texts: []string{"ServiceFailure"}, retry: true},
		"unreachable":      {fault: awsfake.Fault{Action: "CreateUser", LostBefore: true}, retry: true},
		"policy refused":   {fault: awsfake.Fault{Action: "PutUserPolicy", Status: 400, Code: "MalformedPolicyDocument"}, texts: []string{"MalformedPolicyDocument"}},
		"key not possible": {fault: awsfake.Fault{Action: "CreateAccessKey", Status: 409, Code: "LimitExceeded"}, texts: []string{"LimitExceeded"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.aws.Inject(c.fault)
			resp, err := e.do(logical.ReadOperation, "creds/app", nil)
			if c.retry {
				var coded logical.HTTPCodedError
				require.ErrorAs(t, err, &coded)
				require.Equal(t, http.StatusBadGateway, coded.Code())
			} else {
				require.NoError(t, err)
				require.True(t, resp.IsError())
				err = resp.Error()
			}
			for _, text := range append(c.texts, `"app"`, `"default"`) {
				require.ErrorContains(t, err, text)
			}
		})
	}
}

// A name that was drawn before must not overwrite the record of its user, whether
// or not the reaper knows all names. Break it by having mayKnow ask for none.
func TestCredsRefusesANameOnRecord(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	r, err := getRole(t.Context(), e.storage, "app")
	require.NoError(t, err)
	r.UsernameTemplate = l.username() // past the check of the write
	require.NoError(t, e.b.putRole(t.Context(), e.storage, r))
	e.refused(logical.ReadOperation, "creds/app", nil, "drawn twice", "username_template")
	e.reap()
	e.refused(logical.ReadOperation, "creds/app", nil, "drawn twice", "username_template")
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

func TestCredsRefusesWhatIsNotThere(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.refused(logical.ReadOperation, "creds/nothing", nil, "role", `"nothing"`)
	require.Empty(t, e.aws.Calls())
}

// IAM is eventually consistent: the calls after CreateUser may be told that
// the user does not exist, or, under a policy by path, that they are denied.
func TestCredsOutlivesTheLagOfANewUser(t *testing.T) {
	t.Parallel()
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			e.aws.SetLag(awsfake.Lag{User: time.Second})
			l := e.issue("app", nil)
			e.requireServiceable(l)
		})
	}
}

// Also where the group has the name of the role, which is in the user's. Break it by
// looking for the group's name alone in creation.change.
func TestCredsOutlivesTheLagOfANewUserOfAGroupNamedLikeTheRole(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	e.acct.AddGroup("readonly", testPolicy)
	e.write("roles/readonly", map[string]any{"policy_document": testPolicy, "iam_groups": "readonly"})
	e.aws.SetLag(awsfake.Lag{User: time.Second})
	e.requireServiceable(e.issue("readonly", nil))

}

func TestCredsWarnsUnderABatchToken(t *testing.T) {
	e := newEnv(t, corePolicy)
	resp, err := e.b.HandleRequest(t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: "creds/app", Storage: e.storage})
	require.NoError(t, err)
	require.Len(t, resp.Warnings, 1)
	require.Contains(t, resp.Warnings[0], "batch token")
}

// A caller who goes away leaves nothing behind. Break it by undoing with the
// caller's own context.
func TestCredsIsUndoneWhenTheCallerGoesAway(t *testing.T) {
	e := newEnv(t, corePolicy)
	ctx, cancel := context.WithCancel(t.Context())
	e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Delay: time.Minute})
	answered := make(chan error, 1)
	go func() {
		_, err := e.doCtx(ctx, logical.ReadOperation, "creds/app", nil)
		answered <- err
	}()
	require.Eventually(t, func() bool { return e.aws.Count("CreateAccessKey") == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.Error(t, <-answered)
	e.requireNothingLeft()
}

// Break it by dropping addDrawnUser's error in recordUser.
func TestCredsNeedsItsRecord(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.storage.on(func(op, _ string) (bool, error) { return op != "put", failIf(op == "put") })
	_, err := e.do(logical.ReadOperation, "creds/app", nil)
	require.ErrorIs(t, err, errInjected)
	var coded logical.HTTPCodedError
	require.NotErrorAs(t, err, &coded, "storage is Vault's fault, a 500")
	require.Empty(t, e.aws.Calls(), "AWS was called before the record was written")
}

// Two mounts have paths of their own, whatever is configured.
func TestMountsDoNotShareAPath(t *testing.T) {
	require.Equal(t, "1a2b3c4d", mountSegment(testUUID))
	require.Equal(t, "ffeeddcc", mountSegment("ffeeddcc-0000-0000-0000-000000000000"))
	require.Empty(t, mountSegment(""), "core makes a first instance without a UUID")
}

// Run with the race detector. 64 readers for 20 seconds: no error, no user
// twice, and nothing left after all leases are revoked.
func TestManyReadersAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	var mu sync.Mutex
	leases := make(map[string]lease)
	deadline := time.Now().Add(20 * time.Second)
	var readers sync.WaitGroup
	errs := make(chan error, 64)
	for range 64 {
		readers.Go(func() { errs <- e.readUntil(deadline, &mu, leases) })
	}
	readers.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.Greater(t, len(leases), 64)
	t.Logf("%d leases issued", len(leases))
	for _, l := range leases {
		readers.Go(func() {
			if err := e.revoke(l); err != nil {
				t.Error(err)
			}
		})
	}
	readers.Wait()
	e.requireNothingLeft()
}

// readUntil issues leases, and revokes every other one, until the deadline.
// The account's 5,000 users bound how many are left.
func (e *env) readUntil(deadline time.Time, mu *sync.Mutex, leases map[string]lease) error {
	for n := 0; time.Now().Before(deadline); n++ {
		resp, err := e.do(logical.ReadOperation, "creds/app", nil)
		if err != nil || resp.IsError() {
			return fmt.Errorf("%v %w", resp, err)
		}
		l := newLease(e.t, resp)
		if n%2 == 1 || n > 100 {
			if err := e.revoke(l); err != nil {
				return err
			}
			continue
		}
		mu.Lock()
		if _, twice := leases[l.username()]; twice {
			mu.Unlock()
			return fmt.Errorf("user %q was issued twice", l.username())
		}
		leases[l.username()] = l
		mu.Unlock()
	}
	return nil
}

// A role of an older plugin may not have room for the expiry statement. AWS is not
// asked to make a user that could not be given its policy. Break it by taking the
// check out of credsIssue, or by having loadRole take every role for fitting.
func TestCredsRefusesARoleThatDoesNotFit(t *testing.T) {
	e := newEnv(t, corePolicy)
	r, err := getRole(t.Context(), e.storage, "app")
	require.NoError(t, err)
	r.PolicyDocument = strings.Replace(testPolicy, "iam:ListGroups", "iam:"+strings.Repeat("x", maxInlinePolicySize-150), 1)
	require.NoError(t, e.b.putRole(t.Context(), e.storage, r)) // past the check of the write
	for range 2 {                                              // read, and from memory
		e.refused(logical.ReadOperation, "creds/app", nil, "policy_document", "2048", "enforce_expiry=false")
	}
	require.Empty(t, e.aws.Calls())
	e.write("roles/app", map[string]any{"enforce_expiry": false})
	require.NoError(t, e.revoke(e.issue("app", nil)))
}
