package awsiam

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

const (
	openAPIFile = "docs/openapi.json"
	// mountParameter stands for the mount in the paths, as where Vault's own document
	// is asked for with generic_mount_paths and the mount is at aws-iam.
	mountParameter = "aws_iam_mount_path"
	// makeDocs is how what is generated is brought up to date.
	makeDocs = "`make docs` brings it up to date"
)

// served is the OpenAPI document of the backend, as core asks for it.
func served(t *testing.T) map[string]any {
	t.Helper()
	system := &logical.StaticSystemView{PluginEnvironment: &logical.PluginEnvironment{VaultVersion: "1.21.1"}}
	b, err := Factory(t.Context(), &logical.BackendConfig{System: system, StorageView: new(logical.InmemStorage), BackendUUID: testUUID})
	require.NoError(t, err)
	t.Cleanup(func() { b.Cleanup(context.Background()) })
	resp, err := b.HandleRequest(t.Context(), &logical.Request{
		Operation: logical.HelpOperation, Data: map[string]any{"requestResponsePrefix": "some-other-name"},
	})
	require.NoError(t, err)
	document, err := framework.NewOASDocumentFromMap(resp.Data["openapi"].(map[string]any)) // as core decodes it
	require.NoError(t, err)
	encoded, err := json.Marshal(document)
	require.NoError(t, err)
	var decoded map[string]any
	require.NoError(t, json.Unmarshal(encoded, &decoded))
	return decoded
}

// openAPI is the document that stands by itself: of this engine's paths alone, below a
// mount of any name, and with where Vault is and how a token is sent.
func openAPI(t *testing.T) map[string]any {
	t.Helper()
	document := served(t)
	document["info"] = map[string]any{
		"title":       "Vault secrets engine for AWS IAM users",
		"description": "The paths of the secrets engine below its mount. What they answer is in the field data of Vault's response, whose other fields are lease_id, lease_duration, renewable, warnings and request_id; errors are in the field errors. Made from what the plugin tells Vault, which has it too: `vault path-help -format=json aws-iam`.",
		"version":     Version,
		"license":     map[string]any{"name": "Mozilla Public License 2.0", "url": "https://www.mozilla.org/en-US/MPL/2.0/"},
	}
	document["servers"] = []any{map[string]any{
		"url": "{vault_addr}/v1", "variables": map[string]any{"vault_addr": map[string]any{
			"default": "https://127.0.0.1:8200", "description": "The address of the Vault server.",
		}},
	}}
	document["security"] = []any{map[string]any{"token": []any{}}}
	document["components"].(map[string]any)["securitySchemes"] = map[string]any{
		"token": map[string]any{"type": "apiKey", "in": "header", "name": "X-Vault-Token"},
	}
	paths := make(map[string]any)
	for path, item := range document["paths"].(map[string]any) {
		item := item.(map[string]any)
		parameters, _ := item["parameters"].([]any)
		item["parameters"] = append(parameters, map[string]any{
			"name": mountParameter, "in": "path", "required": true, "description": "Path that the backend was mounted at",
			"schema": map[string]any{"type": "string", "default": "aws-iam"},
		})
		paths["/{"+mountParameter+"}"+path] = item
	}
	document["paths"] = paths
	return document
}

// The committed document is what the backend says. Break it by changing a description.
func TestOpenAPIIsUpToDate(t *testing.T) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	require.NoError(t, encoder.Encode(openAPI(t)))
	requireGenerated(t, openAPIFile, text.String())
}

// requireGenerated compares a file that is made from the code with what would be made
// of it now, or makes it.
func requireGenerated(t *testing.T, file, wanted string) {
	t.Helper()
	if *updateREADME {
		require.NoError(t, os.WriteFile(file, []byte(wanted), 0o644))
		return
	}
	found, err := os.ReadFile(file)
	require.NoError(t, err, makeDocs)
	if wanted == string(found) {
		return
	}
	old, current := strings.Split(string(found), "\n"), strings.Split(wanted, "\n")
	for i := range min(len(old), len(current)) {
		require.Equal(t, current[i], old[i], "%s:%d is not what the code says: %s", file, i+1, makeDocs)
	}
	require.Len(t, old, len(current), "%s ends elsewhere than what the code says: %s", file, makeDocs)
}

func TestOpenAPIIsValid(t *testing.T) {
	require.Empty(t, faultsOf(openAPI(t)))
	require.Empty(t, faultsOf(served(t)))
}

// Who asks for the help of one path is not sent what only the server's document is in
// need of, and what core decodes is what the framework has made. Break it by leaving
// nameReferences out.
func TestOpenAPIKeepsItsReferences(t *testing.T) {
	e := newEnv(t, corePolicy)
	ask := func(path string, data map[string]any) any {
		resp, err := e.b.HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation, Path: path, Data: data})
		require.NoError(t, err)
		return resp.Data["openapi"]
	}
	require.IsType(t, &framework.OASDocument{}, ask("roles/app", nil))
	require.IsType(t, &framework.OASDocument{}, ask("", nil))
	made, err := json.Marshal(ask("", nil))
	require.NoError(t, err)
	arrived, err := json.Marshal(served(t))
	require.NoError(t, err)
	require.JSONEq(t, string(made), string(arrived))
	require.Contains(t, string(arrived), `"$ref":"#/components/schemas/AwsIamWriteRoleRequest"`)
}

// Twice the same, whatever order the framework goes through its maps in.
func TestOpenAPIIsStable(t *testing.T) {
	first := openAPI(t)
	for range 10 {
		require.Equal(t, first, openAPI(t))
	}
}

// The ids are what generated clients call their functions.
func TestOperationsAreNamedWell(t *testing.T) {
	ids := make([]string, 0)
	for path, item := range served(t)["paths"].(map[string]any) {
		for method, operation := range methodsOf(item.(map[string]any)) {
			id := operation["operationId"].(string)
			ids = append(ids, id)
			require.Regexp(t, `^aws-iam(-[a-z]+)+$`, id, "%s %s", method, path)
			words := strings.Split(id, "-")
			require.Equal(t, slices.Compact(slices.Clone(words)), words, "%s %s: a word twice", method, path)
		}
	}
	// Those that others rely on: a change breaks their programs.
	for _, id := range []string{
		"list-integrations", "read-integration", "write-integration", "delete-integration",
		"read-default-integration", "write-default-integration", "delete-default-integration",
		"list-roles", "read-role", "write-role", "delete-role",
		"generate-credentials", "generate-credentials-with-parameters",
		"list-users", "read-user", "delete-user", "look-up-access-key",
		"read-policy", "read-integration-policy", "read-status", "read-integration-status", "list-integration-statuses", "rotate-root", "rotate-integration-root",
		"tidy", "tidy-integration", "cancel-tidy", "cancel-integration-tidy", "read-tidy-status", "read-integration-tidy-status",
	} {
		require.Contains(t, ids, operationPrefix+"-"+id)
	}
}

// Every operation of every path says what it does, what it answers and how it fails;
// every parameter and every field what it is. Break it by leaving one out.
func TestEveryOperationIsDocumented(t *testing.T) {
	b := newBackend(testUUID)
	for _, path := range b.Paths {
		require.NotEmpty(t, path.HelpSynopsis, path.Pattern)
		require.Regexp(t, `^[A-Za-z"]`, path.HelpDescription, "%s has no help", path.Pattern)
		requireDescribed(t, path.Pattern, path.Fields)
		for kind, operation := range path.Operations {
			name, op := fmt.Sprintf("%s of %s", kind, path.Pattern), operation.Properties()
			require.False(t, op.Unpublished, name)
			require.Regexp(t, `^[A-Z].*\.$`, op.Summary, name)
			require.LessOrEqual(t, len(op.Summary), 100, "the summary of %s is long: say it in the description", name)
			require.Regexp(t, `(?s)^[A-Z"].*\.$`, op.Description, name)
			require.NotEqual(t, op.Summary, op.Description, name)
			succeeds := false
			for status, responses := range op.Responses {
				require.Len(t, responses, 1, name)
				require.Regexp(t, `^[A-Z].*\.$`, responses[0].Description, "%s: %d", name, status)
				if status >= 300 {
					require.Empty(t, responses[0].Fields, "%s: the fields of %d would take the place of the success's in the OpenAPI document", name, status)
					continue
				}
				succeeds = true
				requireDescribed(t, name, responses[0].Fields)
				for field, schema := range responses[0].Fields {
					require.Nil(t, schema.Default, "%s: %s of the response has a default", name, field)
					require.NotEqual(t, framework.TypeDurationSecond, schema.Type, "%s: %s of the response is a number of seconds: see shown", name, field)
				}
			}
			require.True(t, succeeds, "%s has no response of success", name)
			require.Contains(t, op.Responses, http.StatusBadRequest, name)
			if kind == logical.ListOperation {
				require.Contains(t, op.Responses, http.StatusNotFound, "%s: Vault makes a 404 of an empty list", name)
			}
		}
	}
}

func requireDescribed(t *testing.T, where string, fields map[string]*framework.FieldSchema) {
	t.Helper()
	for name, field := range fields {
		require.Regexp(t, `(?s)^\S.*\S$`, field.Description, "%s: %s has no description", where, name)
		require.NotEqual(t, framework.TypeInvalid, field.Type, "%s: %s", where, name)
	}
}

func TestFaultsOfAnOpenAPIDocumentAreFound(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(document map[string]any)
		says   string
	}{
		"version":        {func(d map[string]any) { d["openapi"] = "2.0" }, "openapi"},
		"title":          {func(d map[string]any) { d["info"] = map[string]any{"version": "1"} }, "info"},
		"id twice":       {func(d map[string]any) { at(d, "/x/{name}", "get")["operationId"] = "write" }, "twice"},
		"no id":          {func(d map[string]any) { delete(at(d, "/x/{name}", "get"), "operationId") }, "no id"},
		"no responses":   {func(d map[string]any) { at(d, "/x/{name}", "get")["responses"] = map[string]any{} }, "responses"},
		"no description": {func(d map[string]any) { at(d, "/x/{name}", "get", "responses")["200"] = map[string]any{} }, "description"},
		"unknown reference": {func(d map[string]any) {
			at(d, "/x/{name}", "post", "requestBody", "content", "application/json")["schema"] = map[string]any{"$ref": "#/components/schemas/None"}
		}, "None"},
		"unused schema": {func(d map[string]any) { components(d)["Other"] = map[string]any{"type": "object"} }, "Other"},
		"undeclared":    {func(d map[string]any) { delete(at(d, "/x/{name}"), "parameters") }, "{name}"},
		"not in the path": {func(d map[string]any) {
			paths := d["paths"].(map[string]any)
			paths["/x"] = paths["/x/{name}"]
			delete(paths, "/x/{name}")
		}, "name"},
		"not required": {func(d map[string]any) {
			at(d, "/x/{name}")["parameters"].([]any)[0].(map[string]any)["required"] = false
		}, "required"},
		"type": {func(d map[string]any) { components(d)["Body"].(map[string]any)["type"] = "text" }, "text"},
		"items": {func(d map[string]any) {
			components(d)["Body"].(map[string]any)["properties"] = map[string]any{"list": map[string]any{"type": "array"}}
		}, "items"},
		"default": {func(d map[string]any) {
			components(d)["Body"].(map[string]any)["properties"] = map[string]any{"ttl": map[string]any{"type": "string", "default": 1.0}}
		}, "default"},
		"slash": {func(d map[string]any) { paths := d["paths"].(map[string]any); paths["x"] = map[string]any{} }, "slash"},
	} {
		t.Run(name, func(t *testing.T) {
			document := small(t)
			require.Empty(t, faultsOf(document))
			test.damage(document)
			require.Contains(t, strings.Join(faultsOf(document), "\n"), test.says)
		})
	}
}

func small(t *testing.T) map[string]any {
	t.Helper()
	var document map[string]any
	require.NoError(t, json.Unmarshal([]byte(`{"openapi": "3.0.2", "info": {"title": "t", "version": "1"},
		"components": {"schemas": {"Body": {"type": "object", "properties": {"a": {"type": "string", "default": "b", "enum": ["b"]}}}}},
		"paths": {"/x/{name}": {"parameters": [{"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}],
			"get": {"operationId": "read", "responses": {"200": {"description": "d"}}},
			"post": {"operationId": "write", "responses": {"204": {"description": "d"}},
				"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}}}}}}`), &document))
	return document
}

// at is what the keys lead to from a path of the document.
func at(document map[string]any, keys ...string) map[string]any {
	found := document["paths"].(map[string]any)
	for _, key := range keys {
		found = found[key].(map[string]any)
	}
	return found
}

func components(document map[string]any) map[string]any {
	return document["components"].(map[string]any)["schemas"].(map[string]any)
}

var (
	pathTemplateRegexp = regexp.MustCompile(`{(\w+)}`)
	openAPITypes       = map[string]func(any) bool{
		"string":  isText,
		"integer": func(value any) bool { number, ok := value.(float64); return ok && isWhole(number) },
		"number":  func(value any) bool { _, ok := value.(float64); return ok },
		"boolean": func(value any) bool { _, ok := value.(bool); return ok },
		"array":   func(value any) bool { _, ok := value.([]any); return ok },
		"object":  func(value any) bool { _, ok := value.(map[string]any); return ok },
	}
)

// methodsOf are the operations of a path item, by method.
func methodsOf(item map[string]any) map[string]map[string]any {
	operations := make(map[string]map[string]any)
	for _, method := range []string{"get", "post", "patch", "delete"} {
		if operation, ok := item[method].(map[string]any); ok {
			operations[method] = operation
		}
	}
	return operations
}

// faultsOf is what OpenAPI 3.0 has against the document, of what the framework can put
// into one, and schemas that nothing refers to.
func faultsOf(document map[string]any) []string {
	v := openAPIFaults{schemas: components(document), used: make(map[string]bool), ids: make(map[string]string)}
	if version, _ := document["openapi"].(string); !strings.HasPrefix(version, "3.0.") {
		v.add("openapi: %v is no version of OpenAPI 3.0", document["openapi"])
	}
	info, _ := document["info"].(map[string]any)
	for _, field := range []string{"title", "version"} {
		if text, _ := info[field].(string); text == "" {
			v.add("info has no %s", field)
		}
	}
	for path, item := range document["paths"].(map[string]any) {
		v.checkPath(path, item.(map[string]any))
	}
	for name, schema := range v.schemas {
		v.checkSchema("schema "+name, schema.(map[string]any))
		if !v.used[name] {
			v.add("schema %s is used nowhere", name)
		}
	}
	slices.Sort(v.faults)
	return v.faults
}

type openAPIFaults struct {
	schemas map[string]any
	used    map[string]bool
	ids     map[string]string
	faults  []string
}

func (v *openAPIFaults) add(format string, args ...any) {
	v.faults = append(v.faults, fmt.Sprintf(format, args...))
}

func (v *openAPIFaults) checkPath(path string, item map[string]any) {
	if !strings.HasPrefix(path, "/") {
		v.add("path %s does not begin with a slash", path)
	}
	shared, _ := item["parameters"].([]any)
	for method, operation := range methodsOf(item) {
		where := method + " " + path
		id, _ := operation["operationId"].(string)
		switch {
		case id == "":
			v.add("%s has no id", where)
		case v.ids[id] != "":
			v.add("%s: the id %s is there twice: %s", where, id, v.ids[id])
		}
		v.ids[id] = where
		own, _ := operation["parameters"].([]any)
		v.checkParameters(where, path, slices.Concat(shared, own))
		if body, ok := operation["requestBody"].(map[string]any); ok {
			v.checkContent(where, body)
		}
		responses, _ := operation["responses"].(map[string]any)
		if len(responses) == 0 {
			v.add("%s has no responses", where)
		}
		for status, response := range responses {
			response := response.(map[string]any)
			if text, _ := response["description"].(string); text == "" {
				v.add("%s: response %s has no description", where, status)
			}
			v.checkContent(where+" "+status, response)
		}
	}
}

func (v *openAPIFaults) checkParameters(where, path string, parameters []any) {
	inPath := make(map[string]bool)
	for _, found := range pathTemplateRegexp.FindAllStringSubmatch(path, -1) {
		inPath[found[1]] = true
	}
	seen := make(map[string]bool)
	for _, parameter := range parameters {
		parameter := parameter.(map[string]any)
		name, in := parameter["name"].(string), parameter["in"].(string)
		if seen[name] {
			v.add("%s: parameter %s is there twice", where, name)
		}
		seen[name] = true
		switch {
		case in == "path" && !inPath[name]:
			v.add("%s: parameter %s is not in the path", where, name)
		case in == "path" && parameter["required"] != true:
			v.add("%s: parameter %s of the path is not required", where, name)
		case in != "path" && in != "query" && in != "header":
			v.add("%s: parameter %s is in %s", where, name, in)
		}
		if schema, ok := parameter["schema"].(map[string]any); ok {
			v.checkSchema(where+" "+name, schema)
		} else {
			v.add("%s: parameter %s has no schema", where, name)
		}
	}
	for name := range inPath {
		if !seen[name] {
			v.add("%s: no parameter is {%s}", where, name)
		}
	}
}

func (v *openAPIFaults) checkContent(where string, holder map[string]any) {
	content, _ := holder["content"].(map[string]any)
	for _, media := range content {
		if schema, ok := media.(map[string]any)["schema"].(map[string]any); ok {
			v.checkSchema(where, schema)
		}
	}
}

func (v *openAPIFaults) checkSchema(where string, schema map[string]any) {
	if reference, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(reference, "#/components/schemas/")
		v.used[name] = true
		if v.schemas[name] == nil {
			v.add("%s refers to %s, which is not there", where, reference)
		}
		return
	}
	kind, _ := schema["type"].(string)
	fits := openAPITypes[kind]
	if fits == nil {
		v.add("%s has the type %v", where, schema["type"])
		return
	}
	if value, ok := schema["default"]; ok && !fits(value) {
		v.add("%s has the default %v, which is no %s", where, value, kind)
	}
	allowed, _ := schema["enum"].([]any)
	for _, value := range allowed {
		if !fits(value) {
			v.add("%s allows %v, which is no %s", where, value, kind)
		}
	}
	items, ok := schema["items"].(map[string]any)
	if kind == "array" && !ok {
		v.add("%s is an array without items", where)
	}
	if ok {
		v.checkSchema(where+"[]", items)
	}
	properties, _ := schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		v.checkSchema(where+"."+name, properties[name].(map[string]any))
	}
}
