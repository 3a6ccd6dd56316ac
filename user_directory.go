package awsiam

import "time"

// stateUnreadable is what lists call the state of a record that cannot be
// understood. No record has it.
const stateUnreadable userState = "unreadable"

// The reaper's agenda has what lists and lookups ask of records, as this process has
// read or written them last, so that a list of thousands need not read them all. It is
// a hint only: who is there is for storage to say, and of who is doubtful, or not
// known, the record is read. That makes lists right from the first request of a
// process on.
//
// As in cache, no lock is held while storage is read or written, and a reading that a
// change overtook is not kept.

// userFacts is what lists and lookups ask of a record.
type userFacts struct {
	kind
	accessKeyID string
}

func (u *userRecord) facts() userFacts { return userFacts{kindOf(u), u.AccessKeyID} }

// reading is of one record. It has a size, so that no two have the same address.
type reading struct{ _ byte }

// wrote takes in what storage has: what was written, or read under the user's lock.
func (r *reaper) wrote(u *userRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.agenda.readings, u.Username)
	r.agenda.enter(u, u.due(r.b.now())).doubtful = false
}

// failed takes in what was to be written. Nobody knows which record is there, so that
// the reaper looks soon.
func (r *reaper) failed(u *userRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writeFailed = r.b.now()
	r.expect(u, r.writeFailed)
}

// expect is for a record whose writing has begun, and for callers that hold the lock.
func (r *reaper) expect(u *userRecord, at time.Time) {
	delete(r.agenda.readings, u.Username)
	r.agenda.enter(u, at).doubtful = true
}

// forget is for a record that was removed.
func (r *reaper) forget(username string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.agenda.readings, username)
	r.agenda.strike(username)
}

// doubt is for a record of which nobody knows what it says, or whether it is there.
func (r *reaper) doubt(username string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.agenda.readings, username)
	if a := r.agenda.byName[username]; a != nil {
		a.doubtful = true
	}
}

// doubtAll has all records looked at again, and those found that were added. Where
// nobody works, they are forgotten.
func (r *reaper) doubtAll(working bool) {
	now := r.b.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.agenda.readings)
	r.listed = false
	for username, a := range r.agenda.byName {
		if !working {
			r.agenda.strike(username)
			continue
		}
		a.doubtful = true
		r.agenda.note(username, kind{}, now)
	}
}

// illegible is for a record that cannot be understood, which another look soon does
// not mend.
func (r *reaper) illegible(username string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.agenda.readings, username)
	r.noteIllegible(username)
}

// noteIllegible is for callers that hold the lock.
func (r *reaper) noteIllegible(username string) {
	a := r.agenda.note(username, unreadableKind, r.b.now().Add(unreadablePause))
	a.doubtful = false
	r.agenda.index(a, "")
}

// beginReading is called ahead of the reading of a record, whose end is told to endReading.
func (r *reaper) beginReading(username string) *reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	this := new(reading)
	r.agenda.readings[username] = this
	return this
}

// endReading takes in what was read, unless the record was written or removed meanwhile, or
// another reading of it began. What counts go by is not changed by a reading while
// a write is under way, or in doubt.
func (r *reaper) endReading(username string, this *reading, u *userRecord, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := &r.agenda
	if g.readings[username] != this {
		return
	}
	delete(g.readings, username)
	a := g.byName[username]
	known := a != nil && a.group.integration != unread
	switch {
	case known && a.doubtful:
	case unreadable(err):
		r.noteIllegible(username)
	case err != nil:
	case u == nil:
		g.strike(username)
	case known && a.group.kind == kindOf(u):
		g.enter(u, a.at).doubtful = false // work on it may be under way
	default:
		g.enter(u, u.due(r.b.now())).doubtful = false
	}
}

// known returns the facts of those of the users of whom there is no doubt.
func (r *reaper) known(usernames []string) map[string]userFacts {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := make(map[string]userFacts, len(usernames))
	for _, username := range usernames {
		if a := r.agenda.byName[username]; a != nil && !a.doubtful && a.group.kind != (kind{}) {
			found[username] = userFacts{a.group.kind, a.accessKeyID}
		}
	}
	return found
}

// holder is whose record has the access key, as far as is known.
func (r *reaper) holder(accessKeyID string) (username string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.agenda.byKey[accessKeyID]; a != nil {
		return a.username, true
	}
	return "", false
}
