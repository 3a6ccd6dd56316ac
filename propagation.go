package awsiam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	// provingSuccesses is how often in a row a new key has to be let in. One
	// success does not prove that every server of AWS knows the key
	// (hashicorp/terraform-provider-vault waits for as many).
	provingSuccesses = 5
	// provingConnections is how many connections an attempt is made over at the same
	// time, once the key has been let in at all. Which of AWS's servers answers is not
	// in the engine's hands, and one connection after another may meet the same: of
	// keys that four servers learn of within a second, 0.4% were handed over too early
	// with one connection at a time, and 0.002% with four (simulated, with servers
	// drawn at random).
	provingConnections = 4
	// provingPause is the pause between two attempts; while the key is refused
	// it grows up to the other.
	provingPause    = 200 * time.Millisecond
	maxProvingPause = 500 * time.Millisecond
	// provingAttempt bounds one attempt: a firewall may drop what goes to STS
	// without a word, and nobody should wait for long to be told.
	provingAttempt = 5 * time.Second
)

// propagation is what became of waiting until AWS lets a new key in.
type propagation struct {
	took    time.Duration
	warning string // empty if the key was let in
}

// prove waits until AWS lets the new key in, at most for the timeout, 0 being
// none; less says that the time is over before it began. It takes no lock and no
// place in the account's governor. The only error is the context's own.
//
// It proves that the key authenticates. What the key may do then travels by itself.
func (conn *connection) prove(ctx context.Context, keyID, secret string, timeout time.Duration) (p propagation, err error) {
	if timeout == 0 {
		return p, nil
	}
	start := time.Now()
	defer func() { p.took = time.Since(start) }()
	proving, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	key := credentials.NewStaticCredentialsProvider(keyID, secret, "")
	reached := false // STS has answered, so that a failure after it is one of a server or a connection
	for inRow, pause := 0, provingPause; ; {
		connections := provingConnections
		if inRow == 0 {
			connections = 1 // as long as it is refused, one refusal is enough
		}
		switch answer := conn.letIn(proving, key, connections); {
		case answer == nil:
			reached, inRow, pause = true, inRow+1, provingPause
		case reached || notYet(answer):
			reached, inRow, pause = true, 0, min(2*pause, maxProvingPause)
		case ctx.Err() != nil: // below
		default:
			p.warning = fmt.Sprintf("whether AWS lets the access key in yet is not known, it may take some seconds: %s. "+
				"Give Vault a way to STS, or set the role's %s to 0", describe(answer), fieldPropagationTimeout)
			return p, nil
		}
		if inRow == provingSuccesses {
			return p, nil
		}
		select {
		case <-proving.Done():
			if ctx.Err() != nil {
				return p, ctx.Err()
			}
			p.warning = fmt.Sprintf("AWS did not let the access key in %d times in a row within %s: it may take some more seconds to work", provingSuccesses, timeout)
			return p, nil
		case <-time.After(pause):
		}
	}
}

// letIn returns nil if AWS let the key in on each of so many new connections, made at
// the same time so that they meet several of AWS's servers.
func (conn *connection) letIn(ctx context.Context, key aws.CredentialsProvider, connections int) error {
	ask := func(ctx context.Context) error { return conn.authenticate(ctx, key) }
	return concurrently(ctx, slices.Repeat([]func(context.Context) error{ask}, connections))
}

// authenticate returns nil if AWS let the key in. A key that is let in may still be
// refused the call, as by the policy of a VPC endpoint.
func (conn *connection) authenticate(ctx context.Context, key aws.CredentialsProvider) error {
	ctx, cancel := context.WithTimeout(ctx, provingAttempt)
	defer cancel()
	_, err := conn.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.Options) {
		o.Credentials = key
		o.Retryer = aws.NopRetryer{}
		o.APIOptions = append(o.APIOptions, onNewConnection)
	})
	return ignore(err, codeAccessDenied)
}

// onNewConnection has the call leave no connection behind, so that the next may
// meet another of AWS's servers.
func onNewConnection(stack *middleware.Stack) error {
	return stack.Build.Add(middleware.BuildMiddlewareFunc("OnNewConnection", func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
		if req, ok := in.Request.(*smithyhttp.Request); ok {
			req.Close = true
		}
		return next.HandleBuild(ctx, in)
	}), middleware.After)
}

// notYet says whether a refusal may be of a key that has not arrived everywhere,
// or passes in another way.
func notYet(err error) bool {
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) {
		return false // STS was not reached: another attempt would not either
	}
	return response.HTTPStatusCode() >= 500 || throttled(err) ||
		hasCode(err, codeInvalidClientTokenID, codeSignatureDoesNotMatch, codeUnrecognizedClient)
}
