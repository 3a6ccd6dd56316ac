package awsiam

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/hashicorp/vault/sdk/helper/pluginidentityutil"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	integrationPrefix  = "config/"
	defaultIntegration = "default"
	defaultUserPath    = "/vault/"
	defaultSession     = "vault-aws-iam"
	// maxRetriesLimit keeps a mistyped number from retrying past any deadline.
	maxRetriesLimit = 50
	// maxPathLength is IAM's bound on a user's path (reference_iam-quotas).
	maxPathLength = 512
	// maxExternalIDLength and the patterns below are those of the STS API
	// reference of AssumeRole.
	maxExternalIDLength = 1224
	// maxEndpointLength is far beyond any host's name, which has at most 253.
	maxEndpointLength = 1024
)

var (
	accessKeyRegexp   = regexp.MustCompile(`^[A-Za-z0-9_]{16,128}$`)
	regionRegexp      = regexp.MustCompile(`^[a-z]{2,8}(-[a-z0-9]{1,16}){1,4}$`)
	externalIDRegexp  = regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]{2,}$`)
	sessionNameRegexp = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{2,64}$`)
	// The IAM API admits more characters in a path; the user guide does not.
	userPathRegexp = regexp.MustCompile(`^/([A-Za-z0-9+=,.@_-]+/)*$`)
)

// integration is a named AWS connection as storage keeps it, under config/.
type integration struct {
	Name     string `json:"name"`
	Revision string `json:"revision"` // another with every write

	AccessKey   string `json:"access_key"`
	SecretKey   string `json:"secret_key"`
	RoleARN     string `json:"role_arn"`
	ExternalID  string `json:"external_id"`
	SessionName string `json:"session_name"`
	// SourceIntegration is the integration whose identity it borrows; see borrow.
	SourceIntegration string `json:"source_integration,omitempty"`
	pluginidentityutil.PluginIdentityTokenParams

	Region      string `json:"region"`
	IAMEndpoint string `json:"iam_endpoint"`
	STSEndpoint string `json:"sts_endpoint"`
	CAPEM       string `json:"ca_pem,omitempty"` // empty: the system's CAs
	MaxRetries  int    `json:"max_retries"`      // negative: the engine's default

	UserPath         string `json:"user_path"`
	UsernameTemplate string `json:"username_template"` // empty: defaultUsernameTemplate
	// MaxUsers is how many users it can have, whatever their role; 0: any number.
	MaxUsers int `json:"max_users,omitempty"`

	// What the last verification found; empty where there was none.
	AccountID string `json:"account_id"`
	CallerARN string `json:"caller_arn"`
	Partition string `json:"partition"`
	// VerifiedAt is when that was, by Vault's clock.
	VerifiedAt time.Time `json:"verified_at,omitzero"`
	// VerifiedSource is the IdentityRevision that the source had then.
	VerifiedSource string `json:"verified_source,omitempty"`
	// IdentityRevision is another with every write that may have it reach AWS as
	// somebody else, or in another way. A rotation of its key leaves it.
	IdentityRevision string `json:"identity_revision,omitempty"`

	Rotation rotation `json:"rotation,omitzero"` // of AccessKey

	// source is the SourceIntegration as it was when this one was read; nil
	// without one, and where there is none that can be read.
	source *integration
}

func newIntegration(name string) *integration {
	return &integration{Name: name, MaxRetries: -1, UserPath: defaultUserPath}
}

// clone returns a copy that shares no memory with it.
func (in *integration) clone() *integration {
	copied := *in
	if before := in.Rotation.Journal.Forsaken; before != nil {
		copied.Rotation.Journal.Forsaken = before.clone()
	}
	if in.source != nil {
		copied.source = in.source.clone()
	}
	return &copied
}

// path is where operators find the integration.
func (in *integration) path() string { return integrationPrefix + in.Name }

func (in *integration) sessionName() string {
	if in.SessionName != "" {
		return in.SessionName
	}
	return defaultSession
}

// accountMayDiffer says whether the account can change without a write to the
// integration: a key and a role belong to one account for ever, but not what the
// server's environment provides, nor what another integration lends.
func (in *integration) accountMayDiffer() bool {
	return in.AccessKey == "" && in.RoleARN == ""
}

// connectsAs says whether both reach AWS in the same way, as the same caller.
func (in *integration) connectsAs(other *integration) bool {
	return in.AccessKey == other.AccessKey && in.SecretKey == other.SecretKey &&
		in.RoleARN == other.RoleARN && in.ExternalID == other.ExternalID && in.SessionName == other.SessionName &&
		in.Region == other.Region && in.IAMEndpoint == other.IAMEndpoint && in.STSEndpoint == other.STSEndpoint &&
		in.CAPEM == other.CAPEM && in.IdentityTokenAudience == other.IdentityTokenAudience && in.borrowsAs(other)
}

// identity is who AWS said the integration is, as far as that is known.
func (in *integration) identity() callerIdentity {
	return callerIdentity{in.AccountID, in.CallerARN, in.Partition}
}

// forgetIdentity is for an integration that reaches AWS in another way than when it
// was verified. Without a role it is who its source is.
func (in *integration) forgetIdentity() {
	in.AccountID, in.CallerARN, in.Partition, in.VerifiedAt, in.VerifiedSource = "", "", "", time.Time{}, ""
}

// verified says whether AWS has let in the credentials as they are, and named who
// they belong to.
func (in *integration) verified() bool {
	return in.CallerARN != "" && (in.SourceIntegration == "" || !in.VerifiedAt.IsZero())
}

// setIdentity records who AWS says the integration is, and refuses a caller
// that could rewrite its own permissions through the engine's.
func (in *integration) setIdentity(id callerIdentity) error {
	parsed, err := arn.Parse(id.ARN)
	if err != nil {
		return err
	}
	if strings.HasPrefix(parsed.Resource, "user"+in.UserPath) {
		return refuse("%s: the integration's own user %s lies beneath %q, where the engine's permissions would let it rewrite itself: "+
			"move that user to another path, or choose another user_path", fieldUserPath, id.ARN, in.UserPath)
	}
	in.AccountID, in.CallerARN, in.Partition = id.AccountID, id.ARN, id.Partition
	return nil
}

// validate checks everything that can be known without asking AWS.
func (in *integration) validate() error {
	return errors.Join(
		in.validateKey(),
		in.validateAssumedRole(),
		in.validateSource(),
		in.validateFederation(),
		in.validateRotation(),
		matches(fieldRegion, in.Region, regionRegexp, "an AWS region such as us-east-1"),
		validateEndpoint(fieldIAMEndpoint, in.IAMEndpoint),
		validateEndpoint(fieldSTSEndpoint, in.STSEndpoint),
		validateCA(in.CAPEM),
		validateMaxRetries(in.MaxRetries),
		validateMaxUsers(in.MaxUsers),
		validateUserPath(in.UserPath),
		validateUsernameTemplate(in.UsernameTemplate, longestRoleName),
	)
}

func (in *integration) validateKey() error {
	switch {
	case in.AccessKey == "" && in.SecretKey == "":
		return nil
	case in.AccessKey == "":
		return refuse("%s is missing: give both %s and %s, or neither to use the AWS SDK's default credentials", fieldAccessKey, fieldAccessKey, fieldSecretKey)
	case in.SecretKey == "":
		return refuse("%s is missing: give both %s and %s, or neither to use the AWS SDK's default credentials", fieldSecretKey, fieldAccessKey, fieldSecretKey)
	case strings.HasPrefix(in.AccessKey, "ASIA"):
		return refuse("%s is a temporary key, which would end within hours: use the key of an IAM user (AKIA…)", fieldAccessKey)
	case !accessKeyRegexp.MatchString(in.AccessKey):
		return refuse("%s is not an access key id: 16 to 128 letters, digits and '_'", fieldAccessKey)
	case strings.ContainsFunc(in.SecretKey, func(r rune) bool { return r <= ' ' || r > '~' }) || len(in.SecretKey) > 128:
		return refuse("%s is not a secret access key: at most 128 printable characters, no white space (check for a line break at its end)", fieldSecretKey)
	}
	return nil
}

func (in *integration) validateAssumedRole() error {
	if in.RoleARN == "" {
		if in.ExternalID != "" || in.SessionName != "" {
			return refuse("%s and %s go with %s: give it too, or clear them", fieldExternalID, fieldSessionName, fieldRoleARN)
		}
		return nil
	}
	if len(in.ExternalID) > maxExternalIDLength {
		return refuse("%s has %d characters: AWS takes at most %d", fieldExternalID, len(in.ExternalID), maxExternalIDLength)
	}
	return errors.Join(
		validateARN(fieldRoleARN, in.RoleARN, "role"),
		matches(fieldExternalID, in.ExternalID, externalIDRegexp, "2 or more letters, digits and _+=,.@:/-"),
		matches(fieldSessionName, in.SessionName, sessionNameRegexp, "2 to 64 letters, digits and _+=,.@-"),
	)
}

// matches checks an optional field against a pattern.
func matches(field, value string, pattern *regexp.Regexp, meaning string) error {
	if value == "" || pattern.MatchString(value) {
		return nil
	}
	return refuse("%s: %q is not valid: use %s", field, value, meaning)
}

func validateMaxRetries(n int) error {
	if n < -1 || n > maxRetriesLimit {
		return refuse("%s: %d is out of range: use 0 to %d, or -1 for the default of %d", fieldMaxRetries, n, maxRetriesLimit, defaultRetries)
	}
	return nil
}

// validateEndpoint admits plain http to this machine only: requests carry
// signatures, and answers carry new secret keys.
func validateEndpoint(field, value string) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	switch {
	case len(value) > maxEndpointLength:
		return refuse("%s has %d characters: use at most %d", field, len(value), maxEndpointLength)
	case u != nil && u.User != nil || strings.Contains(value, "@"):
		return refuse("%s must not hold credentials: use https://host[:port]", field)
	case err != nil || u.Hostname() == "" || u.Opaque != "" || !isPort(u.Port()):
		return refuse("%s: %q is not a URL: use https://host[:port]", field, value)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return refuse("%s must not hold credentials, a query or a fragment: use https://host[:port]", field)
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return refuse("%s: %q would send credentials in the clear: use https (http is for a loopback address only)", field, value)
}

// isPort also takes none. url.Parse lets any number pass.
func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func validateUserPath(userPath string) error {
	if !userPathRegexp.MatchString(userPath) {
		return refuse("%s: %q is not an IAM path: begin and end it with '/', with letters, digits and +=,.@_- between", fieldUserPath, userPath)
	}
	if longest := maxPathLength - mountSegmentLength - 1 - len(recreatedElement); len(userPath) > longest {
		return refuse("%s has %d characters: use at most %d, since the mount's own segment is appended, and another to ask for a name", fieldUserPath, len(userPath), longest)
	}
	return nil
}

// validateARN checks the form of an IAM ARN of the kind ("role", "policy").
func validateARN(field, value, kind string) error {
	parsed, err := arn.Parse(value)
	if err != nil || parsed.Service != "iam" || parsed.Region != "" || !partitionRegexp.MatchString(parsed.Partition) {
		return refuse("%s: %q is not the ARN of an IAM %s: use arn:<partition>:iam::<account>:%s/<name>", field, value, kind, kind)
	}
	if !accountRegexp.MatchString(parsed.AccountID) && (kind != "policy" || parsed.AccountID != "aws") {
		return refuse("%s: %q has no account of 12 digits", field, value)
	}
	name, ok := strings.CutPrefix(parsed.Resource, kind+"/")
	if !ok || !arnNameRegexp.MatchString(name) {
		return refuse("%s: %q does not name a %s: use arn:<partition>:iam::<account>:%s/<name>", field, value, kind, kind)
	}
	if dir, base := path.Split("/" + name); len(dir) > maxPathLength || len(base) > maxNameLengths[kind] {
		return refuse("%s: %q has a path of %d characters and a name of %d: use at most %d and %d",
			field, value, len(dir), len(base), maxPathLength, maxNameLengths[kind])
	}
	return nil
}

var (
	partitionRegexp = regexp.MustCompile(`^aws(-[a-z]+)*$`)
	accountRegexp   = regexp.MustCompile(`^[0-9]{12}$`)
	// A name, after a path if it has one.
	arnNameRegexp = regexp.MustCompile(`^([A-Za-z0-9+=,.@_-]+/)*[A-Za-z0-9+=,.@_-]+$`)
	// maxNameLengths are IAM's by what the name is of (reference_iam-quotas).
	maxNameLengths = map[string]int{"policy": 128, "role": 64}
)

// errDamagedIntegration says that an integration is there but cannot be read.
var errDamagedIntegration = errors.New("the integration is damaged: write it again, whole")

// loadIntegration returns the integration as it is stored, to be stored again.
func loadIntegration(ctx context.Context, s logical.Storage, name string) (*integration, error) {
	entry, err := s.Get(ctx, integrationPrefix+name)
	if undecryptable(err) {
		return nil, fmt.Errorf("%w: integration %q: %w", errDamagedIntegration, name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading integration %q: %w", name, err)
	}
	if entry == nil {
		return nil, nil
	}
	in := new(integration)
	if err := entry.DecodeJSON(in); err != nil {
		return nil, fmt.Errorf("%w: decoding integration %q: %w", errDamagedIntegration, name, err)
	}
	return in, nil
}

func (b *backend) putIntegration(ctx context.Context, s logical.Storage, in *integration) error {
	entry, err := logical.StorageEntryJSON(in.path(), in)
	if err != nil {
		return fmt.Errorf("encoding integration %q: %w", in.Name, err)
	}
	// A step of a rotation does not concern connections that have the same revision.
	defer b.connections.outdate(in)
	return b.changeIntegration(in.Name, "writing", func() error { return s.Put(ctx, entry) })
}

func (b *backend) deleteIntegration(ctx context.Context, s logical.Storage, name string) error {
	defer b.calls.forget(name)
	defer b.connections.drop(name)
	return b.changeIntegration(name, "deleting", func() error { return s.Delete(ctx, integrationPrefix+name) })
}

// changeIntegration makes a change in storage. What is known of the integration
// is dropped even if that fails: it may have happened all the same.
func (b *backend) changeIntegration(name, doing string, change func() error) error {
	if err := b.integrationCache.change(name, change); err != nil {
		return fmt.Errorf("%s integration %q: %w", doing, name, err)
	}
	return nil
}
