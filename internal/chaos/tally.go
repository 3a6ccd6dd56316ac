package chaos

import (
	"maps"
	"sync"
)

// tally counts what happens in a run, by what it is called in the report.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func newTally() *tally { return &tally{counts: make(map[string]int)} }

func (t *tally) add(what string) { t.addN(what, 1) }

func (t *tally) addN(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[what] += n
}

func (t *tally) get(what string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[what]
}

// all returns a copy of the counts.
func (t *tally) all() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}

// What is counted, beside the kinds of faults and of what hands do.
const (
	processesKilled = "processes killed"
	faultsInAWS     = "AWS faults"

	leasesIssued   = "issued"
	issuesFailed   = "not issued: refused or not answered"
	renewals       = "renewed"
	renewalsFailed = "not renewed: refused or not answered"
	revoked        = "revoked"
	revokedPrefix  = "revoked by prefix"
	revokesFailed  = "revocation refused or not answered, left to expire"
	leftToExpire   = "left to expire"
	rolesWritten   = "roles written anew"
	rolesDeleted   = "roles deleted"
	usedAtEnd      = "live and used when all was healed"
)
