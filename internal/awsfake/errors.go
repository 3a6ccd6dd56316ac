package awsfake

import "fmt"

// apiError is an error as AWS answers it.
type apiError struct {
	status        int
	code, message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

// statuses are the HTTP statuses of error codes (the IAM and STS API references); the rest are 400.
var statuses = map[string]int{
	"AccessDenied":                  403,
	"ConcurrentModification":        409,
	"DeleteConflict":                409,
	"DuplicateCertificate":          409,
	"EntityAlreadyExists":           409,
	"EntityTemporarilyUnmodifiable": 409,
	"ExpiredToken":                  403,
	"InvalidAuthenticationCode":     403,
	"InvalidClientTokenId":          403,
	"LimitExceeded":                 409,
	"MissingAuthenticationToken":    403,
	"NoSuchEntity":                  404,
	"RequestLimitExceeded":          503,
	"ServiceFailure":                500,
	"ServiceUnavailable":            503,
	"SignatureDoesNotMatch":         403,
	"InternalFailure":               500,
}

func statusOf(code string) int {
	if s, ok := statuses[code]; ok {
		return s
	}
	return 400
}

// fail makes an apiError.
func fail(code, format string, args ...any) *apiError {
	return &apiError{status: statusOf(code), code: code, message: fmt.Sprintf(format, args...)}
}

func noSuch(kind, name string) *apiError {
	return fail("NoSuchEntity", "The %s with name %s cannot be found.", kind, name)
}

func exceeded(quota string, limit int) *apiError {
	return fail("LimitExceeded", "Cannot exceed quota for %s: %d", quota, limit)
}
