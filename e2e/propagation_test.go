package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// TestKeysWorkWhenTheyArrive: a key that vault read shows without a warning can
// be used at once, although AWS takes seconds to let it in.
func TestKeysWorkWhenTheyArrive(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.aws.SetLag(awsfake.Lag{Key: 2 * time.Second, KeySpread: time.Second})
	cli(t, m.server, "write", m.path+"/roles/app", "propagation_timeout=30s")

	c := readJSON(t, m, m.path+"/creds/app")

	require.Empty(t, c.lease.Warnings)
	require.Greater(t, c.PropagationSeconds, 2.0)
	require.Empty(t, c.listGroups())

	// A role that waits for less than AWS takes says so.
	cli(t, m.server, "write", m.path+"/roles/app", "propagation_timeout=1s")
	hasty := readJSON(t, m, m.path+"/creds/app")
	require.Len(t, hasty.lease.Warnings, 1)
	require.Contains(t, hasty.lease.Warnings[0], "did not let the access key in")
}
