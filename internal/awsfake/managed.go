package awsfake

import (
	"strings"
	"time"
)

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
