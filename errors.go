package awsiam

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/hashicorp/vault/sdk/logical"
)

// Error codes of the IAM API reference that the engine tells apart.
const (
	codeAccessDenied                = "AccessDenied"
	codeConcurrentModification      = "ConcurrentModification"
	codeDeleteConflict              = "DeleteConflict"
	codeEntityAlreadyExists         = "EntityAlreadyExists"
	codeEntityTemporarilyUnmodified = "EntityTemporarilyUnmodifiable"
	codeInvalidAction               = "InvalidAction"
	codeInvalidClientTokenID        = "InvalidClientTokenId"
	codeLimitExceeded               = "LimitExceeded"
	codeNoSuchEntity                = "NoSuchEntity"
	codeSignatureDoesNotMatch       = "SignatureDoesNotMatch"
	codeUnrecognizedClient          = "UnrecognizedClientException"
	// codeUnknown is the SDK's for an error answer that names no code.
	codeUnknown = "UnknownError"
)

// passingCodes are the 4xx answers that another attempt, later, may not get.
var passingCodes = []string{
	"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException",
	codeConcurrentModification, codeEntityTemporarilyUnmodified,
	"IDPCommunicationError", // AWS could not reach Vault's issuer (STS API reference, AssumeRoleWithWebIdentity)
}

// refusal is an error that only the caller or the operator can put right.
type refusal string

func (r refusal) Error() string { return string(r) }

func refuse(format string, args ...any) error {
	return refusal(fmt.Sprintf(format, args...))
}

// storageError marks a failure of Vault's storage, which is no answer of AWS.
type storageError struct{ error }

func (e storageError) Unwrap() error { return e.error }

// undecryptable says whether a reading failed because Vault cannot decrypt what is
// stored, as when the disk has damaged it: reading it again does not mend that, and
// writing it anew does. All that crosses the plugin protocol is the error's text
// (lockSwitchedGet in barrier_aes_gcm.go of Vault 1.21.1).
func undecryptable(err error) bool {
	return err != nil && strings.Contains(err.Error(), "decryption failed")
}

// hasCode says whether AWS answered the call with one of the codes. Where it was
// STS that refused the session to sign the call with, the call has no answer.
func hasCode(err error, codes ...string) bool {
	var call, session *smithy.OperationError
	if errors.As(err, &call) && errors.As(call.Err, &session) {
		return false
	}
	var answer smithy.APIError
	return errors.As(err, &answer) && slices.Contains(codes, answer.ErrorCode())
}

// advice is text for people that goes with an error and is none itself.
type advice string

func (a advice) Error() string { return string(a) }

// retryable says whether the same request may succeed later without anybody
// changing anything. Of several errors together one such is enough.
func retryable(err error) bool {
	var refused refusal
	return !errors.As(err, &refused) && passes(err)
}

func passes(err error) bool {
	switch e := err.(type) { //nolint:errorlint // it walks the tree itself
	case advice:
		return false
	case smithy.APIError:
		return slices.Contains(passingCodes, e.ErrorCode())
	case *awshttp.ResponseError:
		if e.HTTPStatusCode() >= http.StatusInternalServerError {
			return true
		}
		return passes(e.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), passes)
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return passes(inner)
		}
	}
	return true
}

// describe renders an error for people, in one line: as it is worded, but with
// AWS's code, message and request id for the SDK's own wrapping of them.
func describe(err error) string {
	return strings.ReplaceAll(reword(err), "\n", "; ")
}

func reword(err error) string {
	text := err.Error()
	switch e := err.(type) { //nolint:errorlint // it walks the tree itself
	case *smithy.OperationError:
		return describeAnswer(e)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			text = strings.Replace(text, inner.Error(), reword(inner), 1)
		}
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			text = strings.Replace(text, inner.Error(), reword(inner), 1)
		}
	}
	return text
}

// describeAnswer says of a call that STS had refused the session for which call of
// STS that was.
func describeAnswer(err *smithy.OperationError) string {
	if session := new(smithy.OperationError); errors.As(err.Err, &session) {
		return fmt.Sprintf("%s:%s needs a session: %s", err.Service(), err.Operation(), describeAnswer(session))
	}
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		return err.Error()
	}
	text := fmt.Sprintf("%s:%s: %s: %s", err.Service(), err.Operation(), answer.ErrorCode(), answer.ErrorMessage())
	var response *awshttp.ResponseError
	if errors.As(err, &response) && response.ServiceRequestID() != "" {
		text += fmt.Sprintf(" (request id %s)", response.ServiceRequestID())
	}
	switch code := answer.ErrorCode(); {
	case slices.Contains(passingCodes, code):
		text += "; try again"
	case code == codeInvalidClientTokenID:
		text += "; AWS does not know the access key: it is mistyped, or was deleted, or rotated since the snapshot " +
			"that Vault was restored from: write the integration that has it with a valid one"
	}
	return text
}

// awsFailure turns an error that AWS, or the way to it, gave into an answer to
// the caller: 502 where a retry can help (Vault's Go client retries 5xx by
// itself), 400 where it cannot.
func awsFailure(context string, err error) (*logical.Response, error) {
	text := fmt.Sprintf("%s: %s", context, describe(err))
	if retryable(err) {
		return nil, logical.CodedError(http.StatusBadGateway, text)
	}
	return logical.ErrorResponse(text), nil
}
