package awsfake

import (
	"crypto/subtle"
	"net/http"
	"time"
)

// accessKey is a long-term key (AKIA…) or a session's (ASIA…).
type accessKey struct {
	id, secret, token string // token only for sessions
	who               *principal
	active            bool
	created           time.Time
	lags              bool      // made under a Lag
	usableFrom        time.Time // later than created under Lag.Key
	goneAt            time.Time // deleted, and still working until then; zero = not deleted
	expires           time.Time // sessions only
	lastUsed          lastUse
}

type lastUse struct {
	at              time.Time
	service, region string
}

// newKey makes a key known; the caller holds the lock.
func (a *AWS) newKey(prefix string, who *principal, created time.Time) *accessKey {
	k := &accessKey{
		id: newKeyID(prefix, who.acct.id), secret: newSecret(), who: who,
		active: true, created: created, usableFrom: created,
	}
	for a.keys[k.id] != nil {
		k.id = newKeyID(prefix, who.acct.id)
	}
	a.keys[k.id] = k
	return k
}

// works tells whether the key authenticates, expiry aside, at a server that learns of it so late.
func (k *accessKey) works(now time.Time, late time.Duration) bool {
	if !k.goneAt.IsZero() && !now.Before(k.goneAt) || !k.active || k.lags && now.Before(k.usableFrom.Add(late)) {
		return false
	}
	// A user's sessions outlive its keys, but not the user.
	u := k.who.user
	return u == nil || k.token == "" || u.goneAt.IsZero() || now.Before(u.goneAt)
}

var errInvalidKey = fail("InvalidClientTokenId", "The security token included in the request is invalid.")

// authenticate finds out who signed a request. The signature is computed without holding the lock.
// The date is not compared with the clock: tests move AWS's clock by hours and not the client's,
// and no client of ours depends on how AWS words RequestExpired.
func (a *AWS) authenticate(r *http.Request, body []byte, sig signature, svc service) (*principal, error) {
	a.mu.Lock()
	now, key := a.now(), a.keys[sig.keyID]
	var found accessKey
	usable := key != nil && key.works(now, a.lateness(r))
	if usable {
		found = *key
	}
	a.mu.Unlock()
	token := r.Header.Get("X-Amz-Security-Token")
	if !usable || subtle.ConstantTimeCompare([]byte(token), []byte(found.token)) != 1 {
		return nil, errInvalidKey
	}
	if err := sig.checkScope(svc, found.who.acct.partition); err != nil {
		return nil, err
	}
	if !sig.verify(r, body, found.secret) {
		return nil, fail("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. "+
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	if !found.expires.IsZero() && !now.Before(found.expires) {
		return nil, fail("ExpiredToken", "The security token included in the request is expired")
	}
	// A session that GetSessionToken made without MFA may not call IAM at all, whatever its policy
	// (STS API reference, GetSessionToken). AWS does not say so: it calls the token invalid.
	if svc == iamService && found.who.temporary && found.who.role == nil && !found.who.mfa {
		return nil, errInvalidKey
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key.lastUsed = lastUse{at: now, service: svc.name, region: sig.region}
	return found.who, nil
}

// checkScope tells whether the signature is for this service and a region it is in: IAM's control
// plane is in one region, STS is in all. A key means nothing outside its partition.
func (s signature) checkScope(svc service, partition string) error {
	switch {
	case s.service != svc.name:
		return fail("SignatureDoesNotMatch", "Credential should be scoped to correct service: '%s'.", svc.name)
	case partitionOf(s.region) == "", svc == iamService && partitionOf(s.region) == partition && s.region != iamRegions[partition]:
		return fail("SignatureDoesNotMatch", "Credential should be scoped to a valid region.")
	case partitionOf(s.region) != partition:
		return errInvalidKey
	}
	return nil
}
