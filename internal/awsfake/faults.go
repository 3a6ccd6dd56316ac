package awsfake

import (
	"context"
	"slices"
	"time"
)

// Fault says which calls go wrong and how. The zero value of a selecting field matches any call;
// without Status, Code, Lost or LostBefore a matching call is only delayed and its Hook called.
type Fault struct {
	Service string // "iam", "sts"
	Action  string // "CreateUser"
	User    string // the UserName parameter
	Account string // the account of the caller's key, which is told from the key id alone

	Skip        int     // let this many matching calls pass first
	Count       int     // apply to this many matching calls; 0 = until removed
	Probability float64 // 0 = always; otherwise decided by the seeded random source

	Delay         time.Duration // wait before going on; a client that goes away ends the wait
	Status        int           // with Code: answer this error instead of performing the call; one of
	Code, Message string        // the two is enough, the other is AWS's own for it or ServiceFailure
	Lost          bool          // perform the call, then cut the connection without an answer
	LostBefore    bool          // cut the connection without performing the call
	Garbled       bool          // perform the call, then answer 200 with only half of the answer
	FailAfter     bool          // perform the call, then answer Status and Code; by default 500 ServiceFailure

	// Hook is called when the fault matches, after the effect if Lost, Garbled or FailAfter, otherwise before.
	// No lock is held: it may call AWS's methods, block, or kill whoever waits for the answer.
	Hook func(Call)
}

type fault struct {
	Fault
	passed, applied int
}

// Inject adds a fault and returns what removes it. Of several faults, the first that matches a call
// and is due is applied, and no other.
func (a *AWS) Inject(f Fault) (remove func()) {
	added := &fault{Fault: f}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, added)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.faults = slices.DeleteFunc(a.faults, func(f *fault) bool { return f == added })
	}
}

// dueFault picks the fault to apply to a call; the zero Fault does nothing.
func (a *AWS) dueFault(c Call) Fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range a.faults {
		switch {
		case !f.matches(c), f.Count > 0 && f.applied >= f.Count:
		case f.passed < f.Skip:
			f.passed++
		case f.Probability > 0 && a.random.Float64() >= f.Probability:
		default:
			f.applied++
			return f.Fault
		}
	}
	return Fault{}
}

func (f *fault) matches(c Call) bool {
	same := func(want, got string) bool { return want == "" || want == got }
	return same(f.Service, c.Service) && same(f.Action, c.Action) && same(f.User, c.User) && same(f.Account, c.Account)
}

// after tells whether the fault shows only once the call has been performed.
func (f Fault) after() bool { return f.Lost || f.FailAfter || f.Garbled }

// err is the error to answer, nil if the fault has none.
func (f Fault) err() *apiError {
	if f.Status == 0 && f.Code == "" && !f.FailAfter {
		return nil
	}
	e := &apiError{status: f.Status, code: f.Code, message: f.Message}
	if e.code == "" {
		e.code = "ServiceFailure"
	}
	if e.status == 0 {
		e.status = statusOf(e.code)
	}
	if e.message == "" {
		e.message = "An injected fault."
	}
	return e
}

// wait is a sleep that ends early, with false, when the client goes away.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// bucket is an account's token bucket. It runs on the machine's clock: Advance must not fill it.
type bucket struct {
	tokens float64
	filled time.Time
}

// SetThrottle limits the IAM calls of each account to rate a second with bursts of up to burst
// calls; beyond that the answer is 400 Throttling. A rate of 0 lifts the limit. AWS's own limits are
// unpublished; tens of calls a second is what people see.
func (a *AWS) SetThrottle(rate float64, burst int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rate, a.burst = rate, max(burst, 1)
	for _, acct := range a.accounts {
		acct.bucket = bucket{}
	}
}

// admit takes a token, or tells that there is none.
func (acct *Account) admit() bool {
	a, b, now := acct.aws, &acct.bucket, time.Now()
	if a.rate <= 0 {
		return true
	}
	if b.filled.IsZero() {
		b.tokens = float64(a.burst)
	} else {
		b.tokens = min(float64(a.burst), b.tokens+a.rate*now.Sub(b.filled).Seconds())
	}
	b.filled = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
