package awsfake

import (
	"slices"
	"strings"
)

func attachUserPolicy(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	policy, err := q.managedPolicy(q.get("PolicyArn"))
	if err != nil {
		return nil, err
	}
	if slices.Contains(u.attached, policy) {
		return nil, nil
	}
	if len(u.attached) >= maxAttachedPolicies {
		return nil, exceeded("PoliciesPerUser", maxAttachedPolicies)
	}
	u.attached = append(u.attached, policy)
	policy.attachments++
	u.policiesChanged(q.now.Add(q.lag.Policy))
	return nil, nil
}

func detachUserPolicy(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(u.attached, func(p *managedPolicy) bool { return p.arn == q.get("PolicyArn") })
	if i < 0 {
		return nil, fail("NoSuchEntity", "Policy %s was not found.", q.get("PolicyArn"))
	}
	u.attached[i].attachments--
	u.attached = slices.Delete(slices.Clone(u.attached), i, i+1)
	u.policiesChanged(q.now.Add(q.lag.Policy))
	return nil, nil
}

func listAttachedUserPolicies(q *request) (any, error) {
	type attached struct{ PolicyName, PolicyArn string }
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	var found []*managedPolicy
	for _, p := range u.attached {
		if strings.HasPrefix(p.path, q.path("PathPrefix")) {
			found = append(found, p)
		}
	}
	found, p, err := paginate(q, found, func(p *managedPolicy) string { return p.arn })
	return struct {
		AttachedPolicies list[attached]
		page
	}{listOf(found, func(p *managedPolicy) attached { return attached{p.name, p.arn} }), p}, err
}

// bound sets the user's permissions boundary, or removes it.
func (u *user) bound(policy *managedPolicy) {
	if u.boundary != nil {
		u.boundary.boundaries--
	}
	if u.boundary = policy; policy != nil {
		policy.boundaries++
	}
}

func putUserPermissionsBoundary(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	policy, err := q.managedPolicy(q.get("PermissionsBoundary"))
	if err != nil {
		return nil, err
	}
	u.bound(policy)
	u.policiesChanged(q.now.Add(q.lag.Policy))
	return nil, nil
}

func deleteUserPermissionsBoundary(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	if u.boundary == nil {
		return nil, fail("NoSuchEntity", "The user %s has no permissions boundary.", u.name)
	}
	u.bound(nil)
	u.policiesChanged(q.now.Add(q.lag.Policy))
	return nil, nil
}
