package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// lookInterval is the pause between two looks at all live leases.
const lookInterval = 2 * time.Second

// destructive are the calls after which a live lease is looked at, at once.
var destructive = map[string]bool{
	"DeleteUser": true, "DeleteAccessKey": true, "DeleteUserPolicy": true,
	"DetachUserPolicy": true, "RemoveUserFromGroup": true,
}

// cut is a live lease that has lost something.
type cut struct {
	lease lease
	at    time.Time
	lost  string // what of
	after string // the call that was seen to do it, if one was
	vault string // what Vault said of the lease then
}

// watcher sees to it that no live lease loses anything.
type watcher struct {
	cloud  *cloud
	ledger *ledger
	// ask returns what Vault says of a lease.
	ask func(lease) string

	mu     sync.Mutex
	cuts   []*cut
	asking sync.WaitGroup
}

// saw is told of every call that AWS has answered.
func (w *watcher) saw(c awsfake.Call) {
	if destructive[c.Action] && !w.cloud.isRoot(c) {
		w.look(c.User, fmt.Sprintf("%s by %s, answered %d %s", c.Action, c.CallerARN, c.Status, c.Code))
	}
}

// run looks at all live leases, again and again, until the context ends.
func (w *watcher) run(ctx context.Context) {
	for pause(ctx, lookInterval) {
		w.lookAtAll()
	}
}

func (w *watcher) lookAtAll() {
	for _, held := range w.ledger.allLive(time.Now()) {
		w.look(held.username, "")
	}
}

// look compares the user of a lease with what was handed out. That the lease is
// live is asked after the damage was seen: whoever ends a lease notes it first.
func (w *watcher) look(username, after string) {
	held, ok := w.ledger.get(username)
	if !ok {
		return
	}
	user, found := w.cloud.Account(held.account).User(username)
	lost := held.lost(user, found)
	if lost == "" {
		return
	}
	w.cut(username, lost, after)
}

// cut notes that a lease was cut, if it is live.
func (w *watcher) cut(username, lost, after string) {
	now := time.Now()
	if held, ok := w.ledger.live(username, now); ok && w.ledger.end(username, "cut") {
		w.report(held, now, lost, after)
	}
}

// report notes a cut, and asks Vault what it knows of the lease.
func (w *watcher) report(held lease, at time.Time, lost, after string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := &cut{lease: held, at: at, lost: lost, after: after}
	w.cuts = append(w.cuts, found)
	w.asking.Go(func() {
		answer := w.ask(held)
		w.mu.Lock()
		defer w.mu.Unlock()
		found.vault = answer
	})
}

// all returns the cuts, once Vault has answered on each.
func (w *watcher) all() []*cut {
	w.asking.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.cuts)
}

// lost says what the user does not have any more of what it was issued with;
// others may have hung more on it.
func (l *lease) lost(user awsfake.UserInfo, found bool) string {
	if !found {
		return "the user"
	}
	var lost []string
	for _, part := range []struct {
		what      string
		had, have []string
	}{
		{"user", []string{l.had.ID}, []string{user.ID}},
		{"access key", keyIDs(l.had), keyIDs(user)},
		{"inline policy", policyNames(l.had), policyNames(user)},
		{"attached policy", l.had.AttachedPolicies, user.AttachedPolicies},
		{"group", l.had.Groups, user.Groups},
	} {
		for _, item := range part.had {
			if !slices.Contains(part.have, item) {
				lost = append(lost, part.what+" "+item)
			}
		}
	}
	if l.entity != "" && !bears(user, l.entity) {
		lost = append(lost, "entity "+l.entity)
	}
	return strings.Join(lost, ", ")
}

// bears says whether the entity is in what the user may do, and in its tag.
func bears(user awsfake.UserInfo, entity string) bool {
	for _, document := range user.Policies {
		if strings.Contains(document, entity) {
			return user.Tags[entityTag] == entity
		}
	}
	return false
}

func keyIDs(user awsfake.UserInfo) []string {
	var ids []string
	for _, key := range user.AccessKeys {
		if key.Active {
			ids = append(ids, key.ID)
		}
	}
	return ids
}

func policyNames(user awsfake.UserInfo) []string {
	var names []string
	for name := range user.Policies {
		names = append(names, name)
	}
	return names
}

// pause waits, and says whether the wait was not interrupted.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
