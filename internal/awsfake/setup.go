package awsfake

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// do performs a call for a test's set-up: as root, without a network, authorization, faults, lag or
// a trace in the counters, but with all validation and quotas. It panics on an error, which can only
// be a mistake in the test.
func (acct *Account) do(actionName string, params ...string) any {
	q := &request{aws: acct.aws, service: iamService, action: actionName, form: url.Values{}, acct: acct, caller: &principal{acct: acct}}
	q.callerARN = q.caller.arn()
	for i := 0; i < len(params); i += 2 {
		q.form.Set(params[i], params[i+1])
	}
	acct.aws.mu.Lock()
	defer acct.aws.mu.Unlock()
	q.now = acct.aws.now()
	act := iamActions[actionName]
	err := q.validate(act.required)
	var result any
	if err == nil {
		result, err = act.do(q)
	}
	if err != nil {
		panic(fmt.Sprintf("awsfake: %s %q: %v", actionName, params, err))
	}
	return result
}

// made is do for a call whose answer is of use.
func made[T any](acct *Account, actionName string, params ...string) T {
	result, ok := acct.do(actionName, params...).(T)
	if !ok {
		panic("awsfake: " + actionName + " answers something else")
	}
	return result
}

// AddUser makes a user with inline policies (named policy-0, policy-1, …) and an access key that
// works at once. Like all that begins with Add it is for a test's set-up: it is not authorized and
// not counted, quotas apply, and it panics on what AWS would refuse.
func (acct *Account) AddUser(path, name string, policyDocs ...string) (UserInfo, Credentials) {
	acct.do("CreateUser", "Path", path, "UserName", name)
	for i, doc := range policyDocs {
		acct.do("PutUserPolicy", "UserName", name, "PolicyName", "policy-"+strconv.Itoa(i), "PolicyDocument", doc)
	}
	key := made[struct{ AccessKey xmlKey }](acct, "CreateAccessKey", "UserName", name).AccessKey
	info, _ := acct.User(name)
	return info, Credentials{AccessKeyID: key.AccessKeyId, SecretAccessKey: key.SecretAccessKey}
}

// AddRole makes a role that a principal (the ARN of a user, a role or an account's root) may assume,
// with inline policies.
func (acct *Account) AddRole(name, trustedPrincipal string, policyDocs ...string) (arn string) {
	return acct.addRole(name, trustedPrincipal, nil, policyDocs)
}

// AddRoleWithExternalID is [Account.AddRole] for a role that demands an external id.
func (acct *Account) AddRoleWithExternalID(name, trustedPrincipal, externalID string, policyDocs ...string) (arn string) {
	return acct.addRole(name, trustedPrincipal, map[string]any{"StringEquals": map[string]string{"sts:ExternalId": externalID}}, policyDocs)
}

func (acct *Account) addRole(name, trusted string, condition map[string]any, policyDocs []string) string {
	if !strings.HasPrefix(trusted, "arn:") {
		panic(fmt.Sprintf("awsfake: trusted principal %q is not an ARN", trusted))
	}
	statement := map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": map[string]string{"AWS": trusted}}
	if condition != nil {
		statement["Condition"] = condition
	}
	return acct.addRoleTrusting(name, statement, policyDocs)
}

func (acct *Account) addRoleTrusting(name string, statement map[string]any, policyDocs []string) string {
	trust, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statement})
	must(err)
	role := made[struct{ Role xmlRole }](acct, "CreateRole", "RoleName", name, "AssumeRolePolicyDocument", string(trust)).Role
	for i, doc := range policyDocs {
		acct.do("PutRolePolicy", "RoleName", name, "PolicyName", "policy-"+strconv.Itoa(i), "PolicyDocument", doc)
	}
	return role.Arn
}

// AddManagedPolicy makes a customer managed policy.
func (acct *Account) AddManagedPolicy(path, name, doc string) (arn string) {
	return made[struct{ Policy xmlPolicy }](acct, "CreatePolicy", "Path", path, "PolicyName", name, "PolicyDocument", doc).Policy.Arn
}

// AddGroup makes a group with inline policies.
func (acct *Account) AddGroup(name string, policyDocs ...string) {
	acct.do("CreateGroup", "GroupName", name)
	for i, doc := range policyDocs {
		acct.do("PutGroupPolicy", "GroupName", name, "PolicyName", "policy-"+strconv.Itoa(i), "PolicyDocument", doc)
	}
}
