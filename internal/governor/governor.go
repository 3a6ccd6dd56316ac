// Package governor keeps the calls to one AWS account within the rate that AWS
// allows, which nobody is told: it is learned from which calls are throttled.
//
// All that talks to the account shares one [Governor]. It bounds how many calls
// are under way, paces them once AWS has throttled one, and decides whose turn
// it is: deletions get nine of ten turns, and of either kind the task that was
// begun first comes first, so that what is half done is finished before
// something new begins. What nobody waits for has a turn where neither waits.
//
// The SDK's own adaptive retry mode begins without any limit and knows no
// priorities. docs/benchmarks.md has the figures of this one.
package governor

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Class is what a call is for.
type Class int

// The classes, in the order of their weight.
const (
	Deleting Class = iota
	Creating
	// Idle is creating ahead of need. It has a turn only when nothing else waits.
	// A task of it that AWS has admitted a call of goes on as Creating: to leave
	// it half done would cost more calls than to finish it.
	Idle
	classes
)

const (
	// deletionsPerCreation is the weight of deletions where both kinds wait.
	deletionsPerCreation = 9
	// callsPerCreation is what is reckoned with for a creation that does not say more
	// of itself, and margin by how much longer than reckoned its calls may have to wait.
	callsPerCreation = 3
	margin           = 1.25
	// callsPerDeletion is the same for a user that is about to be deleted.
	callsPerDeletion = 3
	// lately is for how long throttling counts as the reason of a wait.
	lately = time.Minute
)

// Outcome is how AWS answered a call.
type Outcome int

// The outcomes.
const (
	// Admitted: AWS dealt with the call, even if it refused it.
	Admitted Outcome = iota
	// Throttled: AWS refused the call for its rate.
	Throttled
	// Unanswered: nobody knows.
	Unanswered
)

// Task is work that takes several calls, such as a user's deletion.
type Task struct {
	class Class
	since time.Time // see WithTask
	order uint64    // among those of the same time
	begun bool      // a call of it was let go
	calls int       // that a creation takes in all
}

var tasks atomic.Uint64 // begun so far

type taskKey struct{}

// WithTask returns a context whose calls belong to a new task. Since is when the
// work was first asked for: what has been tried before, and had no turn, keeps its place.
func WithTask(ctx context.Context, class Class, since time.Time) context.Context {
	return context.WithValue(ctx, taskKey{}, newTask(class, since))
}

// WithCreation is WithTask for the creation of a user that takes so many calls.
func WithCreation(ctx context.Context, since time.Time, calls int) context.Context {
	task := newTask(Creating, since)
	task.calls = calls
	return context.WithValue(ctx, taskKey{}, task)
}

// WithRest is WithTask for the rest of a creation, of which something is there
// already: it is not refused for want of time, since what was done would be lost.
func WithRest(ctx context.Context, since time.Time) context.Context {
	task := newTask(Creating, since)
	task.begun = true
	return context.WithValue(ctx, taskKey{}, task)
}

func newTask(class Class, since time.Time) *Task {
	return &Task{class: class, since: since, order: tasks.Add(1), calls: callsPerCreation}
}

// before says whether the task comes before another of its class.
func (t *Task) before(other *Task) bool {
	if t.since.Equal(other.since) {
		return t.order < other.order
	}
	return t.since.Before(other.since)
}

// taskOf is the context's task; a call that belongs to none is one by itself.
func taskOf(ctx context.Context) *Task {
	if task, ok := ctx.Value(taskKey{}).(*Task); ok {
		return task
	}
	return newTask(Creating, time.Now())
}

// BusyError says that a call was not made, because its turn did not come, or
// would not have come, in time.
type BusyError struct {
	Rate      float64 // calls a second that AWS admits at present; 0 if not known
	Waiting   int     // calls that wait for their turn
	throttled bool    // AWS has lately refused calls for their rate
	cause     error
}

// Error implements error.
func (e *BusyError) Error() string {
	switch {
	case !e.throttled:
		return fmt.Sprintf("AWS answers too slowly: %d calls wait for the end of others; try again later", e.Waiting)
	case e.Rate == 0:
		return fmt.Sprintf("too many calls for AWS's rate limit: %d wait for their turn; try again later", e.Waiting)
	}
	return fmt.Sprintf("too many calls for AWS's rate limit: %d wait for their turn, at about %.1f a second; try again later", e.Waiting, e.Rate)
}

// Unwrap returns the context's error, if it was the context that ended the wait.
func (e *BusyError) Unwrap() error { return e.cause }

// RetryableError tells the SDK's retryer that asking again at once is of no use.
func (*BusyError) RetryableError() bool { return false }

// Governor is shared by all calls to one account. The zero value is ready for
// use. It is safe for concurrent use, and nothing runs while no call waits.
type Governor struct {
	mu      sync.Mutex
	pace    pace
	waiting [classes]line
	// deletions is how many were let go since the last creation.
	deletions int
	underWay  int
	alarm     *time.Timer // for when the pace lets the next call go
}

// Acquire waits for the turn of a call of the context's task. If there is no
// error, done has to be called with how the call ended.
//
// A call that would begin the creation of a user, but cannot be expected to have
// its turn in the context's time, is refused at once: whoever asks can be told.
// Deletions wait as long as there is time, since Vault has a limited number of
// workers, which is what holds back the rest, and gives a lease up after six
// attempts.
func (g *Governor) Acquire(ctx context.Context) (done func(Outcome), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &waiter{task: taskOf(ctx), turn: make(chan struct{})}
	g.mu.Lock()
	w.class = w.task.class
	if err := g.hopeless(ctx, w.task); err != nil {
		g.mu.Unlock()
		return nil, err
	}
	now := time.Now()
	g.pace.wake(now)
	heap.Push(&g.waiting[w.class], w)
	g.letGo(now)
	g.mu.Unlock()

	select {
	case <-w.turn:
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		if w.index >= 0 {
			heap.Remove(&g.waiting[w.class], w.index)
			return nil, g.busy(ctx.Err())
		}
		g.underWay-- // its turn came at the same moment, and is given to another
		g.letGo(time.Now())
		return nil, g.busy(ctx.Err())
	}
	return func(outcome Outcome) { g.done(w, outcome) }, nil
}

func (g *Governor) done(w *waiter, outcome Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.underWay--
	if w.class == Idle && outcome == Admitted {
		w.task.class = Creating
	}
	g.pace.learn(w.began, now, outcome)
	g.letGo(now)
}

// hopeless says whether the first call of a creation cannot have its turn in time.
func (g *Governor) hopeless(ctx context.Context, task *Task) error {
	deadline, bounded := ctx.Deadline()
	now := time.Now()
	rate := g.pace.rate(now)
	if task.class != Creating || task.begun || !bounded || rate <= 0 {
		return nil
	}
	calls := task.calls
	for _, w := range g.waiting[Creating] {
		switch {
		case !w.task.before(task):
		case w.task.begun:
			calls++
		default:
			calls += w.task.calls
		}
	}
	// As many turns as deletions have in between, if there are as many.
	calls += min(calls*deletionsPerCreation, callsPerDeletion*len(g.waiting[Deleting]))
	if now.Add(seconds(float64(calls) * margin / rate)).Before(deadline) {
		return nil
	}
	return g.busy(nil)
}

func (g *Governor) busy(cause error) error {
	now := time.Now()
	e := &BusyError{Rate: g.pace.limit(now), throttled: now.Sub(g.pace.throttledAt) < lately, cause: cause}
	e.Waiting = g.inLine()
	return e
}

// Load is what an account's calls are held to at a moment.
type Load struct {
	Rate      float64   // calls a second that may go now; 0 while no limit is known
	Waiting   int       // calls that wait for their turn
	Throttled time.Time // when AWS last began to refuse calls for their rate; zero if never
}

// Load says how much there is to do, and how fast that goes.
func (g *Governor) Load() Load {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Load{Rate: g.pace.limit(time.Now()), Waiting: g.inLine(), Throttled: g.pace.throttledAt}
}

func (g *Governor) inLine() int {
	n := 0
	for _, line := range g.waiting {
		n += len(line)
	}
	return n
}

// letGo lets as many calls go as there is room for.
func (g *Governor) letGo(now time.Time) {
	for {
		line := g.next()
		if line == nil {
			g.pace.rest(now)
			return
		}
		if g.underWay >= g.pace.window() {
			return // the end of one of them comes back here
		}
		if pause := g.pace.admit(now); pause > 0 {
			g.wakeIn(pause)
			return
		}
		w := heap.Pop(line).(*waiter) //nolint:errcheck // nothing else is pushed
		switch w.class {
		case Creating:
			g.deletions = 0
		case Deleting:
			g.deletions = min(g.deletions+1, deletionsPerCreation)
		}
		w.began, w.task.begun = now, true
		g.underWay++
		close(w.turn)
	}
}

// next is the line whose turn it is, nil if nothing waits.
func (g *Governor) next() *line {
	deleting, creating := &g.waiting[Deleting], &g.waiting[Creating]
	switch {
	case len(*creating) > 0 && (len(*deleting) == 0 || g.deletions >= deletionsPerCreation):
		return creating
	case len(*deleting) > 0:
		return deleting
	case len(g.waiting[Idle]) > 0:
		return &g.waiting[Idle]
	}
	return nil
}

func (g *Governor) wakeIn(pause time.Duration) {
	if g.alarm == nil {
		g.alarm = time.AfterFunc(pause, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.letGo(time.Now())
		})
		return
	}
	g.alarm.Reset(pause)
}

// Governors has the governor of each account.
type Governors struct {
	mu        sync.Mutex
	byAccount map[string]*Governor
}

// Of returns the account's governor.
func (g *Governors) Of(account string) *Governor {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byAccount == nil {
		g.byAccount = make(map[string]*Governor)
	}
	governor := g.byAccount[account]
	if governor == nil {
		governor = new(Governor)
		g.byAccount[account] = governor
	}
	return governor
}
