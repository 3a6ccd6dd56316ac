package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// note is about a field that was not carried over, or not as it was.
type note struct {
	field string // with its value, where that helps
	why   string
}

// settings is what is to be written to one path, and notes on what is not.
type settings struct {
	fields map[string]any
	notes  []note
}

// lost notes a field that is not carried over.
func (s *settings) lost(field string, value any, why string) {
	s.remark(field, value, "not carried over: "+why)
}

func (s *settings) remark(field string, value any, what string) {
	s.notes = append(s.notes, note{field + "=" + text(value), what})
}

// builtInRetries is the built-in engine's value for the SDK's default, as it is this
// one's, and maxRetries is the most that this one takes.
const (
	builtInRetries = "-1"
	maxRetries     = 50
)

// configNotes says why fields of config/root are not carried over as they are.
var configNotes = map[string]string{
	"sts_fallback_endpoints": "this engine has one STS endpoint",
	"sts_fallback_regions":   "this engine has one region",
	"rotation_period": "rotating a key that both mounts have locks the other one out: set it (at least 1h) once the old mount is gone, " +
		"or at once where the integration has a user of its own",
	"rotation_schedule": "this engine rotates by rotation_period, in every edition",
	"rotation_window":   "this engine rotates by rotation_period, in every edition",
	"rotation_policy":   "this engine rotates by rotation_period, in every edition",
}

// configIgnored are fields that say nothing by themselves.
var configIgnored = []string{"disable_automated_rotation", "last_vault_rotation", "next_vault_rotation", "secret_key"}

// translateConfig makes an integration of config/root. The key is not in it.
func translateConfig(config map[string]any) *settings {
	s := &settings{fields: make(map[string]any)}
	for _, field := range slices.Sorted(maps.Keys(config)) {
		value := config[field]
		switch {
		case isUnset(value) && field != "max_retries", slices.Contains(configIgnored, field):
		case configNotes[field] != "":
			s.lost(field, value, configNotes[field])
		case field == "iam_endpoint", field == "sts_endpoint", field == "region":
			s.fields[field] = text(value)
		case field == "identity_token_audience", field == "identity_token_ttl", field == "role_arn", field == "access_key", field == "sts_region":
			// Of more than one field, below.
		case field == "max_retries":
			translateRetries(s, text(value))
		case field == "username_template":
			translateTemplate(s, text(value))
		default:
			s.lost(field, value, "this program does not know the field")
		}
	}
	translateFederation(s, config)
	if region := text(config["sts_region"]); region != "" {
		s.fields["region"] = region
		s.remark("sts_region", region, "carried over as region: it decides where STS is asked, and IAM is one for the whole partition")
	}
	return s
}

func translateRetries(s *settings, retries string) {
	n, err := strconv.Atoi(retries)
	switch {
	case retries == builtInRetries:
	case err == nil && n >= 0 && n <= maxRetries:
		s.fields["max_retries"] = n
	default:
		s.lost("max_retries", retries, fmt.Sprintf("this engine takes 0 to %d, and 10 without it", maxRetries))
	}
}

// translateFederation: the built-in engine assumes role_arn with identity tokens and
// ignores it with any other credentials, where this one would assume it.
func translateFederation(s *settings, config map[string]any) {
	audience, role := text(config["identity_token_audience"]), text(config["role_arn"])
	if audience == "" {
		if role != "" {
			s.lost("role_arn", role, "the built-in engine ignores it without identity_token_audience, and this one would assume it")
		}
		return
	}
	s.fields["identity_token_audience"], s.fields["role_arn"] = audience, role
	if ttl := config["identity_token_ttl"]; !isUnset(ttl) {
		s.fields["identity_token_ttl"] = ttl
	}
	s.remark("identity_token_audience", audience, "carried over, but the token's subject names the mount: let the trust policy of the role admit the new mount's too, "+
		"and tune identity_token_key if the old mount has one of its own")
}

// defaultTemplate begins the template that the built-in engine shows where none
// was set, and unknownVariable finds what a template of this engine cannot refer to.
var (
	defaultTemplate = `{{ if (eq .Type "STS") }}{{ printf "vault-%s-%s"  (unix_time) (random 20) | truncate 32 }}` +
		`{{ else }}{{ printf "vault-%s-%s-%s" (printf "%s-%s" (.DisplayName) (.PolicyName) | truncate 42) (unix_time) (random 20) | truncate 64 }}{{ end }}`
	unknownVariable = regexp.MustCompile(`\.(DisplayName|Type)\b`)
)

// translateTemplate: what the built-in engine calls .PolicyName is the role's name.
func translateTemplate(s *settings, template string) {
	switch {
	case template == defaultTemplate: // this engine's own default stands in for it
	case unknownVariable.MatchString(template):
		s.lost("username_template", template, "this engine has neither .DisplayName nor .Type: write one with .RoleName and at least ten characters of random")
	default:
		s.fields["username_template"] = strings.ReplaceAll(template, ".PolicyName", ".RoleName")
	}
}
