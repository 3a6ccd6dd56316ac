package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// roleNotes says why fields of roles are not carried over.
var roleNotes = map[string]string{
	"role_arns":         "only for STS credentials, which this engine does not issue",
	"session_tags":      "only for STS credentials, which this engine does not issue",
	"external_id":       "only for STS credentials, which this engine does not issue",
	"default_sts_ttl":   "only for STS credentials, which this engine does not issue",
	"max_sts_ttl":       "only for STS credentials, which this engine does not issue",
	"mfa_serial_number": "only for STS credentials, which this engine does not issue",
}

// roleCopied are the fields that mean the same in both engines.
var roleCopied = []string{"policy_document", "policy_arns", "iam_groups", "iam_tags", "permissions_boundary_arn"}

// roleName is what this engine takes for a role's name; the built-in one takes @ as
// well, and any length.
var roleName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// ttls are what the leases of all roles of the old mount have.
type ttls struct{ standard, longest time.Duration }

// leaseTTLs reads the built-in engine's TTLs as it applies them: config/lease where
// that says something, else the mount's. Without a longest one the mount's holds, as
// in this engine.
func leaseTTLs(old *source) (ttls, error) {
	t := ttls{standard: old.defaultTTL}
	for field, ttl := range map[string]*time.Duration{"lease": &t.standard, "lease_max": &t.longest} {
		value := text(old.lease[field])
		if value == "" {
			continue
		}
		parsed, err := time.ParseDuration(value)
		if err != nil {
			return t, fmt.Errorf("config/lease: %s: %w", field, err)
		}
		if parsed > 0 {
			*ttl = parsed
		}
	}
	if t.longest > 0 {
		t.standard = min(t.standard, t.longest) // as core does; this engine refuses it
	}
	return t, nil
}

// translateRole makes a role of this engine, or says why that cannot be.
func translateRole(name string, role map[string]any, t ttls, integration, userPath string) (s *settings, skip string) {
	kinds := strings.Split(text(role["credential_type"]), ",")
	switch {
	case !isUnset(role["invalid_data"]):
		return nil, "the built-in engine itself cannot make sense of it (invalid_data)"
	case !slices.Contains(kinds, "iam_user"):
		return nil, fmt.Sprintf("credential_type=%s: this engine makes IAM users only", text(role["credential_type"]))
	case !roleName.MatchString(name):
		return nil, "the name is not one that this engine takes: 1 to 64 letters, digits, '_', '-' and '.'"
	}
	s = &settings{fields: map[string]any{
		"credential_type": "iam_user", "integration": integration,
		"default_ttl": seconds(t.standard), "max_ttl": seconds(t.longest),
	}}
	if len(kinds) > 1 {
		s.remark("credential_type", role["credential_type"], "carried over for IAM users; sts/"+name+" is not")
	}
	for _, field := range slices.Sorted(maps.Keys(role)) {
		value := role[field]
		switch {
		case slices.Contains(roleCopied, field):
			s.fields[field] = unsetAs(value, field)
		case isUnset(value), field == "credential_type", field == "invalid_data":
		case field == "user_path":
			translateUserPath(s, text(value), userPath)
		case roleNotes[field] != "":
			s.lost(field, value, roleNotes[field])
		default:
			s.lost(field, value, "this program does not know the field")
		}
	}
	return s, ""
}

// unsetAs gives a field that the built-in engine shows as null the empty value that
// a write clears it with.
func unsetAs(value any, field string) any {
	switch {
	case value != nil:
		return value
	case field == "iam_tags":
		return map[string]any{}
	case field == "policy_arns", field == "iam_groups":
		return []any{}
	}
	return ""
}

// translateUserPath: this engine makes users beneath the integration's path only,
// which is where its permissions end.
func translateUserPath(s *settings, value, integrationPath string) {
	switch {
	case strings.HasPrefix(value, integrationPath):
		s.fields["user_path"] = value
	case value != "/":
		s.lost("user_path", value, fmt.Sprintf("it does not lie beneath %s, the integration's user_path, where the users are made", integrationPath))
	}
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
