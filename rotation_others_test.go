package awsiam

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// cutOff leaves a rotation at one of its states, as a process that died does.
func (e *env) cutOff(state rotationState) {
	e.t.Helper()
	puts := map[rotationState]int{rotationCreating: 2, rotationProving: 3}
	if put := puts[state]; put > 0 {
		storageBreakages("put", integrationPrefix, put)[2].arm(e)
		_, err := e.do(logical.UpdateOperation, "rotate-root", nil)
		require.Error(e.t, err)
		e.heal()
	} else {
		e.rotated()
	}
	require.Equal(e.t, state, e.integration().Rotation.Journal.State)
	require.Len(e.t, e.ownKeys(), 2)
}

func (e *env) deleteKey(id string) {
	e.t.Helper()
	_, err := e.byHand().DeleteAccessKey(e.t.Context(), &iam.DeleteAccessKeyInput{UserName: aws.String(integrationUser), AccessKeyId: &id})
	require.NoError(e.t, err)
}

// newKeyByHand makes another key for the integration's user, as an operator does who
// means to use it.
func (e *env) newKeyByHand() awsfake.Credentials {
	e.t.Helper()
	out, err := e.byHand().CreateAccessKey(e.t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String(integrationUser)})
	require.NoError(e.t, err)
	return awsfake.Credentials{AccessKeyID: *out.AccessKey.AccessKeyId, SecretAccessKey: *out.AccessKey.SecretAccessKey}
}

// forEachState runs the test with a rotation that was cut off at each of its states.
func forEachState(t *testing.T, test func(*testing.T, *env)) {
	t.Helper()
	for _, state := range []rotationState{rotationCreating, rotationProving, rotationRetiring} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, rotatingPolicy)
			l := e.issue("app", nil)
			e.cutOff(state)
			test(t, e)
			require.NoError(t, e.revoke(l))
		})
	}
}

// An operator gives the integration another user in the midst of a rotation: what the
// rotation has made goes, by way of the key before. Break it by leaving the journal as
// it is in rotation.rewritten.
func TestAnotherUserIsWrittenDuringARotation(t *testing.T) {
	t.Parallel()
	forEachState(t, func(t *testing.T, e *env) {
		t.Helper()
		state := e.integration().Rotation.Journal.State
		_, key := e.acct.AddUser("/", "vault-next", corePolicy)
		e.write("config", e.connection(key))
		e.pass(settlingTime)
		require.Zero(t, e.integration().Rotation.Journal)
		require.Equal(t, key.AccessKeyID, e.integration().AccessKey)
		if state == rotationRetiring {
			require.Empty(t, e.ownKeys(), "nobody has the secret of the new one")
		} else {
			require.Equal(t, []string{e.key.AccessKeyID}, e.ownKeys())
		}
	})
}

// The user before was deleted by hand. Break it by not ending the journal where its
// key is not known any more.
func TestAUserThatIsGoneEndsTheRotation(t *testing.T) {
	t.Parallel()
	forEachState(t, func(t *testing.T, e *env) {
		t.Helper()
		_, key := e.acct.AddUser("/", "vault-next", corePolicy)
		e.write("config", e.connection(key))
		for _, id := range e.ownKeys() {
			e.deleteKey(id)
		}
		e.pass(settlingTime)
		require.Zero(t, e.integration().Rotation.Journal)
	})
}

// An operator writes the key before again, as after having kept a copy. Break it by
// not sparing the key in use in rotationJournal.doomed.
func TestTheOldKeyIsWrittenDuringARotation(t *testing.T) {
	t.Parallel()
	forEachState(t, func(t *testing.T, e *env) {
		t.Helper()
		e.write("config", e.connection(e.key))
		e.pass(settlingTime)
		require.Equal(t, e.key.AccessKeyID, e.integration().AccessKey)
		e.requireOneKey()
	})
}

// The user has another key by hand, in the place of the one in use. Break it by
// having remainingOwner look at the forsaken key only.
func TestAnotherKeyOfTheUserIsWrittenDuringARotation(t *testing.T) {
	t.Parallel()
	forEachState(t, func(t *testing.T, e *env) {
		t.Helper()
		e.deleteKey(e.integration().AccessKey)
		key := e.newKeyByHand()
		e.write("config", e.connection(key))
		e.pass(settlingTime)
		require.Equal(t, key.AccessKeyID, e.integration().AccessKey)
		e.requireOneKey()
	})
}

// Somebody deletes the key in use while there is another. Break it by leaving
// useOtherKey out of backend.finish.
func TestTheKeyInUseIsDeletedByHandDuringARotation(t *testing.T) {
	t.Parallel()
	for _, state := range []rotationState{rotationProving, rotationRetiring} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, rotatingPolicy)
			e.cutOff(state)
			e.deleteKey(e.integration().AccessKey)
			e.pass(settlingTime)
			require.NoError(t, e.revoke(e.issue("app", nil)))
			e.pass(settlingTime)
			e.requireOneKey()
		})
	}
}

// Written by an operator while AWS makes the key. Break it by not looking at Forsaken
// in backend.switchKey, or at the revision in backend.journalRotation.
func TestAnotherKeyIsWrittenWhileAWSMakesOne(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"ListAccessKeys", "CreateAccessKey", "GetCallerIdentity"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, rotatingPolicy)
			_, key := e.acct.AddUser("/", "vault-next", rotatingPolicy)
			fault := awsfake.Fault{Action: action, Count: 1, Hook: func(awsfake.Call) {
				e.write("config", map[string]any{"access_key": key.AccessKeyID, "secret_key": key.SecretAccessKey, "verify_connection": false})
			}}
			if action == "GetCallerIdentity" {
				fault.Skip = 2 // the key in use, and the new one's first proof
			}
			defer e.aws.Inject(fault)()
			e.refused(logical.UpdateOperation, "rotate-root", nil, "changed meanwhile")
			require.Equal(t, key.AccessKeyID, e.integration().AccessKey)
			e.pass(settlingTime)
			require.Equal(t, []string{e.key.AccessKeyID}, e.ownKeys())
			require.Zero(t, e.integration().Rotation.Journal)
		})
	}
}

// Break it by leaving leftByRotation out of the deletion.
func TestDeletingAnIntegrationDuringARotation(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.must(logical.DeleteOperation, "roles/app", nil)
	e.cutOff(rotationRetiring)
	e.refused(logical.DeleteOperation, "config", nil, "is not finished", "goes on after 2")
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", Code: "AccessDenied"})
	e.pass(retireAfter)
	require.Contains(t, e.read("config")["last_rotation_error"], "needs iam:DeleteAccessKey")
	resp := e.must(logical.DeleteOperation, "config", nil)
	require.Contains(t, resp.Warnings[0], e.key.AccessKeyID, "what is left to do by hand")
	remove()
	e.pass(time.Hour)
	require.Len(t, e.ownKeys(), 2)
}

// Written by an operator to mend what was wrong. Break it by leaving NextAttempt as it
// is in rotation.rewritten.
func TestWritingTheIntegrationHastensItsRotation(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.cutOff(rotationRetiring)
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", Code: "AccessDenied"})
	e.pass(retireAfter)
	e.pass(time.Hour)
	remove()
	e.reap()
	require.Len(t, e.ownKeys(), 2)
	e.write("config", map[string]any{"max_retries": 2})
	e.reap()
	e.requireOneKey()
	require.Empty(t, e.read("config")["last_rotation_error"])
}

// Rights to the user before may be gone with it. Break it by leaving abandonAfter out of
// backend.concludeRotation.
func TestKeysThatMayNotBeDeletedAreGivenUpAfterADay(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.cutOff(rotationRetiring)
	_, key := e.acct.AddUser("/", "vault-next", corePolicy)
	e.write("config", e.connection(key))
	defer e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", Code: "AccessDenied"})()
	e.pass(abandonAfter - time.Hour)
	require.True(t, e.integration().Rotation.pending())
	require.Contains(t, e.read("config")["last_rotation_error"], "needs iam:DeleteAccessKey")
	e.pass(maxRefusedPause + time.Second)
	require.Zero(t, e.integration().Rotation.Journal)
	require.Empty(t, e.read("config")["last_rotation_error"])
}

// A new key that IAM does not know may be one that it does not know yet. Break it by
// taking NoSuchEntity for the end of any key in backend.clearAway.
func TestANewKeyIsNotTakenForGoneAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.cutOff(rotationProving)
	e.deleteKey(e.integration().Rotation.Journal.New.ID)
	e.pass(settlingTime - time.Minute)
	require.True(t, e.integration().Rotation.pending())
	e.pass(time.Minute + time.Second)
	e.requireOneKey()
}

// A tidy keeps the key that it began with. Break it by leaving tidies.busy out of
// backend.prepareRotation, or out of rotations.work.
func TestRotationAndTidy(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	release := sync.OnceFunc(e.held())
	t.Cleanup(release)
	e.refused(logical.UpdateOperation, "rotate-root", nil, "a tidy of integration", "tidy-cancel/default")
	release()
	e.b.reaper.done.Wait()
	e.rotated()

	release = sync.OnceFunc(e.held())
	t.Cleanup(release)
	e.b.rotations.work(t.Context(), e.storage, defaultIntegration)
	require.Len(t, e.ownKeys(), 2, "it may be at work with the old key")
	release()
	e.b.reaper.done.Wait()
	e.reap()
	e.requireOneKey()
}

// Break it by having rotateAlone end with its caller.
func TestARotationGoesOnWithoutTheCallerWhoBeganIt(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	ctx, goAway := context.WithCancel(t.Context())
	defer e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Count: 1, Hook: func(awsfake.Call) { goAway() }})()
	_, err := e.doCtx(ctx, logical.UpdateOperation, "rotate-root", nil)
	require.NoError(t, err)
	require.Equal(t, rotationRetiring, e.integration().Rotation.Journal.State)
	e.pass(retireAfter)
	e.requireOneKey()
}

// What is under way is signed with the key that was in use. Break it by leaving
// NotBefore as it is in rotation.rewritten.
func TestAKeyThatIsForsakenIsKeptForAWhile(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.cutOff(rotationRetiring)
	used := e.integration().AccessKey
	e.advance(retireAfter - time.Second)
	_, key := e.acct.AddUser("/", "vault-next", corePolicy)
	e.write("config", e.connection(key))
	e.pass(2 * time.Second)
	require.Contains(t, e.ownKeys(), used)
	e.pass(retireAfter)
	require.Empty(t, e.ownKeys())
}
