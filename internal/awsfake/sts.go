package awsfake

import (
	"strings"
	"time"
)

type xmlCredentials struct{ AccessKeyId, SecretAccessKey, SessionToken, Expiration string }

// newSession issues session credentials for a principal.
func (q *request) newSession(who *principal, length time.Duration) xmlCredentials {
	who.temporary = true
	k := q.aws.newKey("ASIA", who, q.now)
	k.token = "FwoGZXIvYXdzE" + newSecret() + newSecret() + newSecret()
	k.expires = q.now.Add(length)
	return xmlCredentials{k.id, k.secret, k.token, stamp(k.expires)}
}

func getCallerIdentity(q *request) (any, error) {
	return struct{ Arn, UserId, Account string }{q.caller.arn(), q.caller.userID(), q.caller.acct.id}, nil
}

// getSessionToken makes a session of the user's own. It outlives the key that asked for it.
func getSessionToken(q *request) (any, error) {
	if q.caller.temporary {
		return nil, fail("AccessDenied", "Cannot call GetSessionToken with session credentials")
	}
	byDefault, most := 12*time.Hour, 36*time.Hour
	if q.caller.isRoot() {
		byDefault, most = time.Hour, time.Hour
	}
	length, err := q.seconds("DurationSeconds", byDefault, 15*time.Minute, most)
	if err != nil {
		return nil, err
	}
	session := &principal{acct: q.acct, user: q.caller.user}
	if serial := q.get("SerialNumber"); serial != "" {
		d := q.acct.mfa[serial]
		if d == nil || d.owner != q.caller.user || !codeForm.MatchString(q.get("TokenCode")) {
			return nil, fail("AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code. ")
		}
		session.mfa = true
	}
	return struct{ Credentials xmlCredentials }{q.newSession(session, length)}, nil
}

// assumeRole needs the role's trust, and a policy of the caller's own unless the role is in the same
// account and trusts the caller by name. A role that does not exist is answered like one that does
// not trust.
func assumeRole(q *request) (any, error) {
	type assumed struct{ AssumedRoleId, Arn string }
	if q.caller.isRoot() {
		return nil, fail("AccessDenied", "Roles may not be assumed by root accounts.")
	}
	if q.form.Has("PolicyArns.member.1.arn") {
		return nil, fail("ValidationError", "Managed session policies are not simulated.")
	}
	arn := q.get("RoleArn")
	refused := fail("AccessDenied", "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", q.callerARN, arn)
	r := q.aws.roleByARN(arn)
	if r == nil {
		return nil, refused
	}
	keys := q.conditionKeys()
	v, direct := r.trusts(q.caller, keys)
	if v != allowed {
		return nil, refused
	}
	docs, _ := q.caller.permissions(q.now)
	if !direct || r.acct != q.caller.acct {
		if err := q.permit("sts:AssumeRole", arn); err != nil {
			return nil, err
		}
	} else if judge(docs, "sts:AssumeRole", arn, keys) == denied {
		return nil, refused
	}
	length, err := q.seconds("DurationSeconds", time.Hour, 15*time.Minute, r.maxSession)
	if err != nil {
		return nil, err
	}
	if q.caller.role != nil && length > time.Hour {
		return nil, fail("ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	}
	session := &principal{acct: r.acct, role: r, session: q.get("RoleSessionName")}
	if text := q.get("Policy"); text != "" {
		if session.limit, err = parseDocument(text, r.acct.partition, identityPolicy); err != nil {
			return nil, err
		}
	}
	creds := q.newSession(session, length)
	return struct {
		Credentials     xmlCredentials
		AssumedRoleUser assumed
	}{creds, assumed{session.userID(), session.arn()}}, nil
}

// roleByARN finds a role in any account.
func (a *AWS) roleByARN(arn string) *role {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || a.accounts[parts[4]] == nil {
		return nil
	}
	r := a.accounts[parts[4]].roleByName(arn[strings.LastIndex(arn, "/")+1:])
	if r == nil || r.arn() != arn {
		return nil
	}
	return r
}
