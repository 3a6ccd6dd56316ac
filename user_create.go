package awsiam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"vault-plugin-secrets-aws-iam/internal/governor"
)

const (
	// createTimeout bounds a creation in AWS, since core often sets no deadline.
	// It ends before the 60 s that Vault's clients wait, so that they are told.
	createTimeout = 50 * time.Second
	// visibilityTimeout is how long the calls after CreateUser put up with
	// being told that the user does not exist.
	visibilityTimeout  = 10 * time.Second
	maxVisibilityPause = time.Second
)

// creation makes one IAM user for a record.
type creation struct {
	conn   *connection
	role   *role
	user   *issuedUser
	tags   map[string]string
	maxTTL time.Duration // the longest that a lease of the user can live

	created time.Time // by AWS's clock, once there is a user
	// pooled says that the user was made ahead of its lease, so that IAM knows it.
	pooled bool
	secret string // of the access key, once there is one
}

// errNoContent says that the answer of a call lacks what the call is made for,
// as a proxy's may.
var errNoContent = errors.New("the answer has no content")

// errNothingDone wraps AWS's refusal of CreateUser: no user can have come of it.
type errNothingDone struct{ error }

func (e errNothingDone) Unwrap() error { return e.error }

// errStrayKey says that the user has, or may have, an access key whose secret nobody
// knows.
var errStrayKey = errors.New("the answer about an access key was lost, so that the user may have two")

// takesAnotherName says whether a creation failed for what is of its name or its user
// alone, so that under another name the caller can be served: somebody else's user has
// the name; or, after a lost answer, most likely our own, which undoing takes care of;
// or there may be a key that nobody knows.
func takesAnotherName(err error) bool {
	return hasCode(err, codeEntityAlreadyExists) || errors.Is(err, errStrayKey)
}

// outOfNames is how a creation fails that has failed so under all names it tried: the
// caller can mend it only if they were taken.
func outOfNames(err error) error {
	if errors.Is(err, errStrayKey) {
		return err
	}
	return refuse("%d user names in a row were taken in the AWS account: make %s more random", maxNames, fieldUsernameTemplate)
}

// run makes the user and everything it needs: one call, then all others at
// once. Whatever error it returns, but for errNothingDone, the user may exist.
func (c *creation) run(ctx context.Context) error {
	rest := append(c.grants(), c.createAccessKey)
	ctx = governor.WithCreation(ctx, time.Now(), 1+len(rest))
	if err := c.createUser(ctx); err != nil {
		return err
	}
	return concurrently(ctx, rest)
}

// concurrently takes the steps concurrently.
func concurrently(ctx context.Context, steps []func(context.Context) error) error {
	errs := make([]error, len(steps))
	var wg sync.WaitGroup
	for i, step := range steps[1:] {
		wg.Go(func() { errs[1+i] = step(ctx) })
	}
	errs[0] = steps[0](ctx) // on this stack, which has grown as deep as the SDK needs
	wg.Wait()
	// A failed step's error is returned as it is: the first decides how the
	// caller is answered.
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *creation) createUser(ctx context.Context) error {
	input := &iam.CreateUserInput{UserName: &c.user.Username, Path: &c.user.Path, Tags: iamTags(c.tags)}
	if c.role.PermissionsBoundaryARN != "" {
		input.PermissionsBoundary = &c.role.PermissionsBoundaryARN
	}
	ctx, attempts := withAttempts(ctx)
	out, err := c.conn.iam.CreateUser(ctx, input)
	switch {
	case err == nil && (out.User == nil || out.User.CreateDate == nil || aws.ToString(out.User.UserId) == ""):
		return errNoContent
	case err == nil:
		c.created = *out.User.CreateDate
		c.user.UserID, c.user.ARN = aws.ToString(out.User.UserId), aws.ToString(out.User.Arn)
		return nil
	case attempts.lost:
		// An earlier attempt may have made the user, whatever this one says.
		return err
	default:
		return errNothingDone{err}
	}
}

// grants are the calls that give the user its permissions.
func (c *creation) grants() []func(context.Context) error {
	var steps []func(context.Context) error
	if c.user.PolicyName != "" {
		steps = append(steps, c.putPolicy)
	}
	for _, policy := range c.user.PolicyARNs {
		steps = append(steps, func(ctx context.Context) error {
			return c.change(ctx, policy, func(ctx context.Context) error {
				_, err := c.conn.iam.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &c.user.Username, PolicyArn: &policy})
				return err
			})
		})
	}
	for _, group := range c.user.Groups {
		steps = append(steps, func(ctx context.Context) error {
			return c.change(ctx, group, func(ctx context.Context) error {
				_, err := c.conn.iam.AddUserToGroup(ctx, &iam.AddUserToGroupInput{UserName: &c.user.Username, GroupName: &group})
				return err
			})
		})
	}
	return steps
}

func (c *creation) putPolicy(ctx context.Context) error {
	// The deadline is reckoned from AWS's own date of the user, since it is AWS
	// that compares it with its clock.
	document, err := c.role.inlinePolicy(c.created.Add(c.maxTTL + clockAllowance))
	if err != nil {
		return fmt.Errorf("%s of role %q: %w", fieldPolicyDocument, c.role.Name, err)
	}
	return c.change(ctx, "", func(ctx context.Context) error {
		_, err := c.conn.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &c.user.Username, PolicyName: &c.user.PolicyName, PolicyDocument: &document})
		return err
	})
}

func (c *creation) createAccessKey(ctx context.Context) error {
	ctx, attempts := withAttempts(ctx)
	var out *iam.CreateAccessKeyOutput
	err := untilVisible(ctx, ofTheUser, func(ctx context.Context) (err error) {
		out, err = c.conn.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &c.user.Username})
		return err
	})
	switch {
	case attempts.lost && hasCode(err, codeLimitExceeded): // all that a user may have
		return fmt.Errorf("%w: %w", errStrayKey, err)
	case err != nil:
		return err
	case out.AccessKey == nil || aws.ToString(out.AccessKey.AccessKeyId) == "" || aws.ToString(out.AccessKey.SecretAccessKey) == "":
		return errNoContent
	}
	c.user.AccessKeyID, c.secret = aws.ToString(out.AccessKey.AccessKeyId), aws.ToString(out.AccessKey.SecretAccessKey)
	if !attempts.lost {
		return nil
	}
	if err := c.checkOnlyKey(ctx); err != nil {
		// Beside a key on record any other would look like a stranger's, and hold up
		// the undoing. Nobody was told this one: it goes like the others.
		c.user.AccessKeyID, c.secret = "", ""
		return err
	}
	return nil
}

// checkOnlyKey returns nil if AWS shows that the user has no key but the one whose
// secret is known: attempts whose answer was lost may have made others. Such a key
// is not deleted here to save the creation: a copy of IAM's that lags says that it
// is not there, and it would live on beside the key of a lease. Nor is a list
// believed that does not have the known key yet.
func (c *creation) checkOnlyKey(ctx context.Context) error {
	known, others := false, false
	err := eachAccessKey(ctx, c.conn.iam, c.user.Username, func(key types.AccessKeyMetadata) error {
		if aws.ToString(key.AccessKeyId) == c.user.AccessKeyID {
			known = true
		} else {
			others = true
		}
		return nil
	})
	switch {
	case hasCode(err, codeAccessDenied): // as of a user that it does not know yet
		return fmt.Errorf("%w: %w", errStrayKey, err)
	case err == nil && (others || !known):
		return errStrayKey
	}
	return err
}

// change makes a call on the user, which IAM may not know yet if it was just made.
// Of a user that was made ahead it tells the truth: somebody has deleted it.
func (c *creation) change(ctx context.Context, given string, call func(context.Context) error) error {
	if c.pooled {
		return call(ctx)
	}
	return untilVisible(ctx, func(notFound error) bool {
		// A user's name has the role's in it, which may be a group's, too.
		about := notFound.Error()
		return given != "" && strings.Contains(about, given) && !strings.Contains(about, c.user.Username)
	}, call)
}

// ofTheUser is for calls that are about the user alone.
func ofTheUser(error) bool { return false }

// untilVisible makes a call on a user just made, again while IAM does not know
// the user yet. Under a policy that is narrowed to a path that reads as
// AccessDenied, since a user that does not exist has no path. "Not found" may
// also be about what the user is to be given, which elsewhere tells.
func untilVisible(ctx context.Context, elsewhere func(error) bool, call func(context.Context) error) error {
	deadline := time.Now().Add(visibilityTimeout)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, maxVisibilityPause) {
		err := call(ctx)
		if !hasCode(err, codeNoSuchEntity, codeAccessDenied) || hasCode(err, codeNoSuchEntity) && elsewhere(err) {
			return err
		}
		if time.Now().Add(pause).After(deadline) {
			return fmt.Errorf("IAM did not let the new user be changed within %s; "+
				"if the integration has the permission, IAM did not know the user yet and trying again helps: %w", visibilityTimeout, err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// ignore returns nil if AWS answered err with one of the codes.
func ignore(err error, codes ...string) error {
	if hasCode(err, codes...) {
		return nil
	}
	return err
}
