package awsiam

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

const testPolicyARN = "arn:aws:iam::111122223333:policy/"

// listOf makes n different texts of a format with one number.
func listOf(n int, format string) []string {
	var texts []string
	for i := range n {
		texts = append(texts, fmt.Sprintf(format, i))
	}
	return texts
}

func tagsOf(n int) map[string]any {
	tags := make(map[string]any)
	for i := range n {
		tags[fmt.Sprintf("key-%d", i)] = "value"
	}
	return tags
}

// policyOfSize is a policy of n bytes without white space, of which it has some.
func policyOfSize(t *testing.T, n int) string {
	t.Helper()
	const frame = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::%s"}]}`
	policy := fmt.Sprintf(frame, long(n+len("%s")-len(frame)))
	require.Len(t, policy, n)
	return strings.ReplaceAll(policy, `":`, "\" :\n\t")
}

func badRoles(t *testing.T) map[string][]badValue {
	t.Helper()
	return map[string][]badValue{
		"integration": {
			{"unknown", "nope", "write config/nope first"}, {"empty", "", "1 to 64"}, {"too long by one", long(65), "1 to 64"}, {"slash", "a/b", "letters, digits"},
			{"number", 1, "one string"}, {"null", nil, "leave it out"},
		},
		"policy_document": {
			{"missing", absent, "give at least one of"}, {"empty", "", "give at least one of"}, {"not JSON", "{", "not a JSON object"}, {"a list", "[]", "not a JSON object"}, {"null in a string", "null", "not a JSON object"},
			{"an object", map[string]any{"Version": "2012-10-17"}, "one string, in quotes"}, {"boolean", true, "one string"}, {"null", nil, "leave it out"},
			{"over the budget by one", policyOfSize(t, 2049-expirySize), "2049 bytes together with the statement of enforce_expiry"}, {"over IAM's own limit", policyOfSize(t, 2049), "2049 bytes without white space"}, {"too long with white space", testPolicy + strings.Repeat(" ", 131072), "at most 131072"},
			{"Id", `{"Id":"a","Statement":[]}`, `remove "Id"`}, {"wrong partition", strings.Replace(policyOfSize(t, 200), "arn:aws:", "arn:aws-cn:", 1), `the integration's account is in "aws"`},
			{"beyond Latin-1", strings.Replace(testPolicy, "*", "arn:aws:s3:::€", 1), `write it as \uXXXX`},
		},
		"policy_arns": {
			{"not an ARN", "ReadOnlyAccess", "use arn:<partition>:iam::<account>:policy/<name>"}, {"of a role", testRoleARN + "a", "does not name a policy"}, {"of a group", "arn:aws:iam::111122223333:group/a", "does not name a policy"},
			{"wrong partition", "arn:aws-cn:iam::aws:policy/ReadOnlyAccess", `is in "aws"`}, {"unknown partition", "arn:azure:iam::aws:policy/ReadOnlyAccess", "use arn:<partition>"}, {"another account's", "arn:aws:iam::444455556666:policy/a", "use a policy of that account"},
			{"no account", "arn:aws:iam:::policy/a", "12 digits"}, {"with a region", "arn:aws:iam:us-east-1:111122223333:policy/a", "use arn:"}, {"name too long by one", testPolicyARN + long(129), "at most 512 and 128"},
			{"path too long by one", testPolicyARN + long(511) + "/a", "at most 512 and 128"}, {"too many by one", listOf(21, testPolicyARN+"p%d"), "at most 20"}, {"twice", []string{testPolicyARN + "a", testPolicyARN + "A"}, "give it once"},
			{"empty entry", testPolicyARN + "a,,", "use arn:"}, {"number", 5, "a list of strings"}, {"object", map[string]any{}, "a list of strings"}, {"null inside", []any{nil}, "a list of strings"}, {"null", nil, "leave it out"},
		},
		"iam_groups": {
			{"an ARN", "arn:aws:iam::111122223333:group/a", "the name, not the ARN"}, {"space", "a b", "letters, digits"}, {"too long by one", long(129), "1 to 128"}, {"empty entry", []string{""}, "1 to 128"},
			{"too many by one", listOf(11, "g%d"), "at most 10"}, {"twice", "a,A", "give it once"}, {"number", 5, "a list of strings"}, {"boolean", true, "a list of strings"},
		},
		"permissions_boundary_arn": {
			{"not an ARN", "boundary", "use arn:"}, {"of a user", "arn:aws:iam::111122223333:user/a", "does not name a policy"}, {"wrong partition", "arn:aws-us-gov:iam::aws:policy/a", `is in "aws"`},
			{"another account's", "arn:aws:iam::444455556666:policy/a", "use a policy of that account"}, {"list", []string{testPolicyARN + "a", testPolicyARN + "b"}, "one string"},
		},
		"iam_tags": {
			{"too many by one", tagsOf(47), "at most 46"}, {"key too long by one", map[string]any{long(129): ""}, "longer than 128"}, {"value too long by one", map[string]any{"a": long(257)}, "longer than 256"},
			{"AWS's key", map[string]any{"AWS:a": "b"}, "AWS's own"}, {"key's character", map[string]any{"a&b": "c"}, "letters, digits, spaces"}, {"value's character", map[string]any{"a": "b*"}, "letters, digits, spaces"},
			{"empty key", map[string]any{"": "a"}, "not a tag's key"}, {"keys that differ by case", map[string]any{"a": "1", "A": "1"}, "give it once"}, {"key twice", []string{"a=1", "a=2"}, "no key twice"}, {"no value", "a", "key=value"},
			{"boolean value", map[string]any{"a": true}, "an object of strings"}, {"number value", map[string]any{"a": 1}, "an object of strings"}, {"nested", map[string]any{"a": map[string]any{}}, "an object of strings"}, {"null", nil, "leave it out"},
		},
		"user_path": {
			{"outside the integration's", "/other/", "its permissions end there"}, {"a part of the integration's", "/vaul/", "its permissions end there"}, {"no slash after", "/vault/a", "begin and end it with '/'"}, {"too long by one", "/vault/" + long(486) + "/", "at most 493"},
			{"wildcard", "/vault/*/", "letters, digits"}, {"list", []string{"/vault/a/", "/vault/b/"}, "one string"},
		},
		"username_template": {
			{"not random", "app", "put {{ random 20 }}"}, {"syntax", "{{", "is not a template"}, {"too long by one", "{{/*" + long(492) + "*/}}{{random 20}}", "at most 512"},
			{"renders 65", "{{random 64}}x", "shorten it"}, {"white space", " {{random 20}}", "letters, digits"}, {"control", "{{block `a` .}}{{end}}", "needs no loops"}, {"number", 5, "one string"},
		},
		"credential_type": {
			{"built-in's others", "assumed_role", "only iam_user"}, {"empty", "", "only iam_user"}, {"list", []string{"iam_user"}, "one string"},
		},
		"max_users": {
			{"below 0", -1, "or at most 5000"}, {"too many by one", 5001, "or at most 5000"}, {"words", "many", "a whole number"}, {"null", nil, "leave it out"},
		},
		"default_ttl": {
			{"zero", 0, "at least 1s"}, {"empty", "", "at least 1s"}, {"negative", "-1h", "duration in whole seconds"}, {"fraction of a second", "900ms", "duration in whole seconds"}, {"words", "soon", "duration in whole seconds"},
			{"boolean", true, "duration in whole seconds"}, {"overflow", "9999999999999", "duration in whole seconds"}, {"null", nil, "leave it out"}, {"over max_ttl", "49h", "lower the one or raise the other"},
		},
		"max_ttl": {
			{"fraction of a second", "500ms", "duration in whole seconds"}, {"negative fraction", "-500ms", "duration in whole seconds"}, {"negative", -1, "duration in whole seconds"}, {"below default_ttl", "29m", "lower the one or raise the other"}, {"list", []int{1}, "duration in whole seconds"},
		},
	}
}

type badValue struct {
	what  string
	value any
	says  string
}

func TestBadRoles(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.write("config/dots", changed(e.connection(e.anotherKey(corePolicy)), map[string]any{"username_template": "{{ .RoleName | truncate 20 }}.{{ random 20 }}"}))
	var inputs []input
	for field, values := range badRoles(t) {
		for _, c := range values {
			body := map[string]any{"policy_document": testPolicy, "max_ttl": "48h"}
			inputs = append(inputs, input{name: field + ", " + c.what, path: "roles/b", data: changed(body, map[string]any{field: c.value}), field: field, says: c.says})
			if c.value != absent {
				// A change is checked as a new role is.
				inputs = append(inputs, input{name: field + " changed, " + c.what, path: "roles/app", data: map[string]any{"max_ttl": "48h", field: c.value}, field: field, says: c.says})
			}
		}
	}
	inputs = append(inputs,
		input{name: "name that the integration's template cannot take", path: "roles/a.", data: map[string]any{"policy_document": testPolicy, "integration": "dots"}, field: "username_template", says: `that of integration "dots"`},
		input{name: "nothing left of the permissions", path: "roles/app", data: map[string]any{"policy_document": ""}, field: "policy_document", says: "give at least one of"},
	)
	require.Greater(t, len(inputs), 150)
	e.requireRefused(t, inputs)
}

// All that is wrong is said at once, so that it can be mended at once.
func TestRefusalNamesAllThatIsWrong(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.refused(logical.UpdateOperation, "roles/b", map[string]any{
		"policy_arns": "a", "iam_groups": "b c", "permissions_boundary_arn": "d", "user_path": "e", "username_template": "f", "default_ttl": 0, "iam_tags": "g=*",
	}, "policy_arns", "iam_groups", "permissions_boundary_arn", "user_path", "username_template", "default_ttl", "iam_tags")
	e.refused(logical.UpdateOperation, "config/b", map[string]any{
		"access_key": "a", "role_arn": "b", "region": "c", "iam_endpoint": "d", "sts_endpoint": "e", "max_retries": 99, "user_path": "f", "username_template": "g",
	}, "secret_key", "role_arn", "region", "iam_endpoint", "sts_endpoint", "max_retries", "user_path", "username_template")
}

// What the engine takes at its bounds, IAM takes too: a credential of each
// role is read, with the simulation as the judge.
func TestGoodRoles(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	var policies, groups []string
	for _, name := range append(listOf(20, "p%d"), long(128)) {
		policies = append(policies, e.acct.AddManagedPolicy("/", name, testPolicy))
	}
	deep := e.acct.AddManagedPolicy("/"+long(510)+"/", "deep", testPolicy)
	for _, name := range append(listOf(10, "g%d"), long(128)) {
		e.acct.AddGroup(name)
		groups = append(groups, name)
	}
	for name, body := range map[string]map[string]any{
		"policy at the budget":       {"policy_document": policyOfSize(t, 2048-expirySize)},
		"policy at IAM's own limit":  {"policy_document": policyOfSize(t, 2048), "enforce_expiry": false},
		"policy with white space":    {"policy_document": testPolicy + strings.Repeat("\n", 131072-len(testPolicy))},
		"AWS's policy":               {"policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess"},
		"most policies at AWS":       {"policy_arns": policies[:10]},
		"longest policy name":        {"policy_arns": policies[20]},
		"longest policy path":        {"policy_arns": deep},
		"most groups":                {"iam_groups": strings.Join(groups[:10], " , ")},
		"longest group":              {"iam_groups": groups[10:]},
		"all three":                  {"policy_document": testPolicy, "policy_arns": policies[:1], "iam_groups": groups[:1]},
		"boundary":                   {"policy_document": testPolicy, "permissions_boundary_arn": policies[0]},
		"no boundary":                {"policy_document": testPolicy, "permissions_boundary_arn": ""},
		"most tags":                  {"policy_document": testPolicy, "iam_tags": tagsOf(46)},
		"longest tag":                {"policy_document": testPolicy, "iam_tags": map[string]any{strings.Repeat("ä", 128): strings.Repeat("ß", 256)}},
		"tag's characters":           {"policy_document": testPolicy, "iam_tags": []string{"aZ0 _.:/=+-@=aZ0 _.:/=+-@", "empty="}},
		"longest path":               {"policy_document": testPolicy, "user_path": "/vault/" + long(485) + "/"},
		"the integration's path":     {"policy_document": testPolicy, "user_path": "/vault/"},
		"longest name":               {"policy_document": testPolicy, "username_template": "{{ random 64 }}"},
		"name's characters":          {"policy_document": testPolicy, "username_template": "aA0+=,.@_-{{ random 20 }}"},
		"credential_type":            {"policy_document": testPolicy, "credential_type": "iam_user"},
		"equal TTLs":                 {"policy_document": testPolicy, "default_ttl": "1h", "max_ttl": 3600},
		"shortest TTL":               {"policy_document": testPolicy, "default_ttl": 1, "max_ttl": "1s"},
		"no maximum of its own":      {"policy_document": testPolicy, "max_ttl": ""},
		"longest role name, default": {"policy_document": testPolicy, "username_template": ""},
	} {
		t.Run(name, func(t *testing.T) {
			role := long(64)
			resp, err := e.do(logical.UpdateOperation, "roles/"+role, body)
			require.NoError(t, err)
			require.False(t, resp.IsError(), "%v", resp)
			require.Nil(t, resp, "a warning")
			l := e.issue(role, nil)
			require.NoError(t, e.revoke(l))
			e.requireNothingLeft()
			e.must(logical.DeleteOperation, "roles/"+role, nil)
		})
	}
	resp := e.write("roles/raised", map[string]any{"policy_arns": policies[:20]})
	require.Contains(t, strings.Join(resp.Warnings, " "), "raised quota")
	require.ElementsMatch(t, policies[:20], e.read("roles/raised")["policy_arns"])
}
