package awsiam

import (
	"context"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// overdueAfter is how long a user is left alone that should be worked on, before that
// is worth telling: a pass of the reaper begins every minute.
const overdueAfter = 5 * time.Minute

// census is what is known in memory of the users of an integration.
type census struct {
	users   int
	byState map[userState]int
	oldest  datedUser // when its record was first written
	overdue int       // users that the reaper should have got to
	// failing is how many could not be deleted yet, first and last which of them began
	// to fail when, and next when one of them is tried again.
	failing     int
	first, last datedUser
	next        time.Time
}

// datedUser is a user and a time; empty for none.
type datedUser struct {
	username string
	at       time.Time
}

// earlier returns the one of the earlier time.
func (d datedUser) earlier(other datedUser) datedUser {
	if d.username == "" || other.username != "" && other.at.Before(d.at) {
		return other
	}
	return d
}

func (d datedUser) later(other datedUser) datedUser {
	if d.username == "" || other.at.After(d.at) {
		return other
	}
	return d
}

// censuses are of all integrations that have users. What no record has told yet is
// in none.
type censuses struct {
	byIntegration map[string]*census
	unread        int  // records of which no more than the name is known
	unreadable    int  // records that cannot be understood
	complete      bool // there are no others, and none unread
}

// census looks at all users, which for twenty thousand takes a millisecond or so.
func (r *reaper) census() censuses {
	now := r.b.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	g := &r.agenda
	all := censuses{
		byIntegration: make(map[string]*census, len(g.queues)),
		unread:        g.count(kind{}), unreadable: g.count(unreadableKind),
	}
	all.complete = r.listed && all.unread == 0
	for name, q := range g.queues {
		if name != unread && len(q.waiting) > 0 {
			all.byIntegration[name] = q.census(now.Add(-overdueAfter))
		}
	}
	for _, of := range g.groups {
		if c := all.byIntegration[of.integration]; c != nil {
			c.byState[of.state] += of.n
		}
	}
	for username, since := range g.failing {
		a := g.byName[username]
		c := all.byIntegration[a.group.integration]
		if c == nil {
			continue
		}
		c.failing++
		c.first, c.last = c.first.earlier(datedUser{username, since}), c.last.later(datedUser{username, since})
		if c.next.IsZero() || a.at.Before(c.next) {
			c.next = a.at
		}
	}
	return all
}

func (q *queue) census(overdue time.Time) *census {
	c := &census{users: len(q.waiting), byState: make(map[userState]int)}
	var oldest *appointment
	for _, a := range q.waiting {
		if a.at.Before(overdue) {
			c.overdue++
		}
		if a.made != 0 && (oldest == nil || a.made < oldest.made) {
			oldest = a
		}
	}
	if oldest != nil {
		c.oldest = datedUser{oldest.username, time.Unix(oldest.made, 0)}
	}
	return c
}

// awaitLearnt has the records of earlier processes read, if they were not, and waits
// for that until the context ends.
func (r *reaper) awaitLearnt(ctx context.Context, s logical.Storage) {
	r.mu.Lock()
	learnt, known := r.learnt, r.listed && r.agenda.count(kind{}) == 0
	r.mu.Unlock()
	if known {
		return
	}
	r.start(s)
	select {
	case <-learnt:
	case <-ctx.Done():
	case <-r.lifetime.Done():
	}
}
