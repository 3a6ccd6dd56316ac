package chaos

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// cloudKind is a kind of trouble with AWS.
type cloudKind string

const (
	lostAfter   cloudKind = "answer lost, effect happened"
	lostBefore  cloudKind = "connection cut, no effect"
	failAfter   cloudKind = "500, effect happened"
	failBefore  cloudKind = "500, no effect"
	garbled     cloudKind = "garbled answer, effect happened"
	throttled   cloudKind = "throttled"
	delayed     cloudKind = "delayed"
	denied      cloudKind = "access denied"
	rateLimited cloudKind = "refused by rate limit"
	lagging     cloudKind = "eventual consistency lag"
)

// weather is some trouble with AWS that lasts for a while. Several may be up at
// a time.
type weather struct {
	kind  cloudKind
	after time.Duration // since the last began
	lasts time.Duration
	fault awsfake.Fault // of all kinds but the last two

	rate float64     // IAM calls a second and account
	lag  awsfake.Lag // of lagging
}

func (w weather) String() string {
	where := w.fault.Action
	if where == "" {
		where = "every call"
	}
	switch w.kind {
	case rateLimited:
		return fmt.Sprintf("%s of %.0f/s for %s", w.kind, w.rate, w.lasts.Round(time.Second))
	case lagging:
		return fmt.Sprintf("%s: users %s, keys %s, for %s", w.kind, w.lag.User.Round(time.Second), w.lag.Key.Round(time.Second), w.lasts.Round(time.Second))
	default:
		return fmt.Sprintf("%s: %s, %.0f%% for %s", w.kind, where, 100*w.probability(), w.lasts.Round(time.Second))
	}
}

func (w weather) probability() float64 {
	if w.fault.Probability == 0 {
		return 1
	}
	return w.fault.Probability
}

// hitActions are what a fault may be confined to: what the engine calls most,
// and where a wrong conclusion costs most.
var hitActions = []string{
	"CreateUser", "CreateAccessKey", "PutUserPolicy", "AttachUserPolicy", "AddUserToGroup",
	"DeleteUser", "DeleteAccessKey", "DeleteUserPolicy", "ListAccessKeys", "GetUser",
}

// cloudSchedule is the endless sequence of a seed's weather.
type cloudSchedule struct {
	random *rand.Rand
	kinds  bag[cloudKind]
}

func newCloudSchedule(seed uint64) *cloudSchedule {
	s := &cloudSchedule{random: stream(seed, cloudStream)}
	s.kinds.add(3, lostAfter)
	s.kinds.add(1, lostBefore)
	s.kinds.add(2, failAfter)
	s.kinds.add(1, failBefore)
	s.kinds.add(1, garbled)
	s.kinds.add(2, throttled)
	s.kinds.add(1, delayed)
	s.kinds.add(2, denied)
	s.kinds.add(1, rateLimited)
	s.kinds.add(2, lagging)
	return s
}

func (s *cloudSchedule) next() weather {
	w := weather{
		kind:  s.kinds.draw(s.random),
		after: between(s.random, time.Second, 5*time.Second),
		lasts: between(s.random, 4*time.Second, 15*time.Second),
	}
	w.fault = awsfake.Fault{Service: "iam", Probability: 0.05 + 0.35*s.random.Float64()}
	if s.random.IntN(2) == 0 {
		w.fault.Action = pick(s.random, hitActions...)
	}
	switch w.kind {
	case lostAfter:
		w.fault.Lost = true
	case lostBefore:
		w.fault.LostBefore = true
	case failAfter:
		w.fault.FailAfter = true
	case failBefore:
		w.fault.Status = pick(s.random, http.StatusInternalServerError, http.StatusServiceUnavailable)
	case garbled:
		w.fault.Garbled = true
	case throttled:
		w.fault.Code = pick(s.random, "Throttling", "RequestLimitExceeded")
	case delayed:
		// Beyond the 15 s that the engine grants one attempt, too.
		w.fault.Delay = between(s.random, time.Second, 18*time.Second)
	case denied:
		s.deny(&w)
	case rateLimited:
		w.rate = 6 + 14*s.random.Float64()
	case lagging:
		w.lag = awsfake.Lag{
			User: between(s.random, 0, 12*time.Second), Key: between(s.random, 0, longestLag),
			Policy: between(s.random, 0, 8*time.Second), KeyDeletion: between(s.random, 0, 5*time.Second),
		}
	}
	return w
}

// longestLag is how long it takes at most for the effect of a call to be seen
// everywhere, even once no lag is added any more.
const longestLag = 15 * time.Second

// deny refuses the integrations of one account: everything, as while somebody
// has their policy wrong, or now and then, as while it travels through AWS.
func (s *cloudSchedule) deny(w *weather) {
	w.fault.Code, w.fault.Account = "AccessDenied", pick(s.random, accounts...)
	w.fault.Probability = pick(s.random, 0, 0.5)
}
