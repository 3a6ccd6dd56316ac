package awsfake

import (
	"context"
	"net/http"
	"time"
)

// Lag is how late effects show, by AWS's clock: IAM is eventually consistent. It applies to what
// changes after it was set; what tests set up with [Account.AddUser] and its like works at once.
type Lag struct {
	Key         time.Duration // a new access key is InvalidClientTokenId for so long
	KeyDeletion time.Duration // a deleted access key goes on working for so long
	Policy      time.Duration // a user's policy put, attached or removed takes effect so late, directly or through a group
	// KeySpread is how much longer a new access key is InvalidClientTokenId to some: AWS has
	// several servers behind an endpoint, four here, which learn of it one after another. Which of
	// them answers is up to the connection; see [AWS.Server].
	KeySpread time.Duration
	User      time.Duration // a new user is answered as not existing for so long, on every call but CreateUser
}

// Servers is how many answer at an endpoint. Each has as many new connections as the others.
const Servers = 4

// Server is one of the servers behind the endpoint, from 0, the first to learn of a new key under
// [Lag.KeySpread], to Servers-1, the last. A test that listens with each can ask all of them, where
// connections to the endpoint meet one that other clients' connections decide.
func (a *AWS) Server(n int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), serverKey{}, n)))
	})
}

// serverKey is of the server in a request's context, where the connection does not decide.
type serverKey struct{}

// lateness is how much later than the first server the one behind the connection learns of a key;
// the caller holds the lock.
func (a *AWS) lateness(r *http.Request) time.Duration {
	if a.lag.KeySpread == 0 {
		return 0
	}
	server, known := r.Context().Value(serverKey{}).(int)
	if !known {
		server, known = a.serverOf[r.RemoteAddr]
	}
	if !known {
		server = len(a.serverOf) % Servers
		a.serverOf[r.RemoteAddr] = server
	}
	return a.lag.KeySpread * time.Duration(server) / (Servers - 1)
}

// SetLag sets how late the effects of calls to come show.
func (a *AWS) SetLag(l Lag) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lag = l
}

// policyState is what a user's permissions are from a time on.
type policyState struct {
	from     time.Time
	docs     []*document
	boundary *document
}

// policiesChanged notes a user's permissions as they now are, to take effect when the lag is over.
func (u *user) policiesChanged(from time.Time) {
	s := policyState{from: from, docs: u.documents()}
	for _, g := range u.groups {
		s.docs = append(s.docs, g.documents()...)
	}
	if u.boundary != nil {
		s.boundary = u.boundary.doc
	}
	u.permissions = append(u.permissions, s)
}

// permissionsAt is what counts at a time; older states are dropped.
func (u *user) permissionsAt(now time.Time) policyState {
	for len(u.permissions) > 1 && !u.permissions[1].from.After(now) {
		u.permissions = u.permissions[1:]
	}
	if len(u.permissions) == 0 || u.permissions[0].from.After(now) {
		return policyState{}
	}
	return u.permissions[0]
}
