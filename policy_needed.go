package awsiam

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/hashicorp/vault/sdk/logical"
)

// maxManagedPolicySize is IAM's bound on a managed policy, white space not
// counted (reference_iam-quotas).
const maxManagedPolicySize = 6144

// permission is one statement of a policy that an integration needs. Its Sid says
// what for.
type permission struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string][]string `json:",omitempty"`

	// uses is what needs it, as the README's table words it.
	uses string
}

// needs is what decides which permissions an integration has to have: itself,
// its roles, and the users that it has issued, whose roles may have changed.
type needs struct {
	partition string // "*" while AWS has not said, as is the account
	account   string
	roleARN   string
	keyOwner  []string // the user whose key the integration has; empty without one
	rotates   bool     // that key, on schedule
	federated bool     // no identity of AWS's assumes the role

	lentRoles   []string // that borrowers assume
	lentCallers []string // borrowers that are the same caller, whose policies it needs too
	callerOf    string   // whose caller it is; empty without, or with a role of its own
	unused      bool     // it has neither role nor user

	paths        []string // where its users are
	namePrefixes []string // what their names begin with
	policyARNs   []string
	groups       []string
	boundaries   []string
	unbounded    bool // a role has no boundary
	tags         bool

	// What users still have of roles that do not give it any more.
	formerPolicyARNs []string
	formerGroups     []string
}

// needsOf gathers what the integration needs. What cannot be read is left out,
// and returned as warnings.
func needsOf(ctx context.Context, s logical.Storage, in *integration) (n *needs, warnings []string, err error) {
	n = newNeeds(in)
	borrowers, err := borrowersOf(ctx, s, in.Name)
	if err != nil {
		return nil, nil, err
	}
	for _, borrower := range borrowers {
		n.lend(borrower)
	}
	for _, err := range []error{
		eachRole(ctx, s, func(r *role) {
			if r.Integration == in.Name {
				n.addRole(in, r)
			}
		}),
		eachUser(ctx, s, func(u *userRecord) {
			if u.Integration == in.Name {
				n.addUser(u)
			}
		}),
	} {
		var unreadable refusal
		switch {
		case errors.As(err, &unreadable):
			warnings = append(warnings, "what these need is missing: "+err.Error())
		case err != nil:
			return nil, nil, err
		}
	}
	n.settle()
	return n, warnings, nil
}

func newNeeds(in *integration) *needs {
	n := &needs{
		partition: cmp.Or(in.Partition, "*"), account: cmp.Or(in.AccountID, "*"), roleARN: in.RoleARN,
		paths: []string{in.UserPath}, namePrefixes: []string{namePrefix(in.UsernameTemplate)},
		rotates: in.Rotation.Period > 0, federated: in.federated(), unused: true,
	}
	if in.RoleARN == "" {
		n.callerOf = in.SourceIntegration
	}
	switch parsed, err := arn.Parse(in.CallerARN); {
	case in.AccessKey == "":
	case err == nil && strings.HasPrefix(parsed.Resource, "user/"):
		n.keyOwner = []string{in.CallerARN}
	default:
		// Beneath an assumed role, or not verified: whoever uses the policy. The
		// name is unique in the account, so that the second is with its path.
		n.keyOwner = []string{"arn:" + n.partition + ":iam::*:user/${aws:username}", "arn:" + n.partition + ":iam::*:user/*/${aws:username}"}
	}
	return n
}

// lend adds an integration that borrows from this one.
func (n *needs) lend(borrower *integration) {
	if borrower.RoleARN == "" {
		n.lentCallers = append(n.lentCallers, borrower.Name)
		return
	}
	n.lentRoles = append(n.lentRoles, borrower.RoleARN)
}

// lendsOnly says that the integration is there for its borrowers alone.
func (n *needs) lendsOnly() bool { return n.unused && len(n.lentRoles)+len(n.lentCallers) > 0 }

// addRole needs no path: a role's own lies beneath the integration's.
func (n *needs) addRole(in *integration, r *role) {
	n.unused = false
	n.namePrefixes = append(n.namePrefixes, namePrefix(r.usernameTemplate(in)))
	n.policyARNs = append(n.policyARNs, r.PolicyARNs...)
	n.groups = append(n.groups, r.IAMGroups...)
	n.tags = n.tags || len(r.IAMTags) > 0
	if r.PermissionsBoundaryARN == "" {
		n.unbounded = true
	} else {
		n.boundaries = append(n.boundaries, r.PermissionsBoundaryARN)
	}
}

// addUser adds what deleting the user takes: it was made by the role and the
// integration as they were.
func (n *needs) addUser(u *userRecord) {
	n.unused = false
	n.paths = append(n.paths, u.Path)
	n.namePrefixes = append(n.namePrefixes, u.Username)
	n.formerPolicyARNs = append(n.formerPolicyARNs, u.PolicyARNs...)
	n.formerGroups = append(n.formerGroups, u.Groups...)
}

// settle sorts, and drops what stands there twice or is covered by another.
func (n *needs) settle() {
	for _, list := range []*[]string{&n.policyARNs, &n.groups, &n.boundaries, &n.formerPolicyARNs, &n.formerGroups, &n.lentRoles} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	for _, list := range []*[]string{&n.paths, &n.namePrefixes} {
		*list = shortestPrefixes(*list)
	}
	n.formerPolicyARNs = except(n.formerPolicyARNs, n.policyARNs)
	n.formerGroups = except(n.formerGroups, n.groups)
}

// shortestPrefixes drops what begins with another of the list.
func shortestPrefixes(list []string) []string {
	slices.Sort(list) // what begins with another follows it
	var shortest []string
	for _, text := range list {
		if last := len(shortest) - 1; last < 0 || !strings.HasPrefix(text, shortest[last]) {
			shortest = append(shortest, text)
		}
	}
	return shortest
}

func except(list, other []string) []string {
	return slices.DeleteFunc(list, func(text string) bool { return slices.Contains(other, text) })
}

// namePrefix is what all names begin with that the template renders.
func namePrefix(usernameTemplate string) string {
	prefix, _, _ := strings.Cut(cmp.Or(usernameTemplate, defaultUsernameTemplate), "{{")
	return strings.TrimSpace(prefix) // "{{-" takes away the space before it
}

// bounded says that every user is made with one of the known boundaries.
func (n *needs) bounded() bool { return len(n.boundaries) > 0 && !n.unbounded }

func (n *needs) arn(resource string) string {
	return "arn:" + n.partition + ":iam::" + n.account + ":" + resource
}

// users are the users by their paths. A pattern's "*" crosses "/", so that the
// integration's path covers those of its roles and, of all mounts, the segments.
func (n *needs) users() []string {
	var arns []string
	for _, path := range n.paths {
		arns = append(arns, n.arn("user"+path+"*"))
	}
	return arns
}

// usersByName also covers users that do not exist, which have no path.
func (n *needs) usersByName() []string {
	var arns []string
	for _, prefix := range n.namePrefixes {
		arns = append(arns, n.arn("user/"+prefix+"*"))
	}
	return arns
}

// groupARNs has each group with and without a path, which a role does not name.
// The name is unique in the account, so that both are of one group only.
func (n *needs) groupARNs(names []string) []string {
	var arns []string
	for _, name := range names {
		arns = append(arns, n.arn("group/"+name), n.arn("group/*/"+name))
	}
	return arns
}

// policyJSON renders the statements as a policy to paste into AWS.
func policyJSON(statements []permission) (string, error) {
	if len(statements) == 0 {
		return "", nil
	}
	for i := range statements {
		statements[i].Effect = "Allow"
	}
	document, err := json.MarshalIndent(struct {
		Version   string
		Statement []permission
	}{"2012-10-17", statements}, "", "  ")
	return string(document), err
}
