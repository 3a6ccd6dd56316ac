package awsiam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	rolePrefix            = "roles/"
	defaultTTL            = 30 * time.Minute
	credentialTypeIAMUser = "iam_user"
	// A new key usually works within a few seconds, at most about 15
	// (hashicorp/vault#3115).
	defaultPropagationTimeout = 10 * time.Second
	maxPropagationTimeout     = 45 * time.Second
	// maxPoolSize keeps a pool to a fiftieth of an account's users.
	maxPoolSize = 100
	// longestTTL keeps dates within what times and AWS's policies can hold.
	longestTTL             = 100 * 365 * 24 * time.Hour
	maxManagedPolicies     = 20  // IAM's quota of 10 can be raised to 20
	defaultManagedPolicies = 10  // reference_iam-quotas
	maxGroups              = 10  // reference_iam-quotas
	maxTags                = 50  // id_tags
	maxTagKeyLength        = 128 // id_tags
	maxTagValueLength      = 256 // id_tags
)

var (
	groupRegexp = regexp.MustCompile(`^[A-Za-z0-9+=,.@_-]{1,128}$`)
	// The patterns of Tag in the IAM API reference.
	tagKeyRegexp   = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$`)
	tagValueRegexp = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

// role is the definition of a dynamic secret as storage keeps it, under roles/.
type role struct {
	Name        string `json:"name"`
	Integration string `json:"integration"`

	PolicyDocument         string            `json:"policy_document"` // as written
	PolicyARNs             []string          `json:"policy_arns"`
	IAMGroups              []string          `json:"iam_groups"`
	PermissionsBoundaryARN string            `json:"permissions_boundary_arn"`
	IAMTags                map[string]string `json:"iam_tags"`

	UserPath         string `json:"user_path"`         // empty: the integration's
	UsernameTemplate string `json:"username_template"` // empty: the integration's

	DefaultTTL time.Duration `json:"default_ttl"`
	MaxTTL     time.Duration `json:"max_ttl"` // 0: the mount's

	// EnforceExpiry has AWS deny everything to a user after its deadline.
	EnforceExpiry bool `json:"enforce_expiry"`

	// PropagationTimeout bounds the wait until AWS lets a new key in; 0: none.
	PropagationTimeout time.Duration `json:"propagation_timeout"`

	// PoolSize is how many users are kept ready; see pools.
	PoolSize int `json:"pool_size"`

	// MaxUsers is how many users of its leases there can be; 0: any number.
	MaxUsers int `json:"max_users"`

	// fits says that checkSize was asked, and found nothing.
	fits bool
	// templates is what depends on who asks, nil for nothing; see roleFor. filledWith
	// says whose values are in policy and tags in the place of templates, for people.
	templates  *roleTemplates
	filledWith string
}

func newRole(name string) *role {
	return &role{
		Name: name, Integration: defaultIntegration, DefaultTTL: defaultTTL,
		// Empty rather than nil, which would be shown as null.
		PolicyARNs: []string{}, IAMGroups: []string{}, IAMTags: map[string]string{},
		EnforceExpiry: true, PropagationTimeout: defaultPropagationTimeout,
	}
}

// clone returns a copy that shares no memory with it, but for templates, which never
// change.
func (r *role) clone() *role {
	copied := *r
	copied.PolicyARNs, copied.IAMGroups, copied.IAMTags = slices.Clone(r.PolicyARNs), slices.Clone(r.IAMGroups), maps.Clone(r.IAMTags)
	return &copied
}

// userPath is the IAM path of the role's users, before the mount's segment.
func (r *role) userPath(in *integration) string {
	if r.UserPath != "" {
		return r.UserPath
	}
	return in.UserPath
}

func (r *role) usernameTemplate(in *integration) string {
	if r.UsernameTemplate != "" {
		return r.UsernameTemplate
	}
	return in.UsernameTemplate
}

// hasInlinePolicy says whether the role's users get an inline policy.
func (r *role) hasInlinePolicy() bool { return r.PolicyDocument != "" || r.EnforceExpiry }

// inlinePolicy is the document of a user's inline policy.
func (r *role) inlinePolicy(deadline time.Time) (string, error) {
	if r.EnforceExpiry {
		return withExpiry(r.PolicyDocument, deadline)
	}
	return minifyPolicy(r.PolicyDocument)
}

// validate checks everything that an operator can get wrong, so that reading
// a credential cannot fail for it.
func (r *role) validate(in *integration) error {
	return errors.Join(
		r.validatePermissions(in),
		r.validateBoundary(in),
		r.validateTags(),
		r.validateNaming(in),
		r.validateTTLs(),
		r.validatePropagationTimeout(),
		r.validatePoolSize(),
		validateMaxUsers(r.MaxUsers),
	)
}

func (r *role) validatePermissions(in *integration) error {
	if r.PolicyDocument == "" && len(r.PolicyARNs) == 0 && len(r.IAMGroups) == 0 {
		return refuse("give at least one of %s, %s and %s: a user without permissions is of no use", fieldPolicyDocument, fieldPolicyARNs, fieldIAMGroups)
	}
	var errs []error
	if r.PolicyDocument != "" {
		errs = append(errs, r.validatePolicyDocument(in))
	}
	if len(r.PolicyARNs) > maxManagedPolicies {
		errs = append(errs, refuse("%s has %d entries: IAM attaches at most %d policies to a user", fieldPolicyARNs, len(r.PolicyARNs), maxManagedPolicies))
	}
	if len(r.IAMGroups) > maxGroups {
		errs = append(errs, refuse("%s has %d entries: a user can be in at most %d groups", fieldIAMGroups, len(r.IAMGroups), maxGroups))
	}
	for _, policy := range r.PolicyARNs {
		errs = append(errs, validatePolicyARN(fieldPolicyARNs, policy, in))
	}
	for _, group := range r.IAMGroups {
		if !groupRegexp.MatchString(group) {
			errs = append(errs, refuse("%s: %q is not a group's name: 1 to 128 letters, digits and +=,.@_- (the name, not the ARN)", fieldIAMGroups, group))
		}
	}
	return errors.Join(append(errs, validateUnique(fieldPolicyARNs, r.PolicyARNs), validateUnique(fieldIAMGroups, r.IAMGroups))...)
}

func (r *role) validatePolicyDocument(in *integration) error {
	template, err := parsePolicyTemplate(r.PolicyDocument)
	if err != nil {
		return refuse("%s: %s", fieldPolicyDocument, err)
	}
	if template != nil {
		if _, err := readPolicyDocument(fieldPolicyDocument, r.PolicyDocument); err != nil {
			return err
		}
		filled := *r
		filled.filledWith = " with one character for each identity template"
		if filled.PolicyDocument, err = template.render(sample); err != nil {
			return refuse("%s: %s", fieldPolicyDocument, err)
		}
		r = &filled
	}
	if err := validatePolicyDocument(fieldPolicyDocument, r.PolicyDocument, in.Partition); err != nil {
		return err
	}
	return r.checkSize()
}

// checkSize includes the expiry statement in what has to fit.
func (r *role) checkSize() error {
	document, err := r.inlinePolicy(time.Now())
	if err != nil && r.hasInlinePolicy() {
		return refuse("%s: %s", fieldPolicyDocument, err)
	}
	if len(document) > maxInlinePolicySize {
		return refuse("%s of role %q has %d bytes together with the statement of %s%s, without white space: IAM takes at most %d, "+
			"move statements into a managed policy (%s), or set %s=false",
			fieldPolicyDocument, r.Name, len(document), fieldEnforceExpiry, r.filledWith, maxInlinePolicySize, fieldPolicyARNs, fieldEnforceExpiry)
	}
	return nil
}

func (r *role) validateBoundary(in *integration) error {
	if r.PermissionsBoundaryARN == "" {
		return nil
	}
	return validatePolicyARN(fieldPermissionsBoundaryARN, r.PermissionsBoundaryARN, in)
}

// validatePolicyARN also checks what the integration's account can attach:
// AWS's own policies and the account's, of its partition.
func validatePolicyARN(field, value string, in *integration) error {
	if err := validateARN(field, value, "policy"); err != nil {
		return err
	}
	parsed, err := arn.Parse(value)
	switch {
	case err != nil:
		return refuse("%s: %q: %s", field, value, err)
	case in.Partition != "" && parsed.Partition != in.Partition:
		return refuse("%s: %q is of partition %q, the account of integration %q is in %q", field, value, parsed.Partition, in.Name, in.Partition)
	case in.AccountID != "" && parsed.AccountID != "aws" && parsed.AccountID != in.AccountID:
		return refuse("%s: %q belongs to account %s, integration %q to %s: use a policy of that account or an AWS managed one", field, value, parsed.AccountID, in.Name, in.AccountID)
	}
	return nil
}

// validateUnique ignores case, as IAM does with names.
func validateUnique(field string, values []string) error {
	seen := make(map[string]bool, len(values))
	for _, value := range values {
		if folded := strings.ToLower(value); !seen[folded] {
			seen[folded] = true
			continue
		}
		return refuse("%s: %q stands there twice, case ignored: give it once", field, value)
	}
	return nil
}

func (r *role) validateTags() error {
	if len(r.IAMTags) > maxOwnTags {
		return refuse("%s has %d entries: a user can have %d tags, of which the engine gives %d (%s); use at most %d",
			fieldIAMTags, len(r.IAMTags), maxTags, len(automaticTags), strings.Join(automaticTags, ", "), maxOwnTags)
	}
	for _, key := range automaticTags {
		if hasKey(r.IAMTags, key) {
			return refuse("%s: the key %q is one that the engine gives by itself: use another", fieldIAMTags, key)
		}
	}
	keys := sortedKeys(r.IAMTags)
	for _, key := range keys {
		value := r.IAMTags[key]
		template, err := parseIdentityTemplate(value)
		if err != nil {
			return refuse("%s: %q: %s", fieldIAMTags, key, err)
		}
		if template != nil {
			if value, err = template.render(sample); err != nil {
				return refuse("%s: %q: %s", fieldIAMTags, key, err)
			}
		}
		switch {
		case hasTemplate(key):
			return refuse("%s: the key %q has a template: only values can", fieldIAMTags, key)
		case utf8.RuneCountInString(key) > maxTagKeyLength:
			return refuse("%s: the key %q is longer than %d characters", fieldIAMTags, key, maxTagKeyLength)
		case !tagKeyRegexp.MatchString(key):
			return refuse("%s: %q is not a tag's key: letters, digits, spaces and _.:/=+-@", fieldIAMTags, key)
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return refuse("%s: the key %q begins with \"aws:\", which is AWS's own", fieldIAMTags, key)
		}
		if err := checkTagValue(key, value); err != nil {
			return refuse("%s: %s", fieldIAMTags, err)
		}
	}
	return validateUnique(fieldIAMTags, keys)
}

func checkTagValue(key, value string) error {
	switch {
	case utf8.RuneCountInString(value) > maxTagValueLength:
		return refuse("the value of %q is longer than %d characters", key, maxTagValueLength)
	case !tagValueRegexp.MatchString(value):
		return refuse("the value of %q has a character that tags cannot have: letters, digits, spaces and _.:/=+-@", key)
	}
	return nil
}

func (r *role) validateNaming(in *integration) error {
	var errs []error
	if r.UserPath != "" {
		err := validateUserPath(r.UserPath)
		if err == nil && !strings.HasPrefix(r.UserPath, in.UserPath) {
			err = refuse("%s: %q does not begin with %q, the user_path of integration %q: its permissions end there", fieldUserPath, r.UserPath, in.UserPath, in.Name)
		}
		errs = append(errs, err)
	}
	err := validateUsernameTemplate(r.usernameTemplate(in), r.Name)
	if err != nil && r.UsernameTemplate == "" {
		// What it renders depends on the role's name.
		err = refuse("%s (the template is that of integration %q: give the role one of its own, or another name)", err, in.Name)
	}
	return errors.Join(append(errs, err)...)
}

func (r *role) validatePropagationTimeout() error {
	if r.PropagationTimeout < 0 || r.PropagationTimeout > maxPropagationTimeout {
		return refuse("%s (%s) must be 0, not to wait, or at most %s: Vault's clients give up after a minute", fieldPropagationTimeout, r.PropagationTimeout, maxPropagationTimeout)
	}
	return nil
}

func (r *role) validatePoolSize() error {
	if r.PoolSize < 0 || r.PoolSize > maxPoolSize {
		return refuse("%s (%d) must be 0, for none, or at most %d", fieldPoolSize, r.PoolSize, maxPoolSize)
	}
	return nil
}

func (r *role) validateTTLs() error {
	switch {
	case r.DefaultTTL <= 0:
		return refuse("%s must be at least 1s: there is no credential without an end", fieldDefaultTTL)
	case r.MaxTTL > 0 && r.DefaultTTL > r.MaxTTL:
		return refuse("%s (%s) is longer than %s (%s): lower the one or raise the other", fieldDefaultTTL, r.DefaultTTL, fieldMaxTTL, r.MaxTTL)
	}
	return nil
}

// maxTTL is M of the design: the longest that a lease made now can live.
func (r *role) maxTTL(system logical.SystemView) time.Duration {
	limit := min(system.MaxLeaseTTL(), longestTTL)
	if r.MaxTTL > 0 && r.MaxTTL < limit {
		return r.MaxTTL
	}
	return limit
}

// warnings are about what works, but perhaps not as meant.
func (r *role) warnings(system logical.SystemView) []string {
	var warnings []string
	limit := system.MaxLeaseTTL()
	for field, ttl := range map[string]time.Duration{fieldDefaultTTL: r.DefaultTTL, fieldMaxTTL: r.MaxTTL} {
		if ttl > limit {
			warnings = append(warnings, fmt.Sprintf("%s (%s) is longer than the mount's maximum (%s), which leases are capped at: raise it with `vault secrets tune -max-lease-ttl=…`", field, ttl, limit))
		}
	}
	if len(r.PolicyARNs) > defaultManagedPolicies {
		warnings = append(warnings, fmt.Sprintf("%s has %d entries: more than %d need a raised quota in the AWS account", fieldPolicyARNs, len(r.PolicyARNs), defaultManagedPolicies))
	}
	if templates, err := readTemplates(r); err == nil {
		warnings = append(warnings, templates.warnings()...)
	}
	return warnings
}

// errDamagedRole says that a role is there but cannot be read.
var errDamagedRole = errors.New("the role is damaged: delete it and write it again")

func getRole(ctx context.Context, s logical.Storage, name string) (*role, error) {
	entry, err := s.Get(ctx, rolePrefix+name)
	if undecryptable(err) {
		return nil, fmt.Errorf("%w: role %q: %w", errDamagedRole, name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading role %q: %w", name, err)
	}
	if entry == nil {
		return nil, nil
	}
	r := newRole(name) // for what an older plugin did not store
	if err := entry.DecodeJSON(r); err != nil {
		return nil, fmt.Errorf("%w: decoding role %q: %w", errDamagedRole, name, err)
	}
	return r, nil
}

// loadRole is getRole for the cache: what depends on the role alone is found out
// once, and not for each user.
func loadRole(ctx context.Context, s logical.Storage, name string) (*role, error) {
	r, err := getRole(ctx, s, name)
	if r != nil {
		// One that an older plugin stored was not checked with all that counts now.
		var unreadable error
		if r.templates, unreadable = readTemplates(r); unreadable != nil {
			r.templates = &roleTemplates{unreadable: unreadable}
		}
		// With templates in it the policy is looked at when they are filled in.
		r.fits = r.templates != nil || r.checkSize() == nil
	}
	return r, err
}

func (b *backend) putRole(ctx context.Context, s logical.Storage, r *role) error {
	entry, err := logical.StorageEntryJSON(rolePrefix+r.Name, r)
	if err != nil {
		return fmt.Errorf("encoding role %q: %w", r.Name, err)
	}
	if err := b.roleCache.change(r.Name, func() error { return s.Put(ctx, entry) }); err != nil {
		return fmt.Errorf("writing role %q: %w", r.Name, err)
	}
	return nil
}

func (b *backend) deleteRole(ctx context.Context, s logical.Storage, name string) error {
	if err := b.roleCache.change(name, func() error { return s.Delete(ctx, rolePrefix+name) }); err != nil {
		return fmt.Errorf("deleting role %q: %w", name, err)
	}
	return nil
}

// eachRole visits all roles. Those that cannot be read are passed over, and named
// by the error in the end.
func eachRole(ctx context.Context, s logical.Storage, visit func(*role)) error {
	names, err := s.List(ctx, rolePrefix)
	if err != nil {
		return fmt.Errorf("listing roles: %w", err)
	}
	var damaged []string
	for _, name := range names {
		r, err := getRole(ctx, s, name)
		switch {
		case errors.Is(err, errDamagedRole):
			damaged = append(damaged, name)
		case err != nil:
			return err
		case r != nil:
			visit(r)
		}
	}
	if len(damaged) > 0 {
		return refuse("role(s) %s cannot be read, so that nothing says which integration they use: delete them first", some(damaged))
	}
	return nil
}
