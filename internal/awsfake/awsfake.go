// Package awsfake is an IAM and STS in memory, spoken to over HTTP in AWS's own query protocol, for
// tests and demonstrations that must not need an AWS account. It authenticates (Signature Version 4),
// authorizes by policy, and enforces AWS's quotas, name rules and deletion order, so that what works
// against it without special permissions has a fair chance of working in AWS. It can also misbehave
// in the ways AWS does: faults, latency, throttling, lost answers and eventual consistency.
//
// Where AWS documents several possible behaviours, the one that is harder on the client was chosen.
// What is knowingly different from AWS:
//   - The date of a signed request is not compared with the clock, since [AWS.Advance] moves AWS's
//     clock, not the client's.
//   - MFA codes are checked for their form only.
//   - Trust policies name principals by ARN and are not bound to the principal's unique id.
//   - Identity tokens are signed with a key that provider and AWS share; see [OIDCProvider].
//   - Resource policies, service control policies and policy versions do not exist.
package awsfake

import (
	"math/rand/v2"
	"sync"
	"time"
)

// AWS is a simulated AWS: any number of accounts behind one [net/http.Handler]. One endpoint serves
// both services; the request's Version says which one is meant, and the signature must be scoped to
// it. All methods are safe for concurrent use.
type AWS struct {
	// mu guards everything below except log. It is never held while waiting or calling a hook.
	mu       sync.Mutex
	offset   time.Duration
	accounts map[string]*Account
	keys     map[string]*accessKey // by id, of all accounts; sessions too
	faults   []*fault
	random   *rand.Rand
	lag      Lag
	serverOf map[string]int // by the client's address; see [Lag]
	latency  time.Duration
	rate     float64 // IAM calls a second and account; 0 = unlimited
	burst    int
	watch    func(Call)

	log callLog
}

// New returns an AWS without accounts. Its random decisions (see [Fault]) start from seed 1.
func New() *AWS {
	return &AWS{
		accounts: map[string]*Account{},
		keys:     map[string]*accessKey{},
		serverOf: map[string]int{},
		random:   rand.New(rand.NewPCG(1, 1)),
		log:      callLog{counts: map[string]int{}},
	}
}

// Seed restarts the random source that [Fault.Probability] is decided by.
func (a *AWS) Seed(seed int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.random = rand.New(rand.NewPCG(uint64(seed), 1))
}

// Advance moves AWS's clock forward (or back) by d: what aws:CurrentTime is judged by, what creation
// dates are taken from, and what sessions and lags run out by.
func (a *AWS) Advance(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.offset += d
}

// Now is the time by AWS's clock.
func (a *AWS) Now() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now()
}

// now is Now for those who hold the lock.
func (a *AWS) now() time.Time { return time.Now().Add(a.offset) }

// SetLatency makes each call wait for d before it is performed.
func (a *AWS) SetLatency(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.latency = d
}

// Watch has f called with each call that has ended, by the goroutine that served it.
func (a *AWS) Watch(f func(Call)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watch = f
}
