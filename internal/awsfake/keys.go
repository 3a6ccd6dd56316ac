package awsfake

import (
	"slices"
	"time"
)

type xmlKey struct {
	UserName, AccessKeyId, Status string
	SecretAccessKey               string `xml:",omitempty"`
	CreateDate                    string
}

func (k *accessKey) xml() xmlKey {
	status := "Active"
	if !k.active {
		status = "Inactive"
	}
	return xmlKey{UserName: k.who.user.name, AccessKeyId: k.id, Status: status, CreateDate: stamp(k.created)}
}

func createAccessKey(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	if len(u.keys) >= maxAccessKeys {
		return nil, exceeded("AccessKeysPerUser", maxAccessKeys)
	}
	k := q.aws.newKey("AKIA", &principal{acct: q.acct, user: u}, q.now.Truncate(time.Second))
	k.lags, k.usableFrom = q.lag != (Lag{}), q.now.Add(q.lag.Key)
	u.keys = append(u.keys, k)
	answer := k.xml()
	answer.SecretAccessKey = k.secret
	return struct{ AccessKey xmlKey }{answer}, nil
}

// userKey is the key a call names, which must be of the user it names.
func (q *request) userKey() (*user, *accessKey, error) {
	u, err := q.user()
	if err != nil {
		return nil, nil, err
	}
	for _, k := range u.keys {
		if k.id == q.get("AccessKeyId") {
			return u, k, nil
		}
	}
	return nil, nil, fail("NoSuchEntity", "The Access Key with id %s cannot be found.", q.get("AccessKeyId"))
}

func updateAccessKey(q *request) (any, error) {
	_, k, err := q.userKey()
	if err != nil {
		return nil, err
	}
	k.active = q.get("Status") == "Active"
	return nil, nil
}

func deleteAccessKey(q *request) (any, error) {
	u, k, err := q.userKey()
	if err != nil {
		return nil, err
	}
	u.keys = slices.DeleteFunc(u.keys, func(other *accessKey) bool { return other == k })
	k.goneAt = q.now.Add(q.lag.KeyDeletion)
	if q.lag.KeyDeletion == 0 {
		delete(q.aws.keys, k.id)
	}
	return nil, nil
}

func listAccessKeys(q *request) (any, error) {
	u, err := q.user()
	if err != nil {
		return nil, err
	}
	keys, p, err := paginate(q, slices.Clone(u.keys), func(k *accessKey) string { return k.id })
	return struct {
		UserName          string
		AccessKeyMetadata list[xmlKey]
		page
	}{u.name, listOf(keys, (*accessKey).xml), p}, err
}

// getAccessKeyLastUsed names a key's owner whatever the owner is now called. Of a key that the
// account does not have AWS says AccessDenied, to anybody.
func getAccessKeyLastUsed(q *request) (any, error) {
	type use struct {
		LastUsedDate        string `xml:",omitempty"`
		ServiceName, Region string
	}
	type result struct {
		UserName          string
		AccessKeyLastUsed use
	}
	k := q.aws.keys[q.get("AccessKeyId")]
	if k == nil || k.who.acct != q.acct || k.who.user == nil || k.token != "" || !k.goneAt.IsZero() {
		return nil, fail("AccessDenied", "User: %s is not authorized to perform: iam:GetAccessKeyLastUsed on resource: access key %s",
			q.callerARN, q.get("AccessKeyId"))
	}
	last := use{ServiceName: "N/A", Region: "N/A"}
	if !k.lastUsed.at.IsZero() {
		last = use{stamp(k.lastUsed.at), k.lastUsed.service, k.lastUsed.region}
	}
	return result{k.who.user.name, last}, nil
}
