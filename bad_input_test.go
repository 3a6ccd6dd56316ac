package awsiam

import (
	"maps"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// input is a request that must be answered with a 400 that says what is wrong
// with which field and what to do about it, and that leaves no trace.
type input struct {
	name  string
	op    logical.Operation // zero: a write
	path  string
	data  map[string]any
	field string // that the answer has to name
	says  string // the remedy, or what it is recognised by
}

// requireRefused checks each input against one backend: what one of them left
// behind would be seen at once, and by those after it.
func (e *env) requireRefused(t *testing.T, inputs []input) {
	t.Helper()
	names := make(map[string]bool)
	for _, in := range inputs {
		require.False(t, names[in.name], "two inputs are called %q", in.name)
		names[in.name] = true
		t.Run(in.name, func(t *testing.T) {
			if in.op == "" {
				in.op = logical.UpdateOperation
			}
			before := e.dump(t)
			e.aws.ResetCalls()
			resp, err := e.do(in.op, in.path, in.data)
			require.NoError(t, err)
			require.True(t, resp.IsError(), "it was accepted: %v", resp)
			require.Equal(t, before, e.dump(t), "storage changed")
			require.ErrorContains(t, resp.Error(), in.field)
			require.ErrorContains(t, resp.Error(), in.says)
			for _, call := range e.aws.Calls() {
				require.Equal(t, "GetCallerIdentity", call.Action)
			}
		})
	}
}

// dump is all that storage holds.
func (e *env) dump(t *testing.T) map[string]string {
	t.Helper()
	inmem, ok := e.storage.Storage.(*logical.InmemStorage)
	require.True(t, ok)
	keys, err := logical.CollectKeys(t.Context(), inmem)
	require.NoError(t, err)
	content := make(map[string]string)
	for _, key := range keys {
		entry, err := inmem.Get(t.Context(), key)
		require.NoError(t, err)
		content[key] = string(entry.Value)
	}
	return content
}

// changed is a copy of a body with other values; absent removes a field.
func changed(body, changes map[string]any) map[string]any {
	body = maps.Clone(body)
	maps.Copy(body, changes)
	maps.DeleteFunc(body, func(_ string, value any) bool { return value == absent })
	return body
}

const absent = absentValue("not in the request")

type absentValue string

// long is a valid text of n letters.
func long(n int) string { return strings.Repeat("x", n) }

// Names are refused alike in all operations.
func TestBadNames(t *testing.T) {
	e := newEnv(t, corePolicy)
	var inputs []input
	for what, name := range map[string]string{
		"too long by one": long(65), "space": "a b", "slash": "a/b", "two dots": "a..b", "a dot alone": ".",
		"not ASCII": "é", "colon": "a:b", "star": "*", "template": "{{a}}", "percent": "%41",
	} {
		for _, at := range []struct {
			prefix, field string
			operations    []logical.Operation
		}{
			{"config/", "integration", []logical.Operation{logical.UpdateOperation, logical.ReadOperation, logical.DeleteOperation}},
			{"roles/", "role", []logical.Operation{logical.UpdateOperation, logical.ReadOperation, logical.DeleteOperation}},
			{"creds/", "role", []logical.Operation{logical.UpdateOperation, logical.ReadOperation}},
		} {
			for _, op := range at.operations {
				inputs = append(inputs, input{name: string(op) + " " + at.prefix + what, op: op, path: at.prefix + name, field: at.field + ": ", says: "not a valid name: "})
			}
		}
	}
	require.Len(t, inputs, 80)
	e.requireRefused(t, inputs)
}

// Unknown fields and repeated path parameters are refused in all operations.
// Break it by returning next's answer from strict at once.
func TestBadFields(t *testing.T) {
	e := newEnv(t, corePolicy)
	role, conn := map[string]any{"policy_document": testPolicy}, e.connection(e.key)
	e.requireRefused(t, []input{
		{name: "misspelt in config", path: "config", data: changed(conn, map[string]any{"regoin": "us-east-1"}), field: "regoin", says: "accepts access_key"},
		{name: "misspelt in config/<n>", path: "config/b", data: changed(conn, map[string]any{"acces_key": "x"}), field: "acces_key", says: "accepts access_key"},
		{name: "two unknown", path: "config", data: map[string]any{"b": 1, "a": 2}, field: "a, b", says: "accepts"},
		{name: "unknown in an empty write", path: "config/b", data: map[string]any{"verify": false}, field: "verify", says: "verify_connection"},
		{name: "shown only: account_id", path: "config", data: map[string]any{"account_id": testAccount}, field: "account_id", says: "accepts"},
		{name: "a source_integration that is not there", path: "config/b", data: map[string]any{"source_integration": "nobody"}, field: "source_integration", says: "there is no integration"},
		{name: "a source_integration beside a key", path: "config/b", data: changed(conn, map[string]any{"source_integration": "default"}), field: "source_integration", says: "exclude each other"},
		{name: "itself as source_integration", path: "config/b", data: map[string]any{"source_integration": "b"}, field: "source_integration", says: "cannot borrow from itself"},
		{name: "no name of a source_integration", path: "config/b", data: map[string]any{"source_integration": "a/b"}, field: "source_integration", says: "is not a valid name"},
		{name: "an identity_token_audience beside a key", path: "config/b", data: changed(conn, map[string]any{"identity_token_audience": "a"}), field: "identity_token_audience", says: "exclude each other"},
		{name: "an identity_token_audience beside a source_integration", path: "config/b", data: map[string]any{"identity_token_audience": "a", "source_integration": "default"}, field: "identity_token_audience", says: "exclude each other"},
		{name: "an identity_token_audience without a role_arn", path: "config/b", data: map[string]any{"identity_token_audience": "a"}, field: "identity_token_audience", says: "needs role_arn"},
		{name: "an external_id for an identity token", path: "config/b", data: map[string]any{"identity_token_audience": "a", "role_arn": testRoleARN + "a", "external_id": "ab"}, field: "external_id", says: "does not go with identity_token_audience"},
		{name: "an identity_token_audience that is too long", path: "config/b", data: map[string]any{"identity_token_audience": long(256), "role_arn": testRoleARN + "a"}, field: "identity_token_audience", says: "at most 255"},
		{name: "an identity_token_ttl alone", path: "config/b", data: map[string]any{"identity_token_ttl": "1h"}, field: "identity_token_ttl", says: "goes with identity_token_audience"},
		{name: "a rotation_period that is too short", path: "config", data: map[string]any{"rotation_period": "59m"}, field: "rotation_period", says: "at least 1h"},
		{name: "shown only: last_rotation", path: "config", data: map[string]any{"last_rotation": ""}, field: "last_rotation", says: "accepts"},
		{name: "name in the body of config", path: "config", data: changed(conn, map[string]any{"integration": "b"}), field: "integration", says: "accepts"},
		{name: "another name in the body of config/<n>", path: "config/b", data: changed(conn, map[string]any{"integration": "c"}), field: "integration", says: "in the path only"},
		{name: "another name when deleting", op: logical.DeleteOperation, path: "config/default", data: map[string]any{"integration": "c"}, field: "integration", says: "in the path only"},
		{name: "unknown when reading config", op: logical.ReadOperation, path: "config", data: map[string]any{"version": "1"}, field: "version", says: "accepts"},
		{name: "unknown when listing config", op: logical.ListOperation, path: "config/", data: map[string]any{"prefix": "a"}, field: "prefix", says: "accepts"},
		{name: "unknown when deleting config", op: logical.DeleteOperation, path: "config/default", data: map[string]any{"force": true}, field: "force", says: "accepts"},

		{name: "misspelt in roles", path: "roles/b", data: changed(role, map[string]any{"policy_arn": "x"}), field: "policy_arn", says: "policy_arns"},
		{name: "another name in the body of roles", path: "roles/b", data: changed(role, map[string]any{"role": "c"}), field: "role", says: "in the path only"},
		{name: "null for the name in the body of roles", path: "roles/b", data: changed(role, map[string]any{"role": nil}), field: "role", says: "leave it out"},
		{name: "enforce_expiry not a boolean", path: "roles/b", data: changed(role, map[string]any{"enforce_expiry": "perhaps"}), field: "enforce_expiry", says: "true or false"},
		{name: "unknown when reading a role", op: logical.ReadOperation, path: "roles/app", data: map[string]any{"version": "1"}, field: "version", says: "accepts"},
		{name: "unknown when listing roles", op: logical.ListOperation, path: "roles/", data: map[string]any{"prefix": "a"}, field: "prefix", says: "accepts"},
		{name: "unknown when deleting a role", op: logical.DeleteOperation, path: "roles/app", data: map[string]any{"force": true}, field: "force", says: "accepts"},

		{name: "misspelt in creds", path: "creds/app", data: map[string]any{"tll": "1h"}, field: "tll", says: "accepts role, role_arn, ttl"},
		{name: "unknown when reading creds", op: logical.ReadOperation, path: "creds/app", data: map[string]any{"lease": "1h"}, field: "lease", says: "accepts role, role_arn, ttl"},
		{name: "a role to assume in creds", path: "creds/app", data: map[string]any{"role_arn": testRoleARN + "a"}, field: "role_arn", says: "assumes no role"},
		{name: "another role in the body of creds", path: "creds/app", data: map[string]any{"role": "other"}, field: "role", says: "in the path only"},
	})
}

func TestBadCreds(t *testing.T) {
	e := newEnv(t, corePolicy)
	inputs := []input{{name: "no such role", op: logical.ReadOperation, path: "creds/nope", field: "role", says: "there is no role"}}
	for what, ttl := range map[string]any{
		"words": "soon", "unit": "3 hours", "negative": "-1h", "negative number": -1, "fraction of a second": "500ms",
		"negative fraction": "-500ms", "fraction beyond a second": "1.5s", "fractional number": 1.5, "boolean": true, "null": nil, "list": []string{"1h", "2h"},
		"object": map[string]any{}, "overflow": "9999999999999", "overflow in days": "999999d", "exponent": "1e3",
	} {
		inputs = append(inputs,
			input{name: "reading with ttl: " + what, op: logical.ReadOperation, path: "creds/app", data: map[string]any{"ttl": ttl}, field: "ttl"},
			input{name: "writing with ttl: " + what, path: "creds/app", data: map[string]any{"ttl": ttl}, field: "ttl"})
	}
	for i := range inputs[1:] {
		inputs[i+1].says = "duration in whole seconds"
		if strings.HasSuffix(inputs[i+1].name, "null") {
			inputs[i+1].says = "leave it out"
		}
	}
	for what, ttl := range map[string]any{"zero": 0, "empty": "", "zero seconds": "0s"} {
		inputs = append(inputs, input{name: "ttl: " + what, path: "creds/app", data: map[string]any{"ttl": ttl}, field: "ttl", says: "at least 1s"})
	}
	e.requireRefused(t, inputs)
	e.requireNothingLeft()
}

// Every field's type is checked by the engine's own rules. Break it by taking
// a type out of typeChecks.
func TestEveryFieldHasATypeCheck(t *testing.T) {
	for _, path := range newBackend(testUUID).Paths {
		for name, schema := range path.Fields {
			require.Contains(t, typeChecks, schema.Type, "%s of %s", name, path.Pattern)
		}
	}
}

func TestTypeChecks(t *testing.T) {
	for fieldType, c := range map[framework.FieldType]struct{ good, bad []any }{
		framework.TypeString: {
			good: []any{"", "a", "1"},
			bad:  []any{1, true, 1.5, []string{"a"}, []string{}, map[string]any{}, []any{nil}},
		},
		framework.TypeBool: {
			good: []any{true, false, "true", "false", "1", "0", "T"},
			bad:  []any{"", "yes", 1, 0, []string{"true"}, map[string]any{}},
		},
		framework.TypeInt: {
			good: []any{0, 7, -1, "7", "-1"},
			bad:  []any{"", "010", "0x10", "1_000", "+1", " 1", "1e2", 1.5, 7e30, true, []int{1}, "99999999999999999999"},
		},
		framework.TypeDurationSecond: {
			good: []any{0, 1800, "1800", "3h", "90m", "1h30m", "1d", "", "0", "1.5h"},
			bad:  []any{-1, "-1s", "1.5s", "999ms", "-1ms", "1e3", 1.5, "soon", true, []string{"1h"}, "9999999999999h", "1.5d"},
		},
		framework.TypeCommaStringSlice: {
			good: []any{"", "a", "a,b", []string{"a"}, []string{}},
			bad:  []any{1, true, []any{1}, []any{"a", nil}, []any{[]string{"a"}}, map[string]any{}, map[string]any{"a": "b"}},
		},
		framework.TypeKVPairs: {
			good: []any{map[string]any{}, map[string]any{"a": "b"}, "", "a=b", "a=b=c", "a=", []string{"a=b", "c=d"}, []string{}},
			bad: []any{
				"a", "=b", 1, true, []string{"a=b", "a=c"}, []string{"a"}, []any{map[string]any{"a": "b"}},
				map[string]any{"a": 1}, map[string]any{"a": true}, map[string]any{"a": nil}, map[string]any{"a": []string{"b"}},
			},
		},
	} {
		fields := map[string]*framework.FieldSchema{"f": {Type: fieldType}}
		for _, value := range c.good {
			data := asTransported(t, map[string]any{"f": value})
			require.NoError(t, checkTypes(fields, data), "%s %#v", fieldType, value)
			clearPairs(fields, data)
			// The framework must take what the engine has let pass.
			require.NoError(t, (&framework.FieldData{Raw: data, Schema: fields}).Validate(), "%s %#v", fieldType, value)
		}
		for _, value := range append(c.bad, nil) {
			require.Error(t, checkTypes(fields, asTransported(t, map[string]any{"f": value})), "%s %#v", fieldType, value)
		}
	}
}

// The framework would quote the value, in an error that core logs.
func TestSecretKeyOfTheWrongTypeIsNotQuoted(t *testing.T) {
	e := newEnv(t, corePolicy)
	req := &logical.Request{
		Operation: logical.UpdateOperation, Path: "config", Storage: e.storage,
		Data: map[string]any{"secret_key": []any{"wJalrXUtnFEMI", "K7MDENG"}},
	}
	_, exists, err := e.b.HandleExistenceCheck(t.Context(), req)
	require.NoError(t, err)
	require.True(t, exists)
	resp, err := e.b.HandleRequest(t.Context(), req)
	require.NoError(t, err)
	require.ErrorContains(t, resp.Error(), "secret_key must be one string")
	require.NotContains(t, resp.Error().Error(), "wJalr")
}
