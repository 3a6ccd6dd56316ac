package governor

import "time"

// waiter is a call that waits for its turn.
type waiter struct {
	task  *Task
	class Class         // the task's when the call came, which says in which line it is
	turn  chan struct{} // closed when the call may be made
	index int           // in the line; negative once it is out of it
	began time.Time     // when the call was let go
}

// line holds the calls of one class that wait, those of the oldest task first.
// It implements heap.Interface.
type line []*waiter

// Len implements sort.Interface.
func (l line) Len() int { return len(l) }

// Less implements sort.Interface.
func (l line) Less(i, j int) bool { return l[i].task.before(l[j].task) }

// Swap implements sort.Interface.
func (l line) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].index, l[j].index = i, j
}

// Push implements heap.Interface.
func (l *line) Push(x any) {
	w := x.(*waiter) //nolint:errcheck // nothing else is pushed
	w.index = len(*l)
	*l = append(*l, w)
}

// Pop implements heap.Interface.
func (l *line) Pop() any {
	last := len(*l) - 1
	w := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	w.index = -1
	return w
}
