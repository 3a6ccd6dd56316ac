package awsiam

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// Vault's CLI prints the fields of an answer in the order of their names, so that what
// belongs together begins alike.
const (
	fieldHealthy            = "healthy"
	fieldIntegrations       = "integrations"
	fieldIntegrationsUnwell = "integrations_unhealthy"

	fieldUsers              = "users"
	fieldUsersActive        = "users_active"
	fieldUsersCreating      = "users_creating"
	fieldUsersPooled        = "users_pooled"
	fieldUsersDeleting      = "users_deleting"
	fieldUsersOverdue       = "users_overdue"
	fieldUsersOldest        = "users_oldest"
	fieldUsersOldestCreated = "users_oldest_created"
	fieldUsersOldestAge     = "users_oldest_age"
	fieldUsersUnreadable    = "users_unreadable"
	fieldUsersUnread        = "users_unread"

	fieldDeletionsFailing     = "deletions_failing"
	fieldDeletionsNextAttempt = "deletions_next_attempt"
	fieldDeletionsGrant       = "deletions_grant"
	fieldDeletionsFirstUser   = "deletions_first_user"
	fieldDeletionsFirstSince  = "deletions_first_since"
	fieldDeletionsFirstError  = "deletions_first_error"
	fieldDeletionsLastUser    = "deletions_last_user"
	fieldDeletionsLastSince   = "deletions_last_since"
	fieldDeletionsLastError   = "deletions_last_error"

	fieldCalls              = "calls"
	fieldCallsFailed        = "calls_failed"
	fieldCallsThrottled     = "calls_throttled"
	fieldCallsLastThrottled = "calls_last_throttled"
	fieldCallsWaiting       = "calls_waiting"
	fieldCallsRate          = "calls_rate"
	fieldCallsSince         = "calls_since"

	fieldAccountUsers    = "account_users"
	fieldAccountQuota    = "account_users_quota"
	fieldAccountHeadroom = "account_headroom"
	fieldAccountError    = "account_error"

	fieldPoolWanted = "pool_wanted"
	fieldPoolReady  = "pool_ready"
	fieldConnection = "connection"
	fieldTidy       = "tidy"
)

// figureFields are what both an integration's and a mount's status have.
func figureFields() map[string]*framework.FieldSchema {
	field := func(kind framework.FieldType, description string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: kind, Required: true, Description: description}
	}
	count := func(description string) *framework.FieldSchema { return field(framework.TypeInt, description) }
	text := func(description string) *framework.FieldSchema { return field(framework.TypeString, description) }
	return map[string]*framework.FieldSchema{
		fieldHealthy: field(framework.TypeBool, "Whether there is nothing that somebody should look at. If there is, the answer's warnings say what, and what to do."),

		fieldUsers:              count("Issued users that may exist, in whatever state."),
		fieldUsersActive:        count("Users that have a lease."),
		fieldUsersCreating:      count("Users that are being made."),
		fieldUsersPooled:        count("Users that wait for a lease."),
		fieldUsersDeleting:      count("Users that are being deleted, or could not be deleted yet."),
		fieldUsersOverdue:       count(fmt.Sprintf("Users whose end has been due for more than %s, and whom the reaper has not got to.", overdueAfter)),
		fieldUsersOldest:        text("The oldest of the users; empty if there is none."),
		fieldUsersOldestCreated: text("When it was asked for, RFC 3339 in UTC."),
		fieldUsersOldestAge:     text("How long ago that was, as 3d4h, 5h10m or 7m3s."),

		fieldDeletionsFailing:     count("Users whose deletion has failed, and is tried again."),
		fieldDeletionsNextAttempt: text("When one of them is tried again, the earliest; empty if there is none."),
		fieldDeletionsGrant:       field(framework.TypeStringSlice, "Actions of AWS that the errors of the first and the last ask to be granted to the integration; of a mount, those of all integrations."),
		fieldDeletionsFirstUser:   text("Of these, the user whose deletion has been failing for the longest; empty if there is none."),
		fieldDeletionsFirstSince:  text("Since when, RFC 3339 in UTC."),
		fieldDeletionsFirstError:  text("Why its last attempt failed; empty where that is deletions_last_error, but for the user's name."),
		fieldDeletionsLastUser:    text("Of these, the user whose deletion has begun to fail last: why the last revocation failed."),
		fieldDeletionsLastSince:   text("Since when, RFC 3339 in UTC."),
		fieldDeletionsLastError:   text("Why its last attempt failed."),

		fieldCalls:          count("Calls made of IAM since calls_since, each attempt counted."),
		fieldCallsFailed:    field(framework.TypeMap, "Of these, how many failed, by AWS's error code; "+codeNoAnswer+" where there was none. Some belong to the work, as NoSuchEntity does to finding out that a user is gone."),
		fieldCallsThrottled: count("Of these, how many AWS refused for their rate."),
		fieldCallsWaiting:   count("Calls that wait for their turn now, of all mounts of this plugin that share the account."),
		fieldCallsSince:     text("When this process of the plugin began, and with it the counting of calls, RFC 3339 in UTC."),

		fieldAccountHeadroom: {Type: framework.TypeInt, Description: "How many users more IAM allows the account; of the mount's accounts, the one with the fewest. Only where iam:" + summaryOperation + " is allowed."},

		fieldPoolWanted: count("Users that the pools of its roles are to have ready."),
		fieldPoolReady:  count("Users that they have ready."),
	}
}

func mountStatusFields() map[string]*framework.FieldSchema {
	fields := figureFields()
	fields[fieldIntegrations] = &framework.FieldSchema{Type: framework.TypeStringSlice, Required: true, Description: "The integrations of the mount."}
	fields[fieldIntegrationsUnwell] = &framework.FieldSchema{Type: framework.TypeStringSlice, Required: true, Description: "Those that are not healthy."}
	fields[fieldUsersUnreadable] = &framework.FieldSchema{Type: framework.TypeInt, Required: true, Description: "Records that cannot be read, so that nothing says which integration's they are. They are in no other figure."}
	fields[fieldUsersUnread] = &framework.FieldSchema{Type: framework.TypeInt, Required: true, Description: "Records that have not been read yet, as right after a start. They are in no other figure."}
	return fields
}

func integrationStatusFields() map[string]*framework.FieldSchema {
	fields := figureFields()
	integration := integrationResponseFields()
	for _, name := range []string{fieldMaxUsers, fieldVerified, fieldVerifiedAt, fieldLastRotation, fieldNextRotation, fieldLastRotationError} {
		field := *integration[name]
		field.Required = true
		fields[name] = &field
	}
	text := func(description string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeString, Required: true, Description: description}
	}
	fields[fieldIntegration] = text("The integration.")
	fields[fieldConnection] = text("\"works\", or why AWS cannot be reached or does not let the integration in. AWS is asked.")
	fields[fieldTidy] = text("running, done, cancelled or failed: the last tidy's state; empty if there was none.")
	fields[fieldAccountID] = text("The AWS account; empty if it was never reached.")
	fields[fieldAccountUsers] = &framework.FieldSchema{Type: framework.TypeInt, Description: "Users of the account, of all kinds. Only where iam:" + summaryOperation + " is allowed; as of a minute ago at most."}
	fields[fieldAccountQuota] = &framework.FieldSchema{Type: framework.TypeInt, Description: "Users that IAM allows the account. Likewise."}
	fields[fieldAccountError] = text("Why these are not known.")
	fields[fieldCallsRate] = &framework.FieldSchema{Type: framework.TypeFloat, Required: true, Description: "Calls a second that are made of IAM at most, as learned from what AWS refuses; 0 as long as there is no limit. Of all mounts that share the account."}
	fields[fieldCallsLastThrottled] = text("When AWS last began to refuse calls to the account for their rate, RFC 3339 in UTC; empty if it has not since calls_since.")
	return fields
}

// rowFields are the columns of a detailed list, few enough for a terminal.
var rowFields = map[string]string{
	"account": fieldAccountID, "users": fieldUsers, "active": fieldUsersActive, "deleting": fieldUsersDeleting, "failing": fieldDeletionsFailing,
	"oldest": fieldUsersOldestAge, "headroom": fieldAccountHeadroom, fieldHealthy: fieldHealthy,
}

func (b *backend) pathStatus() []*framework.Path {
	operation := func(callback framework.OperationFunc, summary string, responses map[int][]framework.Response) *framework.PathOperation {
		return &framework.PathOperation{
			Callback: callback, Summary: summary, Responses: responses,
			// Most of it is in the memory of the node that does the work.
			ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
		}
	}
	list := listResponse("Names of the integrations.")
	list[http.StatusOK][0].Fields["key_info"] = &framework.FieldSchema{Type: framework.TypeMap, Required: true, Description: "Of each integration: account, users, active, deleting, failing, oldest (age), headroom and healthy, as in its status."}
	return []*framework.Path{
		{
			Pattern: "status$", DisplayAttrs: operationID("", "status"),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: operation(b.mountStatusRead, "Show how the mount is doing, and what to do about what is wrong.",
					okResponse("The state of things, of all integrations together.", mountStatusFields())),
			},
			HelpSynopsis: "How the mount is doing.", HelpDescription: statusHelp,
		},
		{
			Pattern: "status/$", DisplayAttrs: operationID("", "integration-statuses"),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: operation(b.statusList, "List the integrations, with how each is doing.", list),
			},
			HelpSynopsis: "How each integration is doing, in a table.", HelpDescription: statusHelp,
		},
		{
			Pattern: "status/" + capture(fieldIntegration), DisplayAttrs: operationID("", "integration-status"),
			Fields: map[string]*framework.FieldSchema{fieldIntegration: {Type: framework.TypeString, Description: "Name of the integration."}},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: operation(b.integrationStatusRead, "Show how an integration is doing, and what to do about what is wrong.",
					okResponse("The state of things.", integrationStatusFields(), http.StatusNotFound)),
			},
			HelpSynopsis: "How an integration is doing.", HelpDescription: statusHelp,
		},
	}
}

func (b *backend) mountStatusRead(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	m, err := b.lookAtAll(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := new(logical.Response)
	resp.Data, resp.Warnings = m.data(b.now(), b.started, req.MountPoint)
	m.warnUncounted(resp)
	return resp, nil
}

func (b *backend) statusList(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	m, err := b.lookAtAll(ctx, req)
	if err != nil {
		return nil, err
	}
	rows := make(map[string]any, len(m.integrations))
	for name, st := range m.integrations {
		data, row := st.data(b.now(), b.started), make(map[string]any)
		for column, field := range rowFields {
			if value, ok := data[field]; ok {
				row[column] = value
			}
		}
		rows[name] = row
	}
	// Also where there are none.
	resp := &logical.Response{Data: map[string]any{"keys": append([]string{}, slices.Sorted(maps.Keys(rows))...), "key_info": rows}}
	m.warnUncounted(resp)
	return resp, nil
}

func (b *backend) integrationStatusRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, err := integrationName(d)
	if err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	m, err := b.lookAt(ctx, req, []string{name})
	if err != nil {
		return nil, err
	}
	st := m.integrations[name]
	if st.in == nil && st.damage == nil && st.users == 0 {
		return nil, nil // there is no such integration
	}
	resp := &logical.Response{Data: st.data(b.now(), b.started), Warnings: st.attention}
	m.warnUncounted(resp)
	return resp, nil
}

// lookAtAll is lookAt for the integrations that there are, and for those that only
// records of users name.
func (b *backend) lookAtAll(ctx context.Context, req *logical.Request) (*mountStatus, error) {
	names, err := req.Storage.List(ctx, integrationPrefix)
	if err != nil {
		return nil, fmt.Errorf("listing integrations: %w", err)
	}
	b.awaitRecords(ctx, req.Storage)
	names = append(names, slices.Collect(maps.Keys(b.reaper.census().byIntegration))...)
	slices.Sort(names)
	return b.lookAt(ctx, req, slices.Compact(names))
}

// warnUncounted says that the numbers are lower bounds, which passes.
func (m *mountStatus) warnUncounted(resp *logical.Response) {
	if !m.complete {
		resp.AddWarning("the records of earlier users are still being read, as after a start: there are more users than these; ask again in some seconds")
	}
}

const statusHelp = `
What to look at first when something is wrong, or before it is.

"vault read aws-iam/status" adds up all integrations of the mount: how many users
are live, in which state, how old the oldest is; why the last revocation failed,
and what to grant to put that right; how AWS answers. What needs somebody's
attention comes as warnings, each with what to do, and healthy is false then.
"vault list -detailed aws-iam/status" has a line for each integration, and
status/<integration> tells of one in full.

Calls are counted from the start of the plugin's process on, which is a new one
after a restart and a failover. How many users the account has and may have is
asked of AWS, which takes iam:GetAccountSummary on "*" and is left out without;
AWS has three seconds to answer, and whatever it says the read succeeds.

Whose an access key is: lookup/<access key id>. Which users there are, by state:
users. Why one cannot be deleted: users/<username>.`
