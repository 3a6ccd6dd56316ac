package awsfake

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// put adds or replaces an inline policy within the identity's quota, which counts all of them.
func (i *identity) put(name string, doc *document, quota int, kind string) error {
	size := i.inlineSize() + doc.size
	if old := i.inline[name]; old != nil {
		size -= old.size
	}
	if size > quota {
		return fail("LimitExceeded", "Maximum policy size of %d bytes exceeded for %s %s", quota, kind, i.name)
	}
	i.inline[name] = doc
	return nil
}

// drop removes an inline policy.
func (i *identity) drop(name, kind string) error {
	if i.inline[name] == nil {
		return fail("NoSuchEntity", "The %s policy with name %s cannot be found.", kind, name)
	}
	delete(i.inline, name)
	return nil
}

// encoded is a policy document as answers carry it: percent-encoded (RFC 3986).
func encoded(doc *document) string {
	return strings.ReplaceAll(url.QueryEscape(doc.text), "+", "%20")
}

func putUserPolicy(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(q.get("PolicyDocument"), q.acct.partition, identityPolicy)
	if err != nil {
		return nil, err
	}
	if err := u.put(q.get("PolicyName"), doc, maxUserPolicySize, "user"); err != nil {
		return nil, err
	}
	u.policiesChanged(q.now.Add(q.lag.Policy))
	return nil, nil
}

func getUserPolicy(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	doc := u.inline[q.get("PolicyName")]
	if doc == nil {
		return nil, fail("NoSuchEntity", "The user policy with name %s cannot be found.", q.get("PolicyName"))
	}
	return struct{ UserName, PolicyName, PolicyDocument string }{u.name, q.get("PolicyName"), encoded(doc)}, nil
}

func deleteUserPolicy(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	if err := u.drop(q.get("PolicyName"), "user"); err != nil {
		return nil, err
	}
	u.policiesChanged(q.now.Add(q.lag.Policy))
	return nil, nil
}

func listUserPolicies(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	names, p, err := paginate(q, slices.Collect(maps.Keys(u.inline)), func(s string) string { return s })
	return struct {
		PolicyNames list[string]
		page
	}{list[string]{names}, p}, err
}
