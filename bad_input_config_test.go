package awsiam

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

const testRoleARN = "arn:aws:iam::111122223333:role/"

// badConnections are values that a config write must refuse, by field, and how
// the refusal is recognised.
var badConnections = map[string][]badValue{
	"access_key": {
		{"missing", absent, "give both"}, {"too short by one", long(15), "16 to 128"}, {"too long by one", long(129), "16 to 128"},
		{"wrong character", "AKIAIOSFODNN7EXAMPL-", "letters, digits"}, {"temporary", "ASIAIOSFODNN7EXAMPLE", "use the key of an IAM user"},
		{"number", 1234567890123456, "one string"}, {"given twice", []string{"AKIAIOSFODNN7EXAMPLE", "x"}, "one string"}, {"null", nil, "leave it out"},
	},
	"secret_key": {
		{"missing", absent, "give both"}, {"too long by one", long(129), "at most 128"}, {"line break at its end", long(40) + "\n", "line break"},
		{"space in it", "a b", "no white space"}, {"not ASCII", "ä" + long(38), "printable"}, {"object", map[string]any{"a": "b"}, "one string"}, {"boolean", true, "one string"},
	},
	"role_arn": {
		{"not an ARN", "vault", "use arn:<partition>:iam::<account>:role/<name>"}, {"of a user", "arn:aws:iam::111122223333:user/a", "does not name a role"},
		{"of a policy", "arn:aws:iam::111122223333:policy/a", "does not name a role"}, {"of a session", "arn:aws:sts::111122223333:assumed-role/a/b", "use arn:"},
		{"of another service", "arn:aws:s3::111122223333:role/a", "use arn:"}, {"with a region", "arn:aws:iam:us-east-1:111122223333:role/a", "use arn:"},
		{"short account", "arn:aws:iam::11112222333:role/a", "12 digits"}, {"AWS's account", "arn:aws:iam::aws:role/a", "12 digits"},
		{"wrong partition", "arn:amazon:iam::111122223333:role/a", "use arn:<partition>"}, {"no name", testRoleARN, "role/<name>"}, {"wildcard", testRoleARN + "*", "role/<name>"},
		{"name too long by one", testRoleARN + long(65), "at most 512 and 64"}, {"path too long by one", testRoleARN + long(511) + "/a", "at most 512 and 64"},
		{"null", nil, "leave it out"},
	},
	"external_id":  {{"without role_arn", "an-id", "go with role_arn"}},
	"session_name": {{"without role_arn", "a-session", "go with role_arn"}},
	"region": {
		{"one word", "us", "such as us-east-1"}, {"upper case", "US-EAST-1", "such as us-east-1"}, {"underscores", "us_east_1", "such as us-east-1"},
		{"host name", "us-east-1.evil.example", "such as us-east-1"}, {"too long", "us-" + long(17), "such as us-east-1"}, {"number", 1, "one string"},
	},
	"iam_endpoint": {
		{"in the clear", "http://iam.example.com", "use https"}, {"in the clear, like a loopback", "http://127.0.0.1.example.com", "use https"},
		{"other scheme", "ftp://iam.example.com", "use https"}, {"no scheme", "iam.example.com", "use https://host"}, {"no host", "https://", "use https://host"},
		{"credentials", "https://user:word@iam.example.com", "must not hold credentials"}, {"query", "https://iam.example.com?a=b", "must not hold"},
		{"fragment", "https://iam.example.com#a", "must not hold"}, {"opaque", "https:iam.example.com", "use https://host"}, {"control character", "https://iam.example.com\x01", "use https://host"},
		{"port too high by one", "https://iam.example.com:65536", "use https://host"}, {"port 0", "https://iam.example.com:0", "use https://host"},
		{"too long by one", "https://" + long(1017), "at most 1024"},
	},
	"sts_endpoint": {
		{"in the clear", "http://10.0.0.1:8080", "use https"}, {"in the clear, any address", "http://0.0.0.0", "use https"}, {"not a URL", "::", "use https://host"}, {"list", []string{"https://a", "https://b"}, "one string"},
	},
	"max_retries": {
		{"below -1", -2, "0 to 50"}, {"too many by one", 51, "0 to 50"}, {"words", "many", "a whole number"}, {"fraction", 1.5, "a whole number"},
		{"boolean", true, "a whole number"}, {"octal", "010", "without leading zeros"}, {"empty", "", "a whole number"}, {"overflow", "9223372036854775808", "a whole number"}, {"null", nil, "leave it out"},
	},
	"max_users": {
		{"below 0", -1, "or at most 5000"}, {"too many by one", 5001, "or at most 5000"}, {"words", "many", "a whole number"}, {"null", nil, "leave it out"},
	},
	"user_path": {
		{"no slash before", "vault/", "begin and end it with '/'"}, {"no slash after", "/vault", "begin and end it with '/'"}, {"empty", "", "begin and end it"}, {"empty segment", "/a//b/", "begin and end it"},
		{"space", "/a b/", "letters, digits and"}, {"wildcard", "/vault/*/", "letters, digits and"}, {"too long by one", "/" + long(492) + "/", "at most 493"}, {"number", 5, "one string"},
	},
	"username_template": {
		{"too long by one", long(513), "at most 512"}, {"not random", "vault-{{.RoleName | truncate 20}}", "put {{ random 20 }} into it"}, {"syntax", "{{ random 20", "is not a template"},
		{"range", "{{range 1000000000}}{{end}}", "needs no loops"}, {"trimmed range", "{{- range 1000000000}}{{end}}", "needs no loops"}, {"itself", `{{template "template"}}`, "no nested templates"},
		{"definition", `{{define "a"}}{{end}}`, "no nested templates"}, {"unknown function", "{{ password 20 }}", "is not a template"}, {"unknown datum", "{{ .DisplayName }}{{ random 20 }}", "DisplayName"},
		{"wrong character", "{{ random 20 }}/", "IAM takes letters, digits"}, {"renders 65", "{{ .RoleName }}{{ random 1 }}", `shorten it with "truncate"`}, {"two dots", "a..{{ random 20 }}", "must not contain"},
		{"random too long by one", "{{ random 65 }}", "1 to 64"}, {"random of nothing", "{{ random 0 }}", "1 to 64"}, {"grows without bound", `{{ $a := replace "" "` + long(40) + `" "` + long(40) + `" }}{{ replace "" $a $a | len }}`, "at most 512"},
		{"wide", `{{ printf "%999999d" 1 | len }}{{ random 20 }}`, "at most 2 digits"}, {"object", map[string]any{}, "one string"},
	},
	"verify_connection": {
		{"words", "maybe", "true or false"}, {"empty", "", "true or false"}, {"number", 0, "true or false"}, {"null", nil, "leave it out"}, {"list", []bool{false}, "true or false"},
	},
}

func TestBadConnections(t *testing.T) {
	e := newEnv(t, corePolicy)
	var inputs []input
	for field, values := range badConnections {
		for _, c := range values {
			inputs = append(inputs, input{name: field + ", " + c.what, path: "config/b", data: changed(e.connection(e.key), map[string]any{field: c.value}), field: field, says: c.says})
		}
	}
	assumed := func(field string, value any) map[string]any {
		return changed(e.connection(e.key), map[string]any{"role_arn": testRoleARN + "a", field: value})
	}
	for what, value := range map[string]string{"too short by one": "x", "too long by one": long(1225), "space": "a b", "not ASCII": "äöü"} {
		inputs = append(inputs, input{name: "external_id, " + what, path: "config/b", data: assumed("external_id", value), field: "external_id", says: " "})
	}
	for what, value := range map[string]string{"too short by one": "x", "too long by one": long(65), "slash": "a/b", "space": "a b"} {
		inputs = append(inputs, input{name: "session_name, " + what, path: "config/b", data: assumed("session_name", value), field: "session_name", says: "2 to 64 letters"})
	}
	e.requireRefused(t, inputs)
	require.Greater(t, len(inputs), 100)
}

// A change is checked as a new integration is.
func TestBadChangesOfAConnection(t *testing.T) {
	e := newEnv(t, corePolicy)
	_, other := e.aws.Account("444455556666").AddUser("/", "other-integration", corePolicy)
	_, beneath := e.acct.AddUser("/vault/", "beneath", corePolicy)
	e.write("config/user", e.connection(e.anotherKey(corePolicy)))
	e.write("config/held", e.connection(e.anotherKey(corePolicy)))
	e.write("roles/deep", map[string]any{"integration": "user", "policy_document": testPolicy, "user_path": "/vault/deep/"})
	e.write("roles/a.", map[string]any{"integration": "user", "policy_document": testPolicy})
	e.write("roles/held", map[string]any{"integration": "held", "policy_document": testPolicy})
	e.issue("held", nil)

	wrongSecret, wrongKey := e.key, e.key
	wrongSecret.SecretAccessKey = strings.ToLower(e.key.SecretAccessKey)
	wrongKey.AccessKeyID = "AKIAIOSFODNN7EXAMPLE"
	e.requireRefused(t, []input{
		{name: "half of the key cleared", path: "config/user", data: map[string]any{"secret_key": ""}, field: "secret_key", says: "give both"},
		{name: "the other half cleared", path: "config/user", data: map[string]any{"access_key": ""}, field: "access_key", says: "give both"},
		{name: "session without a role", path: "config/user", data: map[string]any{"session_name": "abc"}, field: "session_name", says: "go with role_arn"},
		{name: "wrong secret", path: "config/user", data: e.connection(wrongSecret), field: `integration "user" was not stored`, says: "SignatureDoesNotMatch"},
		{name: "unknown key", path: "config/new", data: e.connection(wrongKey), field: `integration "new" was not stored`, says: "InvalidClientTokenId"},
		{name: "own user beneath user_path", path: "config/new", data: e.connection(beneath), field: "user_path", says: "move that user to another path"},
		{name: "user_path above the own user", path: "config/user", data: map[string]any{"user_path": "/", "verify_connection": false}, field: "user_path", says: "choose another user_path"},
		{name: "user_path beside a role's", path: "config/user", data: map[string]any{"user_path": "/elsewhere/"}, field: "user_path", says: "change them first"},
		{name: "template that fails for a role", path: "config/user", data: map[string]any{"username_template": "{{ .RoleName | truncate 20 }}.{{ random 20 }}"}, field: "username_template", says: "role(s) a."},
		{name: "another account with users about", path: "config/held", data: e.connection(other), field: `integration "held" cannot move to account 444455556666`, says: "revoke their leases first"},
		{name: "another account unseen with users about", path: "config/held", data: changed(e.connection(other), map[string]any{"verify_connection": false}), field: "verify_connection=true", says: "must not change unseen"},
		{name: "delete what roles use", op: logical.DeleteOperation, path: "config/user", field: `integration "user" is used by role(s) a., deep`, says: "delete them"},
	})
	e.must(logical.DeleteOperation, "roles/held", nil)
	e.requireRefused(t, []input{
		{name: "delete what users were made with", op: logical.DeleteOperation, path: "config/held", field: `integration "held" has issued users`, says: "revoke their leases first"},
	})
}

// A field can be refused for its value and still be taken at its bound.
func TestGoodConnections(t *testing.T) {
	e := newEnv(t, corePolicy)
	assumed := func(changes map[string]any) map[string]any {
		return changed(map[string]any{"role_arn": testRoleARN + "a"}, changes)
	}
	for name, changes := range map[string]map[string]any{
		"shortest access key":  {"access_key": long(16)},
		"longest key":          {"access_key": long(128), "secret_key": long(128)},
		"no key":               {"access_key": absent, "secret_key": absent},
		"longest role":         {"role_arn": testRoleARN + long(510) + "/" + long(64)},
		"role in China":        {"role_arn": "arn:aws-cn:iam::111122223333:role/a", "region": "cn-north-1"},
		"shortest session":     assumed(map[string]any{"external_id": "xx", "session_name": "xx"}),
		"longest session":      assumed(map[string]any{"external_id": long(1224), "session_name": long(64)}),
		"session's characters": assumed(map[string]any{"external_id": "aA0_+=,.@:/-", "session_name": "aA0_+=,.@-"}),
		"sovereign region":     {"region": "eusc-de-east-1"},
		"isolated region":      {"region": "us-isob-east-1"},
		"endpoints":            {"iam_endpoint": "https://iam.example.com:65535", "sts_endpoint": "HTTPS://sts.example.com/"},
		"longest endpoint":     {"iam_endpoint": "https://" + long(1016)},
		"loopback":             {"iam_endpoint": "http://localhost:1", "sts_endpoint": "http://[::1]:8080"},
		"cleared":              {"iam_endpoint": "", "sts_endpoint": "", "region": "", "username_template": ""},
		"fewest retries":       {"max_retries": 0},
		"default retries":      {"max_retries": "-1"},
		"most retries":         {"max_retries": "50"},
		"root path":            {"user_path": "/"},
		"longest path":         {"user_path": "/" + long(491) + "/"},
		"path's characters":    {"user_path": "/aA0+=,.@_-/b/"},
		"longest template":     {"username_template": "{{/*" + long(512-21) + "*/}}{{random 20}}"},
		"longest name":         {"username_template": "{{ random 64 }}"},
		"template functions":   {"username_template": `{{ printf "v-%s-%.5s" (.RoleName | replace "." "_" | truncate 20) (uuid | sha256) }}-{{ unix_time }}{{ print (random 9) | uppercase }}`},
		"verification in text": {"verify_connection": "false"},
	} {
		t.Run(name, func(t *testing.T) {
			body := changed(e.connection(e.anotherKey(corePolicy)), map[string]any{"verify_connection": false})
			resp, err := e.do(logical.UpdateOperation, "config/b", changed(body, changes))
			require.NoError(t, err)
			require.False(t, resp.IsError(), "%v", resp)
			shown := e.read("config/b")
			for field, value := range changes {
				if want, ok := shown[field]; ok && value != absent && field != "max_retries" {
					require.Equal(t, want, value)
				}
			}
			e.must(logical.DeleteOperation, "config/b", nil)
		})
	}
}
