package awsfake_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// TestFullAccount: an account takes 5,000 users and no more, whose making does not slow down, and
// lists them in pages.
func TestFullAccount(t *testing.T) {
	w := newWorld(t)
	acct := w.Account(testAccount)
	for _, other := range []string{"444455556666", "777788889999"} { // accounts do not get in each other's way
		for i := range 1000 {
			w.Account(other).AddUser("/vault/", fmt.Sprintf("user-%04d", i))
		}
	}
	_, key := acct.AddUser("/", "vault", statement("Allow", "iam:*", onVault))
	c := w.iam(key)
	measure := func(from, n int) time.Duration {
		times := make([]time.Duration, n)
		for i := range times {
			begin := time.Now()
			require.NoError(t, create("/vault/a/", fmt.Sprintf("user-%04d", from+i))(t.Context(), c))
			times[i] = time.Since(begin)
		}
		slices.Sort(times)
		return times[n/2] // the median: a pause of the machine must not count
	}
	const sample = 300
	measure(0, sample) // warms connections up
	empty := measure(sample, sample)
	for i := 2 * sample; i < 4999-sample; i++ {
		acct.AddUser("/vault/a/", fmt.Sprintf("user-%04d", i))
	}
	full := measure(4999-sample, sample)
	require.Less(t, full, 3*empty, "a user in a full account against one in an empty account")
	t.Logf("median of %d creations: %v with few users, %v with nearly 5000", sample, empty, full)

	require.Equal(t, 5000, acct.UserCount())
	requireCode(t, "LimitExceeded", create("/vault/a/", "one-too-many")(t.Context(), c))
	pages, seen := 0, map[string]bool{}
	list := iam.NewListUsersPaginator(w.root(), &iam.ListUsersInput{PathPrefix: aws.String("/vault/")})
	for list.HasMorePages() {
		page, err := list.NextPage(t.Context())
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Users), 100, "the default")
		for _, u := range page.Users {
			seen[*u.UserName] = true
		}
		pages++
	}
	require.Equal(t, 50, pages)
	require.Len(t, seen, 4999)
	first, err := w.root().ListUsers(t.Context(), &iam.ListUsersInput{MaxItems: aws.Int32(1000)})
	require.NoError(t, err)
	require.Len(t, first.Users, 1000)
	require.Len(t, acct.Users(), 5000)
}

// TestConcurrency: many clients at once, with faults, hooks, snapshots and moving clocks, lose
// nothing. Run with the race detector it also finds unguarded state.
func TestConcurrency(t *testing.T) {
	w := newWorld(t)
	w.Account(testAccount).AddGroup("all", statement("Allow", "iam:GetUser", "*"))
	w.Inject(awsfake.Fault{Action: "TagUser", Probability: 0.5, Hook: func(awsfake.Call) { w.Calls() }})
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			ctx, root := t.Context(), w.root()
			for i := range 5 {
				name := fmt.Sprintf("user-%d-%d", n, i)
				if !succeeds(t, create("/vault/", name)(ctx, root), join(name, "all")(ctx, root), attach(name, readOnly)(ctx, root)) {
					return
				}
				out, err := root.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
				if !succeeds(t, err) {
					return
				}
				key := awsfake.Credentials{AccessKeyID: *out.AccessKey.AccessKeyId, SecretAccessKey: *out.AccessKey.SecretAccessKey}
				_, tagged := root.TagUser(ctx, &iam.TagUserInput{UserName: &name, Tags: manyTags(0, 2)})
				_, listed := root.ListUsers(ctx, &iam.ListUsersInput{})
				if !succeeds(t, tagged, listed, get(name)(ctx, w.iam(key)), w.who(ctx, key)) {
					return
				}
				w.Account(testAccount).Users()
				w.Advance(time.Second)
				(&subject{backend: backend{iam: root}}).sweepUser(ctx, &name)
			}
		})
	}
	wg.Wait()
	require.Zero(t, w.Account(testAccount).UserCount())
	require.Equal(t, 16*5, w.Count("CreateUser"))
	require.Equal(t, 16*5, w.Count("GetCallerIdentity"))
}

// succeeds reports errors without ending the goroutine, which only a test's own may be.
func succeeds(t *testing.T, errs ...error) bool {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
			return false
		}
	}
	return true
}

// TestNamesAreTakenOnce: of many who create the same user at once, one does.
func TestNamesAreTakenOnce(t *testing.T) {
	w := newWorld(t)
	codes := make(chan string, 32)
	for range cap(codes) {
		go func() { codes <- codeOf(create("/", "bob")(t.Context(), w.root())) }()
	}
	count := map[string]int{}
	for range cap(codes) {
		count[<-codes]++
	}
	require.Equal(t, map[string]int{"": 1, "EntityAlreadyExists": 31}, count)
}
