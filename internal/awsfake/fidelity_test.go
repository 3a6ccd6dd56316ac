package awsfake_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// acceptancePath is where the suite makes its users: in a real account it touches nothing else.
const acceptancePath = "/vault-acceptance/"

// backend is an AWS that the suite can run against.
type backend struct {
	iam      *iam.Client // may do everything the suite does
	iamAs    func(awsfake.Credentials) *iam.Client
	stsAs    func(awsfake.Credentials) *sts.Client
	patience time.Duration // how long effects may take to show; 0 = they show at once
}

// check is one fact of AWS that the suite asserts.
type check struct {
	name string
	run  func(tHelper, *subject)
}

// subject is what one check works with: a backend and names of its own, removed when it is over.
type subject struct {
	backend
	prefix   string
	policies []string // ARNs of managed policies to remove; users and groups are found by prefix
}

// runFidelity runs every check against a backend. A check that is known to deviate there must fail:
// if it does not, the list is out of date, which is an error too.
func runFidelity(t *testing.T, b backend, knownDeviations map[string]string) {
	t.Helper()
	all := slices.Concat(userChecks, keyChecks, policyChecks, malformedChecks(), badTagChecks(), groupChecks, dependentChecks, authChecks)
	names := map[string]bool{}
	run := fmt.Sprintf("acc-%x-", time.Now().UnixNano())
	for i, c := range all {
		require.False(t, names[c.name], "two checks are called %q", c.name)
		names[c.name] = true
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			s := &subject{backend: b, prefix: fmt.Sprintf("%s%d-", run, i)}
			t.Cleanup(func() { s.sweep(context.WithoutCancel(t.Context())) })
			if reason, deviates := knownDeviations[c.name]; deviates {
				p := &probe{ctx: t.Context()}
				require.True(t, p.fails(c, s), "does not deviate any more, take it off the list: %s", reason)
				t.Logf("deviates as known: %s", reason)
				return
			}
			c.run(t, s)
		})
	}
	for name := range knownDeviations {
		require.True(t, names[name], "no check is called %q", name)
	}
}

// probe runs a check that is expected to fail and only notes whether it did.
type probe struct {
	ctx    context.Context
	failed bool
}

func (p *probe) Errorf(string, ...any)    { p.failed = true }
func (p *probe) FailNow()                 { p.failed = true; runtime.Goexit() }
func (p *probe) Context() context.Context { return p.ctx }

func (p *probe) fails(c check, s *subject) bool {
	done := make(chan struct{})
	go func() {
		defer close(done) // FailNow ends this goroutine
		c.run(p, s)
	}()
	<-done
	return p.failed
}

// TestFidelityOfFake asserts that this package behaves as the suite says AWS does.
func TestFidelityOfFake(t *testing.T) {
	w := newWorld(t)
	_, admin := w.Account(testAccount).AddUser("/", "admin", allowAll)
	runFidelity(t, backend{iam: w.iam(admin), iamAs: w.iam, stsAs: w.sts}, nil)
	require.Equal(t, 1, w.Account(testAccount).UserCount(), "the suite must remove what it makes")
}

// TestFidelityOfAWS asserts that a real account behaves as the suite says, which is what makes the
// suite worth anything. It takes the caller's default credentials.
func TestFidelityOfAWS(t *testing.T) {
	if os.Getenv("AWS_ACCEPTANCE") != "1" {
		t.Skip("NOT CHECKED: whether real AWS behaves as this simulation does; set AWS_ACCEPTANCE=1 and credentials to check")
	}
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithDefaultRegion("us-east-1"),
		config.WithRetryer(throttleRetryer))
	require.NoError(t, err)
	as := func(c awsfake.Credentials) aws.Config {
		other := cfg.Copy()
		other.Credentials = provider(c)
		return other
	}
	runFidelity(t, backend{
		iam:      iam.NewFromConfig(cfg),
		iamAs:    func(c awsfake.Credentials) *iam.Client { return iam.NewFromConfig(as(c)) },
		stsAs:    func(c awsfake.Credentials) *sts.Client { return sts.NewFromConfig(as(c)) },
		patience: time.Minute,
	}, nil)
}

// eventually waits for a condition as long as the backend may take for it.
func (s *subject) eventually(t tHelper, what string, holds func() bool) {
	deadline := time.Now().Add(s.patience)
	for !holds() {
		if !time.Now().Before(deadline) {
			require.Fail(t, "did not come true: "+what)
		}
		select {
		case <-time.After(time.Second):
		case <-t.Context().Done():
			require.FailNow(t, "ended while waiting: "+what)
		}
	}
}

// eventuallyCode waits for a call to answer a code.
func (s *subject) eventuallyCode(t tHelper, want string, call func() error) {
	var err error
	s.eventually(t, "answer "+want, func() bool {
		err = call()
		return codeOf(err) == want || s.patience == 0
	})
	requireCode(t, want, err)
}

// user makes a user whose name begins with the subject's prefix.
func (s *subject) user(t tHelper, name string) string {
	name = s.prefix + name
	_, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name, Path: aws.String(acceptancePath)})
	require.NoError(t, err)
	s.eventually(t, "the new user is seen", func() bool {
		_, err := s.iam.GetUser(t.Context(), &iam.GetUserInput{UserName: &name})
		return err == nil
	})
	return name
}

func (s *subject) key(t tHelper, user string) awsfake.Credentials {
	out, err := s.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &user})
	require.NoError(t, err)
	return awsfake.Credentials{AccessKeyID: *out.AccessKey.AccessKeyId, SecretAccessKey: *out.AccessKey.SecretAccessKey}
}

// workingKey is a key that has come to work.
func (s *subject) workingKey(t tHelper, user string) awsfake.Credentials {
	key := s.key(t, user)
	s.eventuallyCode(t, "", func() error {
		_, err := s.stsAs(key).GetCallerIdentity(t.Context(), nil)
		return err
	})
	return key
}
