package awsiam

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	fieldTTL             = "ttl"
	fieldAccessKeyID     = "access_key_id"
	fieldSecretAccessKey = "secret_access_key"
	fieldUsername        = "username"
	fieldUserID          = "user_id"
	fieldARN             = "arn"
	fieldPolicyName      = "policy_name"
	fieldLeaseExpiration = "lease_expiration"

	fieldPropagationSeconds = "propagation_seconds"

	// undoTimeout bounds the undoing of a creation that failed, which the
	// caller waits for; the reaper goes on where it was not enough.
	undoTimeout = 20 * time.Second
	// answerTimeout is when the wait for AWS to let a new key in is over in any
	// case, so that Vault's clients, which wait a minute, have the answer.
	answerTimeout = createTimeout + 5*time.Second
	// maxNames is how many user names are tried; see takesAnotherName.
	maxNames = 3
)

func credsResponseFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldAccessKeyID:        {Type: framework.TypeString, Required: true, Description: "Access key id."},
		fieldSecretAccessKey:    {Type: framework.TypeString, Required: true, Description: "Secret access key. It is shown here and nowhere else.", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}},
		fieldUsername:           {Type: framework.TypeString, Required: true, Description: "Name of the IAM user."},
		fieldUserID:             {Type: framework.TypeString, Required: true, Description: "Unique id of the IAM user (AIDA…)."},
		fieldARN:                {Type: framework.TypeString, Required: true, Description: "ARN of the IAM user."},
		fieldPolicyName:         {Type: framework.TypeString, Required: true, Description: "Name of the user's inline policy; empty for a role with neither policy_document nor enforce_expiry."},
		fieldLeaseExpiration:    {Type: framework.TypeString, Required: true, Description: "End of the lease as of issue, RFC 3339 in UTC. A renewal moves it."},
		fieldAccountID:          {Type: framework.TypeString, Required: true, Description: "AWS account of the IAM user."},
		fieldAccessKey:          {Type: framework.TypeString, Required: true, Description: "Same as access_key_id, for tools written for the built-in aws engine."},
		fieldPropagationSeconds: {Type: framework.TypeFloat, Required: true, Description: "How long AWS took to let the key in, or how long that was waited for; 0 if it was not."},
		fieldSecretKey:          {Type: framework.TypeString, Required: true, Description: "Same as secret_access_key, for tools written for the built-in aws engine.", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}},
	}
}

func (b *backend) pathCreds() []*framework.Path {
	operation := func(noun string) *framework.PathOperation {
		return &framework.PathOperation{
			Callback: b.credsIssue, Summary: "Make an IAM user and hand out its access key under a lease.", Description: credsDescription,
			Responses: okResponse("The credentials of a new IAM user. The lease is in lease_id, lease_duration and renewable beside data.",
				credsResponseFields(), http.StatusBadGateway, http.StatusServiceUnavailable),
			ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
			DisplayAttrs: operationID("generate", noun),
		}
	}
	return []*framework.Path{{
		Pattern: "creds/" + capture(fieldRole),
		Fields: map[string]*framework.FieldSchema{
			fieldRole: {Type: framework.TypeString, Description: "Name of the role."},
			fieldTTL:  {Type: framework.TypeDurationSecond, Query: true, Description: "TTL of this lease, as in 3h, 90m or 1800; at most the role's max_ttl and the mount's. Default: the role's default_ttl."},
			// Its data source vault_aws_access_credentials sends it always.
			fieldRoleARN: {Type: framework.TypeString, Query: true, Description: "Taken only if it is empty, as Terraform's provider sends it that was made for the built-in aws engine: a user assumes no role."},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation:   operation("credentials"),
			logical.UpdateOperation: operation("credentials-with-parameters"),
		},
		HelpSynopsis: "Credentials of a new IAM user.", HelpDescription: credsHelp,
	}}
}

func (b *backend) credsIssue(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get(fieldRole).(string)
	if err := validateName(fieldRole, name); err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	if arn, ok := d.GetOk(fieldRoleARN); ok && arn != "" {
		return logical.ErrorResponse("%s: what is handed out is the key of an IAM user, which assumes no role: leave it out", fieldRoleARN), nil
	}
	r, err := b.roleCache.get(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return logical.ErrorResponse("%s: there is no role %q: write %s%s first", fieldRole, name, rolePrefix, name), nil
	}
	ttl, err := r.requestedTTL(d)
	if err == nil && !r.fits {
		err = r.checkSize()
	}
	if err == nil {
		// Before anything is on record. Renewing and revoking do not need who asked.
		r, err = b.roleFor(req, r)
	}
	if err != nil {
		return storedOrRefused(err)
	}
	// A question to Vault's process, which need not be answered before the record
	// is written there.
	terms := sync.OnceValues(func() (leaseTerms, error) { return b.leaseTerms(r, ttl) })
	go func() { _, _ = terms() }()
	made, err := b.issueUser(ctx, req, r, terms)
	if err != nil {
		var internal storageError
		switch {
		case errors.As(err, &internal):
			return nil, err
		case errors.Is(err, errUncounted):
			return nil, logical.CodedError(http.StatusServiceUnavailable, fmt.Sprintf("role %q, integration %q: %s", r.Name, r.Integration, err))
		}
		return awsFailure(fmt.Sprintf("role %q, integration %q: no user could be issued", r.Name, r.Integration), err)
	}
	b.events.aboutUser(eventCredsCreate, &made.user.issuedUser, fieldLeaseExpiration, timestamp(b.now().Add(made.terms.ttl)))
	return b.credsResponse(req, made), nil
}

// leaseTerms are what a lease is granted at issue.
type leaseTerms struct {
	ttl      time.Duration
	maxTTL   time.Duration // M of the design; never 0
	warnings []string
}

func (r *role) requestedTTL(d *framework.FieldData) (time.Duration, error) {
	ttl := r.DefaultTTL
	if _, ok := d.GetOk(fieldTTL); ok {
		setDuration(d, fieldTTL, &ttl)
		if ttl <= 0 {
			return 0, refuse("%s must be at least 1s: leave it out for the role's default_ttl of %s", fieldTTL, r.DefaultTTL)
		}
	}
	return ttl, nil
}

// leaseTerms computes the lease's TTL as core will.
func (b *backend) leaseTerms(r *role, ttl time.Duration) (leaseTerms, error) {
	// Each question is a call to Vault's process, and both below ask this one.
	system := cappedView{b.System(), b.System().MaxLeaseTTL()}
	maxTTL := r.maxTTL(system)
	granted, warnings, err := framework.CalculateTTL(system, 0, ttl, 0, maxTTL, 0, time.Time{})
	return leaseTerms{ttl: granted, maxTTL: maxTTL, warnings: warnings}, err
}

// issue is a user that is ready to be handed out.
type issue struct {
	user   *userRecord
	secret string
	terms  leaseTerms
	propagation
}

// issueUser makes a user, with its record first. Whatever goes wrong after the
// record is undone, by the reaper if not here.
func (b *backend) issueUser(ctx context.Context, req *logical.Request, r *role, terms func() (leaseTerms, error)) (*issue, error) {
	answerBy := time.Now().Add(answerTimeout)
	creating, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	// A full role is not worth a question to AWS.
	if err := b.reaper.awaitRoom(creating, req.Storage, r.leaseCaps()); err != nil {
		return nil, err
	}
	if ready, err := b.pools.take(creating, req, r, terms); ready != nil || err != nil {
		return ready, err
	}
	var failure error
	for range maxNames {
		u, conn, err := b.beginUser(creating, req, r, nil)
		if err != nil {
			return nil, err
		}
		ready := &issue{user: u}
		if ready.terms, err = terms(); err != nil {
			err = errNothingDone{storageError{err}}
		}
		if err == nil {
			made := &creation{conn: conn, role: r, user: &u.issuedUser, tags: userTags(req, r), maxTTL: ready.terms.maxTTL}
			err = made.run(creating)
			ready.secret = made.secret
		}
		if err == nil {
			ready.propagation, err = conn.prove(ctx, u.AccessKeyID, ready.secret, min(r.PropagationTimeout, time.Until(answerBy)))
		}
		if err == nil {
			err = b.activateUser(ctx, req.Storage, u, ready.terms)
		}
		if err == nil {
			return ready, nil
		}
		b.undo(creating, req.Storage, conn, u, err)
		err = fmt.Errorf("user %q: %w", u.Username, err)
		if !takesAnotherName(err) {
			return nil, err
		}
		failure = errors.Join(failure, err)
	}
	return nil, outOfNames(failure)
}

// beginUser draws a name and writes the record, while the integration that it
// names cannot change.
func (b *backend) beginUser(ctx context.Context, req *logical.Request, r *role, ahead *madeAhead) (*userRecord, *connection, error) {
	if err := b.awaitRoom(ctx, req.Storage, r); err != nil {
		return nil, nil, err
	}
	for {
		u, conn, err := b.recordUser(ctx, req, r, ahead)
		if u != nil || err != nil {
			return u, conn, err
		}
		// The connection has to be made first, which may wait for AWS.
		if _, err := b.connect(ctx, req.Storage, r.Integration); err != nil {
			return nil, nil, err
		}
	}
}

// recordUser is beginUser for an integration that is connected; without a
// connection it returns nothing.
func (b *backend) recordUser(ctx context.Context, req *logical.Request, r *role, ahead *madeAhead) (*userRecord, *connection, error) {
	b.integrations.RLock()
	defer b.integrations.RUnlock()
	in, err := b.integrationCache.get(ctx, req.Storage, r.Integration)
	if err != nil {
		return nil, nil, storageError{err}
	}
	if in == nil {
		return nil, nil, refuse("there is no integration %q: write %s%s", r.Integration, integrationPrefix, r.Integration)
	}
	if b.mountSegment == "" {
		return nil, nil, storageError{errors.New("the mount has no UUID, so that its users would have no path of their own")}
	}
	conn := b.connections.get(in)
	if conn == nil {
		return nil, nil, nil
	}
	username, err := newUsername(r.usernameTemplate(in), r.Name)
	if err != nil {
		return nil, nil, err
	}
	u := b.newRecord(req, r)
	u.Ahead = ahead
	u.Username, u.Path, u.AccountID = username, r.userPath(in)+b.mountSegment+"/", conn.accountID
	if r.hasInlinePolicy() {
		// Bearing the user's name, it is as unguessable: see deletion.proves.
		u.PolicyName = username
	}
	added, err := b.addDrawnUser(ctx, req.Storage, u, r.caps(in))
	if err == nil && !added {
		err = refuse("the user name %q was drawn twice: make %s more random", u.Username, fieldUsernameTemplate)
	}
	return u, conn, err
}

func (b *backend) newRecord(req *logical.Request, r *role) *userRecord {
	return &userRecord{
		Version: recordVersion,
		issuedUser: issuedUser{
			Role: r.Name, Integration: r.Integration, Created: b.now(),
			PolicyARNs: r.PolicyARNs, Groups: r.IAMGroups,
		},
		State:       stateCreating,
		EntityID:    req.EntityID,
		DisplayName: req.DisplayName,
	}
}

// activateUser records that the user is complete and until when, unless the
// reaper has taken the creation for abandoned meanwhile, as it does when a
// suspended machine wakes up late. Until then nobody else changes the record, and
// it need not be read again.
func (b *backend) activateUser(ctx context.Context, s logical.Storage, u *userRecord, terms leaseTerms) error {
	lock := locksutil.LockForKey(b.userLocks, u.Username)
	lock.Lock()
	defer lock.Unlock()
	if now := b.now(); u.isDue(now) || u.begun().After(now) {
		stored, err := getUser(ctx, s, u.Username)
		if err == nil && (stored == nil || stored.State != stateCreating) {
			err = errors.New("its creation took so long that it was given up")
		}
		if err != nil {
			return storageError{err}
		}
	}
	u.State, u.Ahead = stateActive, nil
	u.Expires = b.now().Add(terms.ttl + clockAllowance)
	u.Deadline = b.now().Add(terms.maxTTL + clockAllowance)
	return b.putUser(ctx, s, u)
}

// undo deletes what a failed creation has left. The reaper goes on where that
// is not possible now.
func (b *backend) undo(ctx context.Context, s logical.Storage, conn *connection, u *userRecord, cause error) {
	outOfTime := errors.Is(ctx.Err(), context.DeadlineExceeded) || noAnswer(context.WithoutCancel(ctx), cause)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := b.undoUser(ctx, s, conn, u, cause, outOfTime); err != nil {
		b.Logger().Warn("a creation that failed could not be undone yet", "username", u.Username, "role", u.Role, "integration", u.Integration, "error", describe(err))
	}
}

// errNotYet says that a user that has to go is on record, and left to the reaper. That
// ends the undoing of a creation; for whoever shares that work nothing is deleted.
var errNotYet = errors.New("not confirmed deleted yet: AWS did not answer its creation in time, and the reaper goes on")

func (b *backend) undoUser(ctx context.Context, s logical.Storage, conn *connection, u *userRecord, cause error, outOfTime bool) error {
	var refused errNothingDone
	nothingDone := errors.As(cause, &refused)
	if !nothingDone {
		u.State, u.NextAttempt = stateDeleting, b.now()
	}
	for {
		// A deletion that is under way already began when this user was not complete,
		// took the creation for given up, and removes the record: what it comes to is
		// not the end of this user.
		mine := false
		err := b.alone(ctx, u.Username, undoTimeout, func(ctx context.Context) error {
			mine = true
			if nothingDone {
				return b.removeUser(ctx, s, u.Username)
			}
			return b.undoAlone(ctx, s, conn, u, cause, outOfTime)
		})
		switch {
		case mine && errors.Is(err, errNotYet):
			return nil
		case mine || nothingDone:
			return err
		}
	}
}

// undoAlone is undoUser while no other deletion of the user is under way.
func (b *backend) undoAlone(ctx context.Context, s logical.Storage, conn *connection, u *userRecord, cause error, outOfTime bool) error {
	// Written again, because a creation that was given up may have no record any more:
	// also where the backend has just ended, and leaves the user to the next process.
	noting, cancel := b.noting(ctx)
	defer cancel()
	err := b.storeUser(noting, s, u)
	switch {
	case err == nil && outOfTime:
		return errNotYet // the caller has waited long enough: the reaper's next pass
	case err != nil && errors.As(cause, new(errMayWait)):
		return err // only the active node knows what became of the user
	}
	// Where the record could not be written the user must go all the same: nobody was
	// given it, and nobody else takes it for complete, or for waiting.
	deleted := b.deleteInAWS(ctx, s, conn, u)
	if deleted != nil {
		return errors.Join(err, b.noteFailure(ctx, s, u, deleted))
	}
	return errors.Join(err, b.forgetUser(ctx, s, u))
}

func (b *backend) credsResponse(req *logical.Request, made *issue) *logical.Response {
	u, secret, terms := made.user, made.secret, made.terms
	resp := b.Secret(secretTypeIAMUser).Response(map[string]any{
		fieldAccessKeyID:     u.AccessKeyID,
		fieldSecretAccessKey: secret,
		fieldUsername:        u.Username,
		fieldUserID:          u.UserID,
		fieldARN:             u.ARN,
		fieldPolicyName:      u.PolicyName,
		fieldLeaseExpiration: timestamp(b.now().Add(terms.ttl)),
		fieldAccountID:       u.AccountID,
		fieldAccessKey:       u.AccessKeyID,
		fieldSecretKey:       secret,

		fieldPropagationSeconds: made.took.Seconds(),
	}, leaseData{User: u.issuedUser, TTL: terms.ttl, MaxTTL: terms.maxTTL}.encode())
	resp.Secret.TTL, resp.Secret.MaxTTL = terms.ttl, terms.maxTTL
	for _, warning := range terms.warnings {
		resp.AddWarning(warning)
	}
	if made.warning != "" {
		resp.AddWarning(made.warning)
	}
	if req.ClientTokenAccessor == "" {
		// Only batch tokens have no accessor. Core ends their leases with them,
		// without telling the plugin.
		resp.AddWarning(fieldLeaseExpiration + " is an upper bound: a lease made with a batch token ends with the token")
	}
	return resp
}

const credsDescription = `
Every call makes a user of its own, which is deleted when its lease ends, is revoked, or
the token that asked for it ends. It waits, at most for the role's propagation_timeout,
until AWS lets the key in. A role or an integration that has as many users as its
max_users allows is refused.`

const credsHelp = `
Every read returns the access key of an IAM user of its own, with the role's
permissions, under a lease. The user is made for it, or was made ahead where the
role has a pool_size, and is deleted when the lease ends.

ttl sets this lease's TTL, up to the role's max_ttl and the mount's maximum.`
