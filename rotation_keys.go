package awsiam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"
)

const (
	// proofTimeout is how long a new key has for that. IAM takes up to about 15 s
	// to let one in (hashicorp/vault#687, #3115, #8413).
	proofTimeout = 30 * time.Second
	// noSuchKey is a key that nobody has: AWS's own example.
	noSuchKey = "AKIAIOSFODNN7EXAMPLE"
)

// keyOwner changes the access keys of an IAM user, as that user.
type keyOwner struct {
	iam  iamAPI
	arn  string
	name string
}

// ownerOf asks AWS whose the key is.
func (b *backend) ownerOf(ctx context.Context, in *integration, key accessKey) (*keyOwner, error) {
	own := in.as(key)
	cfg, err := awsConfig(ctx, own, b.httpClients.of(own), origin{})
	if err != nil {
		return nil, err
	}
	cfg.APIOptions = append(cfg.APIOptions, onNewConnection)
	identity, err := whoAmI(ctx, cfg, own)
	if err != nil {
		return nil, err
	}
	name, ok := iamUserName(identity.ARN)
	if !ok {
		return nil, refuse("the key belongs to %s: only the key of an IAM user can be rotated", identity.ARN)
	}
	return &keyOwner{iam: own.connection(cfg, identity, b.calls.of(in.Name)).iam, arn: identity.ARN, name: name}, nil
}

// needs names the permission that is missing.
func (o *keyOwner) needs(action string, err error) error {
	if hasCode(err, codeAccessDenied) {
		return fmt.Errorf("the integration's own user needs iam:%s on %s: %w", action, o.arn, err)
	}
	return err
}

// keys are the user's keys, by id, with when they were made by AWS's clock.
func (o *keyOwner) keys(ctx context.Context) (map[string]time.Time, error) {
	made := make(map[string]time.Time)
	err := eachAccessKey(ctx, o.iam, o.name, func(key types.AccessKeyMetadata) error {
		made[aws.ToString(key.AccessKeyId)] = aws.ToTime(key.CreateDate)
		return nil
	})
	return made, o.needs("ListAccessKeys", err)
}

// create makes a key. An error other than errNothingDone leaves open whether there
// is one.
func (o *keyOwner) create(ctx context.Context) (accessKey, error) {
	ctx, attempts := withAttempts(ctx)
	out, err := o.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &o.name})
	switch {
	case err != nil && !attempts.lost:
		return accessKey{}, errNothingDone{o.needs("CreateAccessKey", err)}
	case err != nil:
		return accessKey{}, err
	case out.AccessKey == nil || aws.ToString(out.AccessKey.AccessKeyId) == "" || aws.ToString(out.AccessKey.SecretAccessKey) == "":
		return accessKey{}, errNoContent
	}
	return accessKey{aws.ToString(out.AccessKey.AccessKeyId), aws.ToString(out.AccessKey.SecretAccessKey)}, nil
}

// mayDelete finds out whether the user may delete keys of its own, which it must be
// able to before it makes another: by deleting one that it does not have. AWS looks
// at permissions first.
func (o *keyOwner) mayDelete(ctx context.Context) error {
	return ignore(o.delete(ctx, noSuchKey), codeNoSuchEntity)
}

func (o *keyOwner) delete(ctx context.Context, id string) error {
	ctx, attempts := withAttempts(ctx)
	_, err := o.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &o.name, AccessKeyId: &id})
	if attempts.lost && hasCode(err, codeNoSuchEntity) {
		return nil // by an attempt whose answer was lost
	}
	return o.needs("DeleteAccessKey", err)
}

// proveKey waits until AWS lets the user's key in, several times in a row and in
// the end at IAM too, where it is to be used.
func (b *backend) proveKey(ctx context.Context, in *integration, key accessKey, userARN string) error {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	hasty := *in
	hasty.MaxRetries = 0 // this is the loop that tries again
	var refused error    // as AWS last said
	for inRow := 0; inRow < provingSuccesses; {
		err := b.letIn(ctx, &hasty, key, userARN, inRow == provingSuccesses-1)
		inRow++
		if err != nil {
			inRow = 0
		}
		if err != nil && ctx.Err() == nil {
			refused = err
		}
		select {
		case <-ctx.Done():
			return unproven(key.ID, refused)
		case <-time.After(provingPause):
		}
	}
	return nil
}

// letIn asks STS once whether it lets the key in; and IAM, if told to.
func (b *backend) letIn(ctx context.Context, in *integration, key accessKey, userARN string, atIAM bool) error {
	owner, err := b.ownerOf(ctx, in, key)
	switch {
	case err == nil && owner.arn != userARN:
		return fmt.Errorf("AWS takes it for a key of %s, not of %s", owner.arn, userARN)
	case err == nil && atIAM:
		_, err = owner.keys(ctx)
	}
	return err
}

// unproven does not wrap what AWS said: of a new key it has another meaning than
// of one that was in use, and may pass.
func unproven(id string, answer error) error {
	reason := "AWS did not answer"
	var refused smithy.APIError
	switch {
	case errors.As(answer, &refused):
		reason = refused.ErrorCode() + ": " + refused.ErrorMessage()
	case answer != nil:
		reason = answer.Error()
	}
	return fmt.Errorf("the new key %s was not let in %d times in a row within %s: %s", id, provingSuccesses, proofTimeout, reason)
}
