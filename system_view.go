package awsiam

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// recently is for how long what core has said is taken to be still so.
const recently = time.Second

// recentView spares core questions whose answer was the same a moment ago. Each
// is a call from the plugin's process to Vault's, and the framework asks these two
// for every request. What changes is learned within a second, which does no harm:
// both change only with a new backend, since a node that becomes active or is
// promoted unloads all mounts first.
type recentView struct {
	logical.SystemView
	replication recent[consts.ReplicationState]
	local       recent[bool]
}

// ReplicationState implements logical.SystemView.
func (v *recentView) ReplicationState() consts.ReplicationState {
	return v.replication.get(v.SystemView.ReplicationState)
}

// LocalMount implements logical.SystemView.
func (v *recentView) LocalMount() bool { return v.local.get(v.SystemView.LocalMount) }

// recent keeps an answer for a moment.
type recent[T any] struct{ last atomic.Pointer[dated[T]] }

type dated[T any] struct {
	answer T
	at     time.Time
}

func (r *recent[T]) get(ask func() T) T {
	if last := r.last.Load(); last != nil && time.Since(last.at) < recently {
		return last.answer
	}
	asked := time.Now() // the answer is not younger than the question
	answer := ask()
	r.last.Store(&dated[T]{answer, asked})
	return answer
}

// cappedView answers with a maximum that core was asked for already.
type cappedView struct {
	logical.SystemView
	maxTTL time.Duration
}

// MaxLeaseTTL implements logical.SystemView.
func (v cappedView) MaxLeaseTTL() time.Duration { return v.maxTTL }
