package awsiam

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/stretchr/testify/require"
)

// requireRefusal checks that a refusal can be shown: it names the field, and is
// the caller's to mend.
func requireRefusal(t *testing.T, err error, field string) {
	t.Helper()
	var refused refusal
	require.ErrorAs(t, err, &refused)
	require.ErrorContains(t, err, field)
}

// A document that is accepted is one that AWS would take as it will be sent,
// minified. The simulated IAM judges it, whose grammar was written by itself.
func FuzzPolicyDocument(f *testing.F) {
	for _, document := range goodPolicies {
		f.Add(document)
	}
	for _, c := range badPolicies {
		f.Add(c.document)
	}
	takes := judge(f)
	f.Fuzz(func(t *testing.T, document string) {
		err := validatePolicyDocument("policy_document", document, "aws")
		if err != nil {
			requireRefusal(t, err, "policy_document")
			return
		}
		minified, err := minifyPolicy(document)
		require.NoError(t, err)
		require.True(t, json.Valid([]byte(minified)))
		require.LessOrEqual(t, len(minified), 2048)
		require.NoError(t, validatePolicyDocument("policy_document", minified, "aws"))
		var before, after any
		require.NoError(t, json.Unmarshal([]byte(document), &before))
		require.NoError(t, json.Unmarshal([]byte(minified), &after))
		require.Equal(t, before, after)
		again, err := minifyPolicy(minified)
		require.NoError(t, err)
		require.Equal(t, minified, again)
		require.NoError(t, validatePolicyDocument("policy_document", document, ""), "a known partition only narrows")
		if simulationKnows(minified) {
			require.NoError(t, takes(minified))
		}
		requireExpiry(t, document)
	})
}

// requireExpiry checks that a good document stays one, and as it is, with the
// expiry statement added.
func requireExpiry(t *testing.T, document string) {
	t.Helper()
	expiring, err := withExpiry(document, time.Now())
	require.NoError(t, err)
	before, err := decodeObject(document)
	require.NoError(t, err)
	after, err := decodeObject(expiring)
	require.NoError(t, err)
	require.NoError(t, checkPolicy(after, "aws"))
	require.Equal(t, before["Version"], after["Version"])
	own, ok := before["Statement"].([]any)
	if !ok {
		own = []any{before["Statement"]}
	}
	all := after["Statement"].([]any)
	require.Equal(t, own, all[:len(all)-1])
	require.Equal(t, "Deny", all[len(all)-1].(map[string]any)["Effect"])
}

// simulationKnows leaves out what the simulation refuses and AWS does not: it
// takes two empty Sids for equal ones, and "*:*" for no action.
func simulationKnows(minified string) bool {
	return strings.Count(minified, `""`) < 2 && !strings.Contains(minified, `*:*`) && !strings.Contains(minified, `\u`)
}

func FuzzARN(f *testing.F) {
	for _, value := range []string{
		testRoleARN + "a", testRoleARN + "a/b", testPolicyARN + "a", "arn:aws:iam::aws:policy/service-role/A", "arn:aws-cn:iam::111122223333:role/a",
		testRoleARN, testRoleARN + "/a", "arn:aws:sts::111122223333:assumed-role/a/b", "arn:::::", "", testRoleARN + long(65), testPolicyARN + long(511) + "/a", "arn:aws:iam::111122223333:role/a:b",
	} {
		f.Add(value)
	}
	account := regexp.MustCompile(`^[0-9]{12}$`)
	f.Fuzz(func(t *testing.T, value string) {
		for kind, longest := range map[string]int{"role": 64, "policy": 128} {
			err := validateARN("the_field", value, kind)
			if err != nil {
				requireRefusal(t, err, "the_field")
				continue
			}
			parsed, err := arn.Parse(value)
			require.NoError(t, err)
			require.Equal(t, value, parsed.String())
			require.Equal(t, "iam", parsed.Service)
			require.Empty(t, parsed.Region)
			require.True(t, account.MatchString(parsed.AccountID) || kind == "policy" && parsed.AccountID == "aws")
			require.True(t, strings.HasPrefix(parsed.Partition, "aws"))
			name := path.Base(parsed.Resource)
			require.True(t, usernameRegexp.MatchString(name))
			require.LessOrEqual(t, len(name), longest)
			userPath := strings.TrimSuffix(strings.TrimPrefix(parsed.Resource, kind), name)
			require.Regexp(t, userPathRegexp, userPath)
			require.LessOrEqual(t, len(userPath), 512)
			require.LessOrEqual(t, len(value), 2048, "IAM's bound on an ARN")
		}
	})
}

// A template that is accepted renders quickly, names that IAM takes and tells
// apart, and nearly always so: what it renders is checked again when it is used.
func FuzzUsernameTemplate(f *testing.F) {
	for _, text := range []string{
		"", defaultUsernameTemplate, `{{ random 20 }}`, `{{ printf "vault-%s-%s" (unix_time) (random 20) | truncate 32 }}`, `{{ if eq .RoleName "app" }}{{ uuid }}{{ end }}`,
		`{{ $a := replace "" "xx" "yy" }}{{ $a = replace "" $a $a }}{{ random 9 }}`, `{{ "a" | base64 | sha256 }}`, `{{ print .RoleName | js | html | urlquery }}`,
		`{{ range 10 }}{{ end }}`, `{{ template "template" }}`, `{{ printf "%99d%.99f%q" 1 2.0 "a" }}`, `{{ timestamp "2006-01-02" }}`, `{{- /* a */ -}}`, `{{ slice .RoleName 0 1 }}{{ random 64 }}`,
	} {
		f.Add(text, "app")
	}
	f.Fuzz(func(t *testing.T, text, roleName string) {
		if validateName("role", roleName) != nil {
			return
		}
		start := time.Now()
		err := validateUsernameTemplate(text, roleName)
		require.Less(t, time.Since(start), 5*time.Second)
		if err != nil {
			requireRefusal(t, err, fieldUsernameTemplate)
			return
		}
		one, err := newUsername(text, roleName)
		if err != nil {
			requireRefusal(t, err, fieldUsernameTemplate)
			return
		}
		require.Regexp(t, `^[A-Za-z0-9+=,.@_-]{1,64}$`, one)
		require.NotContains(t, one, "..")
	})
}

// A name or path that is accepted fits where it will be put: into a storage
// key, a URL's path and a user's path with the mount's segment.
func FuzzNamesAndPaths(f *testing.F) {
	for _, text := range []string{"app", "a.b", ".", "..", "a..b", "/vault/", "/", "//", "/a/b/", "a b", "é", long(64), long(65), "/" + long(491) + "/", "/" + long(492) + "/"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if validateName("the_field", text) == nil {
			require.LessOrEqual(t, len(text), 64)
			require.Equal(t, rolePrefix+text, path.Clean(rolePrefix+text))
			require.NotContains(t, text, "/")
		}
		if err := validateUserPath(text); err == nil {
			full := recreatedPath(text + "1a2b3c4d/")
			require.LessOrEqual(t, len(full), 512)
			require.Regexp(t, `^/([A-Za-z0-9+=,.@_-]+/)*$`, full)
		} else {
			requireRefusal(t, err, fieldUserPath)
		}
	})
}

// A text that the engine lets pass as a value is one that the framework
// understands, as what it says.
func FuzzFieldText(f *testing.F) {
	for _, text := range []string{"", "1", "010", "-1", "3h", "1.5s", "500ms", "-500ms", "1d", "true", "a=b", "=", "a,b", "9223372037"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for fieldType, check := range typeChecks {
			if !check.accepts(text) {
				continue
			}
			d := &framework.FieldData{Raw: map[string]any{"f": text}, Schema: map[string]*framework.FieldSchema{"f": {Type: fieldType}}}
			clearPairs(d.Schema, d.Raw)
			require.NoError(t, d.Validate(), "%s", fieldType)
			value := d.Get("f")
			if fieldType == framework.TypeInt {
				require.Equal(t, text, fmt.Sprint(value))
			}
			if exact, err := time.ParseDuration(text); err == nil && fieldType == framework.TypeDurationSecond {
				require.Equal(t, int64(exact), int64(value.(int))*int64(time.Second))
			}
		}
	})
}
