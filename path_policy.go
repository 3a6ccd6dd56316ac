package awsiam

import (
	"context"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	fieldOptionalPolicyDocument = "optional_policy_document"
	fieldSourcePolicyDocument   = "source_policy_document"
)

func policyResponseFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldPolicyDocument:         {Type: framework.TypeString, Required: true, Description: "IAM policy that the integration's user, or the role it assumes, has to have, for its roles as they are now."},
		fieldOptionalPolicyDocument: {Type: framework.TypeString, Required: true, Description: "IAM policy that helps beyond that: for tidy and status, and with users that others have changed."},
		fieldSourcePolicyDocument:   {Type: framework.TypeString, Required: true, Description: "IAM policy for the identity that assumes role_arn; empty without one, and where identity tokens are exchanged for it."},
	}
}

func (b *backend) pathPolicy() []*framework.Path {
	read := &framework.PathOperation{
		Callback: b.policyRead, Summary: "Show the IAM policy that an integration needs.", Description: policyHelp,
		Responses: okResponse("The policies, as JSON to paste into AWS.", policyResponseFields(), http.StatusNotFound),
	}
	paths := perIntegration("policy", nil, logical.ReadOperation, read, "The IAM policy that an integration needs.")
	for _, path := range paths {
		path.HelpDescription = policyHelp
	}
	return nameOperations(paths, "", "policy")
}

func (b *backend) policyRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, err := integrationName(d)
	if err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	in, err := getIntegration(ctx, req.Storage, name)
	if err != nil || in == nil {
		return nil, err
	}
	n, warnings, err := needsOf(ctx, req.Storage, in)
	if err != nil {
		return nil, err
	}
	resp := &logical.Response{Data: make(map[string]any), Warnings: append(warnings, n.warnings()...)}
	for field, statements := range map[string][]permission{
		fieldPolicyDocument:         n.required(),
		fieldOptionalPolicyDocument: n.optional(),
		fieldSourcePolicyDocument:   n.source(),
	} {
		document, err := policyJSON(statements)
		if err != nil {
			return nil, fmt.Errorf("encoding the policy of integration %q: %w", name, err)
		}
		resp.Data[field] = document
		minified, err := minifyPolicy(document)
		if document != "" && (err != nil || len(minified) > maxManagedPolicySize) {
			resp.AddWarning(fmt.Sprintf("%s has %d characters without white space, a managed policy of IAM at most %d: "+
				"make several of its statements", field, len(minified), maxManagedPolicySize))
		}
	}
	return resp, nil
}

// warnings are about what makes the policy wider than it has to be.
func (n *needs) warnings() []string {
	var warnings []string
	if n.account == "*" {
		warnings = append(warnings, "AWS was not asked who the integration is, so that the policy names neither partition nor account: "+
			"write the integration with "+fieldVerifyConnection+"=true, which takes no permission, and read this again")
	}
	if n.paths[0] == "/" {
		warnings = append(warnings, fieldUserPath+" is \"/\": the policy is for all users of the account")
	}
	if len(n.lentCallers) > 0 {
		warnings = append(warnings, "integration(s) "+some(n.lentCallers)+" are the same caller to AWS: it needs the policies of each, too")
	}
	if n.callerOf != "" {
		warnings = append(warnings, fmt.Sprintf("the integration is to AWS who integration %q is: that one needs this policy, too", n.callerOf))
	}
	return warnings
}

const policyHelp = `
The least-privilege IAM policy for the integration and its roles as they are
now, as JSON to paste into AWS; each statement's Sid says what it is for. Read it
again when roles use other managed policies, groups or boundaries.

policy_document is needed: the eight actions of the core on the integration's
user_path, and what its roles' features take. optional_policy_document helps
with tidy, status and users that others have changed. source_policy_document is
for the identity that assumes role_arn: with source_integration that is the
source, whose own policy_document has it, for all who borrow from it.

None of these is longer than a managed policy may be, 6,144 characters without
white space, or a warning says so. A user's inline policies have room for 2,048.`
