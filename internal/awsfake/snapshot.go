package awsfake

import (
	"slices"
	"strings"
	"time"
)

// UserInfo is an IAM user as it was when asked for. Created is AWS's clock in whole seconds; Policies
// are the inline ones, document by name; Boundary and AttachedPolicies are ARNs, the lists of
// dependents their ids (MFADevices: serial numbers).
type UserInfo struct {
	Name, Path, ID, ARN      string
	Created                  time.Time
	Boundary                 string
	Tags                     map[string]string
	AccessKeys               []AccessKeyInfo
	Policies                 map[string]string
	AttachedPolicies, Groups []string
	LoginProfile             bool

	SSHKeys, SigningCertificates, ServiceCredentials, MFADevices []string
}

// AccessKeyInfo is an access key without its secret.
type AccessKeyInfo struct {
	ID      string
	Active  bool
	Created time.Time
}

// User returns a copy of a user as it now is, whatever [Lag] lets callers see.
func (acct *Account) User(name string) (UserInfo, bool) {
	acct.aws.mu.Lock()
	defer acct.aws.mu.Unlock()
	u := acct.userByName(name)
	if u == nil {
		return UserInfo{}, false
	}
	return u.snapshot(), true
}

// Users returns copies of all users, sorted by name.
func (acct *Account) Users() []UserInfo {
	acct.aws.mu.Lock()
	defer acct.aws.mu.Unlock()
	all := make([]UserInfo, 0, len(acct.users))
	for _, u := range acct.users {
		all = append(all, u.snapshot())
	}
	slices.SortFunc(all, func(a, b UserInfo) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// UserCount is how many users the account has.
func (acct *Account) UserCount() int {
	acct.aws.mu.Lock()
	defer acct.aws.mu.Unlock()
	return len(acct.users)
}

func (u *user) snapshot() UserInfo {
	info := UserInfo{
		Name: u.name, Path: u.path, ID: u.id, ARN: u.arn(), Created: u.created,
		Tags: map[string]string{}, Policies: map[string]string{}, LoginProfile: u.login != nil,
		AttachedPolicies:    each(u.attached, func(p *managedPolicy) string { return p.arn }),
		Groups:              each(u.groups, func(g *group) string { return g.name }),
		SSHKeys:             each(u.sshKeys, func(k sshKey) string { return k.id }),
		SigningCertificates: each(u.certificates, func(c certificate) string { return c.id }),
		ServiceCredentials:  each(u.serviceCreds, func(c serviceCredential) string { return c.id }),
		MFADevices:          each(u.mfa, bySerial),
		AccessKeys: each(u.keys, func(k *accessKey) AccessKeyInfo {
			return AccessKeyInfo{ID: k.id, Active: k.active, Created: k.created}
		}),
	}
	if u.boundary != nil {
		info.Boundary = u.boundary.arn
	}
	for _, t := range u.tags {
		info.Tags[t.Key] = t.Value
	}
	for name, doc := range u.inline {
		info.Policies[name] = doc.text
	}
	return info
}

func each[T, X any](items []T, convert func(T) X) []X {
	var out []X
	for _, item := range items {
		out = append(out, convert(item))
	}
	return out
}
