package awsiam

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// Vault refuses a plugin whose version differs from its registration.
func TestBackendReportsItsVersion(t *testing.T) {
	require.Equal(t, logical.PluginVersion{Version: Version}, newBackend(testUUID).PluginVersion())
}

// Core makes an instance without a UUID, only to look at it.
func TestFactoryWithoutAUUID(t *testing.T) {
	b, err := Factory(t.Context(), &logical.BackendConfig{System: new(logical.StaticSystemView)})
	require.NoError(t, err)
	require.Equal(t, logical.TypeLogical, b.Type())
	b.Cleanup(t.Context())
}

// A machine that slept has slept by the clock, too: what is compared with dates in
// storage, or with dates that were made before, has no monotonic reading, which stands
// still meanwhile. Break it by taking time.Now as it is in wallClock.
func TestTheClockIsTheWalls(t *testing.T) {
	now := newBackend(testUUID).now()
	require.Equal(t, now.Round(0), now)
}
