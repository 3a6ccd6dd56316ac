package awsiam

import (
	"context"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	fieldRole                   = "role"
	fieldPolicyDocument         = "policy_document"
	fieldPolicyARNs             = "policy_arns"
	fieldIAMGroups              = "iam_groups"
	fieldPermissionsBoundaryARN = "permissions_boundary_arn"
	fieldIAMTags                = "iam_tags"
	fieldCredentialType         = "credential_type"
	fieldDefaultTTL             = "default_ttl"
	fieldMaxTTL                 = "max_ttl"
	fieldEnforceExpiry          = "enforce_expiry"
	fieldPropagationTimeout     = "propagation_timeout"
	fieldPoolSize               = "pool_size"
)

func roleFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldRole:                   {Type: framework.TypeString, Description: "Name of the role."},
		fieldIntegration:            {Type: framework.TypeString, Default: defaultIntegration, Description: "Integration whose account the users are made in."},
		fieldPolicyDocument:         {Type: framework.TypeString, Description: "Inline IAM policy of the users, as JSON. Resources and values of conditions may have Vault's identity templates, such as {{identity.entity.name}}."},
		fieldPolicyARNs:             {Type: framework.TypeCommaStringSlice, Description: "ARNs of managed policies to attach to the users."},
		fieldIAMGroups:              {Type: framework.TypeCommaStringSlice, Description: "Names of IAM groups to add the users to."},
		fieldPermissionsBoundaryARN: {Type: framework.TypeString, Description: "ARN of the managed policy that bounds what the users can do."},
		fieldIAMTags:                {Type: framework.TypeKVPairs, Description: "Tags of the users, as key=value pairs, at most 46. Values may have Vault's identity templates. The engine adds vault-mount, vault-role, vault-request-id and vault-entity-id."},
		fieldUserPath:               {Type: framework.TypeString, Description: "IAM path of the users; must begin with the integration's. The mount's own segment is appended. Default: the integration's."},
		fieldUsernameTemplate:       {Type: framework.TypeString, Description: "Template of the users' names. Default: the integration's."},
		fieldCredentialType:         {Type: framework.TypeString, Default: credentialTypeIAMUser, AllowedValues: among(credentialTypeIAMUser), Description: "Accepted for moving over from the built-in aws engine; only iam_user."},
		fieldDefaultTTL:             {Type: framework.TypeDurationSecond, Default: defaultDuration(defaultTTL), Description: "TTL of a lease whose reader asks for none."},
		fieldEnforceExpiry:          {Type: framework.TypeBool, Default: true, Description: "Have AWS deny everything to a user, and to the sessions it made for itself, once no lease of it can be alive any more, even if Vault is gone."},
		fieldPropagationTimeout:     {Type: framework.TypeDurationSecond, Default: defaultDuration(defaultPropagationTimeout), Description: "How long a reader waits, at most, until AWS lets the new key in. 0: not at all; at most 45s."},
		fieldPoolSize:               {Type: framework.TypeInt, Description: "How many users are kept ready, with a key that AWS lets in already and nothing that they may do, so that leases need not wait. At most 100; default: 0, none."},
		fieldMaxUsers:               {Type: framework.TypeInt, Description: "How many users of its leases there can be at a time, in whatever state; further readers are refused. At most 5000; default, or 0: no limit but the integration's."},
		fieldMaxTTL:                 {Type: framework.TypeDurationSecond, Description: "Longest that a lease can live, renewals included. Default, or 0: the mount's."},
	}
}

func roleResponseFields() map[string]*framework.FieldSchema {
	fields := roleFields()
	delete(fields, fieldRole)
	return shown(fields)
}

func (b *backend) pathRoles() []*framework.Path {
	return []*framework.Path{
		{
			Pattern: "roles/?$", DisplayAttrs: operationID("", "roles"),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: &framework.PathOperation{
					Callback: b.roleList, Summary: "List the roles.", Description: "The names of all roles of the mount, in order.",
					Responses: listResponse("Names of the roles."),
				},
			},
			HelpSynopsis: "The list of roles.", HelpDescription: rolesHelp,
		},
		{
			Pattern: "roles/" + capture(fieldRole), Fields: roleFields(), ExistenceCheck: b.roleExists, DisplayAttrs: operationID("", "role"),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: &framework.PathOperation{
					Callback: b.roleRead, Summary: "Show a role.", Description: "All fields as they are stored; those that were never written have their defaults.",
					Responses: okResponse("The role.", roleResponseFields(), http.StatusNotFound),
				},
				logical.CreateOperation: &framework.PathOperation{
					Callback: b.roleWrite, Summary: roleWriteSummary, Description: roleWriteDescription,
					Responses:                 warnedResponse(),
					ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
				},
				logical.UpdateOperation: &framework.PathOperation{
					Callback: b.roleWrite, Summary: roleWriteSummary, Description: roleWriteDescription,
					Responses:                 warnedResponse(),
					ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
				},
				logical.DeleteOperation: &framework.PathOperation{
					Callback: b.roleDelete, Summary: "Forget a role. Its leases can be revoked, but no longer renewed.",
					Description:               "The users of its live leases are deleted when these end. Users that wait in its pool are deleted. A role that is not there is deleted, too.",
					Responses:                 doneResponse(),
					ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
				},
			},
			HelpSynopsis: "Definitions of dynamic secrets.", HelpDescription: rolesHelp,
		},
	}
}

func (b *backend) roleExists(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
	name := d.Get(fieldRole).(string)
	if validateName(fieldRole, name) != nil {
		return false, nil //nolint:nilerr // the handler refuses it in its own words
	}
	r, err := getRole(ctx, req.Storage, name)
	return r != nil, err
}

func (b *backend) roleList(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := req.Storage.List(ctx, rolePrefix)
	if err != nil {
		return nil, fmt.Errorf("listing roles: %w", err)
	}
	return logical.ListResponse(names), nil
}

func (b *backend) roleRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get(fieldRole).(string)
	if err := validateName(fieldRole, name); err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	r, err := getRole(ctx, req.Storage, name)
	if err != nil || r == nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		fieldIntegration:            r.Integration,
		fieldPolicyDocument:         r.PolicyDocument,
		fieldPolicyARNs:             r.PolicyARNs,
		fieldIAMGroups:              r.IAMGroups,
		fieldPermissionsBoundaryARN: r.PermissionsBoundaryARN,
		fieldIAMTags:                r.IAMTags,
		fieldUserPath:               r.UserPath,
		fieldUsernameTemplate:       r.UsernameTemplate,
		fieldCredentialType:         credentialTypeIAMUser,
		fieldDefaultTTL:             int64(r.DefaultTTL.Seconds()),
		fieldMaxTTL:                 int64(r.MaxTTL.Seconds()),
		fieldEnforceExpiry:          r.EnforceExpiry,
		fieldPropagationTimeout:     int64(r.PropagationTimeout.Seconds()),
		fieldPoolSize:               r.PoolSize,
		fieldMaxUsers:               r.MaxUsers,
	}}, nil
}

func (r *role) update(d *framework.FieldData) {
	setField(d, fieldIntegration, &r.Integration)
	setField(d, fieldPolicyDocument, &r.PolicyDocument)
	setField(d, fieldPolicyARNs, &r.PolicyARNs)
	setField(d, fieldIAMGroups, &r.IAMGroups)
	setField(d, fieldPermissionsBoundaryARN, &r.PermissionsBoundaryARN)
	setField(d, fieldIAMTags, &r.IAMTags)
	setField(d, fieldUserPath, &r.UserPath)
	setField(d, fieldUsernameTemplate, &r.UsernameTemplate)
	setDuration(d, fieldDefaultTTL, &r.DefaultTTL)
	setDuration(d, fieldMaxTTL, &r.MaxTTL)
	setField(d, fieldEnforceExpiry, &r.EnforceExpiry)
	setDuration(d, fieldPropagationTimeout, &r.PropagationTimeout)
	setField(d, fieldPoolSize, &r.PoolSize)
	setField(d, fieldMaxUsers, &r.MaxUsers)
}

func (b *backend) roleWrite(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get(fieldRole).(string)
	if err := validateName(fieldRole, name); err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	if t := d.Get(fieldCredentialType).(string); t != credentialTypeIAMUser {
		return logical.ErrorResponse("%s: %q is not supported: only %s", fieldCredentialType, t, credentialTypeIAMUser), nil
	}
	// Excludes other writers, and changes of the integration it is checked against.
	b.integrations.Lock()
	defer b.integrations.Unlock()
	r, err := getRole(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if r == nil {
		r = newRole(name)
	}
	r.update(d)
	if err := validateName(fieldIntegration, r.Integration); err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	in, err := getIntegration(ctx, req.Storage, r.Integration)
	if err != nil {
		return nil, err
	}
	if in == nil {
		return logical.ErrorResponse("%s: there is no integration %q: write %s%s first", fieldIntegration, r.Integration, integrationPrefix, r.Integration), nil
	}
	if err := r.validate(in); err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	err = b.putRole(ctx, req.Storage, r)
	b.pools.roleChanged(req.Storage, name, r.PoolSize) // if it failed, it may have happened all the same
	if err != nil {
		return nil, err
	}
	b.events.tell(eventRoleWrite, rolePrefix+name, rolePrefix+name, fieldRole, name, fieldIntegration, r.Integration)
	if warnings := r.warnings(b.System()); len(warnings) > 0 {
		return &logical.Response{Warnings: warnings}, nil
	}
	return nil, nil
}

func (b *backend) roleDelete(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get(fieldRole).(string)
	if err := validateName(fieldRole, name); err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	// Excludes writers: one that has read the role would bring it back.
	b.integrations.Lock()
	defer b.integrations.Unlock()
	err := b.deleteRole(ctx, req.Storage, name)
	b.pools.roleChanged(req.Storage, name, 0)
	if err == nil {
		b.events.tell(eventRoleDelete, rolePrefix+name, "", fieldRole, name)
	}
	return nil, err
}

const (
	roleWriteSummary     = "Define a dynamic secret, or change one; what is not mentioned stays."
	roleWriteDescription = `
At least one of policy_document, policy_arns and iam_groups is needed. Everything is
checked: the policy's grammar and size, ARNs and their partition, counts, names. A
change applies to users that are made from then on. An empty value clears a field.`
)

const rolesHelp = `
A role defines a dynamic secret: the permissions of the IAM users that reading
creds/<role> makes, and how long they live.

At least one of policy_document (an inline policy), policy_arns (managed
policies) and iam_groups gives the permissions. With enforce_expiry the users'
inline policy also denies everything once no lease of them can be alive any
more; it counts in IAM's limit of 2,048 characters. In policy_document and the
values of iam_tags, Vault's identity templates stand for who asks: resources and
conditions of the policy may have {{identity.entity.name}} and the like; a value
that could change the policy's meaning is refused. With max_users readers are
refused while the role has that many users. With pool_size users are made
ahead, without permissions, so that leases need not wait for their keys. Empty the
pools (pool_size=0) before the mount is disabled. Everything is checked when
the role is written. Changes apply to users made from then on. When a role is
deleted, its live leases run out: they can be revoked, but not renewed.`
