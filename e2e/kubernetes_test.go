package e2e

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// operator is a Go module that has the definitions of an operator's custom resources.
type operator struct {
	module, version string
	sum             string // of the module, as go.sum has it
	definitions     []string
	example         string
	objects         int // of the example, that these definitions are about
}

var operators = map[string]operator{
	"vault-secrets-operator": {
		module: "github.com/hashicorp/vault-secrets-operator", version: "v0.10.0", sum: "h1:BjOTBJRqx1SLo7NeyqNJWRPDyfRscbqPtGU1U2LzArg=",
		definitions: []string{
			"config/crd/bases/secrets.hashicorp.com_vaultconnections.yaml",
			"config/crd/bases/secrets.hashicorp.com_vaultauths.yaml",
			"config/crd/bases/secrets.hashicorp.com_vaultdynamicsecrets.yaml",
		},
		example: "kubernetes/vault-secrets-operator.yaml", objects: 3,
	},
	"external-secrets": {
		module: "github.com/external-secrets/external-secrets", version: "v1.3.2", sum: "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=",
		definitions: []string{
			"config/crds/bases/external-secrets.io_externalsecrets.yaml",
			"config/crds/bases/generators.external-secrets.io_vaultdynamicsecrets.yaml",
		},
		example: "kubernetes/external-secrets.yaml", objects: 2,
	},
}

// TestKubernetesObjectsFitTheirDefinitions checks each as an API server does, and
// besides that it has no field that the server would drop without a word. Break it by
// misspelling one.
func TestKubernetesObjectsFitTheirDefinitions(t *testing.T) {
	t.Parallel()
	for name, o := range operators {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schemas := o.schemas(t)
			checked := 0
			for _, object := range readObjects(t, filepath.Join(examples, o.example)) {
				if object["apiVersion"] == "v1" { // Kubernetes' own
					require.Equal(t, "ServiceAccount", object["kind"])
					continue
				}
				checked++
				schema := schemas[kindOf(object)]
				require.NotNil(t, schema, "%s is not defined", kindOf(object))
				require.NoError(t, schema.Validate(object))
				requireStrict(t, schema, object)
			}
			require.Equal(t, o.objects, checked)
		})
	}
}

// requireStrict checks that the schema would find something.
func requireStrict(t *testing.T, schema *jsonschema.Schema, object map[string]any) {
	t.Helper()
	spec := object["spec"].(map[string]any)
	spec["refreshIntervall"] = "1h"
	require.Error(t, schema.Validate(object), "a field that is not there")
	delete(spec, "refreshIntervall")
	for field := range maps.Clone(spec) {
		before := spec[field]
		spec[field] = []any{map[string]any{"none": 1}}
		require.Error(t, schema.Validate(object), "%s of another type", field)
		spec[field] = before
	}
	require.NoError(t, schema.Validate(object))
}

func kindOf(object map[string]any) string {
	return object["apiVersion"].(string) + " " + object["kind"].(string)
}

// readObjects returns the objects of a file as JSON has them.
func readObjects(t *testing.T, path string) []map[string]any {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var objects []map[string]any
	for {
		var object map[string]any
		err := decoder.Decode(&object)
		if err == io.EOF { //nolint:errorlint // as its documentation has it
			return objects
		}
		require.NoError(t, err)
		encoded, err := json.Marshal(object)
		require.NoError(t, err)
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
		require.NoError(t, err)
		if object != nil {
			objects = append(objects, value.(map[string]any))
		}
	}
}

// schemas are those of each version and kind, by "group/version kind".
func (o operator) schemas(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	folder := downloadModule(t, o.module, o.version, o.sum)
	compiler := jsonschema.NewCompiler()
	schemas := make(map[string]*jsonschema.Schema)
	for _, file := range o.definitions {
		for _, definition := range readObjects(t, filepath.Join(folder, file)) {
			spec := definition["spec"].(map[string]any)
			for _, each := range spec["versions"].([]any) {
				version := each.(map[string]any)
				if version["served"] != true {
					continue
				}
				schema := version["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)
				prepareSchema(schema)
				name := spec["group"].(string) + "/" + version["name"].(string) + " " + spec["names"].(map[string]any)["kind"].(string)
				url := "https://example.com/" + strings.ReplaceAll(name, " ", "/")
				require.NoError(t, compiler.AddResource(url, schema))
				compiled, err := compiler.Compile(url)
				require.NoError(t, err)
				schemas[name] = compiled
			}
		}
	}
	return schemas
}

// prepareSchema has it refuse fields that it does not name, and not miss those that the
// server fills in. What stands below allOf, anyOf, oneOf and not is about a value whose
// fields are named elsewhere.
func prepareSchema(schema map[string]any) {
	properties, named := schema["properties"].(map[string]any)
	for name, each := range properties {
		property := each.(map[string]any)
		prepareSchema(property)
		if _, filled := property["default"]; filled {
			required, _ := schema["required"].([]any)
			schema["required"] = slices.DeleteFunc(slices.Clone(required), func(field any) bool { return field == name })
		}
	}
	for _, keyword := range []string{"items", "additionalProperties"} {
		if below, ok := schema[keyword].(map[string]any); ok {
			prepareSchema(below)
		}
	}
	if _, open := schema["additionalProperties"]; named && !open && schema["x-kubernetes-preserve-unknown-fields"] != true {
		schema["additionalProperties"] = false
	}
}

// downloadModule returns where Go keeps the module, which is fetched once.
func downloadModule(t *testing.T, module, version, sum string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module+"@"+version)
	cmd.Dir = t.TempDir() // outside of any module
	output, err := cmd.Output()
	require.NoError(t, err, "%s", output)
	var downloaded struct{ Dir, Sum string }
	require.NoError(t, json.Unmarshal(output, &downloaded))
	require.Equal(t, sum, downloaded.Sum, "of %s", module)
	return downloaded.Dir
}

// testKubernetes runs the commands that set Vault up, and compares that with what the
// objects ask for.
func testKubernetes(t *testing.T, m *mount) {
	t.Helper()
	t.Cleanup(func() { _ = m.server.Client.Sys().DisableAuth("kubernetes") })
	shell := newExampleShell(t, m, "kubernetes")
	cluster := httptest.NewTLSServer(nil)
	cluster.Close() // only its certificate is needed
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cluster.Certificate().Raw})
	require.NoError(t, os.WriteFile(filepath.Join(shell.dir, "ca.crt"), certificate, 0o600))
	shell.next("auth/kubernetes/role/app")
	role, err := m.server.Client.Logical().ReadWithContext(t.Context(), "auth/kubernetes/role/app")
	require.NoError(t, err)
	require.Equal(t, []any{"app"}, role.Data["bound_service_account_names"])
	require.Equal(t, []any{"app"}, role.Data["bound_service_account_namespaces"])
	require.Equal(t, []any{"app"}, role.Data["token_policies"])
	tokenTTL, err := role.Data["token_ttl"].(json.Number).Int64()
	require.NoError(t, err)

	c := m.issue("app")
	require.LessOrEqual(t, int64(c.lease.LeaseDuration), tokenTTL, "a lease ends with its token")
	objects := make(map[string]map[string]any)
	for _, o := range operators {
		for _, object := range readObjects(t, filepath.Join(examples, o.example)) {
			metadata := object["metadata"].(map[string]any)
			require.Equal(t, "app", metadata["namespace"])
			if spec, ok := object["spec"].(map[string]any); ok {
				objects[kindOf(object)] = spec
			}
		}
	}

	auth := objects["secrets.hashicorp.com/v1beta1 VaultAuth"]
	require.Equal(t, "kubernetes", auth["mount"])
	require.Equal(t, map[string]any{"role": "app", "serviceAccount": "app", "audiences": []any{role.Data["audience"]}}, auth["kubernetes"])
	dynamic := objects["secrets.hashicorp.com/v1beta1 VaultDynamicSecret"]
	require.Equal(t, m.path+"/creds/app", dynamic["mount"].(string)+"/"+dynamic["path"].(string))
	destination := dynamic["destination"].(map[string]any)
	texts := make(map[string]any)
	for name, text := range destination["transformation"].(map[string]any)["templates"].(map[string]any) {
		texts[name] = text.(map[string]any)["text"]
	}
	requireKey(t, c, texts)

	generator := objects["generators.external-secrets.io/v1alpha1 VaultDynamicSecret"]
	require.Equal(t, "/"+m.path+"/creds/app", generator["path"])
	login := generator["provider"].(map[string]any)["auth"].(map[string]any)["kubernetes"].(map[string]any)
	require.Equal(t, map[string]any{
		"mountPath": "kubernetes", "role": "app",
		"serviceAccountRef": map[string]any{"name": "app", "audiences": []any{role.Data["audience"]}},
	}, login)
	external := objects["external-secrets.io/v1 ExternalSecret"]
	require.Equal(t, "30m", external["refreshInterval"])
	require.Equal(t, 60*60, c.lease.LeaseDuration, "at least twice as long")
	requireKey(t, c, external["target"].(map[string]any)["template"].(map[string]any)["data"].(map[string]any))

	// What a token of that role may do is enough.
	token := newToken(t, m.server, nil, "app")
	issued, err := m.tryIssue(token, "app")
	require.NoError(t, err)
	client := clientWith(t, m.server, token)
	_, err = client.Sys().RenewWithContext(t.Context(), issued.lease.LeaseID, 0)
	require.NoError(t, err)
	require.NoError(t, client.Sys().RevokeWithContext(t.Context(), issued.lease.LeaseID))
	eventually(t, soon, "the end of the user", func() bool { return !issued.exists() })
}

// secretField is what a template of either operator takes from the engine's answer.
var secretField = regexp.MustCompile(`^\{\{ (get \.Secrets "[a-z_]+"|\.[a-z_]+) \}\}$`)

// requireKey renders the templates with an answer of the engine.
func requireKey(t *testing.T, c credential, templates map[string]any) {
	t.Helper()
	rendered := make(map[string]string)
	for name, text := range templates {
		require.Regexp(t, secretField, text)
		parsed, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{
			"get": func(from map[string]any, key string) any { return from[key] },
		}).Parse(text.(string))
		require.NoError(t, err)
		values := maps.Clone(c.lease.Data)
		values["Secrets"] = c.lease.Data
		var b strings.Builder
		require.NoError(t, parsed.Execute(&b, values))
		rendered[name] = b.String()
	}
	require.Equal(t, map[string]string{"AWS_ACCESS_KEY_ID": c.AccessKeyID, "AWS_SECRET_ACCESS_KEY": c.SecretAccessKey}, rendered)
}
