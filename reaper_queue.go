package awsiam

import (
	"container/heap"
	"time"
)

// unread is the queue of records of which no more than the name is known.
const unread = ""

// agenda says when each record is to be looked at. Noting a time, and finding
// what is due, costs the logarithm of the number of records, so that thousands
// of healthy ones cost nothing. It is not safe for concurrent use.
type agenda struct {
	byName map[string]*appointment
	queues map[string]*queue // by integration
}

// appointment is when the record of a user is to be looked at.
type appointment struct {
	username string
	at       time.Time
	queue    *queue
	index    int // in the queue
}

// queue holds the appointments of one integration, so that an account that does
// not answer does not hold up the others. It implements heap.Interface, with the
// earliest first.
type queue struct {
	integration string
	busy        bool // a run is under way
	waiting     []*appointment
}

func newAgenda() agenda {
	return agenda{byName: make(map[string]*appointment), queues: make(map[string]*queue)}
}

// note replaces what was noted of the user before. An integration that is not
// known does not make a known one forgotten.
func (g *agenda) note(username, integration string, at time.Time) {
	a := g.byName[username]
	switch {
	case a == nil:
		a = &appointment{username: username}
		g.byName[username] = a
	case integration == unread || integration == a.queue.integration:
		a.at = at
		heap.Fix(a.queue, a.index)
		return
	default:
		g.leave(a)
	}
	a.at, a.queue = at, g.queue(integration)
	heap.Push(a.queue, a)
}

// strike removes the user, if there.
func (g *agenda) strike(username string) {
	if a := g.byName[username]; a != nil {
		g.leave(a)
		delete(g.byName, username)
	}
}

// first is the earliest appointment of the queue, if it is due.
func (q *queue) first(now time.Time) *appointment {
	if len(q.waiting) == 0 || now.Before(q.waiting[0].at) {
		return nil
	}
	return q.waiting[0]
}

func (g *agenda) queue(integration string) *queue {
	q := g.queues[integration]
	if q == nil {
		q = &queue{integration: integration}
		g.queues[integration] = q
	}
	return q
}

func (g *agenda) leave(a *appointment) {
	heap.Remove(a.queue, a.index)
	g.tidy(a.queue)
}

// tidy drops a queue that is of no use any more.
func (g *agenda) tidy(q *queue) {
	if len(q.waiting) == 0 && !q.busy {
		delete(g.queues, q.integration)
	}
}

// Len implements sort.Interface.
func (q *queue) Len() int { return len(q.waiting) }

// Less implements sort.Interface.
func (q *queue) Less(i, j int) bool { return q.waiting[i].at.Before(q.waiting[j].at) }

// Swap implements sort.Interface.
func (q *queue) Swap(i, j int) {
	q.waiting[i], q.waiting[j] = q.waiting[j], q.waiting[i]
	q.waiting[i].index, q.waiting[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	a := x.(*appointment) //nolint:errcheck // heap.Push is called with nothing else
	a.index = len(q.waiting)
	q.waiting = append(q.waiting, a)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(q.waiting) - 1
	a := q.waiting[last]
	q.waiting[last] = nil
	q.waiting = q.waiting[:last]
	return a
}
