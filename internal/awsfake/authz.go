package awsfake

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// conditionKeys are the condition keys of one call with their values, by name in lower case.
type conditionKeys map[string][]string

// verdict is what a set of policies says of a call.
type verdict int

const (
	silent verdict = iota
	allowed
	denied
)

// judge applies a set of policies: an explicit deny wins over any allow.
func judge(docs []*document, action, resource string, keys conditionKeys) verdict {
	result := silent
	for _, doc := range docs {
		for _, st := range doc.statements {
			if !st.covers(action, resource, keys, doc.variables) {
				continue
			}
			if !st.allow {
				return denied
			}
			result = allowed
		}
	}
	return result
}

func (st statement) covers(action, resource string, keys conditionKeys, variables bool) bool {
	acts := func(pattern string) bool {
		return glob(wildcards(strings.ToLower(pattern)), strings.ToLower(action))
	}
	on := func(text string) bool {
		pattern, ok := expand(text, keys, true, variables)
		return ok && glob(pattern, resource)
	}
	return (slices.ContainsFunc(st.actions, acts) || len(st.notActions) > 0 && !slices.ContainsFunc(st.notActions, acts)) &&
		(slices.ContainsFunc(st.resources, on) || len(st.notResources) > 0 && !slices.ContainsFunc(st.notResources, on)) &&
		st.conditionsHold(keys, variables)
}

func (st statement) conditionsHold(keys conditionKeys, variables bool) bool {
	return !slices.ContainsFunc(st.conditions, func(c condition) bool { return !c.holds(keys, variables) })
}

// authorize judges the call on each resource it touches. Tagging what is being made needs the right
// to tag as well.
func (q *request) authorize(resources []string) error {
	actions := []string{q.service.name + ":" + q.action}
	if q.action == "CreateUser" && len(q.tags()) > 0 {
		actions = append(actions, "iam:TagUser")
	}
	for _, action := range actions {
		for _, resource := range resources {
			if err := q.permit(action, resource); err != nil {
				return err
			}
		}
	}
	return nil
}

// permit judges one action on one resource by all that limits the caller.
func (q *request) permit(action, resource string) error {
	p := q.caller
	if p.isRoot() {
		return nil
	}
	keys := q.conditionKeys()
	docs, limits := p.permissions(q.now)
	refuse := func(why string) error {
		return fail("AccessDenied", "User: %s is not authorized to perform: %s on resource: %s %s", q.callerARN, action, resource, why)
	}
	switch judge(docs, action, resource, keys) {
	case denied:
		return refuse("with an explicit deny in an identity-based policy")
	case silent:
		return refuse("because no identity-based policy allows the " + action + " action")
	}
	for _, limit := range limits {
		switch judge([]*document{limit.doc}, action, resource, keys) {
		case denied:
			return refuse("with an explicit deny in a " + limit.kind)
		case silent:
			return refuse("because no " + limit.kind + " allows the " + action + " action")
		}
	}
	return nil
}

// limit is a policy that grants nothing, but without whose consent nothing is granted.
type limit struct {
	kind string
	doc  *document
}

// permissions are the caller's policies and its limits as they count at a time. A user's sessions
// are judged by what the user may now, an assumed role's by the role's policies.
func (p *principal) permissions(now time.Time) (docs []*document, limits []limit) {
	if p.user != nil {
		state := p.user.permissionsAt(now)
		docs = state.docs
		if state.boundary != nil {
			limits = append(limits, limit{"permissions boundary", state.boundary})
		}
	} else if p.role != nil {
		docs = p.role.documents()
	}
	if p.limit != nil {
		limits = append(limits, limit{"session policy", p.limit})
	}
	return docs, limits
}

// conditionKeys gathers the global keys and those of IAM and STS that the call has. AWS's clock is
// always among them.
func (q *request) conditionKeys() conditionKeys {
	p := q.caller
	keys := conditionKeys{
		"aws:currenttime":      {q.now.UTC().Format(time.RFC3339)},
		"aws:epochtime":        {strconv.FormatInt(q.now.Unix(), 10)},
		"aws:userid":           {p.userID()},
		"aws:principalarn":     {p.identityARN()},
		"aws:principalaccount": {p.acct.id},
		"aws:securetransport":  {"true"}, // as it would be in AWS; plain HTTP is this server's shortcut
	}
	set := func(key, value string) {
		if value != "" {
			keys[key] = []string{value}
		}
	}
	if p.user != nil {
		set("aws:username", p.user.name)
		for k, v := range p.user.tags {
			keys["aws:principaltag/"+k] = []string{v.Value} // may be empty, and is present then
		}
	}
	if p.temporary {
		set("aws:multifactorauthpresent", strconv.FormatBool(p.mfa))
	}
	set("aws:sourceip", q.sourceIP)
	set("iam:policyarn", q.get("PolicyArn"))
	set("iam:permissionsboundary", q.get("PermissionsBoundary"))
	set("sts:externalid", q.get("ExternalId"))
	set("sts:rolesessionname", q.get("RoleSessionName"))
	if u := q.acct.userByName(q.get("UserName")); u != nil && q.sees(u) {
		if u.boundary != nil && !q.form.Has("PermissionsBoundary") {
			set("iam:permissionsboundary", u.boundary.arn)
		}
		for k, v := range u.tags {
			keys["aws:resourcetag/"+k] = []string{v.Value}
			keys["iam:resourcetag/"+k] = []string{v.Value}
		}
	}
	tagKeys := q.list("TagKeys")
	for _, t := range q.tags() {
		keys["aws:requesttag/"+strings.ToLower(t.Key)] = []string{t.Value}
		tagKeys = append(tagKeys, t.Key)
	}
	if len(tagKeys) > 0 {
		keys["aws:tagkeys"] = tagKeys
	}
	return keys
}
