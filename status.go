package awsiam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-aws-iam/internal/governor"
)

// mostWarnings is how many a mount's status has, so that the first can be read.
const mostWarnings = 20

// figures are what can be told of one integration or, added up, of a whole mount.
type figures struct {
	census
	reasons     map[string]string // why the first and the last user could not be deleted
	calls       callCount
	waiting     int // calls
	wanted      int // users in pools
	ready       int
	room        room // of the account; of a mount, where least is left
	roomKnown   bool
	attention   []string // what somebody should look at, and what to do
	integration string   // empty for a mount
}

// add adds the figures of an integration to those of the mount.
func (f *figures) add(other *figures) {
	f.census.add(&other.census)
	maps.Copy(f.reasons, other.reasons)
	f.calls.add(&other.calls)
	f.wanted += other.wanted
	f.ready += other.ready
	if other.roomKnown && (!f.roomKnown || other.room.left() < f.room.left()) {
		f.room, f.roomKnown = other.room, true
	}
	f.attention = append(f.attention, other.attention...)
}

func newFigures(integration string) figures {
	return figures{
		census: census{byState: make(map[userState]int)}, reasons: make(map[string]string),
		calls: callCount{failed: make(map[string]int)}, integration: integration,
	}
}

func (c *census) add(other *census) {
	c.users += other.users
	for state, n := range other.byState {
		c.byState[state] += n
	}
	c.oldest = c.oldest.earlier(other.oldest)
	c.overdue += other.overdue
	c.failing += other.failing
	c.first, c.last = c.first.earlier(other.first), c.last.later(other.last)
	if c.next.IsZero() || !other.next.IsZero() && other.next.Before(c.next) {
		c.next = other.next
	}
}

func (c *callCount) add(other *callCount) {
	c.made += other.made
	c.throttled += other.throttled
	for code, n := range other.failed {
		c.failed[code] += n
	}
}

func (r *room) left() int { return max(0, r.quota-r.users) }

// integrationStatus is how one integration is doing.
type integrationStatus struct {
	figures
	in      *integration // nil if it is not there, or damaged
	damage  error
	account string             // empty if AWS has not been asked
	reach   error              // why AWS cannot be reached, or does not let the integration in
	load    governor.Load      // of the account, whichever mounts and integrations call it
	shared  *governor.Governor // whose load it is
	tidy    tidyState          // of the last run; empty for none
}

// mountStatus is how all integrations of the mount are doing, by name.
type mountStatus struct {
	censuses
	integrations map[string]*integrationStatus
	storage      error // how storage fails the reaper
}

// lookAt finds out how the integrations are doing, and waits no longer than
// askTimeout, or a moment more, for AWS and for the records of earlier processes.
func (b *backend) lookAt(ctx context.Context, req *logical.Request, names []string) (*mountStatus, error) {
	m := &mountStatus{integrations: make(map[string]*integrationStatus)}
	for _, name := range names {
		st, err := b.lookInStorage(ctx, req.Storage, name)
		if err != nil {
			return nil, err
		}
		m.integrations[name] = st
	}
	b.askAround(ctx, req.Storage, m.integrations)
	m.censuses, m.storage = b.reaper.census(), b.reaper.storageTrouble()
	if err := b.lookIntoPools(ctx, req.Storage, m.integrations); err != nil {
		return nil, err
	}
	for name, st := range m.integrations {
		if found := m.byIntegration[name]; found != nil {
			st.census = *found
		}
		st.calls = b.calls.count(name)
		if st.account != "" && st.in != nil {
			st.shared = st.in.governor(st.account)
			st.load = st.shared.Load()
			st.waiting = st.load.Waiting
		}
		if err := b.readReasons(ctx, req.Storage, &st.figures); err != nil {
			return nil, err
		}
		st.advise(b.now(), req.MountPoint)
	}
	return m, nil
}

// lookInStorage begins the status of an integration with what storage says of it.
func (b *backend) lookInStorage(ctx context.Context, s logical.Storage, name string) (*integrationStatus, error) {
	st := &integrationStatus{figures: newFigures(name)}
	in, err := getIntegration(ctx, s, name)
	switch {
	case errors.Is(err, errDamagedIntegration):
		st.damage = err
	case err != nil:
		return nil, err
	case in != nil:
		st.in, st.account = in, in.AccountID
	}
	run, err := b.tidies.status(ctx, s, name)
	switch {
	case errors.Is(err, errDamaged): // the log has it
	case err != nil:
		return nil, err
	case run != nil:
		st.tidy = run.State
		if run.State == tidyFailed {
			st.attention = append(st.attention, fmt.Sprintf("integration %q: the last tidy failed: %s", name, run.Error))
		}
	}
	return st, nil
}

// askAround asks AWS, by way of each integration, how many users its account has and
// may have. That it answers shows that the integration works, be it that it may not
// ask. Meanwhile the records of earlier processes are read.
func (b *backend) askAround(ctx context.Context, s logical.Storage, integrations map[string]*integrationStatus) {
	// Longer than a call has: that one says better what is in the way.
	ctx, cancel := context.WithTimeout(ctx, askTimeout+askTimeout/6)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { b.awaitRecords(ctx, s) })
	for name, st := range integrations {
		if st.in == nil {
			continue
		}
		all.Go(func() {
			conn, err := b.connect(ctx, s, name)
			if err != nil { // nobody has said whose it is
				st.reach = err
				if ctx.Err() != nil {
					st.reach = errSilent
				}
				return
			}
			st.account = conn.accountID
			st.room = conn.ask(ctx, b.now)
			err = st.room.err
			st.roomKnown = err == nil
			var busy *governor.BusyError
			if !hasCode(err, codeAccessDenied) && !errors.As(err, &busy) && !throttled(err) {
				st.reach = err
			}
		})
	}
	all.Wait()
}

// awaitRecords waits for the records of earlier processes, but not for long.
func (b *backend) awaitRecords(ctx context.Context, s logical.Storage) {
	if b.WriteSafeReplicationState() {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		b.reaper.awaitLearnt(ctx, s)
	}
}

// lookIntoPools adds what the roles' pools are to have and what they have.
func (b *backend) lookIntoPools(ctx context.Context, s logical.Storage, integrations map[string]*integrationStatus) error {
	states := b.pools.states()
	for _, name := range slices.Sorted(maps.Keys(states)) {
		r, err := b.roleCache.get(ctx, s, name)
		if err != nil || r == nil || integrations[r.Integration] == nil {
			continue // one that cannot be read, or is gone, has no pool
		}
		st, pool := integrations[r.Integration], states[name]
		st.wanted += r.PoolSize
		st.ready += pool.ready
		if pool.failure != "" && pool.ready < r.PoolSize {
			st.attention = append(st.attention, fmt.Sprintf("integration %q: the pool of role %q has %d of %d users, and cannot be filled: %s",
				r.Integration, name, pool.ready, r.PoolSize, pool.failure))
		}
	}
	return ctx.Err()
}

// readReasons reads why the first and the last user could not be deleted.
func (b *backend) readReasons(ctx context.Context, s logical.Storage, f *figures) error {
	for _, failed := range []datedUser{f.first, f.last} {
		if failed.username == "" {
			continue
		}
		u, err := b.readUser(ctx, s, failed.username)
		switch {
		case unreadable(err):
			f.reasons[failed.username] = err.Error()
		case err != nil:
			return err
		case u != nil: // else it is gone by now
			f.reasons[failed.username] = u.LastError
		}
	}
	return nil
}

// data has the figures as both an integration's and a mount's status show them.
func (f *figures) data(now time.Time) map[string]any {
	data := map[string]any{
		fieldHealthy: len(f.attention) == 0,

		fieldUsers:              f.users,
		fieldUsersActive:        f.byState[stateActive],
		fieldUsersCreating:      f.byState[stateCreating],
		fieldUsersPooled:        f.byState[statePooled],
		fieldUsersDeleting:      f.byState[stateDeleting],
		fieldUsersOverdue:       f.overdue,
		fieldUsersOldest:        f.oldest.username,
		fieldUsersOldestCreated: timestamp(f.oldest.at),
		fieldUsersOldestAge:     age(f.oldest.at, now),

		fieldDeletionsFailing:     f.failing,
		fieldDeletionsNextAttempt: timestamp(f.next),
		fieldDeletionsGrant:       f.missingActions(),
		fieldDeletionsFirstUser:   f.first.username,
		fieldDeletionsFirstSince:  timestamp(f.first.at),
		fieldDeletionsFirstError:  f.firstReason(),
		fieldDeletionsLastUser:    f.last.username,
		fieldDeletionsLastSince:   timestamp(f.last.at),
		fieldDeletionsLastError:   f.reasons[f.last.username],

		fieldCalls:          f.calls.made,
		fieldCallsThrottled: f.calls.throttled,
		fieldCallsFailed:    f.calls.failed,
		fieldCallsWaiting:   f.waiting,

		fieldPoolWanted: f.wanted,
		fieldPoolReady:  f.ready,
	}
	if f.roomKnown {
		data[fieldAccountHeadroom] = f.room.left()
	}
	return data
}

// data is what a read shows.
func (st *integrationStatus) data(now, since time.Time) map[string]any {
	data := st.figures.data(now)
	data[fieldIntegration] = st.integration
	data[fieldCallsSince] = timestamp(since)
	data[fieldCallsRate] = math.Round(10*st.load.Rate) / 10
	data[fieldCallsLastThrottled] = timestamp(st.load.Throttled)
	data[fieldAccountID] = st.account
	data[fieldAccountError] = ""
	switch {
	case st.roomKnown:
		data[fieldAccountUsers], data[fieldAccountQuota] = st.room.users, st.room.quota
	case st.in != nil:
		data[fieldAccountError] = st.roomUnknown()
	}
	data[fieldConnection] = "works"
	switch {
	case st.in == nil:
		data[fieldConnection] = "unknown: the integration cannot be read"
	case st.reach != nil:
		data[fieldConnection] = describe(st.reach)
	}
	data[fieldTidy] = string(st.tidy)
	in := st.in
	if in == nil {
		in = newIntegration(st.integration)
	}
	data[fieldMaxUsers] = in.MaxUsers
	data[fieldVerified], data[fieldVerifiedAt] = in.verified(), timestamp(in.VerifiedAt)
	data[fieldLastRotation] = timestamp(in.Rotation.Last)
	data[fieldNextRotation] = timestamp(in.Rotation.next())
	data[fieldLastRotationError] = in.Rotation.lastError()
	return data
}

// data is what a read shows of the mount.
func (m *mountStatus) data(now, since time.Time, mount string) (data map[string]any, attention []string) {
	whole := newFigures("")
	unwell, governors := []string{}, make(map[*governor.Governor]bool)
	for _, name := range slices.Sorted(maps.Keys(m.integrations)) {
		st := m.integrations[name]
		whole.add(&st.figures)
		if len(st.attention) > 0 {
			unwell = append(unwell, name)
		}
		if st.shared != nil && !governors[st.shared] { // several may be of one account
			governors[st.shared] = true
			whole.waiting += st.waiting
		}
	}
	if m.storage != nil {
		whole.attention = append(whole.attention, fmt.Sprintf("Vault's storage fails the reaper, so that users stay whose end is due: %s", describe(m.storage)))
	}
	if m.unreadable > 0 {
		whole.attention = append(whole.attention, fmt.Sprintf("%d record(s) of users cannot be read, and are in no other figure: "+
			`"vault read %susers list=true state=%s" lists them`, m.unreadable, mount, stateUnreadable))
	}
	data = whole.data(now)
	data[fieldUsersUnreadable], data[fieldUsersUnread] = m.unreadable, m.unread
	data[fieldCallsSince] = timestamp(since)
	data[fieldIntegrations] = append([]string{}, slices.Sorted(maps.Keys(m.integrations))...)
	data[fieldIntegrationsUnwell] = unwell
	if attention = whole.attention; len(attention) > mostWarnings {
		attention = append(attention[:mostWarnings:mostWarnings], fmt.Sprintf("and %d more: read %sstatus/<integration> of those that %s names",
			len(attention)-mostWarnings, mount, fieldIntegrationsUnwell))
	}
	return data, attention
}

// age is how long ago it was, for people; empty for no time.
func age(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	d := max(0, now.Sub(at)).Round(time.Second)
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.String()
}
