package awsiam

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

const (
	// codeNoAnswer stands for a code where a call had no answer of AWS's.
	codeNoAnswer = "NoAnswer"
	// manyCodes bounds how many codes are told apart: what answers at an endpoint
	// need not be AWS. The others are counted together.
	manyCodes, otherCodes = 100, "Other"
	// summaryOperation is what status asks. It is no part of the work, and where it is
	// not allowed each look at the numbers would change them.
	summaryOperation = "GetAccountSummary"
)

// calls counts the calls that each integration makes of IAM in the life of the
// process. A connection, made anew when the integration changes, counts on.
type calls struct {
	mu            sync.Mutex
	byIntegration map[string]*tally
}

// tally is of one integration. Each attempt of a call counts.
type tally struct {
	mu        sync.Mutex
	made      int
	throttled int
	failed    map[string]int // by AWS's code
}

// callCount is a tally at a moment.
type callCount struct {
	made, throttled int
	failed          map[string]int
}

func (c *calls) of(integration string) *tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.byIntegration[integration]
	if t == nil {
		t = &tally{failed: make(map[string]int)}
		if c.byIntegration == nil {
			c.byIntegration = make(map[string]*tally)
		}
		c.byIntegration[integration] = t
	}
	return t
}

// forget is for an integration that was deleted. What is under way with its
// connection is counted no more.
func (c *calls) forget(integration string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byIntegration, integration)
}

// count is what an integration's tally has.
func (c *calls) count(integration string) callCount {
	c.mu.Lock()
	t := c.byIntegration[integration]
	c.mu.Unlock()
	if t == nil {
		return callCount{failed: make(map[string]int)}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return callCount{made: t.made, throttled: t.throttled, failed: maps.Clone(t.failed)}
}

// note counts an attempt by how it ended.
func (t *tally) note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.made++
	if err == nil {
		return
	}
	if throttled(err) {
		t.throttled++
	}
	t.noteFailure(err)
}

// noteFailure is for callers that hold the lock.
func (t *tally) noteFailure(err error) {
	code := codeNoAnswer
	var answer smithy.APIError
	if errors.As(err, &answer) {
		code = answer.ErrorCode()
	}
	if _, known := t.failed[code]; !known && len(t.failed) >= manyCodes {
		code = otherCodes
	}
	t.failed[code]++
}

// noteSession counts what became of a call that had no session to be signed with,
// and was not made.
func (t *tally) noteSession(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noteFailure(err)
}

// counted has every attempt of every call counted that is let go by the governor, and
// every call that STS has refused the session for.
func (t *tally) counted(o *iam.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		attempt := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleFinalize(ctx, in)
			if middleware.GetOperationName(ctx) != summaryOperation {
				t.note(err)
			}
			return out, metadata, err
		}
		call := func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleInitialize(ctx, in)
			session := new(smithy.OperationError) // IAM's own answer is not wrapped yet
			if errors.As(err, &session) && middleware.GetOperationName(ctx) != summaryOperation {
				t.noteSession(session)
			}
			return out, metadata, err
		}
		if err := stack.Initialize.Add(middleware.InitializeMiddlewareFunc("CountedSession", call), middleware.After); err != nil {
			return err
		}
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("CountedAttempt", attempt), "AttemptTracker", middleware.Before)
	})
}
