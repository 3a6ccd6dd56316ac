package awsfake

import (
	"fmt"
	"regexp"
	"strings"
)

// Account is one AWS account with its IAM entities.
type Account struct {
	aws           *AWS
	id, partition string
	root          Credentials

	users    map[string]*user // users, groups and roles by name in lower case: AWS tells names apart ignoring case
	groups   map[string]*group
	roles    map[string]*role
	policies map[string]*managedPolicy // by ARN, AWS's own included
	mfa      map[string]*mfaDevice     // by serial number

	providers map[string]*OIDCProvider // by issuer
	bucket    bucket
}

// Credentials sign requests. SessionToken is empty for long-term keys.
type Credentials struct{ AccessKeyID, SecretAccessKey, SessionToken string }

var accountID = regexp.MustCompile(`^[0-9]{12}$`)

// Account returns the account of that id (12 digits), made in the partition "aws" on first use.
func (a *AWS) Account(id string) *Account {
	a.mu.Lock()
	known := a.accounts[id]
	a.mu.Unlock()
	if known != nil {
		return known
	}
	return a.AccountIn("aws", id)
}

// AccountIn is [AWS.Account] for another partition ("aws-cn", "aws-us-gov", …). It panics when the
// id is malformed, the partition unknown, or the account exists in another one.
func (a *AWS) AccountIn(partition, id string) *Account {
	if !accountID.MatchString(id) {
		panic(fmt.Sprintf("awsfake: account id %q is not 12 digits", id))
	}
	if _, ok := iamRegions[partition]; !ok {
		panic(fmt.Sprintf("awsfake: unknown partition %q", partition))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.accounts[id]; known != nil {
		if known.partition != partition {
			panic(fmt.Sprintf("awsfake: account %s exists in partition %s, not %s", id, known.partition, partition))
		}
		return known
	}
	acct := &Account{
		aws: a, id: id, partition: partition,
		users: map[string]*user{}, groups: map[string]*group{}, roles: map[string]*role{},
		policies: map[string]*managedPolicy{}, mfa: map[string]*mfaDevice{}, providers: map[string]*OIDCProvider{},
	}
	acct.addAWSPolicies()
	root := a.newKey("AKIA", &principal{acct: acct}, a.now())
	acct.root = Credentials{AccessKeyID: root.id, SecretAccessKey: root.secret}
	a.accounts[id] = acct
	return acct
}

// ID is the account's number, 12 digits.
func (acct *Account) ID() string { return acct.id }

// Root returns the account's root key, which may do everything but assume roles.
func (acct *Account) Root() Credentials { return acct.root }

// arn is the name of an IAM entity of the account: arn("user", "/vault/", "bob").
func (acct *Account) arn(kind, path, name string) string {
	return "arn:" + acct.partition + ":iam::" + acct.id + ":" + kind + path + name
}

// userByName finds a user whatever its visibility. Names are unique ignoring case but asked for
// exactly: AWS does not document otherwise, and a client that mixes cases up should find out here.
func (acct *Account) userByName(name string) *user {
	if u := acct.users[strings.ToLower(name)]; u != nil && u.name == name {
		return u
	}
	return nil
}

// principal is who makes a call: the account's root if neither user nor role is set.
type principal struct {
	acct      *Account
	user      *user
	role      *role
	session   string    // an assumed role's session name
	temporary bool      // session credentials, from GetSessionToken or AssumeRole
	mfa       bool      // the session was asked for with an MFA code
	limit     *document // the session policy, if one was given
}

func (p *principal) isRoot() bool { return p.user == nil && p.role == nil }

func (p *principal) arn() string {
	switch {
	case p.user != nil:
		return p.user.arn()
	case p.role != nil:
		return "arn:" + p.acct.partition + ":sts::" + p.acct.id + ":assumed-role/" + p.role.name + "/" + p.session
	default:
		return "arn:" + p.acct.partition + ":iam::" + p.acct.id + ":root"
	}
}

// identityARN is the ARN that policies know the principal by: a session's is its role's.
func (p *principal) identityARN() string {
	if p.role != nil {
		return p.role.arn()
	}
	return p.arn()
}

func (p *principal) userID() string {
	switch {
	case p.user != nil:
		return p.user.id
	case p.role != nil:
		return p.role.id + ":" + p.session
	default:
		return p.acct.id
	}
}
