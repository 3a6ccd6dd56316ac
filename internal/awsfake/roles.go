package awsfake

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

type role struct {
	identity
	acct       *Account
	created    time.Time
	trust      *document
	maxSession time.Duration
}

func (r *role) arn() string { return r.acct.arn("role", r.path, r.name) }

type xmlRole struct {
	Path, RoleName, RoleId, Arn, CreateDate string
	AssumeRolePolicyDocument                string
	MaxSessionDuration                      int
}

func (r *role) xml() xmlRole {
	return xmlRole{r.path, r.name, r.id, r.arn(), stamp(r.created), encoded(r.trust), int(r.maxSession.Seconds())}
}

func (acct *Account) roleByName(name string) *role {
	if r := acct.roles[strings.ToLower(name)]; r != nil && r.name == name {
		return r
	}
	return nil
}

func (q *request) role() (*role, error) {
	if r := q.acct.roleByName(q.get("RoleName")); r != nil {
		return r, nil
	}
	return nil, noSuch("role", q.get("RoleName"))
}

func createRole(q *request) (any, error) {
	name := q.get("RoleName")
	if q.acct.roles[strings.ToLower(name)] != nil {
		return nil, fail("EntityAlreadyExists", "Role with name %s already exists.", name)
	}
	trust, err := parseDocument(q.get("AssumeRolePolicyDocument"), q.acct.partition, trustPolicy)
	if err != nil {
		return nil, err
	}
	longest, err := q.seconds("MaxSessionDuration", time.Hour, time.Hour, 12*time.Hour)
	if err != nil {
		return nil, err
	}
	r := &role{
		identity: identity{id: newID("AROA"), name: name, path: q.path("Path"), inline: map[string]*document{}},
		acct:     q.acct, created: q.now, trust: trust, maxSession: longest,
	}
	q.acct.roles[strings.ToLower(name)] = r
	return struct{ Role xmlRole }{r.xml()}, nil
}

func getRole(q *request) (any, error) {
	r, err := q.role()
	if err != nil {
		return nil, err
	}
	return struct{ Role xmlRole }{r.xml()}, nil
}

func deleteRole(q *request) (any, error) {
	r, err := q.role()
	if err != nil {
		return nil, err
	}
	if len(r.inline) > 0 {
		return nil, fail("DeleteConflict", "Cannot delete entity, must delete policies first.")
	}
	delete(q.acct.roles, strings.ToLower(r.name))
	return nil, nil
}

func putRolePolicy(q *request) (any, error) {
	r, err := q.role()
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(q.get("PolicyDocument"), q.acct.partition, identityPolicy)
	if err != nil {
		return nil, err
	}
	return nil, r.put(q.get("PolicyName"), doc, maxRolePolicySize, "role")
}

func deleteRolePolicy(q *request) (any, error) {
	r, err := q.role()
	if err != nil {
		return nil, err
	}
	return nil, r.drop(q.get("PolicyName"), "role")
}

// seconds reads a duration parameter within its bounds.
func (q *request) seconds(name string, byDefault, least, most time.Duration) (time.Duration, error) {
	text := q.get(name)
	if text == "" {
		return byDefault, nil
	}
	n, err := strconv.Atoi(text)
	d := time.Duration(n) * time.Second
	if err != nil || d < least || d > most {
		return 0, invalid("'"+text+"'", name, "Member must have value between "+
			strconv.Itoa(int(least.Seconds()))+" and "+strconv.Itoa(int(most.Seconds())))
	}
	return d, nil
}

// trusts judges a role's trust policy. direct tells that it names the caller itself and not only its
// account (or anybody): within the account that is enough without a policy of the caller's own.
func (r *role) trusts(p *principal, keys conditionKeys) (v verdict, direct bool) {
	root := "arn:" + p.acct.partition + ":iam::" + p.acct.id + ":root"
	for _, st := range r.trust.statements {
		itself := slices.Contains(st.principals, p.arn()) || slices.Contains(st.principals, p.identityARN())
		anybody := slices.ContainsFunc(st.principals, func(s string) bool { return s == root || s == p.acct.id || s == "*" })
		acts := slices.ContainsFunc(st.actions, func(a string) bool {
			return glob(wildcards(strings.ToLower(a)), "sts:assumerole")
		})
		if !acts || !itself && !anybody || !st.conditionsHold(keys, r.trust.variables) {
			continue
		}
		if !st.allow {
			return denied, false
		}
		v, direct = allowed, direct || itself
	}
	return v, direct
}
