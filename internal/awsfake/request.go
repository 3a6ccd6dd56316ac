package awsfake

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// request is one call being performed.
type request struct {
	aws       *AWS
	service   service
	action    string
	form      url.Values
	id        string
	now       time.Time
	acct      *Account
	caller    *principal
	callerARN string
	sourceIP  string
	lag       Lag
}

// action is one API call: what it does, what it is authorized on, and which parameters it cannot do
// without. Actions without on authorize themselves or need no permission.
type action struct {
	do       func(*request) (any, error)
	on       func(*request) []string
	required []string
}

// perform authenticates, throttles, validates and authorizes a call, in this order, and does it.
func (q *request) perform(r *http.Request, body []byte, sig signature) (any, error) {
	who, err := q.aws.authenticate(r, body, sig, q.service)
	if err != nil {
		return nil, err
	}
	q.aws.mu.Lock()
	defer q.aws.mu.Unlock()
	q.now, q.lag = q.aws.now(), q.aws.lag
	q.sourceIP, _, _ = net.SplitHostPort(r.RemoteAddr) // "" where there is none, as in a recorded test
	q.caller, q.acct, q.callerARN = who, who.acct, who.arn()
	if q.service == iamService && !q.acct.admit() {
		q.aws.log.countThrottled()
		return nil, fail("Throttling", "Rate exceeded")
	}
	act, err := q.lookup()
	if err != nil {
		return nil, err
	}
	if err := q.validate(act.required); err != nil {
		return nil, err
	}
	if act.on != nil {
		if err := q.authorize(act.on(q)); err != nil {
			return nil, err
		}
	}
	return act.do(q)
}

// unsigned says whether the call needs no signature.
func (q *request) unsigned() bool { return q.service == stsService && q.action == webIdentity }

// performUnsigned is perform for a call that brings its own proof of who makes it.
func (q *request) performUnsigned() (any, error) {
	q.aws.mu.Lock()
	defer q.aws.mu.Unlock()
	q.now = q.aws.now()
	act := stsActions[q.action]
	if err := q.validate(act.required); err != nil {
		return nil, err
	}
	return act.do(q)
}

// lookup finds the action called. Some calls do not exist in every partition.
func (q *request) lookup() (action, error) {
	table := iamActions
	if q.service == stsService {
		table = stsActions
	}
	act, ok := table[q.action]
	if !ok || q.form.Get("Version") != q.service.version || q.acct.partition == "aws-cn" && notInChina[q.action] {
		return action{}, fail("InvalidAction", "Could not find operation %s for version %s", q.action, q.form.Get("Version"))
	}
	return act, nil
}

func (q *request) get(name string) string { return q.form.Get(name) }

// list reads Name.member.1, Name.member.2, …
func (q *request) list(name string) []string {
	var values []string
	for i := 1; q.form.Has(name + ".member." + strconv.Itoa(i)); i++ {
		values = append(values, q.get(name+".member."+strconv.Itoa(i)))
	}
	return values
}

// tag is a key with its value, as sent and as answered.
type tag struct{ Key, Value string }

// tags reads Tags.member.1.Key, Tags.member.1.Value, …
func (q *request) tags() []tag {
	var tags []tag
	for i := 1; q.form.Has("Tags.member." + strconv.Itoa(i) + ".Key"); i++ {
		prefix := "Tags.member." + strconv.Itoa(i)
		tags = append(tags, tag{q.get(prefix + ".Key"), q.get(prefix + ".Value")})
	}
	return tags
}

// user is the user a call is about: the one named, or else the caller.
func (q *request) user() (*user, error) {
	name := q.get("UserName")
	if name == "" {
		if q.caller.user == nil {
			return nil, fail("ValidationError", "Must specify userName when calling with non-User credentials")
		}
		return q.caller.user, nil
	}
	if u := q.acct.userByName(name); u != nil && q.sees(u) {
		return u, nil
	}
	return nil, fail("NoSuchEntity", "The user with name %s cannot be found.", name)
}

// sees tells whether the news of a user has spread.
func (q *request) sees(u *user) bool {
	return !q.now.Before(u.visibleFrom)
}
