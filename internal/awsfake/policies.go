package awsfake

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
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

// managedPolicy is a customer's or AWS's own policy. It has one version.
type managedPolicy struct {
	id, arn, name, path     string
	doc                     *document
	created                 time.Time
	attachments, boundaries int
}

// managedPolicy finds a policy that can be attached.
func (q *request) managedPolicy(arn string) (*managedPolicy, error) {
	if p := q.acct.policies[arn]; p != nil {
		return p, nil
	}
	if !arnForm.MatchString(arn) {
		return nil, fail("InvalidInput", "ARN %s is not valid.", arn)
	}
	return nil, fail("NoSuchEntity", "Policy %s does not exist or is not attachable.", arn)
}

// addAWSPolicies gives the account some of AWS's own policies, in the account's partition.
func (acct *Account) addAWSPolicies() {
	for name, statements := range map[string]string{
		"AdministratorAccess": `{"Effect":"Allow","Action":"*","Resource":"*"}`,
		"ReadOnlyAccess":      `{"Effect":"Allow","Action":["iam:Get*","iam:List*","ec2:Describe*","s3:Get*","s3:List*"],"Resource":"*"}`,
		"IAMReadOnlyAccess":   `{"Effect":"Allow","Action":["iam:Get*","iam:List*","iam:Simulate*"],"Resource":"*"}`,
		"AWSCompromisedKeyQuarantineV3": `{"Effect":"Deny","Action":["iam:AttachUserPolicy","iam:CreateAccessKey","iam:CreateUser",` +
			`"iam:PutUserPolicy","iam:UpdateAccessKey","iam:UpdateUser","ec2:RunInstances","s3:DeleteBucket","organizations:LeaveOrganization"],"Resource":"*"}`,
	} {
		doc, err := parseDocument(`{"Version":"2012-10-17","Statement":[`+statements+`]}`, acct.partition, identityPolicy)
		must(err)
		arn := "arn:" + acct.partition + ":iam::aws:policy/" + name
		acct.policies[arn] = &managedPolicy{id: newID("ANPA"), arn: arn, name: name, path: "/", doc: doc, created: time.Unix(1e9, 0)}
	}
}

type xmlPolicy struct {
	PolicyName, PolicyId, Arn, Path, DefaultVersionId string
	AttachmentCount, PermissionsBoundaryUsageCount    int
	IsAttachable                                      bool
	CreateDate, UpdateDate                            string
}

func (p *managedPolicy) xml() xmlPolicy {
	return xmlPolicy{p.name, p.id, p.arn, p.path, "v1", p.attachments, p.boundaries, true, stamp(p.created), stamp(p.created)}
}

func createPolicy(q *request) (any, error) {
	name := q.get("PolicyName")
	for _, p := range q.acct.policies {
		if strings.EqualFold(p.name, name) && !strings.Contains(p.arn, ":iam::aws:") {
			return nil, fail("EntityAlreadyExists", "A policy called %s already exists. Duplicate names are not allowed.", name)
		}
	}
	doc, err := parseDocument(q.get("PolicyDocument"), q.acct.partition, identityPolicy)
	if err != nil {
		return nil, err
	}
	if doc.size > maxManagedSize {
		return nil, exceeded("PolicySize", maxManagedSize)
	}
	p := &managedPolicy{
		id: newID("ANPA"), arn: q.acct.arn("policy", q.path("Path"), name), name: name, path: q.path("Path"),
		doc: doc, created: q.now,
	}
	q.acct.policies[p.arn] = p
	return struct{ Policy xmlPolicy }{p.xml()}, nil
}

func (q *request) namedPolicy() (*managedPolicy, error) {
	if p := q.acct.policies[q.get("PolicyArn")]; p != nil {
		return p, nil
	}
	return nil, fail("NoSuchEntity", "Policy %s was not found.", q.get("PolicyArn"))
}

func getPolicy(q *request) (any, error) {
	p, err := q.namedPolicy()
	if err != nil {
		return nil, err
	}
	return struct{ Policy xmlPolicy }{p.xml()}, nil
}

func deletePolicy(q *request) (any, error) {
	p, err := q.namedPolicy()
	switch {
	case err != nil:
		return nil, err
	case strings.Contains(p.arn, ":iam::aws:"):
		return nil, fail("AccessDenied", "Cannot delete a policy of AWS's own.")
	case p.attachments+p.boundaries > 0:
		return nil, fail("DeleteConflict", "Cannot delete a policy attached to entities.")
	}
	delete(q.acct.policies, p.arn)
	return nil, nil
}
