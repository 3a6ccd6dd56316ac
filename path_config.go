package awsiam

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/helper/pluginidentityutil"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	fieldIntegration      = "integration"
	fieldAccessKey        = "access_key"
	fieldSecretKey        = "secret_key"
	fieldRoleARN          = "role_arn"
	fieldExternalID       = "external_id"
	fieldSessionName      = "session_name"
	fieldRegion           = "region"
	fieldIAMEndpoint      = "iam_endpoint"
	fieldSTSEndpoint      = "sts_endpoint"
	fieldCAPEM            = "ca_pem"
	fieldMaxRetries       = "max_retries"
	fieldUserPath         = "user_path"
	fieldUsernameTemplate = "username_template"
	fieldVerifyConnection = "verify_connection"
	fieldAccountID        = "account_id"
	fieldCallerARN        = "caller_arn"
	fieldPartition        = "partition"
	fieldVerified         = "verified"
	fieldVerifiedAt       = "verified_at"
	fieldIssuedUserPath   = "issued_user_path"

	// verifyTimeout bounds the call that verifies an integration, so that a
	// wrong endpoint is reported while the operator is still looking.
	verifyTimeout = 30 * time.Second
	// verifyRetries is as many retries as fit that time.
	verifyRetries = 2
)

func integrationFields() map[string]*framework.FieldSchema {
	fields := map[string]*framework.FieldSchema{
		fieldAccessKey:         {Type: framework.TypeString, Description: "Access key id of the integration's IAM user. With secret_key, or neither to use the AWS SDK's default credentials of the Vault server."},
		fieldSecretKey:         {Type: framework.TypeString, Description: "Secret access key of the integration's IAM user. Never shown.", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}},
		fieldRoleARN:           {Type: framework.TypeString, Description: "IAM role to assume on top of the credentials, as for another account."},
		fieldExternalID:        {Type: framework.TypeString, Description: "External id that the role's trust policy asks for."},
		fieldSessionName:       {Type: framework.TypeString, Description: "Name of the assumed role's sessions. Default: " + defaultSession + "."},
		fieldSourceIntegration: {Type: framework.TypeString, Description: "Integration whose identity is borrowed, its role_arn included, in place of credentials of one's own."},
		fieldRegion:            {Type: framework.TypeString, Description: "AWS region; decides the partition and the STS endpoint. Default: that of source_integration, or the environment's where the default credentials are used, else " + defaultRegion + "."},
		fieldIAMEndpoint:       {Type: framework.TypeString, Description: "URL of IAM, where it is not the partition's public one."},
		fieldSTSEndpoint:       {Type: framework.TypeString, Description: "URL of STS, where it is not the region's public one."},
		fieldCAPEM:             {Type: framework.TypeString, Description: "Certificates of the CAs, in PEM, that IAM's and STS's servers must have theirs from, where they are not public ones: trusted for this integration only, and no others."},
		fieldMaxRetries:        {Type: framework.TypeInt, Default: -1, Description: fmt.Sprintf("How often a call to AWS that was throttled or lost is tried again. -1: the default of %d.", defaultRetries)},
		fieldUserPath:          {Type: framework.TypeString, Default: defaultUserPath, Description: "IAM path of the users that are made. The mount's own segment is appended."},
		fieldUsernameTemplate:  {Type: framework.TypeString, Description: "Template of the users' names; .RoleName and the functions of Vault's username templating are at hand. Must be random. Default: " + defaultUsernameTemplate},
		fieldMaxUsers:          {Type: framework.TypeInt, Description: "How many users there can be at a time of all roles together, those that wait in pools included; further readers are refused. At most 5000, which is what IAM allows an account; default, or 0: no limit."},
		fieldRotationPeriod:    {Type: framework.TypeDurationSecond, Description: "How often the engine replaces the access key by itself, as with rotate-root; at least an hour. 0, the default: never."},
		fieldVerifyConnection:  {Type: framework.TypeBool, Default: true, Description: "Ask AWS who the credentials belong to before storing them, and refuse what AWS refuses."},
	}
	pluginidentityutil.AddPluginIdentityTokenFields(fields)
	fields[fieldIdentityTokenAudience].Description = "Audience of the identity tokens that Vault mints for this mount, to be exchanged for sessions of role_arn: workload identity federation, with Vault Enterprise, in place of a key."
	fields[fieldIdentityTokenAudience].Default = nil
	ttl := fields[fieldIdentityTokenTTL]
	ttl.Default, ttl.Description = nil, fmt.Sprintf("How long such a token is valid. 0, the default: %s.", defaultDuration(defaultTokenTTL))
	return fields
}

func integrationResponseFields() map[string]*framework.FieldSchema {
	fields := integrationFields()
	delete(fields, fieldSecretKey)
	delete(fields, fieldVerifyConnection)
	fields[fieldAccountID] = &framework.FieldSchema{Type: framework.TypeString, Description: "AWS account, as verified."}
	fields[fieldCallerARN] = &framework.FieldSchema{Type: framework.TypeString, Description: "Who the integration is to AWS, as verified."}
	fields[fieldPartition] = &framework.FieldSchema{Type: framework.TypeString, Description: "AWS partition, as verified."}
	fields[fieldVerified] = &framework.FieldSchema{Type: framework.TypeBool, Description: "Whether AWS has let in these credentials, at these endpoints, and named who they belong to."}
	fields[fieldVerifiedAt] = &framework.FieldSchema{Type: framework.TypeString, Description: "When it last did on a write of the integration, RFC 3339 in UTC; empty if it never was asked."}
	fields[fieldIssuedUserPath] = &framework.FieldSchema{Type: framework.TypeString, Description: "IAM path of the users that this mount makes: user_path and the mount's own segment."}
	fields[fieldLastRotation] = &framework.FieldSchema{Type: framework.TypeString, Description: "When the engine last replaced the access key, RFC 3339 in UTC; empty if never."}
	fields[fieldNextRotation] = &framework.FieldSchema{Type: framework.TypeString, Description: "When it does so next; empty without rotation_period."}
	fields[fieldLastRotationError] = &framework.FieldSchema{Type: framework.TypeString, Description: "Why a rotation on schedule, or the end of one, failed; empty once it has succeeded."}
	return shown(fields)
}

func (b *backend) pathConfig() []*framework.Path {
	crud := func() map[logical.Operation]framework.OperationHandler {
		return map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.integrationRead, Summary: "Show an integration, without its secret key.",
				Description: "All fields as they are stored, and what AWS said of it when it was last verified, and of its key's rotations.",
				Responses:   okResponse("The integration.", integrationResponseFields(), http.StatusNotFound),
			},
			logical.CreateOperation: &framework.PathOperation{
				Callback: b.integrationWrite, Summary: integrationWriteSummary, Description: integrationWriteDescription,
				Responses:                 warnedResponse(http.StatusBadGateway),
				ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
			},
			logical.UpdateOperation: &framework.PathOperation{
				Callback: b.integrationWrite, Summary: integrationWriteSummary, Description: integrationWriteDescription,
				Responses:                 warnedResponse(http.StatusBadGateway),
				ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
			},
			logical.DeleteOperation: &framework.PathOperation{
				Callback: b.integrationDelete, Summary: "Forget an integration that nothing uses any more.",
				Description:               "Refused while roles, issued users or other integrations name it, and while a rotation of its key is not finished. An integration that is not there is forgotten, too.",
				Responses:                 warnedResponse(),
				ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
			},
		}
	}
	namedFields := integrationFields()
	namedFields[fieldIntegration] = &framework.FieldSchema{Type: framework.TypeString, Description: "Name of the integration."}
	return []*framework.Path{
		{
			Pattern: "config/$", DisplayAttrs: operationID("", "integrations"),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: &framework.PathOperation{
					Callback: b.integrationList, Summary: "List the integrations.", Description: "The names of all integrations of the mount, in order.",
					Responses: listResponse("Names of the integrations."),
				},
			},
			HelpSynopsis: "The list of integrations.", HelpDescription: configHelp,
		},
		{
			Pattern: "config$", Fields: integrationFields(), Operations: crud(), ExistenceCheck: b.integrationExists,
			DisplayAttrs: operationID("", "default-integration"),
			HelpSynopsis: "The integration named \"default\".", HelpDescription: configHelp,
		},
		{
			Pattern: "config/" + capture(fieldIntegration), Fields: namedFields, Operations: crud(), ExistenceCheck: b.integrationExists,
			DisplayAttrs: operationID("", "integration"),
			HelpSynopsis: "Named connections to AWS accounts.", HelpDescription: configHelp,
		},
	}
}

// integrationName is the name in the path; `config` alone means the default.
// A schema default would not apply to a path parameter that the pattern lacks.
func integrationName(d *framework.FieldData) (string, error) {
	if _, ok := d.Schema[fieldIntegration]; !ok {
		return defaultIntegration, nil
	}
	name := d.Get(fieldIntegration).(string)
	return name, validateName(fieldIntegration, name)
}

func (b *backend) integrationExists(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
	name, err := integrationName(d)
	if err != nil {
		return false, nil //nolint:nilerr // the handler refuses it in its own words
	}
	in, err := getIntegration(ctx, req.Storage, name)
	if errors.Is(err, errDamagedIntegration) {
		return true, nil
	}
	return in != nil, err
}

func (b *backend) integrationList(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := req.Storage.List(ctx, integrationPrefix)
	if err != nil {
		return nil, fmt.Errorf("listing integrations: %w", err)
	}
	return logical.ListResponse(names), nil
}

func (b *backend) integrationRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, err := integrationName(d)
	if err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	in, err := getIntegration(ctx, req.Storage, name)
	if err != nil || in == nil {
		return nil, err
	}
	data := map[string]any{
		fieldAccessKey:         in.AccessKey,
		fieldRoleARN:           in.RoleARN,
		fieldExternalID:        in.ExternalID,
		fieldSessionName:       in.SessionName,
		fieldSourceIntegration: in.SourceIntegration,
		fieldRegion:            in.Region,
		fieldIAMEndpoint:       in.IAMEndpoint,
		fieldSTSEndpoint:       in.STSEndpoint,
		fieldCAPEM:             in.CAPEM,
		fieldMaxRetries:        in.MaxRetries,
		fieldUserPath:          in.UserPath,
		fieldUsernameTemplate:  in.UsernameTemplate,
		fieldMaxUsers:          in.MaxUsers,
		fieldAccountID:         in.AccountID,
		fieldCallerARN:         in.CallerARN,
		fieldPartition:         in.Partition,
		fieldVerified:          in.verified(),
		fieldVerifiedAt:        timestamp(in.VerifiedAt),
		fieldIssuedUserPath:    in.UserPath + b.mountSegment + "/",

		fieldRotationPeriod:    int64(in.Rotation.Period.Seconds()),
		fieldLastRotation:      timestamp(in.Rotation.Last),
		fieldNextRotation:      timestamp(in.Rotation.next()),
		fieldLastRotationError: in.Rotation.lastError(),
	}
	in.PopulatePluginIdentityTokenData(data)
	return &logical.Response{Data: data}, nil
}

func (in *integration) update(d *framework.FieldData) error {
	setField(d, fieldAccessKey, &in.AccessKey)
	setField(d, fieldSecretKey, &in.SecretKey)
	setField(d, fieldRoleARN, &in.RoleARN)
	setField(d, fieldExternalID, &in.ExternalID)
	setField(d, fieldSessionName, &in.SessionName)
	setField(d, fieldSourceIntegration, &in.SourceIntegration)
	setField(d, fieldRegion, &in.Region)
	setField(d, fieldIAMEndpoint, &in.IAMEndpoint)
	setField(d, fieldSTSEndpoint, &in.STSEndpoint)
	setField(d, fieldCAPEM, &in.CAPEM)
	setField(d, fieldMaxRetries, &in.MaxRetries)
	setField(d, fieldUserPath, &in.UserPath)
	setField(d, fieldUsernameTemplate, &in.UsernameTemplate)
	setField(d, fieldMaxUsers, &in.MaxUsers)
	setDuration(d, fieldRotationPeriod, &in.Rotation.Period)
	return in.ParsePluginIdentityTokenFields(d)
}

func (b *backend) integrationWrite(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, err := integrationName(d)
	if err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	// Serialises writers, so that none works on what another is replacing.
	// Lease operations do not take it: it is held while AWS answers.
	writes := locksutil.LockForKey(b.integrationWrites, name)
	writes.Lock()
	defer writes.Unlock()

	old, err := getIntegration(ctx, req.Storage, name)
	switch {
	case errors.Is(err, errDamagedIntegration) && d.Get(fieldVerifyConnection).(bool):
		// Its users and roles are there: they are checked against the account
		// that turns up, as where an integration moves.
		old = newIntegration(name)
	case err != nil:
		return nil, err
	}
	in := newIntegration(name)
	if old != nil {
		*in = *old
	}
	if err := errors.Join(in.update(d), in.validate()); err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	if err := in.resolve(func(name string) (*integration, error) { return loadIntegration(ctx, req.Storage, name) }); err != nil {
		return nil, err
	}
	if err := in.mayBorrow(); err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	if old == nil || !in.connectsAs(old) {
		in.forgetIdentity()
	}
	if d.Get(fieldVerifyConnection).(bool) {
		err = b.verify(ctx, req.Storage, in)
	} else {
		err = b.tryMinting(ctx, in)
	}
	if err != nil {
		return awsFailure(fmt.Sprintf("integration %q was not stored: it could not be verified", name), err)
	}
	resp, err := b.replaceIntegration(ctx, req.Storage, old, in)
	if err != nil {
		return storedOrRefused(err)
	}
	b.events.aboutIntegration(eventConfigWrite, in)
	b.reaper.spawn(req.Storage, func(s logical.Storage) { b.hastenThrough(s, name) })
	return resp, nil
}

// verify asks AWS who the integration is, and takes note of the answer.
func (b *backend) verify(ctx context.Context, s logical.Storage, in *integration) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	from, err := b.originOf(ctx, s, in)
	if err != nil {
		return err
	}
	hasty := *in
	hasty.MaxRetries = verifyRetries
	identity, err := identify(ctx, &hasty, b.httpClients.of(in), from)
	if err != nil {
		return err
	}
	if err := in.setIdentity(identity); err != nil {
		return err
	}
	in.VerifiedAt = b.now()
	if from.lender != nil {
		in.VerifiedSource = from.lender.identityRevision
	}
	return nil
}

// replaceIntegration stores the integration unless other integrations, roles or
// records stand against it. It excludes the making of users, whose records name the
// account, and other writers of integrations: what is checked stays so.
func (b *backend) replaceIntegration(ctx context.Context, s logical.Storage, old, in *integration) (*logical.Response, error) {
	b.integrations.Lock()
	defer b.integrations.Unlock()
	if err := in.checkSource(ctx, s); err != nil {
		return nil, err
	}
	if in.CallerARN != "" {
		// user_path may have changed without a new verification.
		if err := in.setIdentity(in.identity()); err != nil {
			return nil, err
		}
	}
	if err := refuseKeyOfAnother(ctx, s, old, in); err != nil {
		return nil, err
	}
	if old == nil || !in.connectsAs(old) || old.AccountID != "" && in.AccountID != old.AccountID {
		in.IdentityRevision = rand.Text()
	}
	changes, err := checkBorrowers(ctx, s, old, in)
	if err != nil {
		return nil, err
	}
	resp := borrowersUnverified(changes)
	if old != nil {
		if err := b.refuseDoomedKey(old, in); err != nil {
			return nil, err
		}
		changes = append(changes, integrationChange{old, in})
	}
	if err := checkDependents(ctx, s, changes...); err != nil {
		return nil, err
	}
	in.Revision = rand.Text()
	in.Rotation.rewritten(in, old, b.now())
	defer b.rotations.schedule(in.Name, b.now()) // it is read again by the next pass
	return resp, b.putIntegration(ctx, s, in)
}

func (b *backend) integrationDelete(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, err := integrationName(d)
	if err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	writes := locksutil.LockForKey(b.integrationWrites, name)
	writes.Lock()
	defer writes.Unlock()
	b.integrations.Lock()
	defer b.integrations.Unlock()
	left, err := b.leftByRotation(ctx, req.Storage, name)
	if err == nil {
		err = b.forgetIntegration(ctx, req.Storage, name)
	}
	if err == nil {
		b.events.tell(eventConfigDelete, integrationPrefix+name, "", fieldIntegration, name)
	}
	if err == nil && left != "" {
		return &logical.Response{Warnings: []string{left}}, nil
	}
	return storedOrRefused(err)
}

// storedOrRefused answers a write: a refusal is the operator's to mend, any
// other error is the server's.
func storedOrRefused(err error) (*logical.Response, error) {
	var refused refusal
	if errors.As(err, &refused) {
		return logical.ErrorResponse(err.Error()), nil
	}
	return nil, err
}

// capture is the pattern of a name in a path. It admits what validateName
// refuses, so that a wrong name is answered with what is wrong about it and
// not with "unsupported path". It does not admit a slash at the end: core looks
// up a policy for the path as it was sent, so that creds/admin/ would pass where
// creds/admin is denied.
func capture(field string) string { return "(?P<" + field + ">.*[^/])$" }

const (
	integrationWriteSummary     = "Connect an AWS account, or change how; what is not mentioned stays."
	integrationWriteDescription = `
AWS is asked who the credentials belong to, and what AWS refuses is not stored, unless
verify_connection is false. So a write without any field asks AWS again. Refused is also
what would leave issued users or roles in another account or partition than they are of.
An empty value clears a field.`
)

const configHelp = `
An integration connects the mount to an AWS account, once, for any number of
roles. "config" alone is the integration named "default".

Give access_key and secret_key of an IAM user, or neither to use the AWS SDK's
default credentials of the Vault server (environment, instance metadata);
source_integration to borrow another integration's identity, so that many
accounts rest on one key; or, with Vault Enterprise, identity_token_audience.
role_arn assumes a role on top of any of these. The integration's user needs eight
IAM actions on one path; it must not itself lie beneath that path.

Every write asks AWS who the credentials belong to, unless
verify_connection=false. An integration that roles or issued users still name
cannot be deleted, nor moved to another account.`
