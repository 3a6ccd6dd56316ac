package main

import (
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// meter counts the calls of a mass revocation as they end, apart from those for
// new leases. Both engines put the role's name into the user's.
type meter struct {
	mass, fresh string // what the users' names contain

	mu          sync.Mutex
	calls       counted
	freshCalls  counted
	deleted     int
	lastDeleted time.Time
}

type counted struct{ total, throttled int }

func newMeter(at site) *meter {
	return &meter{mass: "-" + at.role(massRole) + "-", fresh: "-" + at.role(freshRole) + "-"}
}

// watch is for [awsfake.AWS.Watch].
func (m *meter) watch(call awsfake.Call) {
	m.mu.Lock()
	defer m.mu.Unlock()
	of := &m.calls
	switch {
	case strings.Contains(call.User, m.mass):
	case strings.Contains(call.User, m.fresh):
		of = &m.freshCalls
	default:
		return
	}
	of.total++
	if call.Code == "Throttling" {
		of.throttled++
	}
	if of == &m.calls && call.Action == "DeleteUser" && call.Code == "" && call.Status != 0 {
		m.deleted++
		m.lastDeleted = call.End
	}
}

// progress is how many users of the mass have been deleted, and when the last was.
func (m *meter) progress() (deleted int, last time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.deleted, m.lastDeleted
}

// counts are the calls so far for the mass and for new leases.
func (m *meter) counts() (mass, fresh counted) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls, m.freshCalls
}
