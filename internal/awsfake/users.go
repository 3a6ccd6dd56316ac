package awsfake

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// user is an IAM user with all that hangs on it.
type user struct {
	identity
	acct        *Account
	created     time.Time
	visibleFrom time.Time      // later than created under Lag.User
	goneAt      time.Time      // deleted, its sessions working until then; zero = not deleted
	tags        map[string]tag // by key in lower case
	boundary    *managedPolicy
	permissions []policyState // from identity, groups and boundary; see policiesChanged
	groups      []*group

	keys         []*accessKey
	login        *loginProfile
	sshKeys      []sshKey
	certificates []certificate
	serviceCreds []serviceCredential
	mfa          []*mfaDevice
}

// identity is what users, groups and roles have in common.
type identity struct {
	id, name, path string
	inline         map[string]*document // by policy name
	attached       []*managedPolicy
}

// documents are the policies of the identity itself.
func (i *identity) documents() []*document {
	docs := slices.Collect(maps.Values(i.inline))
	for _, p := range i.attached {
		docs = append(docs, p.doc)
	}
	return docs
}

// inlineSize is what counts against the quota on inline policies.
func (i *identity) inlineSize() int {
	size := 0
	for _, doc := range i.inline {
		size += doc.size
	}
	return size
}

func (u *user) arn() string { return u.acct.arn("user", u.path, u.name) }

type xmlUser struct {
	Path                string
	UserName            string `xml:",omitempty"`
	UserId, Arn         string
	CreateDate          string
	PermissionsBoundary *xmlBoundary `xml:",omitempty"`
	Tags                *list[tag]   `xml:",omitempty"`
}

type xmlBoundary struct{ PermissionsBoundaryType, PermissionsBoundaryArn string }

// brief is a user as lists give it: without tags and boundary.
func (u *user) brief() xmlUser {
	return xmlUser{Path: u.path, UserName: u.name, UserId: u.id, Arn: u.arn(), CreateDate: stamp(u.created)}
}

func (u *user) full() xmlUser {
	x := u.brief()
	if u.boundary != nil {
		x.PermissionsBoundary = &xmlBoundary{"PermissionsBoundaryPolicy", u.boundary.arn}
	}
	if len(u.tags) > 0 {
		x.Tags = &list[tag]{u.sortedTags()}
	}
	return x
}

func (u *user) sortedTags() []tag {
	return slices.SortedFunc(maps.Values(u.tags), func(a, b tag) int { return strings.Compare(a.Key, b.Key) })
}

func createUser(q *request) (any, error) {
	name := q.get("UserName")
	if q.acct.users[strings.ToLower(name)] != nil {
		return nil, fail("EntityAlreadyExists", "User with name %s already exists.", name)
	}
	if len(q.acct.users) >= maxUsers {
		return nil, exceeded("UsersPerAccount", maxUsers)
	}
	u := &user{
		identity: identity{id: newID("AIDA"), name: name, path: q.path("Path"), inline: map[string]*document{}},
		acct:     q.acct, created: q.now.Truncate(time.Second), visibleFrom: q.now.Add(q.lag.User), tags: map[string]tag{},
	}
	if arn := q.get("PermissionsBoundary"); arn != "" {
		boundary, err := q.managedPolicy(arn)
		if err != nil {
			return nil, err
		}
		u.bound(boundary)
	}
	for _, t := range q.tags() {
		u.tags[strings.ToLower(t.Key)] = t
	}
	q.acct.users[strings.ToLower(name)] = u
	u.policiesChanged(q.now.Add(q.lag.Policy))
	return struct{ User xmlUser }{u.full()}, nil
}

func getUser(q *request) (any, error) {
	if q.get("UserName") == "" && q.caller.isRoot() {
		root := xmlUser{Path: "/", UserId: q.acct.id, Arn: q.caller.arn(), CreateDate: stamp(q.now)}
		return struct{ User xmlUser }{root}, nil
	}
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	return struct{ User xmlUser }{u.full()}, nil
}

// onOldAndNewUser is what UpdateUser needs permission on: the user as it is and as it will be.
func onOldAndNewUser(q *request) []string {
	u, err := q.user()
	if err != nil {
		return onUser(q)
	}
	name, path := u.renamed(q)
	return []string{u.arn(), q.acct.arn("user", path, name)}
}

func (u *user) renamed(q *request) (name, path string) {
	name, path = u.name, u.path
	if n := q.get("NewUserName"); n != "" {
		name = n
	}
	if p := q.get("NewPath"); p != "" {
		path = p
	}
	return name, path
}

func updateUser(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	name, path := u.renamed(q)
	if other := q.acct.users[strings.ToLower(name)]; other != nil && other != u {
		return nil, fail("EntityAlreadyExists", "User with name %s already exists.", name)
	}
	delete(q.acct.users, strings.ToLower(u.name))
	u.name, u.path = name, path
	q.acct.users[strings.ToLower(name)] = u
	return nil, nil
}

// deleteUser refuses while anything but a boundary and tags hangs on the user. Where AWS's wording is
// known from reports it is used.
func deleteUser(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	for _, d := range []struct {
		count int
		must  string
	}{
		{len(u.keys), "delete access keys"},
		{len(u.inline), "delete policies"},
		{len(u.attached), "detach all policies"},
		{len(u.groups), "remove users from group"},
		{btoi(u.login != nil), "delete login profile"},
		{len(u.mfa), "delete MFA device"},
		{len(u.certificates), "delete signing certificates"},
		{len(u.sshKeys), "remove referenced objects"},
		{len(u.serviceCreds), "remove referenced objects"},
	} {
		if d.count > 0 {
			return nil, fail("DeleteConflict", "Cannot delete entity, must %s first.", d.must)
		}
	}
	u.bound(nil)
	u.goneAt = q.now.Add(q.lag.KeyDeletion)
	delete(q.acct.users, strings.ToLower(u.name))
	return nil, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func listUsers(q *request) (any, error) {
	var found []*user
	for _, u := range q.acct.users {
		if strings.HasPrefix(u.path, q.path("PathPrefix")) && q.sees(u) {
			found = append(found, u)
		}
	}
	found, p, err := paginate(q, found, func(u *user) string { return u.name })
	return struct {
		Users list[xmlUser]
		page
	}{listOf(found, (*user).brief), p}, err
}

func tagUser(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	all := maps.Clone(u.tags)
	for _, t := range q.tags() {
		all[strings.ToLower(t.Key)] = t
	}
	if len(all) > maxTags {
		return nil, exceeded("TagsPerUser", maxTags)
	}
	u.tags = all
	return nil, nil
}

func untagUser(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	for _, key := range q.list("TagKeys") {
		delete(u.tags, strings.ToLower(key))
	}
	return nil, nil
}

func listUserTags(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	tags, p, err := paginate(q, u.sortedTags(), func(t tag) string { return t.Key })
	return struct {
		Tags list[tag]
		page
	}{list[tag]{tags}, p}, err
}
