package awsfake

import (
	"sync"
	"time"
)

// Call is one request as it arrived and was answered. Times are the machine's, not AWS's clock, so
// that durations and overlaps can be told. End is zero, and Status 0, while the call is going on;
// Status stays 0 when no answer was sent, in which case Lost is true. Code is AWS's error code, ""
// for success. User is the UserName parameter, CallerARN who the signature proved the caller to be.
type Call struct {
	Start, End       time.Time
	Account, Service string
	Action, User     string
	CallerARN        string
	AccessKeyID      string
	Status           int
	Code             string
	Lost             bool
}

// keptCalls is how many calls are remembered.
const keptCalls = 20_000

// callLog has a lock of its own: counting must not wait for calls being performed.
type callLog struct {
	mu        sync.Mutex
	calls     []*Call
	counts    map[string]int
	throttled int
}

func (l *callLog) begin(c Call) *Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.calls) >= 2*keptCalls {
		l.calls = append(l.calls[:0:0], l.calls[keptCalls:]...)
	}
	l.calls = append(l.calls, &c)
	l.counts[c.Action]++
	return &c
}

// end notes how a call was answered and returns it as it is now known.
func (l *callLog) end(c *Call, caller string, ans *answer) Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.End, c.CallerARN = time.Now(), caller
	if ans == nil {
		c.Lost = true
	} else {
		c.Status, c.Code = ans.status, ans.code
	}
	return *c
}

// Calls returns the newest 20,000 calls in order of arrival, those still going on included.
func (a *AWS) Calls() []Call {
	a.log.mu.Lock()
	defer a.log.mu.Unlock()
	kept := a.log.calls[max(0, len(a.log.calls)-keptCalls):]
	calls := make([]Call, len(kept))
	for i, c := range kept {
		calls[i] = *c
	}
	return calls
}

// ResetCalls forgets all calls and sets the counters to zero.
func (a *AWS) ResetCalls() {
	a.log.mu.Lock()
	defer a.log.mu.Unlock()
	a.log.calls, a.log.counts, a.log.throttled = nil, map[string]int{}, 0
}

// Count is how often an action was called since New or ResetCalls, whatever came of it: refused,
// throttled and lost attempts count.
func (a *AWS) Count(action string) int {
	a.log.mu.Lock()
	defer a.log.mu.Unlock()
	return a.log.counts[action]
}

// Throttled is how many calls [AWS.SetThrottle]'s limit has refused since New or ResetCalls.
func (a *AWS) Throttled() int {
	a.log.mu.Lock()
	defer a.log.mu.Unlock()
	return a.log.throttled
}

func (l *callLog) countThrottled() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.throttled++
}
