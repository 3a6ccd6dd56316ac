package awsiam

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// templateRegexp finds templates by itself, without the engine's own reading.
var templateRegexp = regexp.MustCompile(`\{\{([^{}]*)\}\}`)

// FuzzIdentityTemplates: whatever the entity's values are, a policy that is rendered is
// the role's but for what stands in the place of templates, and that is a value which
// means nothing but itself.
func FuzzIdentityTemplates(f *testing.F) {
	for _, c := range injections {
		f.Add(homePolicy, c.value, c.value)
		f.Add(wholePolicy, c.value, "blue")
	}
	for _, name := range []string{"ann", "a/b", "Björn", "auth0|1", "山田"} {
		for _, document := range []string{
			homePolicy, wholePolicy, testPolicy,
			statement(`"Action":"s3:*","Resource":["arn:aws:s3:::a<&>\u20ac/{{identity.entity.name}}{{ identity.entity.metadata.team }}/${aws:userid}","arn:aws:s3:::\ud83d\ude00"]`),
			statement(`"Action":"s3:*","Resource":"*","Condition":{"ForAllValues:StringLike":{"a:b":["{{identity.groups.names.payments.id}}",1,true,1.50e3]}}`),
			statement(`"Action":"s3:*","NotResource":"arn:aws:s3:{{identity.entity.name}}:{{identity.entity.metadata.team}}:\u007b\u007bidentity.entity.id\u007d\u007d"`),
		} {
			f.Add(document, name, name)
		}
	}
	f.Fuzz(func(t *testing.T, document, name, team string) {
		r := &role{Name: "app", PolicyDocument: document}
		if err := r.validatePolicyDocument(&integration{Name: "default", Partition: "aws"}); err != nil {
			requireRefusal(t, err, fieldPolicyDocument)
			return
		}
		template, err := parsePolicyTemplate(document)
		require.NoError(t, err)
		before, err := decodeObject(document)
		require.NoError(t, err)
		if template == nil {
			requireFilledIn(t, before, before, nil)
			return
		}
		who := &requester{
			entity: &logical.Entity{ID: "e-1", Name: name, Metadata: map[string]string{"team": team}},
			groups: []*logical.Group{{ID: "g-1", Name: "payments"}},
		}
		rendered, err := template.render(who.value)
		if err != nil {
			var refused refusal
			require.ErrorAs(t, err, &refused)
			return
		}
		after, err := decodeObject(rendered)
		require.NoError(t, err)
		require.NoError(t, checkPolicy(after, "aws"))
		require.NotContains(t, rendered, "{{")
		require.Equal(t, -1, strings.IndexFunc(rendered, func(r rune) bool { return r < 0x20 || r > 0xFF }))
		requireFilledIn(t, before, after, map[string]string{
			"identity.entity.name": name, "identity.entity.metadata.team": team, "identity.entity.id": "e-1",
			"identity.groups.names.payments.id": "g-1", "identity.groups.names.payments.name": "payments", "identity.groups.ids.g-1.id": "g-1", "identity.groups.ids.g-1.name": "payments",
		})
	})
}

// requireFilledIn checks that two documents are of the same structure, and that texts
// differ in nothing but the values of templates.
func requireFilledIn(t *testing.T, before, after any, values map[string]string) {
	t.Helper()
	switch b := before.(type) {
	case map[string]any:
		a, ok := after.(map[string]any)
		require.True(t, ok)
		require.Equal(t, sortedKeys(b), sortedKeys(a))
		for key := range b {
			require.NotContains(t, key, "{{")
			requireFilledIn(t, b[key], a[key], values)
		}
	case []any:
		a, ok := after.([]any)
		require.True(t, ok)
		require.Len(t, a, len(b))
		for i := range b {
			requireFilledIn(t, b[i], a[i], values)
		}
	case string:
		a, ok := after.(string)
		require.True(t, ok)
		wanted := templateRegexp.ReplaceAllStringFunc(b, func(found string) string {
			value, known := values[strings.TrimSpace(strings.Trim(found, "{}"))]
			require.True(t, known, found)
			requireHarmless(t, value, found == b)
			return value
		})
		require.Equal(t, wanted, a)
	case json.Number:
		require.Equal(t, b, after)
	default:
		require.Equal(t, before, after)
	}
}

// requireHarmless says once more what a value must not be, the other way around: by
// what is known to mean something.
func requireHarmless(t *testing.T, value string, whole bool) {
	t.Helper()
	require.NotEmpty(t, value)
	require.NotEmpty(t, strings.Trim(value, ". "))
	require.False(t, strings.ContainsAny(value, "*?${}\"\\%<>&\x00\t\n\r\x7f\uFFFD\u2028\u2029\u200b\u202e\uFEFF"), "%q", value)
	if !whole {
		require.False(t, strings.ContainsAny(value, "/:"), "%q", value)
	}
}
