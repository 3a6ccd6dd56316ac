package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSecurityModel writes the policies of docs/security.md, and has a token of each
// try what it may and what it may not.
//
// Break it by taking a path out of the document, or by adding one.
func TestSecurityModel(t *testing.T) {
	t.Parallel()
	r := newGuide(t)
	audit := filepath.Join(t.TempDir(), "audit.log")
	cli(t, r.server, "audit", "enable", "file", "file_path="+audit)
	r.follow("../docs/security.md")
	victim := r.issue("app")

	const yes, no = true, false
	for _, attempt := range []struct {
		method, path string
		data         map[string]any
		// who may
		app, app1h, operator, auditor, responder, subscriber bool
	}{
		{http.MethodGet, "creds/app", nil, yes, no, no, no, no, no},
		{http.MethodPost, "creds/app", map[string]any{"ttl": "1h"}, no, yes, no, no, no, no},
		{http.MethodPost, "creds/app", map[string]any{"ttl": "2h"}, no, no, no, no, no, no},
		{http.MethodGet, "roles/app", nil, no, no, yes, yes, no, no},
		{http.MethodPost, "roles/app", map[string]any{"max_users": 100}, no, no, yes, no, no, no},
		{"LIST", "roles", nil, no, no, yes, yes, no, no},
		{http.MethodGet, "config", nil, no, no, yes, yes, no, no},
		{"LIST", "config", nil, no, no, yes, yes, no, no},
		{http.MethodPost, "config/default", map[string]any{"max_retries": 2}, no, no, yes, no, no, no},
		{http.MethodGet, "policy", nil, no, no, yes, yes, no, no},
		{http.MethodGet, "policy/default", nil, no, no, yes, yes, no, no},
		{http.MethodPost, "tidy", nil, no, no, yes, no, no, no},
		{http.MethodGet, "tidy-status/default", nil, no, no, yes, yes, no, no},
		{http.MethodGet, "status", nil, no, no, yes, yes, no, no},
		{http.MethodGet, "status/default", nil, no, no, yes, yes, no, no},
		{"LIST", "status", nil, no, no, yes, yes, no, no},
		{"LIST", "users", nil, no, no, yes, yes, no, no},
		{http.MethodGet, "users/" + victim.Username, nil, no, no, yes, yes, yes, no},
		{http.MethodGet, "lookup/" + victim.AccessKeyID, nil, no, no, yes, yes, yes, no},
		{http.MethodDelete, "users/nobody", nil, no, no, yes, no, yes, no},
		{http.MethodDelete, "config/nowhere", nil, no, no, yes, no, no, no},
		{http.MethodDelete, "roles/nowhere", nil, no, no, yes, no, no, no},
		{http.MethodPost, "rotate-root", nil, no, no, yes, no, no, no},
		{http.MethodPost, "/sys/leases/revoke", map[string]any{"lease_id": "aws-iam/creds/app/none"}, yes, no, no, no, no, no},
		{"LIST", "/sys/leases/lookup/aws-iam/creds/app", nil, no, no, yes, no, no, no},
		{http.MethodPost, "/sys/leases/revoke-prefix/aws-iam/creds/app", nil, no, no, yes, no, no, no},
	} {
		below, path := *r.mount, attempt.path
		if strings.HasPrefix(path, "/") { // of Vault's own
			below.path, path, _ = strings.Cut(path[1:], "/")
		}
		for policy, may := range map[string]bool{
			"aws-iam-app": attempt.app, "aws-iam-app-1h": attempt.app1h, "aws-iam-operator": attempt.operator,
			"aws-iam-auditor": attempt.auditor, "aws-iam-responder": attempt.responder, "aws-iam-subscriber": attempt.subscriber,
		} {
			status, answer := sendAs(t, &below, newToken(t, r.server, nil, policy), attempt.method, path, attempt.data)
			if may {
				require.Less(t, status, 300, "%s: %s %s: %s", policy, attempt.method, attempt.path, answer)
			} else {
				require.Equal(t, http.StatusForbidden, status, "%s: %s %s: %s", policy, attempt.method, attempt.path, answer)
			}
		}
	}

	// The audit log can be put beside CloudTrail, and has no secret.
	log, err := os.ReadFile(audit)
	require.NoError(t, err)
	require.Contains(t, string(log), `"username":"`+victim.Username+`"`)
	require.Contains(t, string(log), victim.AccessKeyID)
	require.NotContains(t, string(log), victim.SecretAccessKey)
	require.NotContains(t, string(log), r.key.SecretAccessKey)
}
