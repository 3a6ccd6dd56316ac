package awsiam

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// Written by an operator while AWS deletes the old key: the new one has to go as well
// then. Break it by not looking at Forsaken in backend.concludeRotation.
func TestAnotherKeyIsWrittenWhileAWSDeletesTheOldOne(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.cutOff(rotationRetiring)
	_, key := e.acct.AddUser("/", "vault-next", corePolicy)
	defer e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", Count: 1, Hook: func(awsfake.Call) {
		e.write("config", e.connection(key))
	}})()
	e.pass(retireAfter)
	require.Equal(t, key.AccessKeyID, e.integration().AccessKey)
	e.pass(settlingTime)
	require.Empty(t, e.ownKeys(), "nobody has the secret of the new one")
	require.Zero(t, e.integration().Rotation.Journal)
}

// The old key is not taken back into use at the moment when it is deleted. Break it by
// returning nil in backend.refuseDoomedKey: both keys would go.
func TestTheOldKeyIsWrittenWhileAWSDeletesIt(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.cutOff(rotationRetiring)
	defer e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", Count: 1, Hook: func(awsfake.Call) {
		e.refused(logical.UpdateOperation, "config", e.connection(e.key), e.key.AccessKeyID, "is being deleted")
		e.write("config", map[string]any{"max_retries": 2})
	}})()
	e.pass(retireAfter)
	e.pass(settlingTime)
	e.requireOneKey()
}

// What passes by itself is no reason to give up. Break it by having remainingOwner
// return what AWS says of the forsaken key only.
func TestAKeyOfTheUserThatFailsForAMomentDuringARotation(t *testing.T) {
	t.Parallel()
	forEachState(t, func(t *testing.T, e *env) {
		t.Helper()
		e.deleteKey(e.integration().AccessKey)
		key := e.newKeyByHand()
		e.write("config", e.connection(key))
		remove := e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Status: 500, Count: 2})
		e.pass(settlingTime)
		remove()
		e.pass(settlingTime)
		e.requireOneKey()
	})
}

// That an earlier rotation failed says nothing about whether this one can be finished.
// Break it by having leftByRotation look at LastError.
func TestDeletingAnIntegrationDuringARotationAfterOneThatFailed(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.must(logical.DeleteOperation, "roles/app", nil)
	e.write("config", map[string]any{"rotation_period": "24h"})
	remove := e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Code: "AccessDenied"})
	e.pass(24 * time.Hour)
	remove()
	require.NotEmpty(t, e.read("config")["last_rotation_error"])
	e.cutOff(rotationCreating)
	e.refused(logical.DeleteOperation, "config", nil, "is not finished", "goes on after 2")
}

// Break it by showing LastError alone, and noting there why a rotation is not finished.
func TestATakenBackRotationLeavesNoError(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.cutOff(rotationProving)
	remove := e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", Code: "AccessDenied"})
	e.pass(settlingTime)
	remove()
	require.NotEmpty(t, e.read("config")["last_rotation_error"])
	e.pass(time.Hour)
	e.requireOneKey()
	require.Empty(t, e.read("config")["last_rotation_error"])
}

// What an operator writes while the other key is proved stays. Break it by not looking
// at Forsaken in backend.useOtherKey.
func TestAnotherKeyIsWrittenWhileTheOtherOneIsProved(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.cutOff(rotationRetiring)
	e.deleteKey(e.integration().AccessKey)
	_, key := e.acct.AddUser("/", "vault-next", corePolicy)
	defer e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Skip: 1, Count: 1, Hook: func(awsfake.Call) {
		e.write("config", map[string]any{"access_key": key.AccessKeyID, "secret_key": key.SecretAccessKey, "verify_connection": false})
	}})()
	e.pass(retireAfter)
	require.Equal(t, key.AccessKeyID, e.integration().AccessKey)
	require.NoError(t, e.revoke(e.issue("app", nil)))
}
