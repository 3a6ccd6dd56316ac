package awsiam

import (
	"testing"

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
