package awsfake

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Quotas of one account and one user (IAM user guide, "reference_iam-quotas").
const (
	maxUsers            = 5000
	maxGroups           = 300
	maxAccessKeys       = 2
	maxAttachedPolicies = 10
	maxUserGroups       = 10
	maxTags             = 50
	maxMFADevices       = 8
	maxCertificates     = 2
	maxSSHKeys          = 5
	maxServiceCreds     = 2 // per service
	maxUserPolicySize   = 2048
	maxGroupPolicySize  = 5120
	maxRolePolicySize   = 10240
	maxManagedSize      = 6144
	maxDocument         = 131072 // as sent, white space included
)

// rule is what a parameter's value must look like, wherever it is sent.
type rule struct {
	min, max int // characters
	form     *regexp.Regexp
	chars    string // how AWS words what form demands
}

const nameChars = `It must contain only alphanumeric characters and/or the following: +=,.@_-`

var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9+=,.@_-]+$`)
	// AWS's guide admits names' characters and slashes; its API any printable one. The guide is narrower.
	pathForm = regexp.MustCompile(`^/([A-Za-z0-9+=,.@_/-]*/)?$`)
	arnForm  = regexp.MustCompile(`^arn:[a-z0-9-]+:[a-z0-9-]+:[a-z0-9-]*:([0-9]{12}|aws)?:.+$`)
	docForm  = regexp.MustCompile(`^[\t\n\r\x20-\xFF]+$`)
	codeForm = regexp.MustCompile(`^[0-9]{6}$`)
	keyForm  = regexp.MustCompile(`^\w+$`)
)

var (
	pathRule   = rule{1, 512, pathForm, "It must begin and end with / and contain only alphanumeric characters and/or / characters."}
	name64     = rule{1, 64, nameForm, nameChars}
	name128    = rule{1, 128, nameForm, nameChars}
	arnRule    = rule{20, 2048, nil, ""}
	policyRule = rule{1, maxDocument, docForm, "It must contain only printable ASCII characters."}
	codeRule   = rule{6, 6, codeForm, "It must be 6 digits."}
)

var rules = map[string]rule{
	"UserName": name128, "NewUserName": name64, "GroupName": name128, "RoleName": name64, "PolicyName": name128,
	"Path": pathRule, "NewPath": pathRule, "PathPrefix": {1, 512, regexp.MustCompile(`^/`), "It must begin with /."},
	"PolicyArn": arnRule, "PermissionsBoundary": arnRule, "RoleArn": arnRule,
	"PolicyDocument": policyRule, "AssumeRolePolicyDocument": policyRule, "Policy": {1, 2048, docForm, policyRule.chars},
	"AccessKeyId":          {16, 128, keyForm, "It must contain only alphanumeric characters."},
	"RoleSessionName":      {2, 64, regexp.MustCompile(`^[\w+=,.@-]*$`), nameChars},
	"WebIdentityToken":     {4, 20000, nil, ""},
	"ExternalId":           {2, 1224, regexp.MustCompile(`^[\w+=,.@:/-]*$`), nameChars},
	"Password":             {1, 128, nil, ""},
	"SerialNumber":         {9, 256, regexp.MustCompile(`^[\w+=/:,.@-]+$`), nameChars},
	"VirtualMFADeviceName": {1, 226, nameForm, nameChars},
	"AuthenticationCode1":  codeRule, "AuthenticationCode2": codeRule, "TokenCode": codeRule,
	"Status":           {1, 8, regexp.MustCompile(`^(Active|Inactive)$`), "It must be Active or Inactive."},
	"AssignmentStatus": {1, 10, regexp.MustCompile(`^(Assigned|Unassigned|Any)$`), "It must be Assigned, Unassigned or Any."},
	"SSHPublicKeyBody": {1, 16384, nil, ""}, "CertificateBody": {1, 16384, nil, ""},
}

// validate checks what can be told from the request alone. AWS does so before it authorizes.
func (q *request) validate(required []string) error {
	for _, name := range required {
		if !q.form.Has(name) {
			return invalid("null", name, "Member must not be null")
		}
	}
	for name, r := range rules {
		if !q.form.Has(name) {
			continue
		}
		if name == "UserName" && q.action == "CreateUser" {
			r = name64 // looking up admits more than creating
		}
		if err := r.check(name, q.get(name)); err != nil {
			return err
		}
	}
	if text := q.get("MaxItems"); text != "" {
		if n, err := strconv.Atoi(text); err != nil || n < 1 || n > maxPage {
			return invalid("'"+text+"'", "MaxItems", "Member must have value between 1 and 1000")
		}
	}
	return validTags(q.tags())
}

func (r rule) check(name, value string) error {
	switch n := utf8.RuneCountInString(value); {
	case n < r.min:
		return invalid("'"+value+"'", name, "Member must have length greater than or equal to "+strconv.Itoa(r.min))
	case n > r.max:
		return invalid("'"+value+"'", name, "Member must have length less than or equal to "+strconv.Itoa(r.max))
	case r.form != nil && !r.form.MatchString(value):
		return fail("ValidationError", "The specified value for %s is invalid. %s", lowerFirst(name), r.chars)
	}
	return nil
}

func invalid(value, name, constraint string) *apiError {
	return fail("ValidationError", "1 validation error detected: Value %s at '%s' failed to satisfy constraint: %s",
		value, lowerFirst(name), constraint)
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

var tagForm = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// validTags checks tags by themselves; how many a user may have in all is checked where they are set.
func validTags(tags []tag) error {
	if len(tags) > maxTags {
		return invalid("'[…]'", "Tags", "Member must have length less than or equal to 50")
	}
	seen := map[string]bool{}
	for i, t := range tags {
		at := "tags." + strconv.Itoa(i+1) + ".member."
		key := strings.ToLower(t.Key)
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > 128:
			return invalid("'"+t.Key+"'", at+"key", "Member must have length between 1 and 128")
		case utf8.RuneCountInString(t.Value) > 256:
			return invalid("'"+t.Value+"'", at+"value", "Member must have length less than or equal to 256")
		case !tagForm.MatchString(t.Key) || !tagForm.MatchString(t.Value):
			return invalid("'"+t.Key+"'", at+"key", `Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+`)
		case strings.HasPrefix(key, "aws:"):
			return fail("InvalidInput", "Keys must not start with 'aws:'. System tags cannot be added/updated by requester.")
		case seen[key]:
			return fail("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[key] = true
	}
	return nil
}
