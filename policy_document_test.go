package awsiam

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// statement is a policy of one statement with elements added to it.
func statement(elements string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"Allow",` + elements + `}}`
}

var goodPolicies = map[string]string{
	"one statement":        statement(`"Action":"*","Resource":"*"`),
	"list of statements":   testPolicy,
	"old version":          `{"Version":"2008-10-17","Statement":{"Effect":"Deny","Action":"s3:*","Resource":"*"}}`,
	"no version":           `{"Statement":{"Effect":"Deny","Action":"s3:*","Resource":"*"}}`,
	"lists":                statement(`"Action":["s3:Get?bject","execute-api:Invoke"],"Resource":["arn:aws:s3:::a","arn:aws:s3:::a/*"]`),
	"all but":              statement(`"NotAction":"iam:*","NotResource":"arn:aws:iam::*:user/*"`),
	"Sids":                 `{"Statement":[{"Sid":"A1","Effect":"Allow","Action":"a:b","Resource":"*"},{"Sid":"B2","Effect":"Allow","Action":"a:b","Resource":"*"}]}`,
	"wildcards":            statement(`"Action":"ec2:*","Resource":"arn:*:ec2:*:*:instance/*"`),
	"variables":            statement(`"Action":"s3:*","Resource":"arn:aws:s3:::home/${aws:username}/*"`),
	"colons":               statement(`"Action":"logs:*","Resource":"arn:aws:logs:us-east-1:111122223333:log-group:a:*"`),
	"no account or region": statement(`"Action":"s3:*","Resource":"arn:aws:s3:::bucket"`),
	"conditions": statement(`"Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/a":"b","c:c":["d","e"]},` +
		`"ForAllValues:StringLikeIfExists":{"oidc.example.com/id:f":["g*"]},"Bool":{"aws:SecureTransport":true},"NumericLessThanEquals":{"s3:h":5},` +
		`"DateGreaterThanEquals":{"aws:CurrentTime":"2030-01-01T00:00:00Z"},"Null":{"aws:i":"true"},"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"},"ArnNotLike":{"aws:j":"arn:aws:s3:::*"}}`),
	"escapes":         statement(`"Action":"s3:*","Resource":"arn:aws:s3:::\u20ac\"\\"`),
	"Latin-1":         statement(`"Action":"s3:*","Resource":"arn:aws:s3:::\u00e4ä"`),
	"white space":     " \t\r\n" + strings.ReplaceAll(testPolicy, ",", "\n,\t") + "\n",
	"empty condition": statement(`"Action":"s3:*","Resource":"*","Condition":{}`),
}

var badPolicies = map[string]struct{ document, says string }{
	"empty":                    {"", "not a JSON object"},
	"text":                     {"a", "not a JSON object"},
	"string":                   {`"a"`, "not a JSON object"},
	"list":                     {`[]`, "not a JSON object"},
	"null":                     {"null", "it is null"},
	"cut off":                  {testPolicy[:50], "unexpected EOF"},
	"two documents":            {testPolicy + testPolicy, "something follows"},
	"a comment":                {testPolicy + "// x", "something follows"},
	"comma too many":           {`{"Statement":[],}`, "invalid character"},
	"single quotes":            {`{'Statement':[]}`, "invalid character"},
	"not UTF-8":                {statement("\"Action\":\"a:b\",\"Resource\":\"arn:aws:s3:::\xff\""), "beyond Latin-1"},
	"beyond Latin-1":           {statement(`"Action":"a:b","Resource":"arn:aws:s3:::“a”"`), "beyond Latin-1"},
	"Id":                       {`{"Id":"a","Statement":[]}`, `remove "Id"`},
	"version of the day":       {`{"Version":"2024-01-01","Statement":[]}`, `use "2012-10-17"`},
	"version number":           {`{"Version":20121017,"Statement":[]}`, `use "2012-10-17"`},
	"version null":             {`{"Version":null,"Statement":[]}`, `use "2012-10-17"`},
	"lower case":               {`{"statement":[]}`, "spelt exactly so"},
	"no statement":             {`{"Version":"2012-10-17"}`, "must be an object or a list"},
	"empty statements":         {`{"Statement":[]}`, "add a statement"},
	"statement string":         {`{"Statement":"a"}`, "must be an object or a list"},
	"statement null":           {`{"Statement":[null]}`, "must be an object or a list"},
	"nested statements":        {`{"Statement":[[{}]]}`, "must be an object or a list"},
	"key twice":                {`{"Statement":{},"Statement":[]}`, `"Statement" stands twice`},
	"key twice, deep":          {statement(`"Action":"a:b","Resource":"*","Condition":{"Bool":{"a":"b","a":"c"}}`), `"a" stands twice`},
	"key twice, escaped":       {`{"Statement":{},"\u0053tatement":[]}`, "stands twice"},
	"unknown element":          {statement(`"Action":"a:b","Resource":"*","Resources":"*"`), `"Resources"`},
	"element in lower case":    {statement(`"action":"a:b","Resource":"*"`), "spelt exactly"},
	"Principal":                {statement(`"Principal":"*","Action":"a:b","Resource":"*"`), `remove "Principal"`},
	"NotPrincipal":             {statement(`"NotPrincipal":"*","Action":"a:b","Resource":"*"`), `remove "NotPrincipal"`},
	"Sid with a space":         {statement(`"Sid":"a b","Action":"a:b","Resource":"*"`), "use letters and digits"},
	"Sid number":               {statement(`"Sid":1,"Action":"a:b","Resource":"*"`), "use letters and digits"},
	"Sid twice":                {`{"Statement":[{"Sid":"A","Effect":"Allow","Action":"a:b","Resource":"*"},{"Sid":"A","Effect":"Allow","Action":"a:b","Resource":"*"}]}`, "used twice"},
	"no effect":                {`{"Statement":{"Action":"a:b","Resource":"*"}}`, `"Effect" must be`},
	"effect in lower case":     {`{"Statement":{"Effect":"allow","Action":"a:b","Resource":"*"}}`, `"Effect" must be`},
	"effect list":              {`{"Statement":{"Effect":["Allow"],"Action":"a:b","Resource":"*"}}`, `"Effect" must be`},
	"no action":                {statement(`"Resource":"*"`), `give either "Action" or "NotAction"`},
	"both actions":             {statement(`"Action":"a:b","NotAction":"a:b","Resource":"*"`), `give either "Action" or "NotAction"`},
	"no actions":               {statement(`"Action":[],"Resource":"*"`), `"Action" must be a string`},
	"action null":              {statement(`"Action":null,"Resource":"*"`), `"Action" must be a string`},
	"action number":            {statement(`"Action":[1],"Resource":"*"`), `"Action" must be a string`},
	"action without service":   {statement(`"Action":"GetObject","Resource":"*"`), "is not an action"},
	"action with two colons":   {statement(`"Action":"s3:Get:Object","Resource":"*"`), "is not an action"},
	"action with a space":      {statement(`"Action":"s3: GetObject","Resource":"*"`), "is not an action"},
	"wildcard service":         {statement(`"Action":"s*:GetObject","Resource":"*"`), "is not an action"},
	"NotAction empty":          {statement(`"NotAction":"","Resource":"*"`), "is not an action"},
	"no resource":              {statement(`"Action":"a:b"`), `give either "Resource" or "NotResource"`},
	"both resources":           {statement(`"Action":"a:b","Resource":"*","NotResource":"*"`), `give either "Resource"`},
	"resource empty":           {statement(`"Action":"a:b","Resource":""`), "is not a resource"},
	"resource name":            {statement(`"Action":"a:b","Resource":"bucket"`), "is not a resource"},
	"resource too short":       {statement(`"Action":"a:b","Resource":"arn:aws:s3:a"`), "is not a resource"},
	"resource of nothing":      {statement(`"Action":"a:b","Resource":"arn:aws:s3:::"`), "is not a resource"},
	"resource two stars":       {statement(`"Action":"a:b","Resource":"**"`), "is not a resource"},
	"resource in China":        {statement(`"Action":"a:b","Resource":"arn:aws-cn:s3:::a"`), `is of partition "aws-cn"`},
	"NotResource in China":     {statement(`"Action":"a:b","NotResource":["*","arn:aws-cn:s3:::a"]`), `is of partition "aws-cn"`},
	"resource partition":       {statement(`"Action":"a:b","Resource":"arn:azure:s3:::a"`), "no valid partition"},
	"resource no partition":    {statement(`"Action":"a:b","Resource":"arn::s3:::a"`), "no valid partition"},
	"partition variable":       {statement(`"Action":"a:b","Resource":"arn:${aws:x}:s3:::a"`), "no valid partition"},
	"resource no service":      {statement(`"Action":"a:b","Resource":"arn:aws::::a"`), "does not name a service"},
	"resource any service":     {statement(`"Action":"a:b","Resource":"arn:aws:*:::a"`), "does not name a service"},
	"condition string":         {statement(`"Action":"a:b","Resource":"*","Condition":"a"`), "must be an object of operators"},
	"condition null":           {statement(`"Action":"a:b","Resource":"*","Condition":null`), "must be an object of operators"},
	"condition operator":       {statement(`"Action":"a:b","Resource":"*","Condition":{"StringEqual":{"a":"b"}}`), "is not an operator"},
	"condition quantifier":     {statement(`"Action":"a:b","Resource":"*","Condition":{"ForEach:StringEquals":{"a":"b"}}`), "is not an operator"},
	"NullIfExists":             {statement(`"Action":"a:b","Resource":"*","Condition":{"NullIfExists":{"a":"true"}}`), "is not an operator"},
	"condition key prefix":     {statement(`"Action":"a:b","Resource":"*","Condition":{"Bool":{"SecureTransport":"true"}}`), `use "aws:Key"`},
	"condition without keys":   {statement(`"Action":"a:b","Resource":"*","Condition":{"Bool":"true"}`), "object of keys"},
	"condition key empty":      {statement(`"Action":"a:b","Resource":"*","Condition":{"Bool":{"":"true"}}`), "is not a key"},
	"condition value null":     {statement(`"Action":"a:b","Resource":"*","Condition":{"Bool":{"a:b":null}}`), "must be a string, number or boolean"},
	"condition values empty":   {statement(`"Action":"a:b","Resource":"*","Condition":{"Bool":{"a:b":[]}}`), "must be a string, number or boolean"},
	"condition values nested":  {statement(`"Action":"a:b","Resource":"*","Condition":{"Bool":{"a:b":[["b"]]}}`), "must be a string, number or boolean"},
	"condition value object":   {statement(`"Action":"a:b","Resource":"*","Condition":{"Bool":{"a:b":{"b":"c"}}}`), "must be a string, number or boolean"},
	"second statement is bad":  {`{"Statement":[{"Effect":"Allow","Action":"a:b","Resource":"*"},{"Effect":"Allow","Action":"a:b"}]}`, "statement 2:"},
	"nested beyond all bounds": {strings.Repeat(`{"Statement":`, 10050), "not a JSON object"},
}

func TestPolicyGrammar(t *testing.T) {
	for name, document := range goodPolicies {
		require.NoError(t, validatePolicyDocument("policy_document", document, "aws"), name)
	}
	for name, c := range badPolicies {
		t.Run(name, func(t *testing.T) {
			err := validatePolicyDocument("policy_document", c.document, "aws")
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "policy_document")
			var refused refusal
			require.ErrorAs(t, err, &refused)
		})
	}
	// Without a verified account any partition may be meant.
	for _, name := range []string{"resource in China", "NotResource in China"} {
		require.NoError(t, validatePolicyDocument("policy_document", badPolicies[name].document, ""))
	}
}

// White space between tokens is free, white space within strings is not.
func TestPolicyBudget(t *testing.T) {
	require.NoError(t, validatePolicyDocument("p", policyOfSize(t, maxInlinePolicySize), "aws"))
	require.ErrorContains(t, validatePolicyDocument("p", policyOfSize(t, maxInlinePolicySize+1), "aws"), "2049 bytes without white space")

	spaced := statement(`"Action":"s3:*","Resource":"arn:aws:s3:::` + strings.Repeat(" ", maxInlinePolicySize) + `"`)
	require.ErrorContains(t, validatePolicyDocument("p", spaced, "aws"), "without white space")

	minified, err := minifyPolicy(policyOfSize(t, maxInlinePolicySize))
	require.NoError(t, err)
	require.Len(t, minified, maxInlinePolicySize)
}

// judge is the simulated IAM, whose grammar was written by itself: it says
// whether AWS would take a policy for a user.
func judge(tb testing.TB) func(document string) error {
	tb.Helper()
	simulation := awsfake.New()
	server := httptest.NewServer(simulation)
	tb.Cleanup(server.Close)
	acct := simulation.Account(testAccount)
	acct.AddUser("/", "judged")
	root := acct.Root()
	client := iam.New(iam.Options{
		Region: defaultRegion, BaseEndpoint: &server.URL, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: root.AccessKeyID, SecretAccessKey: root.SecretAccessKey}, nil
		}),
	})
	return func(document string) error {
		_, err := client.PutUserPolicy(context.Background(), &iam.PutUserPolicyInput{
			UserName: aws.String("judged"), PolicyName: aws.String("policy"), PolicyDocument: &document,
		})
		return err
	}
}

// A second judge: the simulation takes what the engine takes, and refuses what
// it refuses for a reason that both know.
func TestPolicyGrammarAgreesWithTheSimulation(t *testing.T) {
	takes := judge(t)
	for name, document := range goodPolicies {
		minified, err := minifyPolicy(document)
		require.NoError(t, err)
		require.NoError(t, takes(minified), name)
	}
	require.NoError(t, takes(policyOfSize(t, maxInlinePolicySize)))
	require.Error(t, takes(policyOfSize(t, maxInlinePolicySize+1)))

	var tooLenient []string
	for name, c := range badPolicies {
		if takes(c.document) == nil {
			tooLenient = append(tooLenient, name)
		}
	}
	// These are known to AWS and the engine alone.
	require.Subset(t, []string{
		"resource no service", "resource any service", "resource of nothing", "condition value null", "condition values empty",
	}, tooLenient)
}
