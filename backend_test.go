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
