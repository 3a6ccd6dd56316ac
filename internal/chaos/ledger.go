package chaos

import (
	"sync"
	"time"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// margin is how long before its last known end a lease is not counted on any
// more. Vault's clock starts after the client's, so that it need not be long.
const margin = time.Second

// lease is a credential that a client holds.
type lease struct {
	id, role, account string
	username          string
	key               awsfake.Credentials
	issued            time.Time
	// had is the user as it was when the credential was handed out.
	had awsfake.UserInfo
	// entity is whose id the inline policy and a tag must hold; empty for a role
	// without identity templates.
	entity string

	// until is what Vault has promised at the least.
	until time.Time
	// before is what that was when a renewal was last asked for.
	before time.Time
	// doubt is the shortest renewal whose answer was lost, 0 for none. Vault may
	// carry it out at any later time, and so cut a longer one short.
	doubt time.Duration
	ended string // why it does not count as live any more
}

// ledger is what the clients know of their leases, by user name.
type ledger struct {
	mu     sync.Mutex
	leases map[string]*lease
}

func newLedger() *ledger { return &ledger{leases: make(map[string]*lease)} }

// open notes a lease that was just handed out, for at least ttl since asked.
func (l *ledger) open(handed lease, asked time.Time, ttl time.Duration) {
	handed.until = asked.Add(ttl)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leases[handed.username] = &handed
}

// renewing notes that a renewal is about to be asked for. Until its answer is
// known the lease may be shorter than before.
func (l *ledger) renewing(username string, asked time.Time, increment time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.leases[username]
	held.before = held.until
	if end := asked.Add(increment); end.Before(held.until) {
		held.until = end
	}
}

// renewed notes Vault's answer: the lease goes on for granted since it was
// asked. An answer that comes when the lease would have run out is not counted
// on. Vault sets about revoking a lease when its timer fires, and does not look
// again when the renewal that it had in hand then is done (revocationJob in
// expiration.go of Vault 1.21.1): that is no doing of the engine's.
func (l *ledger) renewed(username string, asked, answered time.Time, granted time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.leases[username]
	if !answered.Before(held.before.Add(-margin)) {
		return
	}
	if held.doubt > 0 {
		granted = min(granted, held.doubt)
	}
	held.until = asked.Add(granted)
}

// unanswered notes that Vault may or may not carry the renewal out.
func (l *ledger) unanswered(username string, increment time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.leases[username]
	if held.doubt == 0 || increment < held.doubt {
		held.doubt = increment
	}
}

// end notes, before it is done, that something ends the lease: its client asks
// for that, or a hand in AWS. It says whether the lease was live.
func (l *ledger) end(username, why string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.leases[username]
	if held == nil || held.ended != "" {
		return false
	}
	held.ended = why
	return held.until.After(time.Now())
}

// live returns the lease of the user if it counts as live at that time.
func (l *ledger) live(username string, at time.Time) (lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.leases[username]
	if held == nil || !held.live(at) {
		return lease{}, false
	}
	return *held, true
}

func (l *lease) live(at time.Time) bool { return l.ended == "" && at.Before(l.until.Add(-margin)) }

// allLive returns all leases that count as live at that time.
func (l *ledger) allLive(at time.Time) []lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []lease
	for _, held := range l.leases {
		if held.live(at) {
			all = append(all, *held)
		}
	}
	return all
}

// get returns what is known of a user's lease.
func (l *ledger) get(username string) (lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held := l.leases[username]; held != nil {
		return *held, true
	}
	return lease{}, false
}
