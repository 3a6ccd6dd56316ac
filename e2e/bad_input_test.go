package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBadInput samples what the unit tests go through in full: that a real
// Vault answers with 400, and hands on the words that name what is wrong.
func TestBadInput(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	role := func(field string, value any) map[string]any {
		return map[string]any{"policy_document": listGroups, field: value}
	}
	integration := func(field string, value any) map[string]any {
		body := m.aws.integration(m.key)
		body[field] = value
		return body
	}
	tests := map[string]struct {
		path string
		body map[string]any
		says []string
	}{
		"unknown field of a role":            {"roles/bad", role("polcy_arns", "x"), []string{"polcy_arns", "policy_arns"}},
		"unknown field of an integration":    {"config/bad", integration("acces_key", "x"), []string{"acces_key", "access_key"}},
		"unknown field of a read":            {"creds/app", map[string]any{"tll": "1h"}, []string{"tll", "ttl"}},
		"list for a string":                  {"roles/bad", role("username_template", []string{"a"}), []string{"username_template"}},
		"object for a number":                {"config/bad", integration("max_retries", map[string]any{}), []string{"max_retries"}},
		"fraction for a number":              {"config/bad", integration("max_retries", 1.5), []string{"max_retries"}},
		"word for a duration":                {"roles/bad", role("default_ttl", "soon"), []string{"default_ttl"}},
		"negative duration":                  {"roles/bad", role("max_ttl", "-1h"), []string{"max_ttl"}},
		"ttl of nothing":                     {"creds/app", map[string]any{"ttl": 0}, []string{"ttl"}},
		"bad name of a role":                 {"roles/a%20b", role("max_ttl", "1h"), []string{"role", "a b"}},
		"bad name of an integration":         {"config/a%20b", integration("region", "eu-west-1"), []string{"integration", "a b"}},
		"name beneath another":               {"roles/a/b", role("max_ttl", "1h"), []string{"role", "a/b"}},
		"name that is too long":              {"roles/" + strings.Repeat("x", 65), role("max_ttl", "1h"), []string{"role"}},
		"name in the path and another in it": {"roles/app", role("role", "other"), []string{"role"}},
		"policy that is no JSON":             {"roles/bad", role("policy_document", "{"), []string{"policy_document"}},
		"no permissions":                     {"roles/bad", map[string]any{}, []string{"policy_document"}},
		"ARN of another kind":                {"roles/bad", role("policy_arns", "arn:aws:iam::111122223333:role/x"), []string{"policy_arns"}},
		"integration that is not there":      {"roles/bad", role("integration", "nowhere"), []string{"integration", "nowhere"}},
		"role that is not there":             {"creds/nobody", nil, []string{"role", "nobody"}},
		"half a key":                         {"config/bad", map[string]any{"access_key": m.key.AccessKeyID}, []string{"secret_key"}},
		"key that AWS does not know":         {"config/bad", integration("access_key", "AKIAIOSFODNN7EXAMPLE"), []string{"InvalidClientTokenId"}},
		"secret that does not fit":           {"config/bad", integration("secret_key", strings.Repeat("k", 40)), []string{"SignatureDoesNotMatch"}},
		"user beneath its own path":          {"config/bad", integration("user_path", "/"), []string{"user_path"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status, answer := send(t, m, http.MethodPut, test.path, test.body)
			require.Equal(t, http.StatusBadRequest, status, answer)
			for _, text := range test.says {
				require.Contains(t, answer, text)
			}
			require.Zero(t, handedOut.find([]byte(answer), true), "a secret in the answer")
		})
	}
	for _, test := range []struct{ method, path, says string }{
		{http.MethodGet, "roles/a%20b", "a b"},
		{http.MethodDelete, "roles/a%20b", "a b"},
		{http.MethodGet, "creds/a%20b", "a b"},
		{http.MethodGet, "creds/app?tll=1h", "tll"},
		{http.MethodGet, "creds/app?ttl=soon", "ttl"},
		{http.MethodGet, "config/a%20b", "a b"},
	} {
		status, answer := send(t, m, test.method, test.path, nil)
		require.Equal(t, http.StatusBadRequest, status, "%s %s: %s", test.method, test.path, answer)
		require.Contains(t, answer, test.says)
	}

	require.Empty(t, m.users())
	require.Empty(t, m.storedRecords())
	require.JSONEq(t, `["app"]`, cli(t, m.server, "list", "-format=json", m.path+"/roles"))
	require.JSONEq(t, `["default"]`, cli(t, m.server, "list", "-format=json", m.path+"/config"))
}

func TestNotThere(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	for _, path := range []string{"roles/nobody", "config/nowhere", "nothing/here"} {
		status, answer := send(t, m, http.MethodGet, path, nil)
		require.Equal(t, http.StatusNotFound, status, "%s: %s", path, answer)
	}
}

// TestNumbers: a number is one in JSON, and a string from the CLI.
func TestNumbers(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	for _, number := range []any{7200, "7200", "2h"} {
		status, answer := send(t, m, http.MethodPost, "roles/app", map[string]any{"default_ttl": number})
		require.Equal(t, http.StatusNoContent, status, "%v: %s", number, answer)
		require.Equal(t, json.Number("7200"), m.read("roles/app")["default_ttl"])
	}
	for _, number := range []any{7, "7"} {
		m.write("config", map[string]any{"max_retries": number})
		require.Equal(t, json.Number("7"), m.read("config")["max_retries"])
	}
	// 30 days in seconds is beyond where Go begins to print numbers with an exponent.
	m.write("roles/app", map[string]any{"max_ttl": 30 * 24 * 60 * 60})
	require.Equal(t, json.Number("2592000"), m.read("roles/app")["max_ttl"])
}

// send speaks HTTP without a client's help, and returns status and body.
func send(t *testing.T, m *mount, method, path string, body map[string]any) (int, string) {
	t.Helper()
	return sendAs(t, m, m.server.RootToken, method, path, body)
}

func sendAs(t *testing.T, m *mount, token, method, path string, body map[string]any) (int, string) {
	t.Helper()
	encoded, err := json.Marshal(body)
	require.NoError(t, err)
	if body == nil {
		encoded = nil
	}
	request, err := http.NewRequestWithContext(t.Context(), method, m.server.Addr+"/v1/"+m.path+"/"+path, strings.NewReader(string(encoded)))
	require.NoError(t, err)
	request.Header.Set("X-Vault-Token", token)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	var answer strings.Builder
	require.NoError(t, response.Write(&answer))
	return response.StatusCode, strings.ReplaceAll(answer.String(), `\"`, `"`)
}
