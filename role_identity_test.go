package awsiam

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// homePolicy gives each entity what lies in its own folder.
const homePolicy = `{"Version": "2012-10-17", "Statement": [` +
	`{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::home/{{identity.entity.name}}/*"},` +
	`{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*", "Condition": {"StringLike": {"s3:prefix": ["{{identity.entity.name}}/*"]}}}]}`

// whole has the template alone in a text, where nothing stands beside it.
var wholePolicy = statement(`"Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/owner":"{{identity.entity.name}}"}}`)

// view is core's view of identities. It counts what it is asked.
type identityView struct {
	*logical.StaticSystemView
	entities, groups        int
	entityFault, groupFault error
}

func (v *identityView) EntityInfo(id string) (*logical.Entity, error) {
	v.entities++
	if v.entityFault != nil {
		return nil, v.entityFault
	}
	return v.StaticSystemView.EntityInfo(id)
}

func (v *identityView) GroupsForEntity(id string) ([]*logical.Group, error) {
	v.groups++
	if v.groupFault != nil {
		return nil, v.groupFault
	}
	return v.StaticSystemView.GroupsForEntity(id)
}

// identities has the requests be those of an entity that has a value for everything.
func (e *env) identities() *identityView {
	v := &identityView{StaticSystemView: e.system}
	e.system.EntityVal, e.system.GroupsVal = everybody().entity, everybody().groups
	e.b.System().(*recentView).SystemView = v
	return v
}

// inline is the inline policy of the lease's user, decoded, without the expiry
// statement.
func (e *env) inline(l lease) (version any, statements []any) {
	e.t.Helper()
	user, ok := e.acct.User(l.username())
	require.True(e.t, ok)
	var policy map[string]any
	require.NoError(e.t, json.Unmarshal([]byte(user.Policies[l.username()]), &policy))
	all := policy["Statement"].([]any)
	require.Equal(e.t, "Deny", all[len(all)-1].(map[string]any)["Effect"])
	return policy["Version"], all[:len(all)-1]
}

// statementsOf are those of a policy, decoded.
func statementsOf(t *testing.T, document string) []any {
	t.Helper()
	var policy struct{ Statement []any }
	require.NoError(t, json.Unmarshal([]byte(document), &policy))
	return policy.Statement
}

// Break it by issuing r instead of roleFor's in credsIssue.
func TestPolicyOfWhoAsks(t *testing.T) {
	e := newEnv(t, widePolicy)
	v := e.identities()
	e.write("roles/home", map[string]any{"policy_document": homePolicy, "iam_tags": map[string]any{
		"owner": "{{identity.entity.aliases.auth_userpass_1.name}}", "team": "pay:{{identity.groups.names.payments.metadata.cost}}", "plain": "a",
	}})
	var leases []lease
	for _, name := range []string{"ann", "bob", "Björn Ågren", "auth0|5f7c8e", "o'brien+test@example.com", "山田 太郎", "a.b_c~d=e,f-g"} {
		e.system.EntityVal.Name = name
		l := e.issue("home", nil)
		version, statements := e.inline(l)
		require.Equal(t, "2012-10-17", version)
		require.Equal(t, statementsOf(t, strings.ReplaceAll(homePolicy, "{{identity.entity.name}}", name)), statements)
		user, _ := e.acct.User(l.username())
		require.Equal(t, "ann.lee", user.Tags["owner"])
		require.Equal(t, "pay:42", user.Tags["team"])
		require.Equal(t, "a", user.Tags["plain"])
		leases = append(leases, l)
	}
	require.Equal(t, 7, v.entities, "one question for each")
	require.Equal(t, 7, v.groups)

	// Nobody has to know the entity, nor the role its templates, for a lease to go on
	// and to end.
	v.entityFault, v.groupFault = errInjected, errInjected
	e.write("roles/home", map[string]any{"policy_document": testPolicy, "iam_tags": ""})
	for _, l := range leases {
		_, err := e.renew(l, time.Minute)
		require.NoError(t, err)
	}
	e.must(logical.DeleteOperation, "roles/home", nil)
	for _, l := range leases {
		require.NoError(t, e.revoke(l))
	}
	require.Equal(t, 7, v.entities)
	e.requireNothingLeft()
}

// The README's example is one that works.
func TestREADMEsPolicyOfWhoAsks(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.identities()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(readme), "## Each to their own\n")
	require.True(t, found)
	_, rest, found := strings.Cut(section, "```json\n")
	require.True(t, found)
	example, _, _ := strings.Cut(rest, "```")
	require.Nil(t, e.must(logical.UpdateOperation, "roles/home", map[string]any{"policy_document": example, "propagation_timeout": 0}), "a warning")
	e.system.EntityVal.Aliases[0].MountAccessor = "auth_userpass_1a2b3c4d"
	l := e.issue("home", nil)
	_, statements := e.inline(l)
	require.Equal(t, statementsOf(t, strings.ReplaceAll(example, "{{identity.entity.aliases.auth_userpass_1a2b3c4d.name}}", "ann.lee")), statements)
	require.NoError(t, e.revoke(l))
}

// Roles without templates cost nothing more, and groups are asked for only where a
// template names one.
func TestCoreIsAskedOnlyForWhatIsNeeded(t *testing.T) {
	e := newEnv(t, widePolicy)
	v := e.identities()
	require.NoError(t, e.revoke(e.issue("app", nil)))
	e.write("roles/tagged", map[string]any{"policy_document": testPolicy, "iam_tags": "a=b"})
	require.NoError(t, e.revoke(e.issue("tagged", nil)))
	require.Zero(t, v.entities+v.groups)
	e.write("roles/home", map[string]any{"policy_document": homePolicy})
	require.NoError(t, e.revoke(e.issue("home", nil)))
	require.Equal(t, 1, v.entities)
	require.Zero(t, v.groups)
	e.write("roles/home", map[string]any{"policy_document": strings.ReplaceAll(homePolicy, "entity.name", "groups.ids.g-1.name")})
	require.NoError(t, e.revoke(e.issue("home", nil)))
	require.Equal(t, 2, v.entities)
	require.Equal(t, 1, v.groups)
	e.requireNothingLeft()
}

// injections are values of an entity's that are refused where they would stand in a
// path, with what is said about them.
var injections = map[string]struct{ value, says string }{
	"everything":                    {"*", "'*' (U+002A)"},
	"everything that begins so":     {"ann*", "'*'"},
	"everything in the middle":      {"a*n", "'*'"},
	"one character":                 {"?", "'?'"},
	"one character more":            {"ann?", "'?'"},
	"AWS's variable":                {"${aws:username}", "'$'"},
	"AWS's wildcard":                {"${*}", "'$'"},
	"dollar":                        {"$", "'$'"},
	"dollar at the end":             {"ann$", "'$'"},
	"brace, open":                   {"{aws:username}", "'{'"},
	"brace, close":                  {"ann}", "'}'"},
	"template":                      {"{{identity.entity.id}}", "'{'"},
	"template's end":                {"}}", "'}'"},
	"end of the text":               {`ann"`, `'"'`},
	"another resource":              {`ann/*","arn:aws:s3:::*`, `"`},
	"another statement":             {`"}]},{"Effect":"Allow","Action":"*","Resource":"*"},{"a":["`, `'"'`},
	"backslash":                     {`ann\`, `'\\'`},
	"escaped asterisk":              {`\u002a`, `'\\'`},
	"escaped quote":                 {`\"`, `'\\'`},
	"line break":                    {"ann\nbob", `'\n'`},
	"carriage return":               {"ann\r", `'\r'`},
	"tab":                           {"ann\tbob", `'\t'`},
	"NUL":                           {"ann\x00", `'\x00'`},
	"escape":                        {"\x1b[31m", `'\x1b'`},
	"delete":                        {"\x7f", `'\x7f'`},
	"C1 control":                    {"ann\u0085", "U+0085"},
	"line separator":                {"ann\u2028bob", "U+2028"},
	"no-break space":                {"ann\u00a0bob", "U+00A0"},
	"zero width":                    {"an\u200bn", "U+200B"},
	"right to left":                 {"ann\u202ebob", "U+202E"},
	"byte order mark":               {"\ufeffann", "U+FEFF"},
	"full-width asterisk":           {"\uff0a", "U+FF0A"},
	"asterisk operator":             {"\u2217", "U+2217"},
	"full-width slash":              {"ann\uff0fbob", "U+FF0F"},
	"division slash":                {"ann\u2215bob", "U+2215"},
	"private use":                   {"\ue000", "U+E000"},
	"emoji":                         {"\U0001f600", "U+1F600"},
	"not UTF-8":                     {"ann\xff", "U+FFFD"},
	"overlong slash":                {"ann\xc0\xafbob", "U+FFFD"},
	"Hangul filler":                 {"ann\u3164", "U+3164"},
	"half-width Hangul filler":      {"ann\uffa0", "U+FFA0"},
	"grapheme joiner":               {"an\u034fn", "U+034F"},
	"variation selector":            {"ann\ufe0f", "U+FE0F"},
	"folder":                        {"ann/private", "'/'"},
	"all folders":                   {"/", "'/'"},
	"a step up":                     {"../bob", "'/'"},
	"dot":                           {".", "nothing but dots"},
	"two dots":                      {"..", "nothing but dots"},
	"many dots":                     {"....", "nothing but dots"},
	"field of an ARN":               {"ann:bob", "':'"},
	"ARN":                           {"arn:aws:s3:::bob", "':'"},
	"nothing":                       {"", "no value"},
	"space":                         {" ", "a space"},
	"spaces":                        {"   ", "a space"},
	"space before":                  {" ann", "a space"},
	"space behind":                  {"ann ", "a space"},
	"combining mark":                {"\u0301ann", "U+0301"},
	"encoded slash":                 {"ann%2fbob", "'%'"},
	"encoded asterisk":              {"%2a", "'%'"},
	"HTML":                          {"<b>", "'<'"},
	"ampersand":                     {"a&b", "'&'"},
	"semicolon":                     {"a;b", "';'"},
	"backquote":                     {"`id`", "'`'"},
	"hash":                          {"a#b", "'#'"},
	"bracket":                       {"a[b-z]", "'['"},
	"parenthesis":                   {"a(b)", "'('"},
	"caret":                         {"^a", "'^'"},
	"exclamation mark":              {"!a", "'!'"},
	"too long":                      {long(2000), "IAM takes at most 2048"},
	"too long once escaped for IAM": {strings.Repeat("山", 400), "IAM takes at most 2048"},
}

// TestInjections: whatever an entity is called, its user is given what the role says,
// or nobody anything.
//
// Break it by taking one of the conditions out of checkIdentityValue.
func TestInjections(t *testing.T) {
	require.Greater(t, len(injections), 40)
	e := newEnv(t, widePolicy)
	e.identities()
	entity := e.system.EntityVal
	e.write("roles/name", map[string]any{"policy_document": homePolicy})
	e.write("roles/metadata", map[string]any{"policy_document": strings.ReplaceAll(homePolicy, "entity.name", "entity.metadata.home")})
	e.write("roles/alias", map[string]any{"policy_document": strings.ReplaceAll(homePolicy, "entity.name", "entity.aliases.auth_userpass_1.name")})
	e.write("roles/group", map[string]any{"policy_document": strings.ReplaceAll(homePolicy, "entity.name", "groups.ids.g-1.name")})
	e.write("roles/whole", map[string]any{"policy_document": wholePolicy})
	e.aws.ResetCalls()
	for what, c := range injections {
		t.Run(what, func(*testing.T) {
			entity.Name, entity.Metadata["home"], entity.Aliases[0].Name, e.system.GroupsVal[0].Name = c.value, c.value, c.value, c.value
			for _, role := range []string{"name", "metadata", "alias", "group"} {
				says := c.says
				if c.value == "" && role == "metadata" {
					says = "is empty" // to Vault itself it is a value
				}
				e.refused(logical.ReadOperation, "creds/"+role, nil, says, `"`+role+`"`, fieldPolicyDocument)
			}
			// Where the template is the whole text, only a boundary is none.
			if says := c.says; says != "'/'" && says != "':'" {
				e.refused(logical.ReadOperation, "creds/whole", nil, says)
			}
		})
	}
	require.Empty(t, e.aws.Calls())
	e.requireNothingLeft()
}

// A text that is nothing but the template has no boundary that a value could move.
func TestValuesOfAWholeText(t *testing.T) {
	e := newEnv(t, widePolicy)
	e.identities()
	e.write("roles/whole", map[string]any{"policy_document": wholePolicy, "iam_tags": "owner={{identity.entity.name}}"})
	for _, name := range []string{"kube-system/default", "project_path:group/project:ref:main", "/", ":"} {
		e.system.EntityVal.Name = name
		l := e.issue("whole", nil)
		_, statements := e.inline(l)
		require.Equal(t, map[string]any{"StringEquals": map[string]any{"aws:ResourceTag/owner": name}}, statements[0].(map[string]any)["Condition"])
		user, _ := e.acct.User(l.username())
		require.Equal(t, name, user.Tags["owner"])
		require.NoError(t, e.revoke(l))
	}
	e.write("roles/whole", map[string]any{"iam_tags": "owner=o/{{identity.entity.name}}"})
	e.refused(logical.ReadOperation, "creds/whole", nil, "iam_tags", "':'")
	e.requireNothingLeft()
}

// What the role's own policy puts into a longer text has boundaries, by way of a tag, too.
//
// Break it by taking inText out of filledIn.
func TestValuesOfTagsThatThePolicyPutsIntoTexts(t *testing.T) {
	e := newEnv(t, widePolicy)
	e.identities()
	resource := func(resource string) string { return statement(`"Action":"s3:*","Resource":"` + resource + `"`) }
	condition := func(value string) string {
		return statement(`"Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/owner":["` + value + `"]}}`)
	}
	for what, c := range map[string]struct {
		document string
		bounded  bool
	}{
		"path":               {resource("arn:aws:s3:::home/${aws:PrincipalTag/owner}/*"), true},
		"case of the key":    {resource("arn:aws:s3:::home/${aws:principaltag/Owner}/*"), true},
		"default":            {resource("arn:aws:s3:::home/${aws:PrincipalTag/owner, 'nobody'}/*"), true},
		"spelt with escapes": {resource(`arn:aws:s3:::home/\u0024{aws:PrincipalTag/owner}/*`), true},
		"text of a value":    {condition("o-${aws:PrincipalTag/owner}"), true},
		"whole value":        {condition("${aws:PrincipalTag/owner}"), false},
		"another tag's":      {resource("arn:aws:s3:::home/${aws:PrincipalTag/owners}/*"), false},
		"no variable":        {resource("arn:aws:s3:::home/aws:PrincipalTag/owner"), false},
	} {
		e.write("roles/abac", map[string]any{"policy_document": c.document, "iam_tags": "owner={{identity.entity.name}}"})
		for _, name := range []string{"ann/private", "ann:private"} {
			e.system.EntityVal.Name = name
			resp, err := e.do(logical.ReadOperation, "creds/abac", nil)
			require.NoError(t, err, what)
			require.Equal(t, c.bounded, resp.IsError(), "%s: %v", what, resp)
			if c.bounded {
				require.ErrorContains(t, resp.Error(), "${aws:PrincipalTag/owner}", what)
				continue
			}
			require.NoError(t, e.revoke(newLease(t, resp)))
		}
		e.system.EntityVal.Name = "ann"
		require.NoError(t, e.revoke(e.issue("abac", nil)), what)
	}
	e.requireNothingLeft()
}

func TestTagsThatAWSWouldNotTake(t *testing.T) {
	e := newEnv(t, widePolicy)
	e.identities()
	e.write("roles/app", map[string]any{"iam_tags": map[string]any{"owner": "{{identity.entity.name}}"}})
	e.aws.ResetCalls()
	for value, says := range map[string]string{
		"auth0|1": `the value of "owner" has a character that tags cannot have`, "a*": "'*'", long(257): "longer than 256", "o'brien": "tags cannot have", "": "no value",
	} {
		e.system.EntityVal.Name = value
		e.refused(logical.ReadOperation, "creds/app", nil, "iam_tags", says, `role "app"`)
	}
	require.Empty(t, e.aws.Calls())
	e.system.EntityVal.Name = long(256)
	require.NoError(t, e.revoke(e.issue("app", nil)))
	e.requireNothingLeft()
}

// The budget is what IAM takes, after the values and the expiry statement are in it.
func TestBudgetOfRenderedPolicies(t *testing.T) {
	e := newEnv(t, widePolicy)
	e.identities()
	document := policyOfSize(t, 2048-expirySize-6)
	end := `x"}]}`
	require.True(t, strings.HasSuffix(document, end))
	document = strings.TrimSuffix(document, end) + `/{{identity.entity.name}}"}]}`
	e.write("roles/big", map[string]any{"policy_document": document})
	e.system.EntityVal.Name = "sixsix"
	l := e.issue("big", nil)
	user, _ := e.acct.User(l.username())
	require.Len(t, user.Policies[l.username()], 2048)
	require.NoError(t, e.revoke(l))
	e.system.EntityVal.Name = "seven77"
	e.aws.ResetCalls()
	e.refused(logical.ReadOperation, "creds/big", nil, `role "big"`, "2049 bytes", `with the values of entity "test-entity"`, "enforce_expiry=false")
	require.Empty(t, e.aws.Calls())
	e.write("roles/big", map[string]any{"enforce_expiry": false})
	require.NoError(t, e.revoke(e.issue("big", nil)))
	e.requireNothingLeft()
}

// TestFaultsOfIdentities: core is asked before anything is on record, and what it does
// not answer is its own fault.
//
// Break it by asking after beginUser.
func TestFaultsOfIdentities(t *testing.T) {
	e := newEnv(t, widePolicy)
	v := e.identities()
	e.write("roles/home", map[string]any{"policy_document": strings.ReplaceAll(homePolicy, "entity.name", "groups.names.payments.name")})
	e.write("roles/tagged", map[string]any{"policy_document": testPolicy, "iam_tags": "a={{identity.groups.ids.g-1.name}}"})
	e.aws.ResetCalls()
	writes := 0
	e.storage.on(func(op, _ string) (bool, error) {
		if op == "put" {
			writes++
		}
		return true, nil
	})
	for name, arm := range map[string]func(){
		"entity": func() { v.entityFault = errors.New("core is sealing") },
		"groups": func() { v.groupFault = errors.New("core is sealing") },
	} {
		t.Run(name, func(t *testing.T) {
			v.entityFault, v.groupFault = nil, nil
			arm()
			for _, role := range []string{"home", "tagged"} {
				_, err := e.do(logical.ReadOperation, "creds/"+role, nil)
				require.ErrorContains(t, err, "core is sealing")
				require.ErrorContains(t, err, `role "`+role+`"`)
				var coded logical.HTTPCodedError
				require.NotErrorAs(t, err, &coded, "a 500")
			}
		})
	}
	v.entityFault, v.groupFault = nil, nil
	e.system.GroupsVal = nil
	e.refused(logical.ReadOperation, "creds/home", nil, "it is in no group")
	e.system.GroupsVal = []*logical.Group{{ID: "g-2", Name: "others"}}
	e.refused(logical.ReadOperation, "creds/home", nil, `not a member of group "payments"`)
	e.system.EntityVal = nil
	e.refused(logical.ReadOperation, "creds/home", nil, `role "home"`, "does not know the entity", "log in again")
	req := &logical.Request{Operation: logical.ReadOperation, Path: "creds/home", Storage: e.storage, ClientTokenAccessor: "a"}
	resp, err := e.b.HandleRequest(t.Context(), req)
	require.NoError(t, err)
	require.ErrorContains(t, resp.Error(), "has no entity: log in with an auth method")
	require.Zero(t, writes)
	require.Empty(t, e.aws.Calls())
	e.requireNothingLeft()
}

func TestValuesThatAreNotThere(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.identities()
	for selector, says := range map[string]string{
		"entity.metadata.nothing":                      "give it one",
		"entity.aliases.auth_other_1.name":             "alias not found",
		"entity.aliases.auth_userpass_1.metadata.home": "give it one",
		"groups.names.payments.metadata.home":          "give it one",
		"groups.names.others.id":                       `not a member of group "others"`,
	} {
		e.write("roles/home", map[string]any{"policy_document": strings.ReplaceAll(homePolicy, "entity.name", selector)})
		e.refused(logical.ReadOperation, "creds/home", nil, "{{identity."+selector+"}} has no value", says)
	}
	e.requireNothingLeft()
}

// What storage has of a role past the check of its write is never sent as it stands.
func TestStoredTemplateThatCannotBeRead(t *testing.T) {
	e := newEnv(t, corePolicy)
	r, err := getRole(t.Context(), e.storage, "app")
	require.NoError(t, err)
	r.PolicyDocument = statement(`"Action":"s3:{{identity.entity.name}}","Resource":"*"`)
	require.NoError(t, e.b.putRole(t.Context(), e.storage, r))
	e.refused(logical.ReadOperation, "creds/app", nil, "policy_document", "values of conditions only")
	require.Empty(t, e.aws.Calls())
}

// The users of roles that give tags tell by themselves whose they are.
func TestAutomaticTags(t *testing.T) {
	e := newEnv(t, widePolicy)
	e.write("roles/tagged", map[string]any{"policy_document": testPolicy, "iam_tags": tagsOf(46)})
	l := e.issue("tagged", nil)
	user, _ := e.acct.User(l.username())
	require.Len(t, user.Tags, 50)
	for key, value := range map[string]string{
		"vault-mount": "test-mount/", "vault-role": "tagged", "vault-request-id": "test-request", "vault-entity-id": "test-entity", "key-7": "value",
	} {
		require.Equal(t, value, user.Tags[key], key)
	}
	require.NoError(t, e.revoke(l))

	// A request without an entity, and one whose id no tag could have.
	req := &logical.Request{Operation: logical.ReadOperation, Path: "creds/tagged", Storage: e.storage, ClientTokenAccessor: "a", ID: "a*" + long(300)}
	resp, err := e.b.HandleRequest(t.Context(), req)
	require.NoError(t, err)
	l = newLease(t, resp)
	user, _ = e.acct.User(l.username())
	require.Len(t, user.Tags, 48)
	require.NotContains(t, user.Tags, "vault-entity-id")
	require.NotContains(t, user.Tags, "vault-mount", "of which that request says nothing")
	require.Equal(t, "a_"+long(254), user.Tags["vault-request-id"])
	require.NoError(t, e.revoke(l))

	l = e.issue("app", nil)
	user, _ = e.acct.User(l.username())
	require.Empty(t, user.Tags, "which take a permission")
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}

// Roles that an older plugin stored go on with what there is room for.
func TestAutomaticTagsOfARoleThatWasThereBefore(t *testing.T) {
	e := newEnv(t, widePolicy)
	r, err := getRole(t.Context(), e.storage, "app")
	require.NoError(t, err)
	own := make(map[string]string)
	for key := range tagsOf(48) {
		own[key] = "value"
	}
	own["Vault-Mount"] = "mine"
	r.IAMTags = own
	require.NoError(t, e.b.putRole(t.Context(), e.storage, r))
	l := e.issue("app", nil)
	user, _ := e.acct.User(l.username())
	wanted := maps.Clone(own)
	wanted["vault-role"] = "app" // the first there is room for
	require.Equal(t, wanted, user.Tags)
	require.NoError(t, e.revoke(l))
}

// TestPoolOfWhoAsks: users are made before anybody asks, and are given what depends on
// that when somebody does.
//
// Break it by leaving tagUser out of pools.lease, or knownTags out of bare.
func TestPoolOfWhoAsks(t *testing.T) {
	t.Parallel()
	e := newEnv(t, widePolicy)
	e.identities()
	e.write("roles/home", map[string]any{"policy_document": homePolicy, "iam_tags": map[string]any{"owner": "{{identity.entity.name}}", "team": "payments"}})
	e.pool("home", 2)
	known := map[string]string{"team": "payments", "vault-role": "home"}
	for _, name := range e.pooled() {
		user, _ := e.acct.User(name)
		require.Equal(t, known, user.Tags)
		require.Empty(t, user.Policies)
	}
	for _, name := range []string{"ann", "bob"} {
		e.system.EntityVal.Name = name
		waiting := e.pooled()
		l := e.issue("home", nil)
		require.Contains(t, waiting, l.username())
		user, _ := e.acct.User(l.username())
		wanted := maps.Clone(known)
		maps.Copy(wanted, map[string]string{"owner": name, "vault-mount": "test-mount/", "vault-request-id": "test-request", "vault-entity-id": "test-entity"})
		require.Equal(t, wanted, user.Tags)
		_, statements := e.inline(l)
		require.Equal(t, statementsOf(t, strings.ReplaceAll(homePolicy, "{{identity.entity.name}}", name)), statements)
		e.settle()
		require.Len(t, e.pooled(), 2, "who waits fits everybody")
		require.NoError(t, e.revoke(l))
	}

	// What is refused takes nobody out of the pool.
	waiting := e.pooled()
	e.system.EntityVal.Name = "*"
	e.refused(logical.ReadOperation, "creds/home", nil, "'*'")
	require.Equal(t, waiting, e.pooled())
	e.requireEmptied("home")
}

// TestEveryFaultOfTaggingAUserOfAPool: who is handed out has its tags; the others of the
// pool wait on; and nobody is left over.
func TestEveryFaultOfTaggingAUserOfAPool(t *testing.T) {
	t.Parallel()
	for _, broken := range awsBreakages("TagUser") {
		t.Run(broken.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, widePolicy)
			e.write("roles/app", map[string]any{"iam_tags": "team=payments"})
			e.pool("app", 2)
			e.leaveShort("app")
			e.advance(time.Hour)
			broken.arm(e)
			resp, err := e.do(logical.ReadOperation, "creds/app", nil)
			e.settle()
			e.heal()
			if err == nil && !resp.IsError() {
				l := newLease(t, resp)
				user, ok := e.acct.User(l.username())
				require.True(t, ok)
				require.Equal(t, "test-request", user.Tags["vault-request-id"])
				e.requireWorks(l)
			} else {
				var coded logical.HTTPCodedError
				require.True(t, err == nil || errors.As(err, &coded) && coded.Code() == http.StatusBadGateway || errors.Is(err, errInjected), "%v", err)
			}
			e.advance(6 * time.Minute)
			e.reap()
			require.Equal(t, e.pooled(), e.secrets())
			e.requireEmptied("app")
		})
	}
}
