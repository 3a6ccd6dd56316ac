package awsiam

import (
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	fieldAfter       = "after"
	fieldLimit       = "limit"
	fieldState       = "state"
	fieldCreated     = "created"
	fieldExpires     = "expires"
	fieldDeadline    = "deadline"
	fieldEntityID    = "entity_id"
	fieldDisplayName = "display_name"
	fieldAttempts    = "attempts"
	fieldLastError   = "last_error"
	fieldNextAttempt = "next_attempt"
)

func userResponseFields() map[string]*framework.FieldSchema {
	text := func(description string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeString, Required: true, Description: description}
	}
	return map[string]*framework.FieldSchema{
		fieldUsername:    text("Name of the IAM user."),
		fieldUserPath:    text("IAM path of the user."),
		fieldUserID:      text("Unique id of the IAM user; empty until AWS has answered."),
		fieldARN:         text("ARN of the IAM user; empty until AWS has answered."),
		fieldAccessKeyID: text("Access key id; empty until AWS has answered."),
		fieldAccountID:   text("AWS account of the user."),
		fieldRole:        text("Role the user was made for."),
		fieldIntegration: text("Integration the user was made through."),
		fieldState: {
			Type: framework.TypeString, Required: true, Description: "creating, pooled (it waits for a lease), active or deleting.",
			AllowedValues: among(stateCreating, statePooled, stateActive, stateDeleting),
		},
		fieldCreated:     text("When the user was asked for, RFC 3339 in UTC."),
		fieldExpires:     text("Latest end of the lease as last granted, with the engine's allowance of two minutes; while pooled, when another user takes its place; empty while creating."),
		fieldDeadline:    text("When no lease of the user can be alive any more; empty while creating or pooled."),
		fieldEntityID:    text("Identity entity of who asked; empty while pooled."),
		fieldDisplayName: text("Display name of who asked."),
		fieldAttempts:    {Type: framework.TypeInt, Required: true, Description: "How many deletions have failed."},
		fieldLastError:   text("Why the last deletion failed."),
		fieldNextAttempt: text("When the reaper tries again."),
	}
}

func (b *backend) pathUsers() []*framework.Path {
	return []*framework.Path{
		{
			Pattern: "users/?$", Fields: userListFields(), DisplayAttrs: operationID("", "users"),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: &framework.PathOperation{
					Callback: b.userList, Summary: "List the issued users that may exist.", Description: userListDescription,
					Responses: listResponse("Names of the users, in order.", http.StatusServiceUnavailable),
					// What is in memory is there.
					ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
				},
			},
			HelpSynopsis: "The issued users that may exist.", HelpDescription: usersHelp,
		},
		{
			Pattern: "users/" + capture(fieldUsername), DisplayAttrs: operationID("", "user"),
			Fields: map[string]*framework.FieldSchema{
				fieldUsername:    {Type: framework.TypeString, Description: "Name of the IAM user."},
				fieldIntegration: {Type: framework.TypeString, Query: true, Description: "For deleting a user whose record cannot be read, and does not tell: the integration that the user was made through."},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: &framework.PathOperation{
					Callback: b.userRead, Summary: "Show what is known of an issued user.",
					Description: "What it is, where, for which role, who asked for it, and, where a deletion has failed, why, and when it is tried again. Never a secret.",
					Responses:   okResponse("The user's record.", userResponseFields(), http.StatusNotFound),
				},
				logical.DeleteOperation: &framework.PathOperation{
					Callback: b.userDelete, Summary: "Delete an issued user now, whether its lease is alive or not.", Description: userDeleteDescription,
					Responses:                 doneResponse(http.StatusBadGateway),
					ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
				},
			},
			HelpSynopsis: "What is known of an issued user.", HelpDescription: usersHelp,
		},
	}
}

func (b *backend) userRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get(fieldUsername).(string)
	if err := validateUsername(name); err != nil {
		return logical.ErrorResponse("%s: %q cannot be the name of an issued user: %s", fieldUsername, name, err), nil
	}
	if _, ok := d.GetOk(fieldIntegration); ok {
		return logical.ErrorResponse("%s is for deleting a user only: leave it out", fieldIntegration), nil
	}
	u, err := b.readUser(ctx, req.Storage, name)
	if err != nil || u == nil {
		return nil, err
	}
	return u.response(), nil
}

func (u *userRecord) response() *logical.Response {
	return &logical.Response{Data: map[string]any{
		fieldUsername:    u.Username,
		fieldUserPath:    u.Path,
		fieldUserID:      u.UserID,
		fieldARN:         u.ARN,
		fieldAccessKeyID: u.AccessKeyID,
		fieldAccountID:   u.AccountID,
		fieldRole:        u.Role,
		fieldIntegration: u.Integration,
		fieldState:       string(u.State),
		fieldCreated:     timestamp(u.Created),
		fieldExpires:     timestamp(u.Expires),
		fieldDeadline:    timestamp(u.Deadline),
		fieldEntityID:    u.EntityID,
		fieldDisplayName: u.DisplayName,
		fieldAttempts:    u.Attempts,
		fieldLastError:   u.LastError,
		fieldNextAttempt: timestamp(u.NextAttempt),
	}}
}

// timestamp renders a time for people; empty for one that is not set.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

const (
	userListDescription = `
In order of their names, narrowed by role, integration and state, and in pages: limit
names at a time, those that come after a name. A page is full unless it is the last.`
	userDeleteDescription = `
Success means that the user is confirmed gone: its lease cannot be renewed then, and
revoking it succeeds. What fails stays on record as deleting, and is tried again. A user
that is still being made is refused. One that is not on record is deleted, too.`
)

const usersHelp = `
Every IAM user that this mount has made, or may have made, is on record here
until it is confirmed deleted: what it is, where, for which role, who asked for
it, and, where a deletion has failed, why, and when it is tried again. Secrets
are never shown: they are nowhere but in the response that handed them out.

A list can be narrowed by role, integration and state, and read in pages: limit
names at a time, those that come after a name. "vault list" cannot send such
parameters; "vault read aws-iam/users list=true state=deleting limit=100" can.

Deleting users/<username> ends the user at once, with a lease that is alive or
without: for a key that has leaked. Its lease cannot be renewed then, and revoking
it succeeds.

Before disabling the mount, wait until this list is empty.`
