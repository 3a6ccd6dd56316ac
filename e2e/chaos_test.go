package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/chaos"
)

// TestChaos is a short run of `make chaos`: three nodes, whose processes are
// killed, paused and cut off while AWS loses answers and clients work. No user
// may be left ten minutes after the last fault, and no live lease may be cut.
//
// Break it by having the engine remove a record before its user is confirmed
// gone (retire).
func TestChaos(t *testing.T) {
	t.Parallel()
	report, err := chaos.Run(t.Context(), chaos.Options{
		Seed: 1, Duration: 45 * time.Second, Nodes: 3,
		Vault: serverConfig, Plugin: plugin, Progress: t.Output(),
	})
	require.NoError(t, err)
	require.NoError(t, report.Write(t.Output()))
	require.Empty(t, report.Failures())
}
