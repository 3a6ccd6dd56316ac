package awsiam

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// aMomentLater has the engine ask core again for what it asked a moment ago.
func (e *env) aMomentLater() {
	v := e.b.System().(*recentView)
	v.replication.last.Store(nil)
	v.local.last.Store(nil)
}

// TestRecentView: what core says is learned within a second, and not asked for
// with every request.
func TestRecentView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core := new(askedView)
		v := &recentView{SystemView: core}
		for range 10 {
			require.False(t, v.LocalMount())
			require.Zero(t, v.ReplicationState())
		}
		require.Equal(t, 1, core.asked)
		core.LocalMountVal, core.ReplicationStateVal = true, consts.ReplicationPerformanceStandby
		time.Sleep(recently)
		require.True(t, v.LocalMount())
		require.Equal(t, consts.ReplicationPerformanceStandby, v.ReplicationState())
	})
}

// askedView counts how often it is asked.
type askedView struct {
	logical.StaticSystemView
	asked int
}

func (v *askedView) LocalMount() bool {
	v.asked++
	return v.StaticSystemView.LocalMount()
}
