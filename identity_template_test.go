package awsiam

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/helper/identitytpl"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// everybody is an entity that has a value for every kind of selector.
func everybody() *requester {
	return &requester{
		entity: &logical.Entity{
			ID: "e-1", Name: "ann", Metadata: map[string]string{"team": "blue", "a.b": "dotted"},
			Aliases: []*logical.Alias{{
				ID: "a-1", MountAccessor: "auth_userpass_1", Name: "ann.lee",
				Metadata: map[string]string{"dn": "cn=ann"}, CustomMetadata: map[string]string{"floor": "3"},
			}},
		},
		groups: []*logical.Group{{ID: "g-1", Name: "payments", Metadata: map[string]string{"cost": "42"}}},
	}
}

var goodSelectors = map[string]string{
	"identity.entity.id":                                            "e-1",
	"identity.entity.name":                                          "ann",
	"identity.entity.metadata.team":                                 "blue",
	"identity.entity.metadata.a.b":                                  "dotted",
	"identity.entity.aliases.auth_userpass_1.id":                    "a-1",
	"identity.entity.aliases.auth_userpass_1.name":                  "ann.lee",
	"identity.entity.aliases.auth_userpass_1.metadata.dn":           "cn=ann",
	"identity.entity.aliases.auth_userpass_1.custom_metadata.floor": "3",
	"identity.groups.names.payments.id":                             "g-1",
	"identity.groups.names.payments.name":                           "payments",
	"identity.groups.names.payments.metadata.cost":                  "42",
	"identity.groups.ids.g-1.id":                                    "g-1",
	"identity.groups.ids.g-1.name":                                  "payments",
	"identity.groups.ids.g-1.metadata.cost":                         "42",
	"\u0020identity.entity.id\u0020":                                "e-1",
}

var badSelectors = []string{
	"", " ", "identity", "identity.entity", "identity.entity.", "identity.entity.nam", "identity.entity.names", "Identity.Entity.Name", "entity.name", ".RoleName", "random 20",
	"identity.entity.metadata", "identity.entity.metadata.", "identity.entity.groups.names", "identity.entity.groups.ids", "identity.entity.aliases", "identity.entity.aliases.auth_userpass_1",
	"identity.entity.aliases.auth_userpass_1.", "identity.entity.aliases.auth_userpass_1.metadata", "identity.entity.aliases.auth_userpass_1.custom_metadata", "identity.entity.aliases..name",
	"identity.groups.names", "identity.groups.names.payments", "identity.groups.names.payments.metadata", "identity.groups.name.payments.id", "identity.groups.names..id", "identity.entity.name.x", "identity.entity name",
}

// What a role may have is what Vault renders as one text, and nothing else; but for
// times, which Vault's policies may have too.
func TestSelectorsAreVaults(t *testing.T) {
	who := everybody()
	vaults := func(selector string) (string, error) {
		_, value, err := identitytpl.PopulateString(identitytpl.PopulateStringInput{String: "{{" + selector + "}}", Entity: who.entity, Groups: who.groups})
		return value, err
	}
	for selector, value := range goodSelectors {
		read, err := parseIdentityTemplate("{{" + selector + "}}")
		require.NoError(t, err, selector)
		require.Len(t, read, 1)
		rendered, err := read.render(who.value)
		require.NoError(t, err, selector)
		require.Equal(t, value, rendered)
		byVault, err := vaults(selector)
		require.NoError(t, err)
		require.Equal(t, byVault, rendered)
	}
	for _, selector := range badSelectors {
		_, err := parseIdentityTemplate("{{" + selector + "}}")
		require.ErrorContains(t, err, "is no identity template", selector)
		_, err = vaults(selector)
		require.Error(t, err, selector)
	}
	_, err := parseIdentityTemplate("{{time.now}}")
	require.ErrorContains(t, err, "is no identity template")
}

func TestTemplatesInATextAreRead(t *testing.T) {
	for text, rendered := range map[string]string{
		"plain":                               "",
		"a}}b":                                "", // none of ours, as in "${a}}"
		"{{identity.entity.name}}":            "ann",
		"{{ identity.entity.name }}":          "ann",
		"a{{identity.entity.name}}b":          "aannb",
		"{{identity.entity.name}}}":           "ann}",
		"${aws:userid}{{identity.entity.id}}": "${aws:userid}e-1",
		"{{identity.entity.id}}/${aws:userid}/{{identity.entity.name}}{{identity.entity.metadata.team}}": "e-1/${aws:userid}/annblue",
	} {
		read, err := parseIdentityTemplate(text)
		require.NoError(t, err, text)
		if rendered == "" {
			require.Nil(t, read)
			continue
		}
		got, err := read.render(everybody().value)
		require.NoError(t, err)
		require.Equal(t, rendered, got)
		require.Equal(t, strings.NewReplacer("{{ ", "{{", " }}", "}}").Replace(text), read.String())
	}
	for text, says := range map[string]string{
		"{{identity.entity.name":                                `"{{" without "}}"`,
		"{{":                                                    `"{{" without "}}"`,
		"a}}{{identity.entity.name}}":                           `"}}" without "{{"`,
		"{{identity.entity.name}}}}":                            `"}}" without "{{"`,
		"{{{identity.entity.name}}}":                            "is no identity template",
		"{{identity.entity.name{{":                              `"{{" without "}}"`,
		"{{identity.{{identity.entity.name}}.id}}":              "is no identity template",
		"${aws:PrincipalTag/{{identity.entity.name}}}":          "AWS's own ${…}",
		"${aws:username, '{{identity.entity.name}}'}":           "AWS's own ${…}",
		"${{identity.entity.name}}":                             "AWS's own ${…}",
		"{{identity.entity.name}}${a}${{{identity.entity.id}}":  "is no identity template",
		"${a}$ {{identity.entity.id}}${b{{identity.entity.id}}": "AWS's own ${…}",
	} {
		_, err := parseIdentityTemplate(text)
		require.ErrorContains(t, err, says, text)
	}
}

// Who asks decides on which things something is allowed, and nothing else.
func TestWhereTemplatesCanStand(t *testing.T) {
	const name = "{{identity.entity.name}}"
	good := map[string]string{
		"resource":               statement(`"Action":"s3:*","Resource":"arn:aws:s3:::home/` + name + `/*"`),
		"resources":              statement(`"Action":"s3:*","Resource":["arn:aws:s3:::a","arn:aws:s3:::home-` + name + `"]`),
		"NotResource":            statement(`"Action":"s3:*","NotResource":"arn:aws:s3:::home/` + name + `"`),
		"region":                 statement(`"Action":"sqs:*","Resource":"arn:aws:sqs:` + name + `:111122223333:a"`),
		"account":                statement(`"Action":"sqs:*","Resource":"arn:aws:sqs:us-east-1:` + name + `:a"`),
		"one statement of many":  `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"a:b","Resource":"*"},{"Effect":"Allow","Action":"a:b","Resource":"arn:aws:s3:::` + name + `"}]}`,
		"condition":              statement(`"Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/a":"` + name + `"}}`),
		"conditions":             statement(`"Action":"s3:*","Resource":"*","Condition":{"ForAnyValue:StringNotLikeIfExists":{"s3:prefix":["a","` + name + `/*"]},"ArnLike":{"aws:SourceArn":"arn:aws:s3:::` + name + `"}}`),
		"metadata with a colon":  statement(`"Action":"sqs:*","Resource":"arn:aws:sqs:{{identity.entity.metadata.a:b}}:111122223333:a"`),
		"spelt with escapes":     statement(`"Action":"s3:*","Resource":"arn:aws:s3:::\u007b\u007bidentity.entity.name\u007d\u007d"`),
		"beside AWS's variables": statement(`"Action":"s3:*","Resource":"arn:aws:s3:::` + name + `/${aws:userid}/*"`),
	}
	e := newEnv(t, corePolicy)
	for what, document := range good {
		resp, err := e.do(logical.UpdateOperation, "roles/b", map[string]any{"policy_document": document})
		require.NoError(t, err)
		require.False(t, resp.IsError(), "%s: %v", what, resp)
		require.Equal(t, document, e.read("roles/b")["policy_document"], "as it was written")
	}
	const stand = "values of conditions only"
	bad := map[string]struct{ document, says string }{
		"Version":                {`{"Version":"` + name + `","Statement":[{"Effect":"Allow","Action":"a:b","Resource":"*"}]}`, stand},
		"Sid":                    {statement(`"Sid":"` + name + `","Action":"s3:*","Resource":"*"`), stand},
		"Effect":                 {`{"Statement":[{"Effect":"` + name + `","Action":"a:b","Resource":"*"}]}`, stand},
		"Action":                 {statement(`"Action":"` + name + `","Resource":"*"`), stand},
		"part of an Action":      {statement(`"Action":["s3:Get` + name + `"],"Resource":"*"`), stand},
		"NotAction":              {statement(`"NotAction":"s3:` + name + `","Resource":"*"`), stand},
		"Principal":              {statement(`"Principal":"` + name + `","Action":"a:b","Resource":"*"`), stand},
		"Statement":              {`{"Statement":"` + name + `"}`, stand},
		"element":                {statement(`"Action":"a:b","Resource":"*","` + name + `":"a"`), stand},
		"element of the policy":  {`{"` + name + `":"a","Statement":[]}`, stand},
		"operator":               {statement(`"Action":"a:b","Resource":"*","Condition":{"` + name + `":{"a:b":"c"}}`), stand},
		"condition key":          {statement(`"Action":"a:b","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/` + name + `":"c"}}`), stand},
		"Condition itself":       {statement(`"Action":"a:b","Resource":"*","Condition":"` + name + `"`), stand},
		"condition's keys":       {statement(`"Action":"a:b","Resource":"*","Condition":{"StringEquals":"` + name + `"}`), stand},
		"too deep":               {statement(`"Action":"a:b","Resource":"*","Condition":{"StringEquals":{"a:b":{"c":"` + name + `"}}}`), stand},
		"whole resource":         {statement(`"Action":"a:b","Resource":"` + name + `"`), "partition and the service"},
		"partition":              {statement(`"Action":"a:b","Resource":"arn:` + name + `:s3:::a"`), "partition and the service"},
		"part of the partition":  {statement(`"Action":"a:b","Resource":"arn:aws` + name + `:s3:::a"`), "partition and the service"},
		"service":                {statement(`"Action":"a:b","Resource":"arn:aws:` + name + `:::a"`), "partition and the service"},
		"no ARN":                 {statement(`"Action":"a:b","Resource":"a:b:c:` + name + `"`), "is not a resource"},
		"colon of a key":         {statement(`"Action":"a:b","Resource":"arn:aws:s3::{{identity.entity.metadata.a:b}}"`), "is not a resource"},
		"boolean":                {statement(`"Action":"a:b","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"` + name + `"}}`), "compares no texts"},
		"null":                   {statement(`"Action":"a:b","Resource":"*","Condition":{"Null":{"aws:a":"` + name + `"}}`), "compares no texts"},
		"network":                {statement(`"Action":"a:b","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"` + name + `"}}`), "compares no texts"},
		"date":                   {statement(`"Action":"a:b","Resource":"*","Condition":{"ForAnyValue:DateLessThan":{"aws:CurrentTime":"` + name + `"}}`), "compares no texts"},
		"number":                 {statement(`"Action":"a:b","Resource":"*","Condition":{"NumericEquals":{"a:b":["` + name + `"]}}`), "compares no texts"},
		"unknown operator":       {statement(`"Action":"a:b","Resource":"*","Condition":{"StringSounds":{"a:b":"` + name + `"}}`), "is not an operator"},
		"in AWS's variable":      {statement(`"Action":"a:b","Resource":"arn:aws:s3:::${aws:PrincipalTag/` + name + `}"`), "AWS's own"},
		"unknown selector":       {statement(`"Action":"a:b","Resource":"arn:aws:s3:::{{identity.entity.nam}}"`), "is no identity template"},
		"list":                   {statement(`"Action":"a:b","Resource":"*","Condition":{"StringEquals":{"a:b":"{{identity.entity.groups.names}}"}}`), "is no identity template"},
		"unbalanced":             {statement(`"Action":"a:b","Resource":"arn:aws:s3:::{{identity.entity.name"`), `without "}}"`},
		"spelt with escapes":     {statement(`"Action":"\u007b\u007bidentity.entity.name}}","Resource":"*"`), stand},
		"otherwise wrong":        {statement(`"Action":"a","Resource":"arn:aws:s3:::` + name + `"`), "is not an action"},
		"other partition":        {statement(`"Action":"a:b","Resource":"arn:aws-cn:s3:::` + name + `"`), `is of partition "aws-cn"`},
		"not UTF-8":              {statement("\"Action\":\"a:b\",\"Resource\":\"arn:aws:s3:::\xff" + name + `"`), "beyond Latin-1"},
		"too long at its least":  {statement(`"Action":"a:b","Resource":"arn:aws:s3:::` + long(1870) + name + `"`), "with one character for each identity template"},
		"much too long":          {statement(`"Action":"a:b","Resource":"arn:aws:s3:::`+name+`"`) + strings.Repeat(" ", maxDocumentLength), "at most 131072"},
		"name of the user's own": {statement(`"Action":"a:b","Resource":"arn:aws:s3:::{{.Username}}"`), "is no identity template"},
	}
	for what, c := range bad {
		resp, err := e.do(logical.UpdateOperation, "roles/c", map[string]any{"policy_document": c.document})
		require.NoError(t, err)
		require.True(t, resp.IsError(), what)
		require.ErrorContains(t, resp.Error(), c.says, what)
		require.ErrorContains(t, resp.Error(), fieldPolicyDocument, what)
	}
	require.Nil(t, e.must(logical.ReadOperation, "roles/c", nil))
}

func TestWhereTemplatesOfTagsCanStand(t *testing.T) {
	e := newEnv(t, widePolicy)
	write := func(tags map[string]any) *logical.Response {
		resp, err := e.do(logical.UpdateOperation, "roles/app", map[string]any{"iam_tags": tags})
		require.NoError(t, err)
		return resp
	}
	resp := write(map[string]any{"who": "{{identity.entity.name}}", "team": "t:{{identity.groups.names.payments.id}}"})
	require.Nil(t, resp)
	for _, c := range []struct{ key, value, says string }{
		{"{{identity.entity.name}}", "a", "only values can"},
		{"who", "{{identity.entity.nam}}", "is no identity template"},
		{"who", "{{identity.entity.name}}*", "a character that tags cannot have"},
		{"who", "{{identity.entity.name}}" + long(256), "longer than 256"},
		{"VAULT-role", "a", "one that the engine gives by itself"},
		{"vault-entity-id", "{{identity.entity.id}}", "one that the engine gives by itself"},
	} {
		resp := write(map[string]any{c.key: c.value})
		require.ErrorContains(t, resp.Error(), c.says)
		require.ErrorContains(t, resp.Error(), fieldIAMTags)
	}
}

// A value that can mix with another entity's is worth a word when the role is written.
func TestWarningsOfTemplatesThatMix(t *testing.T) {
	e := newEnv(t, corePolicy)
	resource := func(resource string) map[string]any {
		return map[string]any{"policy_document": statement(`"Action":"s3:*","Resource":"arn:aws:s3:::` + resource + `"`)}
	}
	condition := func(operator, value string) map[string]any {
		return map[string]any{"policy_document": statement(`"Action":"s3:*","Resource":"*","Condition":{"` + operator + `":{"s3:prefix":["` + value + `"]}}`)}
	}
	for what, c := range map[string]struct {
		role  map[string]any
		warns bool
	}{
		"a part of its own":       {resource("home/{{identity.entity.name}}/*"), false},
		"the whole":               {resource("{{identity.entity.name}}"), false},
		"ids":                     {resource("{{identity.entity.id}}-{{identity.entity.aliases.a.id}}-{{identity.groups.names.a.metadata.b}}*"), false},
		"an id and a name":        {resource("{{identity.entity.id}}-{{identity.entity.name}}"), false},
		"wildcard right behind":   {resource("home/{{identity.entity.name}}*"), true},
		"wildcard a bit behind":   {resource("{{identity.entity.name}}-home-?/*"), true},
		"wildcard before":         {resource("home/*{{identity.entity.name}}"), true},
		"wildcard elsewhere":      {resource("*/{{identity.entity.name}}/*"), false},
		"two names":               {resource("{{identity.entity.name}}-{{identity.entity.metadata.team}}"), true},
		"two names apart":         {resource("{{identity.entity.name}}/{{identity.entity.metadata.team}}"), false},
		"pattern of a condition":  {condition("StringLike", "{{identity.entity.name}}*"), true},
		"ARN of a condition":      {condition("ForAnyValue:ArnEquals", "arn:aws:s3:::{{identity.entity.name}}*"), true},
		"no pattern":              {condition("StringEquals", "{{identity.entity.name}}*"), false},
		"two names, no pattern":   {condition("StringNotEquals", "{{identity.entity.name}}{{identity.entity.metadata.team}}"), true},
		"two names in a tag":      {map[string]any{"iam_tags": "a={{identity.entity.name}}-{{identity.entity.metadata.team}}"}, true},
		"a name in a tag":         {map[string]any{"iam_tags": "a=b-{{identity.entity.name}}"}, false},
		"nothing that depends on": {resource("*"), false},
	} {
		if c.role["policy_document"] == nil {
			c.role["policy_document"] = testPolicy
		}
		name := "roles/" + strings.NewReplacer(" ", "-", ",", "").Replace(what)
		resp := e.must(logical.UpdateOperation, name, c.role)
		if !c.warns {
			require.Nil(t, resp, what)
			continue
		}
		require.NotNil(t, resp, what)
		require.Len(t, resp.Warnings, 1, what)
		require.Contains(t, resp.Warnings[0], "stands beside a wildcard or another template")
	}
}

// A rendered policy is spelt with as few characters as can be, which IAM counts, and
// none that IAM does not take.
func TestPoliciesAreSpeltForIAM(t *testing.T) {
	template, err := parsePolicyTemplate(statement(`"Action":"s3:*","Resource":["arn:aws:s3:::<&>ä\u00e4\u20ac\ud83d\ude00\n/{{identity.entity.name}}"]`))
	require.NoError(t, err)
	rendered, err := template.render(everybody().value)
	require.NoError(t, err)
	require.Equal(t, `{"Statement":{"Action":"s3:*","Effect":"Allow","Resource":["arn:aws:s3:::<&>ää\u20ac\ud83d\ude00\n/ann"]},"Version":"2012-10-17"}`, rendered) //nolint:testifylint // it is the spelling that counts
}
