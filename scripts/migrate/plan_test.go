package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const oldKey, newKey = "AKIAOLD0000000000000", "AKIANEW0000000000000"

func TestPlanConfig(t *testing.T) {
	keyed := &source{config: decoded(t, `{"access_key":"`+oldKey+`","region":"eu-west-1","max_retries":-1}`)}
	keyless := &source{config: decoded(t, `{"access_key":"","region":"eu-west-1","max_retries":-1}`)}
	there := `{"access_key":"` + newKey + `","region":"eu-west-1","max_retries":-1,"user_path":"/vault/"}`
	elsewhere := `{"access_key":"` + newKey + `","region":"us-east-1","max_retries":-1,"user_path":"/vault/"}`
	for name, c := range map[string]struct {
		old      *source
		options  options
		existing string
		action   action
		body     map[string]any
	}{
		"no secret":               {keyed, options{}, "", blocked, map[string]any{"region": "eu-west-1"}},
		"the old key":             {keyed, options{secretKey: "s"}, "", create, map[string]any{"region": "eu-west-1", "access_key": oldKey, "secret_key": "s"}},
		"a new key":               {keyed, options{accessKey: newKey, secretKey: "s"}, "", create, map[string]any{"region": "eu-west-1", "access_key": newKey, "secret_key": "s"}},
		"no key":                  {keyless, options{}, "", create, map[string]any{"region": "eu-west-1"}},
		"never configured":        {&source{}, options{}, "", create, map[string]any{}},
		"a secret of no key":      {keyless, options{secretKey: "s"}, "", blocked, map[string]any{"region": "eu-west-1", "secret_key": "s"}},
		"there already":           {keyed, options{}, there, same, map[string]any{}},
		"that key there":          {keyed, options{accessKey: newKey, secretKey: "s"}, there, same, map[string]any{}},
		"another region there":    {keyed, options{}, elsewhere, keep, map[string]any{"region": "eu-west-1"}},
		"another key there":       {keyed, options{secretKey: "s"}, there, keep, map[string]any{"access_key": oldKey, "secret_key": "s"}},
		"to be overwritten":       {keyed, options{overwrite: true}, elsewhere, update, map[string]any{"region": "eu-west-1"}},
		"the key, to be replaced": {keyed, options{overwrite: true, secretKey: "s"}, there, update, map[string]any{"access_key": oldKey, "secret_key": "s"}},
	} {
		t.Run(name, func(t *testing.T) {
			var existing map[string]any
			if c.existing != "" {
				existing = decoded(t, c.existing)
			}
			c.options.integration = "main"
			s := planConfig(c.options, c.old, existing)
			require.Equal(t, "config/main", s.path)
			require.Equal(t, c.action, s.action, s.why)
			require.Equal(t, c.body, s.body)
		})
	}
}

// Break it by comparing texts as they are.
func TestEqualValuesAreTheSame(t *testing.T) {
	s := &step{settings: settings{fields: map[string]any{
		"policy_document": `{"Version":"2012-10-17"}`, "policy_arns": []any{}, "iam_tags": map[string]any{}, "iam_groups": []any{"a", "b"}, "max_ttl": int64(60),
	}}}
	s.decide(decoded(t, `{"policy_document":"{ \"Version\": \"2012-10-17\" }","policy_arns":null,"iam_tags":{},"iam_groups":["a","b"],"max_ttl":60}`), false)
	require.Equal(t, same, s.action, "%v", s.differs)
	s.decide(decoded(t, `{"policy_document":"{ \"Version\": \"2008-10-17\" }","policy_arns":["x"],"iam_tags":{"a":"b"},"iam_groups":["b","a"],"max_ttl":61}`), false)
	require.Equal(t, []string{"iam_groups", "iam_tags", "max_ttl", "policy_arns", "policy_document"}, s.differs)
}

func TestParseOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret.txt")
	require.NoError(t, os.WriteFile(file, []byte("secret\n"), 0o600))
	o, err := parseOptions([]string{"-from", "/aws/", "-to", "iam/x/", "-secret-key-file", file, "-write"})
	require.NoError(t, err)
	require.Equal(t, options{from: "aws", to: "iam/x", integration: "default", secretKey: "secret", write: true}, o)

	require.NoError(t, os.WriteFile(file, []byte("\n"), 0o600))
	for _, args := range [][]string{
		{"aws", "aws-iam"}, {"-from", "/"}, {"-access-key", "AKIA"}, {"-secret-key-file", file}, {"-secret-key-file", file + "x"}, {"-force"},
	} {
		_, err := parseOptions(args)
		require.Error(t, err, "%v", args)
	}
}
