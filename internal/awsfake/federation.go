package awsfake

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// OIDCProvider is an identity provider that an account trusts to vouch for others. Its tokens are
// JSON Web Tokens like any other's, but signed with a key that both sides share (HS256): AWS would
// fetch the provider's public keys.
type OIDCProvider struct {
	acct      *Account
	issuer    string // without https://
	audiences []string
	key       []byte
}

// jwtHeader is {"alg":"HS256","typ":"JWT"}.
const jwtHeader = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"

type claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Expires  int64  `json:"exp"`
}

// AddOIDCProvider has the account trust an issuer (host and path of its URL) for the audiences.
func (acct *Account) AddOIDCProvider(issuer string, audiences ...string) *OIDCProvider {
	p := &OIDCProvider{acct: acct, issuer: issuer, audiences: audiences, key: []byte(newSecret())}
	acct.aws.mu.Lock()
	defer acct.aws.mu.Unlock()
	acct.providers[issuer] = p
	return p
}

// ARN is what trust policies know the provider by.
func (p *OIDCProvider) ARN() string { return p.acct.arn("oidc-provider", "/", p.issuer) }

// Token vouches for a subject until a time by AWS's clock.
func (p *OIDCProvider) Token(subject, audience string, expires time.Time) string {
	payload, err := json.Marshal(claims{"https://" + p.issuer, subject, audience, expires.Unix()})
	must(err)
	signed := jwtHeader + "." + base64.RawURLEncoding.EncodeToString(payload)
	return signed + "." + p.sign(signed)
}

func (p *OIDCProvider) sign(text string) string {
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// AddFederatedRole makes a role for whom the provider vouches as this subject, with inline policies.
// It trusts the provider for its first audience only.
func (acct *Account) AddFederatedRole(name string, provider *OIDCProvider, subject string, policyDocs ...string) (arn string) {
	return acct.addRoleTrusting(name, map[string]any{
		"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": map[string]string{"Federated": provider.ARN()},
		"Condition": map[string]any{"StringEquals": map[string]string{
			provider.issuer + ":sub": subject, provider.issuer + ":aud": provider.audiences[0],
		}},
	}, policyDocs)
}

// assumeRoleWithWebIdentity takes a token in place of a signature, which the call need not have. The
// role's trust policy alone decides (STS API reference, AssumeRoleWithWebIdentity).
func assumeRoleWithWebIdentity(q *request) (any, error) {
	type assumed struct{ AssumedRoleId, Arn string }
	refused := fail("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	r := q.aws.roleByARN(q.get("RoleArn"))
	if r == nil {
		return nil, refused
	}
	said, p, err := r.acct.verifyToken(q.get("WebIdentityToken"), q.now)
	if err != nil {
		return nil, err
	}
	keys := conditionKeys{
		"aws:currenttime":      {q.now.UTC().Format(time.RFC3339)},
		"sts:rolesessionname":  {q.get("RoleSessionName")},
		conditionKey(p, "sub"): {said.Subject},
		conditionKey(p, "aud"): {said.Audience},
	}
	if r.trustsProvider(p, keys) != allowed {
		return nil, refused
	}
	length, err := q.seconds("DurationSeconds", time.Hour, 15*time.Minute, r.maxSession)
	if err != nil {
		return nil, err
	}
	session := &principal{acct: r.acct, role: r, session: q.get("RoleSessionName")}
	creds := q.newSession(session, length)
	return struct {
		Credentials                 xmlCredentials
		SubjectFromWebIdentityToken string
		AssumedRoleUser             assumed
		Provider, Audience          string
	}{creds, said.Subject, assumed{session.userID(), session.arn()}, p.ARN(), said.Audience}, nil
}

func conditionKey(p *OIDCProvider, claim string) string {
	return strings.ToLower(p.issuer + ":" + claim)
}

// verifyToken finds the provider that the token is of, among those that the account trusts.
func (acct *Account) verifyToken(token string, now time.Time) (said claims, p *OIDCProvider, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return said, nil, fail("InvalidIdentityToken", "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &said) != nil {
		return said, nil, fail("InvalidIdentityToken", "The ID Token provided is not a valid JWT.")
	}
	p = acct.providers[strings.TrimPrefix(said.Issuer, "https://")]
	switch {
	case p == nil:
		return said, nil, fail("InvalidIdentityToken", "No OpenIDConnect provider found in your account for %s", said.Issuer)
	case parts[0] != jwtHeader || !hmac.Equal([]byte(parts[2]), []byte(p.sign(parts[0]+"."+parts[1]))):
		return said, nil, fail("InvalidIdentityToken", "Provided Token's signature is invalid")
	case !now.Before(time.Unix(said.Expires, 0)):
		return said, nil, fail("ExpiredTokenException", "Token expired: current date/time %d must be before the expiration date/time %d", now.Unix(), said.Expires)
	case !slices.Contains(p.audiences, said.Audience):
		return said, nil, fail("InvalidIdentityToken", "Incorrect token audience")
	}
	return said, p, nil
}

// trustsProvider judges the role's trust policy for what a provider vouches for.
func (r *role) trustsProvider(p *OIDCProvider, keys conditionKeys) verdict {
	result := silent
	for _, st := range r.trust.statements {
		acts := slices.ContainsFunc(st.actions, func(a string) bool {
			return glob(wildcards(strings.ToLower(a)), "sts:assumerolewithwebidentity")
		})
		if !acts || !slices.Contains(st.principals, p.ARN()) || !st.conditionsHold(keys, r.trust.variables) {
			continue
		}
		if !st.allow {
			return denied
		}
		result = allowed
	}
	return result
}
