package awsiam

import (
	"container/heap"
	"time"
)

// unread is the queue of records of which no more than the name is known.
const unread = ""

// agenda says when each record is to be looked at, and what counts, lists and lookups
// ask of it. Noting a time, and finding what is due, costs the logarithm of the number
// of records, so that thousands of healthy ones cost nothing. It is not safe for
// concurrent use.
type agenda struct {
	byName map[string]*appointment
	byKey  map[string]*appointment // by access key id
	queues map[string]*queue       // by integration
	groups map[kind]*group
	leased map[string]int // users by role, but for those that nobody was given
	// failing has since when the deletion of a user has been failing: of few users.
	failing map[string]time.Time
	// readings are the readings under way that no change has overtaken, by user.
	readings map[string]*reading
}

// appointment is when the record of a user is to be looked at. There is one for
// each record: it fills 80 bytes, and any more would cost 96.
type appointment struct {
	username    string
	accessKeyID string
	at          time.Time
	group       *group
	made        int64 // the record's Created in seconds of Unix time; 0 where that is not known
	index       int32 // in the group's queue
	// doubtful says that storage may have another record: a write is under way, or has
	// failed. Counts go by what was to be written, and lists by storage.
	doubtful bool
}

// kind is what users are counted by. The empty one is of records of which no more
// than the name is known.
type kind struct {
	integration, role string
	state             userState
	ahead             bool // nobody was given the user, which is none of the role's leases
}

// unreadableKind is the kind of records that were read and cannot be understood.
var unreadableKind = kind{integration: unread, state: stateUnreadable}

func kindOf(u *userRecord) kind {
	return kind{u.Integration, u.Role, u.State, u.Ahead != nil && u.Ahead.Taken.IsZero()}
}

// group is all appointments of a kind. They are in one queue.
type group struct {
	kind
	queue *queue
	n     int
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
	return agenda{
		byName: make(map[string]*appointment), byKey: make(map[string]*appointment), queues: make(map[string]*queue),
		groups: make(map[kind]*group), leased: make(map[string]int), failing: make(map[string]time.Time),
		readings: make(map[string]*reading),
	}
}

// note replaces what was noted of the user before. A kind that is not known does
// not make a known one forgotten.
func (g *agenda) note(username string, k kind, at time.Time) *appointment {
	a := g.byName[username]
	switch {
	case a == nil:
		a = &appointment{username: username, at: at}
		g.byName[username] = a
		g.join(a, k)
		heap.Push(a.group.queue, a)
	case k == kind{} || k.integration == a.group.integration:
		if k != (kind{}) && k != a.group.kind {
			before := a.group
			g.join(a, k) // first, so that the queue is not dropped
			g.part(before)
		}
		a.at = at
		heap.Fix(a.group.queue, int(a.index))
	default:
		g.leave(a)
		a.at = at
		g.join(a, k)
		heap.Push(a.group.queue, a)
	}
	return a
}

// enter notes all that a record says.
func (g *agenda) enter(u *userRecord, at time.Time) *appointment {
	a := g.note(u.Username, kindOf(u), at)
	a.made = u.Created.Unix()
	g.index(a, u.AccessKeyID)
	if u.State == stateDeleting && !u.FailedSince.IsZero() {
		g.failing[u.Username] = u.FailedSince
	} else {
		delete(g.failing, u.Username)
	}
	return a
}

// index has the user found by its access key; empty for none.
func (g *agenda) index(a *appointment, accessKeyID string) {
	// A copy of a record under another's key must not take that key with it.
	if g.byKey[a.accessKeyID] == a {
		delete(g.byKey, a.accessKeyID)
	}
	a.accessKeyID = accessKeyID
	if accessKeyID != "" {
		g.byKey[accessKeyID] = a
	}
}

// strike removes the user, if there.
func (g *agenda) strike(username string) {
	if a := g.byName[username]; a != nil {
		g.leave(a)
		g.index(a, "")
		delete(g.byName, username)
		delete(g.failing, username)
	}
}

// join counts the appointment in its new group.
func (g *agenda) join(a *appointment, k kind) {
	if g.groups[k] == nil {
		g.groups[k] = &group{kind: k, queue: g.queue(k.integration)}
	}
	a.group = g.groups[k]
	a.group.n++
	if !k.ahead {
		g.leased[k.role]++
	}
}

// part counts an appointment out of the group, and drops it when it is empty:
// roles come and go.
func (g *agenda) part(of *group) {
	of.n--
	if of.n == 0 {
		delete(g.groups, of.kind)
	}
	if !of.ahead {
		g.leased[of.role]--
		if g.leased[of.role] == 0 {
			delete(g.leased, of.role)
		}
	}
}

// count is how many appointments there are of the kind.
func (g *agenda) count(k kind) int {
	if of := g.groups[k]; of != nil {
		return of.n
	}
	return 0
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
	heap.Remove(a.group.queue, int(a.index))
	g.part(a.group)
	g.tidy(a.group.queue)
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
	q.waiting[i].index, q.waiting[j].index = int32(i), int32(j) //nolint:gosec // of users in memory
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	a := x.(*appointment)           //nolint:errcheck // heap.Push is called with nothing else
	a.index = int32(len(q.waiting)) //nolint:gosec // of users in memory
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
