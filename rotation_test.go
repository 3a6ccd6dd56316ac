package awsiam

import (
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

const integrationUser = "vault-integration"

// rotatingPolicy is the core's and what a rotation needs.
var rotatingPolicy = rotatingOn("ListAccessKeys", "CreateAccessKey", "DeleteAccessKey")

// rotatingOn is the core's policy and the actions on the integration's own user.
func rotatingOn(actions ...string) string {
	own := `{"Effect":"Allow","Action":["iam:` + strings.Join(actions, `","iam:`) + `"],"Resource":"arn:aws:iam::*:user/` + integrationUser + `"},`
	return strings.Replace(corePolicy, `"Statement":[`, `"Statement":[`+own, 1)
}

// rotated rotates the default integration's key and returns the answer.
func (e *env) rotated() map[string]any {
	e.t.Helper()
	return e.write("rotate-root", nil).Data
}

// ownKeys are the ids of the access keys of the integration's user.
func (e *env) ownKeys() (ids []string) {
	e.t.Helper()
	user, ok := e.acct.User(integrationUser)
	require.True(e.t, ok)
	for _, key := range user.AccessKeys {
		ids = append(ids, key.ID)
	}
	return ids
}

func (e *env) integration() *integration {
	e.t.Helper()
	in, err := getIntegration(e.t.Context(), e.storage.Storage, defaultIntegration)
	require.NoError(e.t, err)
	require.NotNil(e.t, in)
	return in
}

// pass lets time go by, and what is due be done.
func (e *env) pass(after time.Duration) {
	e.t.Helper()
	e.advance(after)
	e.reap()
}

// requireOneKey checks that the integration works, with the only key its user has,
// and that nothing is left to be done.
func (e *env) requireOneKey() {
	e.t.Helper()
	in := e.integration()
	require.Equal(e.t, []string{in.AccessKey}, e.ownKeys())
	require.Zero(e.t, in.Rotation.Journal)
	require.NoError(e.t, e.revoke(e.issue("app", nil)))
}

func TestRotateRoot(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	l := e.issue("app", nil)
	require.Empty(t, e.read("config")["last_rotation"])
	answer := e.rotated()
	require.Equal(t, e.key.AccessKeyID, answer["previous_access_key"])
	require.ElementsMatch(t, []any{answer["access_key"], e.key.AccessKeyID}, toAny(e.ownKeys()))

	e.aws.ResetCalls()
	_, err := e.renew(l, time.Hour)
	require.NoError(t, err)
	require.NoError(t, e.revoke(l))
	for _, call := range e.aws.Calls() {
		require.Equal(t, answer["access_key"], call.AccessKeyID)
	}
	e.pass(retireAfter - time.Minute)
	require.Len(t, e.ownKeys(), 2, "what began with the old key may still be under way")
	e.refused(logical.UpdateOperation, "rotate-root", nil, "is not finished", "after 2")
	e.pass(time.Minute + time.Second)
	e.requireOneKey()
	config := e.read("config")
	require.NotEmpty(t, config["last_rotation"])
	require.Empty(t, config["last_rotation_error"])
	require.Equal(t, answer["access_key"], config["access_key"])
	e.write("rotate-root/default", nil)
}

func toAny(texts []string) (all []any) {
	for _, text := range texts {
		all = append(all, text)
	}
	return all
}

// Break it by returning nil in keyOwner.mayDelete: the key that was made then could
// not be taken back.
func TestRotationNamesTheMissingPermission(t *testing.T) {
	t.Parallel()
	actions := []string{"ListAccessKeys", "CreateAccessKey", "DeleteAccessKey"}
	for i, missing := range actions {
		t.Run(missing, func(t *testing.T) {
			t.Parallel()
			others := append(append([]string(nil), actions[:i]...), actions[i+1:]...)
			e := newEnv(t, rotatingOn(others...))
			before := e.integration()
			e.refused(logical.UpdateOperation, "rotate-root", nil, "needs iam:"+missing+" on arn:aws:iam::"+testAccount+":user/"+integrationUser, "AccessDenied")
			require.Equal(t, before, e.integration())
			e.requireOneKey()
		})
	}
}

func TestRotationIsRefused(t *testing.T) {
	t.Run("without an integration", func(t *testing.T) {
		e := newEnv(t, rotatingPolicy)
		e.refused(logical.UpdateOperation, "rotate-root/none", nil, "there is no integration")
	})
	t.Run("with the default credentials", func(t *testing.T) {
		clearAWSEnvironment(t)
		e := newEnv(t, rotatingPolicy)
		e.write("config", map[string]any{"access_key": "", "secret_key": "", "verify_connection": false})
		e.refused(logical.UpdateOperation, "rotate-root", nil, "has no access_key")
		e.refused(logical.UpdateOperation, "config", map[string]any{"rotation_period": "24h"}, "rotation_period goes with access_key")
	})
	t.Run("with the account's own key", func(t *testing.T) {
		e := newEnv(t, rotatingPolicy)
		e.write("config", e.connection(e.acct.Root()))
		e.refused(logical.UpdateOperation, "rotate-root", nil, ":root", "only the key of an IAM user")
	})
	t.Run("with a second key", func(t *testing.T) {
		e := newEnv(t, rotatingPolicy)
		out, err := e.byHand().CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String(integrationUser)})
		require.NoError(t, err)
		e.refused(logical.UpdateOperation, "rotate-root", nil, "another access key, "+*out.AccessKey.AccessKeyId)
		require.Len(t, e.ownKeys(), 2)
	})
	t.Run("with a key of two integrations", func(t *testing.T) {
		e := newEnv(t, rotatingPolicy)
		twin := e.integration() // of a version that stored a key twice
		twin.Name = "twin"
		require.NoError(t, e.b.putIntegration(t.Context(), e.storage, twin))
		e.refused(logical.UpdateOperation, "rotate-root", nil, `"twin" has the same key`, "source_integration=default")
	})
}

// The role is another's: the key under it is rotated. Break it by keeping RoleARN in
// integration.as.
func TestRotationUnderAnAssumedRole(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	user, _ := e.acct.User(integrationUser)
	other := e.aws.Account(otherAccount)
	role := other.AddRole("issuer", user.ARN, corePolicy)
	assume := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"` + role + `"}]}`
	_, err := e.byHand().PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String(integrationUser), PolicyName: aws.String("assume"), PolicyDocument: &assume})
	require.NoError(t, err)
	e.write("config", map[string]any{"role_arn": role})
	l := e.issue("app", nil)
	e.rotated()
	require.NoError(t, e.revoke(l))
	e.pass(retireAfter)
	e.requireOneKey()
	require.Zero(t, other.UserCount())
}

// Break it by leaving Lag.Key to the first success: proofs = 1 passes this, no wait
// at all does not.
func TestRotationWaitsForTheNewKey(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.aws.SetLag(awsfake.Lag{Key: 3 * time.Second, KeyDeletion: 4 * time.Second})
	e.rotated()
	require.NoError(t, e.revoke(e.issue("app", nil)))
	e.pass(retireAfter)
	e.requireOneKey()
}

// Each proof meets another of AWS's servers, where there are several. Break it by
// leaving onNewConnection out of backend.ownerOf.
func TestANewKeyIsProvedOnNewConnections(t *testing.T) {
	t.Parallel()
	e, d := newWatchedEnv(t)
	_, err := e.byHand().PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
		UserName: aws.String(integrationUser), PolicyName: aws.String("rotate"), PolicyDocument: aws.String(rotatingPolicy),
	})
	require.NoError(t, err)
	before, _ := d.count()
	e.rotated()
	after, _ := d.count()
	require.GreaterOrEqual(t, after-before, provingSuccesses)
}

// STS may know a key that IAM does not. Break it by having proveKey ask STS alone.
func TestANewKeyIsProvedAtIAM(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	const before = 1 // by the key in use
	defer e.aws.Inject(awsfake.Fault{Action: "ListAccessKeys", Code: "InvalidClientTokenId", Skip: before, Count: 1})()
	e.rotated()
	require.Equal(t, before+2, e.aws.Count("ListAccessKeys"))
}

// Some of AWS's servers may not know the new key yet. Break it by returning nil in
// integration.alsoRetried.
func TestAStragglerThatDoesNotKnowTheNewKey(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.rotated()
	remove := e.aws.Inject(awsfake.Fault{Action: "CreateUser", Code: "InvalidClientTokenId", Count: 1})
	defer remove()
	require.NoError(t, e.revoke(e.issue("app", nil)))
}

// A key that is never let in is taken back. Break it by switching whatever proveKey
// says.
func TestANewKeyThatNeverWorks(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.aws.SetLag(awsfake.Lag{Key: time.Hour})
	before := e.integration()
	_, err := e.do(logical.UpdateOperation, "rotate-root", nil)
	require.ErrorContains(t, err, "was not let in")
	require.Equal(t, before.AccessKey, e.integration().AccessKey)
	e.requireOneKey()
}

func TestTwoRotationsAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	entered, leave := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(leave) })
	t.Cleanup(release)
	remove := e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Count: 1, Hook: func(awsfake.Call) { close(entered); <-leave }})
	defer remove()
	done := make(chan error, 1)
	go func() {
		_, err := e.do(logical.UpdateOperation, "rotate-root", nil)
		done <- err
	}()
	<-entered
	e.refused(logical.UpdateOperation, "rotate-root", nil, "under way")
	e.refused(logical.DeleteOperation, "config", nil, "under way")
	release()
	require.NoError(t, <-done)
	e.pass(retireAfter)
	require.Equal(t, []string{e.integration().AccessKey}, e.ownKeys())
}
