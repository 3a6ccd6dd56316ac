package awsiam

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"vault-plugin-secrets-aws-iam/internal/governor"
)

// governors are the process's, not a mount's: Vault runs all mounts of a
// plugin's version in one process, and IAM throttles by account, whichever
// mount and integration calls.
var governors governor.Governors

// governor is the account's. Accounts of another endpoint are others.
func (in *integration) governor(accountID string) *governor.Governor {
	return governors.Of(in.IAMEndpoint + " " + accountID)
}

// governed has every attempt of every call wait for its turn with the account's
// governor. STS throttles by itself, at rates far beyond what is asked of it.
func governed(account *governor.Governor) func(*iam.Options) {
	return func(o *iam.Options) {
		o.Retryer = pacedRetryer{o.Retryer}
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			wait := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (out middleware.FinalizeOutput, metadata middleware.Metadata, err error) {
				done, err := account.Acquire(ctx)
				if err != nil {
					return out, metadata, err
				}
				defer func() { done(outcome(err)) }()
				return next.HandleFinalize(ctx, in)
			}
			// Within the retries, since every attempt counts; after the session is
			// there that the call is signed with, since waiting for STS must not take
			// the turns of others; and before the request is signed for its time.
			return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("Governor", wait), "AttemptTracker", middleware.Before)
		})
	}
}

func outcome(err error) governor.Outcome {
	var answer smithy.APIError
	switch {
	case err == nil:
		return governor.Admitted
	case throttled(err):
		return governor.Throttled
	case errors.As(err, &answer):
		return governor.Admitted
	}
	return governor.Unanswered
}

func throttled(err error) bool {
	codes := retry.ThrottleErrorCode{Codes: retry.DefaultThrottleErrorCodes}
	return codes.IsErrorThrottle(err) == aws.TrueTernary
}

// pacedRetryer leaves the pause after a throttled attempt to the governor, which
// knows better when there is room for another. Of an attempt that STS has refused
// the session for, it knows nothing.
type pacedRetryer struct{ aws.Retryer }

// RetryDelay implements aws.Retryer.
func (p pacedRetryer) RetryDelay(attempt int, err error) (time.Duration, error) {
	var session *smithy.OperationError // IAM's own answer is not wrapped yet
	if throttled(err) && !errors.As(err, &session) {
		return 0, nil
	}
	return p.Retryer.RetryDelay(attempt, err)
}
