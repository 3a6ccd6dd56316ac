package awsiam

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	fieldDryRun       = "dry_run"
	fieldSafetyBuffer = "safety_buffer"
	fieldStarted      = "started"
	fieldFinished     = "finished"
	fieldError        = "error"
	fieldUsersListed  = "users_listed"
	fieldUsersUnknown = "users_unknown"
	fieldUsersYoung   = "users_young"
	fieldUsersForeign = "users_foreign"
	fieldElsewhere    = "users_elsewhere"
	fieldUsersDeleted = "users_deleted"
	fieldUsersFailed  = "users_failed"
	fieldUnknownUsers = "unknown_users"
	fieldForeignUsers = "foreign_users"

	// defaultSafetyBuffer is the age up to which tidy spares users.
	defaultSafetyBuffer = time.Hour
)

func tidyStatusFields() map[string]*framework.FieldSchema {
	field := func(kind framework.FieldType, description string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: kind, Required: true, Description: description}
	}
	state := field(framework.TypeString, "running, done, cancelled or failed; the last run's.")
	state.AllowedValues = among(tidyRunning, tidyDone, tidyCancelled, tidyFailed)
	return map[string]*framework.FieldSchema{
		fieldIntegration:  field(framework.TypeString, "The integration."),
		fieldState:        state,
		fieldDryRun:       field(framework.TypeBool, "Whether it only reports."),
		fieldSafetyBuffer: field(framework.TypeInt, "Age in seconds, at the time of started, up to which users are spared; an hour at least in a run that went on after a failover."),
		fieldStarted:      field(framework.TypeString, "When it was asked for, RFC 3339 in UTC."),
		fieldFinished:     field(framework.TypeString, "When it ended; empty while it runs."),
		fieldError:        field(framework.TypeString, "Why it failed."),
		fieldUsersListed:  field(framework.TypeInt, "Users of the account that were looked at."),
		fieldUsersUnknown: field(framework.TypeInt, "Users of this mount's path that no record knows."),
		fieldUsersYoung:   field(framework.TypeInt, "Of these, users that were spared for being younger than safety_buffer."),
		fieldUsersDeleted: field(framework.TypeInt, "Of these, users that were deleted."),
		fieldUsersFailed:  field(framework.TypeInt, "Of these, users that could not be deleted yet: those under users/ now are tried again."),
		fieldUsersForeign: field(framework.TypeInt, "Users beneath the integration's user_path that are not of this mount. They are never touched."),
		fieldElsewhere:    field(framework.TypeInt, "Users of this mount that are not beneath the integration's user_path. They are left to the tidy of the integration whose they are."),
		fieldUnknownUsers: field(framework.TypeCommaStringSlice, "Names of unknown users that were not spared, the first hundred."),
		fieldForeignUsers: field(framework.TypeCommaStringSlice, "Names of users that are not of this mount, the first hundred."),
	}
}

// pathTidy gives each path twice, since without a name it means the default
// integration, as with config.
func (b *backend) pathTidy() []*framework.Path {
	options := map[string]*framework.FieldSchema{
		fieldDryRun:       {Type: framework.TypeBool, Default: true, Description: "Only report what is unknown, delete nothing."},
		fieldSafetyBuffer: {Type: framework.TypeDurationSecond, Default: defaultDuration(defaultSafetyBuffer), Description: "Spare users that are younger than this when it is asked for."},
	}
	start := &framework.PathOperation{
		Callback: b.tidyStart, Summary: "Look for users of this mount that no record knows, and delete them if told to.",
		Description:               "It runs in the background, one at a time for an integration: read tidy-status. Unless dry_run is false it deletes nothing.",
		Responses:                 okResponse("The run that was begun.", tidyStatusFields()),
		ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
	}
	cancel := &framework.PathOperation{
		Callback: b.tidyCancel, Summary: "End a running tidy.",
		Description:               "What it has deleted is deleted. If none is running, on this node or as left by an earlier one, it is refused.",
		Responses:                 doneResponse(),
		ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
	}
	status := &framework.PathOperation{
		Callback: b.tidyStatus, Summary: "Show how far the last tidy is or how it ended.",
		Description: "While it runs the figures grow. They stay until the next run, also after a failover.",
		Responses:   okResponse("The run.", tidyStatusFields(), http.StatusNotFound),
		// Progress is known to the node that does the work.
		ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
	}
	return framework.PathAppend(
		nameOperations(perIntegration("tidy", options, logical.UpdateOperation, start, "Find users that no record knows."), "tidy", ""),
		nameOperations(perIntegration("tidy-cancel", nil, logical.UpdateOperation, cancel, "End a running tidy."), "cancel", "tidy"),
		nameOperations(perIntegration("tidy-status", nil, logical.ReadOperation, status, "Progress and result of tidy."), "", "tidy-status"),
	)
}

func perIntegration(prefix string, options map[string]*framework.FieldSchema, op logical.Operation, handler framework.OperationHandler, synopsis string) []*framework.Path {
	named := map[string]*framework.FieldSchema{fieldIntegration: {Type: framework.TypeString, Description: "Name of the integration."}}
	maps.Copy(named, options)
	operations := map[logical.Operation]framework.OperationHandler{op: handler}
	return []*framework.Path{
		{Pattern: prefix + "$", Fields: options, Operations: operations, HelpSynopsis: synopsis + " For the integration \"default\".", HelpDescription: tidyHelp},
		{Pattern: prefix + "/" + capture(fieldIntegration), Fields: named, Operations: operations, HelpSynopsis: synopsis, HelpDescription: tidyHelp},
	}
}

func (b *backend) tidyStart(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, err := integrationName(d)
	if err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	run := &tidyRun{Integration: name, State: tidyRunning, DryRun: d.Get(fieldDryRun).(bool), SafetyBuffer: defaultSafetyBuffer, Started: b.now()}
	setDuration(d, fieldSafetyBuffer, &run.SafetyBuffer)
	if err := b.tidies.begin(ctx, req.Storage, run); err != nil {
		return storedOrRefused(err)
	}
	return run.response(), nil
}

func (b *backend) tidyCancel(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, err := integrationName(d)
	if err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	return storedOrRefused(b.tidies.cancel(ctx, req.Storage, name))
}

func (b *backend) tidyStatus(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, err := integrationName(d)
	if err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	run, err := b.tidies.status(ctx, req.Storage, name)
	if err != nil || run == nil {
		return nil, err
	}
	return run.response(), nil
}

func (t *tidyRun) response() *logical.Response {
	resp := &logical.Response{Data: map[string]any{
		fieldIntegration:  t.Integration,
		fieldState:        string(t.State),
		fieldDryRun:       t.DryRun,
		fieldSafetyBuffer: int64(t.SafetyBuffer.Seconds()),
		fieldStarted:      timestamp(t.Started),
		fieldFinished:     timestamp(t.Finished),
		fieldError:        t.Error,
		fieldUsersListed:  t.Listed,
		fieldUsersUnknown: t.Unknown,
		fieldUsersYoung:   t.Young,
		fieldUsersDeleted: t.Deleted,
		fieldUsersFailed:  t.Failed,
		fieldUsersForeign: t.Foreign,
		fieldElsewhere:    t.Elsewhere,
		fieldUnknownUsers: append([]string{}, t.UnknownUsers...), // no null
		fieldForeignUsers: append([]string{}, t.ForeignUsers...),
	}}
	if t.State == tidyRunning {
		resp.AddWarning(fmt.Sprintf("tidy of integration %q runs in the background: read tidy-status/%s", t.Integration, t.Integration))
	}
	return resp
}

const tidyHelp = `
After Vault was restored from a snapshot there may be IAM users in the account
that no record of this mount knows: those issued since the snapshot. tidy lists
the account's users, which needs iam:ListUsers on "*", and finds those whose
path carries this mount's own segment and that no record names. It reports them
and, with dry_run=false, deletes them. Users of any other path are never touched.

safety_buffer spares users that are younger than it when tidy is asked for. One
tidy of an integration runs at a time, in the background; it goes on after a
failover, for six hours, and then with a safety_buffer of an hour at least.
tidy-status shows its progress, tidy-cancel ends it.

Do not run it in a restored copy of a cluster whose original is still at work on
the same account: the copy takes the original's new users for unknown.`
