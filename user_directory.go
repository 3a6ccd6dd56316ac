package awsiam

import "sync"

// stateUnreadable is what lists call the state of a record that cannot be
// understood. No record has it.
const stateUnreadable userState = "unreadable"

// userFacts is what lists and lookups ask of a record.
type userFacts struct {
	role, integration, accessKeyID string
	state                          userState
}

func (u *userRecord) facts() userFacts {
	return userFacts{role: u.Role, integration: u.Integration, accessKeyID: u.AccessKeyID, state: u.State}
}

// userDirectory has the facts of the records that this process has read or written
// last, so that a list of thousands need not read them all. It is a hint only: who
// is there is for storage to say, and of who is not in the directory the record is
// read. That makes it right from the first request of a process on.
//
// As in cache, no lock is held while storage is read or written, and a reading
// that a change overtook is not kept.
type userDirectory struct {
	mu     sync.Mutex
	byName map[string]userFacts
	byKey  map[string]string // user names by access key id
	// readings are the readings under way that no change has overtaken.
	readings map[string]*reading
}

// reading is of one record. It has a size, so that no two have the same address.
type reading struct{ _ byte }

func newUserDirectory() *userDirectory {
	return &userDirectory{byName: make(map[string]userFacts), byKey: make(map[string]string), readings: make(map[string]*reading)}
}

// note takes in what was written.
func (x *userDirectory) note(username string, facts userFacts) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.readings, username)
	x.set(username, facts)
}

// forget is for a record that was removed, or of which nobody knows what it says.
func (x *userDirectory) forget(username string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.readings, username)
	x.drop(username)
}

func (x *userDirectory) forgetAll() {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.readings)
	clear(x.byName)
	clear(x.byKey)
}

// begin is called ahead of the reading of a record, whose end is told to end.
func (x *userDirectory) begin(username string) *reading {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := new(reading)
	x.readings[username] = r
	return r
}

// end takes in what was read, nil where there was nothing to learn, unless the
// record was written or removed meanwhile, or another reading of it began.
func (x *userDirectory) end(username string, r *reading, facts *userFacts) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.readings[username] != r {
		return
	}
	delete(x.readings, username)
	if facts == nil {
		x.drop(username)
		return
	}
	x.set(username, *facts)
}

// known returns the facts of those of the users that are in the directory.
func (x *userDirectory) known(usernames []string) map[string]userFacts {
	x.mu.Lock()
	defer x.mu.Unlock()
	found := make(map[string]userFacts, len(usernames))
	for _, username := range usernames {
		if facts, ok := x.byName[username]; ok {
			found[username] = facts
		}
	}
	return found
}

// holder is whose record has the access key, as far as is known.
func (x *userDirectory) holder(accessKeyID string) (username string, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	username, ok = x.byKey[accessKeyID]
	return username, ok
}

// set and drop are for callers that hold the lock.
func (x *userDirectory) set(username string, facts userFacts) {
	x.drop(username)
	x.byName[username] = facts
	if facts.accessKeyID != "" {
		x.byKey[facts.accessKeyID] = username
	}
}

func (x *userDirectory) drop(username string) {
	// A copy of a record under another's key must not take that key with it.
	if key := x.byName[username].accessKeyID; x.byKey[key] == username {
		delete(x.byKey, key)
	}
	delete(x.byName, username)
}
