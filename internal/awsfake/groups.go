package awsfake

import (
	"maps"
	"slices"
	"strings"
	"time"
)

type group struct {
	identity
	acct    *Account
	created time.Time
	members map[*user]bool
}

func (g *group) arn() string { return g.acct.arn("group", g.path, g.name) }

type xmlGroup struct{ Path, GroupName, GroupId, Arn, CreateDate string }

func (g *group) xml() xmlGroup { return xmlGroup{g.path, g.name, g.id, g.arn(), stamp(g.created)} }

func (acct *Account) groupByName(name string) *group {
	if g := acct.groups[strings.ToLower(name)]; g != nil && g.name == name {
		return g
	}
	return nil
}

func (q *request) group() (*group, error) {
	if g := q.acct.groupByName(q.get("GroupName")); g != nil {
		return g, nil
	}
	return nil, noSuch("group", q.get("GroupName"))
}

func createGroup(q *request) (any, error) {
	name := q.get("GroupName")
	if q.acct.groups[strings.ToLower(name)] != nil {
		return nil, fail("EntityAlreadyExists", "Group with name %s already exists.", name)
	}
	if len(q.acct.groups) >= maxGroups {
		return nil, exceeded("GroupsPerAccount", maxGroups)
	}
	g := &group{
		identity: identity{id: newID("AGPA"), name: name, path: q.path("Path"), inline: map[string]*document{}},
		acct:     q.acct, created: q.now, members: map[*user]bool{},
	}
	q.acct.groups[strings.ToLower(name)] = g
	return struct{ Group xmlGroup }{g.xml()}, nil
}

func getGroup(q *request) (any, error) {
	g, err := q.group()
	if err != nil {
		return nil, err
	}
	members, p, err := paginate(q, slices.Collect(maps.Keys(g.members)), func(u *user) string { return u.name })
	return struct {
		Group xmlGroup
		Users list[xmlUser]
		page
	}{g.xml(), listOf(members, (*user).brief), p}, err
}

func deleteGroup(q *request) (any, error) {
	g, err := q.group()
	switch {
	case err != nil:
		return nil, err
	case len(g.members) > 0:
		return nil, fail("DeleteConflict", "Cannot delete entity, must remove users from group first.")
	case len(g.inline) > 0:
		return nil, fail("DeleteConflict", "Cannot delete entity, must delete policies first.")
	}
	delete(q.acct.groups, strings.ToLower(g.name))
	return nil, nil
}

func listGroups(q *request) (any, error) {
	var found []*group
	for _, g := range q.acct.groups {
		if strings.HasPrefix(g.path, q.path("PathPrefix")) {
			found = append(found, g)
		}
	}
	return groupPage(q, found)
}

func groupPage(q *request, groups []*group) (any, error) {
	groups, p, err := paginate(q, groups, func(g *group) string { return g.name })
	return struct {
		Groups list[xmlGroup]
		page
	}{listOf(groups, (*group).xml), p}, err
}

func listGroupsForUser(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	return groupPage(q, slices.Clone(u.groups))
}

// groupAndUser finds both that a membership is made of.
func (q *request) groupAndUser() (*group, *user, error) {
	g, err := q.group()
	if err != nil {
		return nil, nil, err
	}
	u, err := q.user()
	return g, u, err
}

func addUserToGroup(q *request) (any, error) {
	g, u, err := q.groupAndUser()
	if err != nil || slices.Contains(u.groups, g) {
		return nil, err
	}
	if len(u.groups) >= maxUserGroups {
		return nil, exceeded("GroupsPerUser", maxUserGroups)
	}
	u.groups, g.members[u] = append(u.groups, g), true
	u.policiesChanged(q.now.Add(q.lag.Policy))
	return nil, nil
}

func removeUserFromGroup(q *request) (any, error) {
	g, u, err := q.groupAndUser()
	if err != nil || !slices.Contains(u.groups, g) {
		return nil, err // removing who is not a member succeeds
	}
	u.groups = slices.DeleteFunc(u.groups, func(other *group) bool { return other == g })
	delete(g.members, u)
	u.policiesChanged(q.now.Add(q.lag.Policy))
	return nil, nil
}

func putGroupPolicy(q *request) (any, error) {
	g, err := q.group()
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(q.get("PolicyDocument"), q.acct.partition, identityPolicy)
	if err != nil {
		return nil, err
	}
	if err := g.put(q.get("PolicyName"), doc, maxGroupPolicySize, "group"); err != nil {
		return nil, err
	}
	g.policiesChanged(q)
	return nil, nil
}

func deleteGroupPolicy(q *request) (any, error) {
	g, err := q.group()
	if err != nil {
		return nil, err
	}
	if err := g.drop(q.get("PolicyName"), "group"); err != nil {
		return nil, err
	}
	g.policiesChanged(q)
	return nil, nil
}

func (g *group) policiesChanged(q *request) {
	for u := range g.members {
		u.policiesChanged(q.now.Add(q.lag.Policy))
	}
}
