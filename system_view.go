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
// is a call from the plugin's process to Vault's; the framework asks two for every
// request, and a lease's TTL takes two more.
//
// What changes is learned within a second. That does no harm: the state of
// replication changes only with a new backend (a node that becomes active or is
// promoted unloads all mounts first), and a mount that is tuned gives leases by
// its new maximum a moment later, since it is what the engine answers that counts.
type recentView struct {
	logical.SystemView
	maxTTL      recent[time.Duration]
	replication recent[consts.ReplicationState]
	local       recent[bool]
}

// MaxLeaseTTL implements logical.SystemView.
func (v *recentView) MaxLeaseTTL() time.Duration { return v.maxTTL.get(v.SystemView.MaxLeaseTTL) }

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
