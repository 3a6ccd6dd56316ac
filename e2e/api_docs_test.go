package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	// helpWidth is how wide help may be; the routes are Vault's to show.
	helpWidth  = 80
	openAPIDoc = "../docs/openapi.json"
)

// openAPI is the part of an OpenAPI document that the tests look at.
type openAPI struct {
	Version    string                           `json:"openapi"`
	Paths      map[string]map[string]any        `json:"paths"`
	Components struct{ Schemas map[string]any } `json:"components"`
}

func committedOpenAPI(t *testing.T) openAPI {
	t.Helper()
	content, err := os.ReadFile(openAPIDoc)
	require.NoError(t, err)
	var document openAPI
	require.NoError(t, json.Unmarshal(content, &document))
	require.NotEmpty(t, document.Paths)
	return document
}

// TestOpenAPIOfTheServer: what Vault serves of a mount is what is committed, from the
// plugin's process through Vault's, by paths, operations, ids and schemas.
func TestOpenAPIOfTheServer(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	committed := committedOpenAPI(t)
	served := servedOpenAPI(t, m)
	require.Equal(t, committed.Version, served.Version)

	parameter := strings.ReplaceAll(m.path, "-", "_") + "_mount_path"
	paths := make(map[string]map[string]any)
	for path, item := range served.Paths {
		if below, ok := strings.CutPrefix(path, "/{"+parameter+"}/"); ok {
			paths["/{aws_iam_mount_path}/"+below] = withMount(t, item, parameter, m.path)
		}
	}
	require.Equal(t, committed.Paths, paths, "bring %s up to date with `make docs`", openAPIDoc)
	for name, schema := range committed.Components.Schemas {
		require.Equal(t, schema, served.Components.Schemas[name], name)
	}

	ids := make(map[string]string)
	for path, item := range paths {
		for method, operation := range item {
			if operation, ok := operation.(map[string]any); ok {
				id := operation["operationId"].(string)
				require.Regexp(t, `^aws-iam(-[a-z]+)+$`, id, "%s %s", method, path)
				require.Empty(t, ids[id], "%s: %s %s", id, method, path)
				ids[id] = path
			}
		}
	}
	require.Contains(t, ids, "aws-iam-generate-credentials")
}

// servedOpenAPI is asked for with parameters in place of mounts, as for generating code.
func servedOpenAPI(t *testing.T, m *mount) openAPI {
	t.Helper()
	var document openAPI
	// It asks all mounts of the server; those of other tests come and go.
	eventually(t, soon, "the OpenAPI document of all mounts", func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.server.Client.Address()+"/v1/sys/internal/specs/openapi?generic_mount_paths=true", http.NoBody)
		require.NoError(t, err)
		request.Header.Set("X-Vault-Token", m.server.RootToken)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer func() { require.NoError(t, response.Body.Close()) }()
		return response.StatusCode == http.StatusOK && json.NewDecoder(response.Body).Decode(&document) == nil
	})
	return document
}

// withMount is the path item as it is for a mount at aws-iam.
func withMount(t *testing.T, item map[string]any, parameter, mountPath string) map[string]any {
	t.Helper()
	encoded, err := json.Marshal(item)
	require.NoError(t, err)
	text := strings.ReplaceAll(string(encoded), `"`+parameter+`"`, `"aws_iam_mount_path"`)
	text = strings.ReplaceAll(text, `"default":"`+mountPath+`"`, `"default":"aws-iam"`)
	var renamed map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &renamed))
	return renamed
}

// TestPathHelp reads the help of every path, with and without names in it, as it
// arrives in a terminal.
func TestPathHelp(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	overview := cli(t, m.server, "path-help", m.path)
	requireReadable(t, m.path, overview)
	require.Contains(t, overview, "makes a new IAM user for every lease")

	committed := committedOpenAPI(t)
	names := regexp.MustCompile(`{(\w+)}`)
	for path, item := range committed.Paths {
		below := strings.TrimPrefix(path, "/{aws_iam_mount_path}/")
		asked := m.path + "/" + strings.TrimSuffix(names.ReplaceAllString(below, "some-name"), "/")
		help := cli(t, m.server, "path-help", asked)
		requireReadable(t, asked, help)
		if strings.HasSuffix(path, "/") && committed.Paths[strings.TrimSuffix(path, "/")] != nil {
			// Vault asks for the help of the path without the slash, which is another.
			require.Contains(t, help, "    vault list\n", asked)
			continue
		}
		require.Contains(t, unwrapped(help), unwrapped(item["description"].(string)), "%s: the synopsis", asked)
		require.Contains(t, overview, "        "+item["description"].(string), "the synopsis of %s in the overview", asked)
		for _, parameter := range parametersOf(committed, item) {
			require.Regexp(t, `\n    `+parameter+` \([a-z() ]+\)\n\n        \S`, help, "%s: parameter %s", asked, parameter)
		}
		for method, command := range map[string]string{"get": "read", "post": "write", "delete": "delete"} {
			operation, ok := item[method].(map[string]any)
			if ok && strings.HasSuffix(path, "/") {
				command = "list"
			}
			if ok {
				require.Contains(t, help, "\n    vault "+command+"\n        ", asked)
				require.Contains(t, unwrapped(help), operation["summary"], asked)
			}
		}
	}
}

// requireReadable checks that no line is silly: none is too wide, ends in blanks, has
// Go's or Vault's words for nothing in it, or breaks a template in two.
func requireReadable(t *testing.T, path, help string) {
	t.Helper()
	require.Contains(t, help, "## DESCRIPTION\n", path)
	require.NotContains(t, help, "\n\n\n\n", path)
	for line := range strings.Lines(help) {
		line = strings.TrimSuffix(line, "\n")
		route := strings.HasPrefix(line, "Request:") || strings.HasPrefix(line, "Matching Route:") || strings.HasPrefix(line, "    ^")
		require.True(t, route || len([]rune(line)) <= helpWidth, "%s: a wide line: %s", path, line)
		require.Equal(t, strings.TrimRight(line, " \t"), line, "%s: blanks at the end", path)
		require.Equal(t, strings.Count(line, "{{"), strings.Count(line, "}}"), "%s: a template in two lines: %s", path, line)
		for _, silly := range []string{"<no ", "<nil>", "%!", "&{", "map[", "unknown type"} {
			require.NotContains(t, line, silly, path)
		}
	}
}

func unwrapped(text string) string { return strings.Join(strings.Fields(text), " ") }

// parametersOf are the path's own and those of bodies and queries.
func parametersOf(document openAPI, item map[string]any) []string {
	var names []string
	add := func(parameters any) {
		list, _ := parameters.([]any)
		for _, parameter := range list {
			names = append(names, parameter.(map[string]any)["name"].(string))
		}
	}
	add(item["parameters"])
	for _, method := range []string{"get", "post", "delete"} {
		operation, _ := item[method].(map[string]any)
		add(operation["parameters"])
		if body, ok := operation["requestBody"].(map[string]any); ok {
			reference := body["content"].(map[string]any)["application/json"].(map[string]any)["schema"].(map[string]any)["$ref"].(string)
			schema := document.Components.Schemas[strings.TrimPrefix(reference, "#/components/schemas/")].(map[string]any)
			for name := range schema["properties"].(map[string]any) {
				names = append(names, name)
			}
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "aws_iam_mount_path" || name == "list" })
}
