package awsiam

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/hashicorp/vault/sdk/helper/pluginidentityutil"
)

const (
	// minRotationPeriod keeps a mistyped period from replacing the key all the
	// time: a rotation takes minutes until the old key is gone.
	minRotationPeriod = time.Hour
	// retireAfter is how long the old key is kept after the switch. Whatever began
	// before it is signed with the old key to its end: a creation and its undoing
	// for createTimeout and undoTimeout, a deletion for deleteTimeout.
	retireAfter = 2 * time.Minute
	// abandonAfter is how long keys of a user are cleared away whom the integration
	// is not any more, since its rights may be gone with it.
	abandonAfter = 24 * time.Hour
)

// rotationState is how far the replacement of a key is.
type rotationState string

const (
	// rotationCreating: AWS may or may not have made a new key, whose secret
	// nobody knows.
	rotationCreating rotationState = "creating"
	// rotationProving: the new key is known and not in use.
	rotationProving rotationState = "proving"
	// rotationRetiring: the new key is in use, the old one has to go.
	rotationRetiring rotationState = "retiring"
)

// accessKey is an access key with its secret.
type accessKey struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// rotation is all about the replacement of an integration's key. It is a part of
// the integration, so that the switch from one key to the other and the journal of
// it are one write to storage, of which a crash leaves either all or nothing.
type rotation struct {
	Period   time.Duration `json:"period,omitempty"`   // 0: only when asked to
	KeySince time.Time     `json:"key_since,omitzero"` // since when the integration has its key
	Last     time.Time     `json:"last,omitzero"`      // when the engine last replaced it

	LastError   string    `json:"last_error,omitempty"` // of a rotation on schedule, since the last success
	FailedSince time.Time `json:"failed_since,omitzero"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`

	Journal rotationJournal `json:"journal,omitzero"`
}

// rotationJournal is what has to be known to finish a rotation or to take it back.
// It is written ahead of each step. The zero value says that none is under way.
type rotationJournal struct {
	ID      string        `json:"id"` // tells one rotation from another
	State   rotationState `json:"state"`
	Began   time.Time     `json:"began"`
	UserARN string        `json:"user_arn"` // whose keys these are
	Old     accessKey     `json:"old"`      // the only key that the user had before
	New     accessKey     `json:"new,omitzero"`
	// NotBefore is until when no key is deleted.
	NotBefore time.Time `json:"not_before,omitzero"`
	// Failure is why what is left could not be cleared away yet.
	Failure string `json:"failure,omitempty"`
	// Forsaken is the integration as it was until somebody gave it another key in
	// the midst of the rotation: the way to clear away what that has left.
	Forsaken *integration `json:"forsaken,omitempty"`
}

func (r *rotation) pending() bool { return r.Journal.State != "" }

// due is when something has to be done; zero if nothing ever has to.
func (r *rotation) due() time.Time {
	if r.pending() {
		return latest(r.Journal.Began, latest(r.Journal.NotBefore, r.NextAttempt))
	}
	return r.next()
}

// next is when the key is replaced on schedule; zero if it is not.
func (r *rotation) next() time.Time {
	if r.Period == 0 {
		return time.Time{}
	}
	return latest(r.KeySince.Add(r.Period), r.NextAttempt)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// failed says when to try again what went wrong.
func (r *rotation) failed(failure error, now time.Time) {
	if r.FailedSince.IsZero() {
		r.FailedSince = now
	}
	r.NextAttempt = now.Add(retryPause(now.Sub(r.FailedSince), retryable(failure)))
}

// lastError is what an operator is shown: what stands in the way now, before what
// was in the way of the last rotation.
func (r *rotation) lastError() string { return cmp.Or(r.Journal.Failure, r.LastError) }

// cleared ends the journal of a rotation that was taken back.
func (r *rotation) cleared() {
	r.Journal, r.NextAttempt = rotationJournal{}, time.Time{}
	if r.LastError == "" {
		r.FailedSince = time.Time{}
	}
}

func (r *rotation) succeeded() {
	r.LastError, r.FailedSince, r.NextAttempt = "", time.Time{}, time.Time{}
}

// hasOwnKey says whether the integration keeps a key that could be replaced.
func (in *integration) hasOwnKey() bool { return in.AccessKey != "" }

func (in *integration) key() accessKey { return accessKey{in.AccessKey, in.SecretKey} }

func (in *integration) useKey(key accessKey, revision string, now time.Time) {
	in.AccessKey, in.SecretKey, in.Revision = key.ID, key.Secret, revision
	in.Rotation.KeySince = now
}

// as is how to reach AWS as the key's own user: without the role that the
// integration may assume on top.
func (in *integration) as(key accessKey) *integration {
	own := *in
	own.AccessKey, own.SecretKey = key.ID, key.Secret
	own.RoleARN, own.ExternalID, own.SessionName = "", "", ""
	own.SourceIntegration, own.source = "", nil
	own.PluginIdentityTokenParams = pluginidentityutil.PluginIdentityTokenParams{}
	own.Rotation = rotation{}
	return &own
}

// alsoRetried are codes that pass by themselves right after a switch: one of AWS's
// servers may not know the new key yet although others have let it in. A borrowed key
// is the source's.
func (in *integration) alsoRetried() []string {
	if in.source != nil {
		return in.source.alsoRetried()
	}
	if in.Rotation.Journal.State == rotationRetiring {
		return []string{codeInvalidClientTokenID}
	}
	return nil
}

// rewritten takes note of a write by an operator. Another key ends a rotation: it
// is cleared away by way of the key that was in use.
func (r *rotation) rewritten(in, old *integration, now time.Time) {
	if old != nil && in.AccessKey == old.AccessKey {
		if r.KeySince.IsZero() {
			r.KeySince = now // of a version that did not take note of it
		}
		r.NextAttempt = time.Time{} // what was wrong may have been mended
		return
	}
	r.KeySince, r.Journal.Failure = now, ""
	r.succeeded()
	if r.pending() && r.Journal.Forsaken == nil {
		r.Journal.Forsaken = old.as(old.key())
		// What is under way is signed with the key that was in use.
		r.Journal.NotBefore = latest(r.Journal.NotBefore, now.Add(retireAfter))
	}
}

func (in *integration) validateRotation() error {
	switch period := in.Rotation.Period; {
	case period == 0:
		return nil
	case in.SourceIntegration != "":
		return refuse("%s goes with %s: the key is that of %s %q, which is where to rotate it", fieldRotationPeriod, fieldAccessKey, fieldSourceIntegration, in.SourceIntegration)
	case !in.hasOwnKey():
		return refuse("%s goes with %s: what gives this integration its credentials renews them itself", fieldRotationPeriod, fieldAccessKey)
	case period < minRotationPeriod:
		return refuse("%s: %s is too short: use at least %s, or 0 for none", fieldRotationPeriod, period, minRotationPeriod)
	}
	return nil
}

// iamUserName is the name of the IAM user with the ARN, which has its path in it.
func iamUserName(userARN string) (string, bool) {
	parsed, err := arn.Parse(userARN)
	if err != nil || parsed.Service != "iam" || !strings.HasPrefix(parsed.Resource, "user/") {
		return "", false
	}
	return parsed.Resource[strings.LastIndex(parsed.Resource, "/")+1:], true
}

// doomed are the keys that have to go, in the order in which that is safe: the one
// that signs for it last. inUse is the integration's.
func (j *rotationJournal) doomed(inUse string) []string {
	var ids []string
	switch {
	case j.State != rotationRetiring:
		ids = []string{j.New.ID}
	case j.Forsaken != nil:
		ids = []string{j.Old.ID, j.New.ID}
	default:
		ids = []string{j.Old.ID}
	}
	return slices.DeleteFunc(ids, func(id string) bool { return id == "" || id == inUse })
}
