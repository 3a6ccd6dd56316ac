package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// decoded is data as Vault's client decodes it.
func decoded(t *testing.T, text string) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var data map[string]any
	require.NoError(t, decoder.Decode(&data))
	return data
}

func TestTranslateConfig(t *testing.T) {
	federated := `"identity_token_audience":"aws","identity_token_ttl":7200,"role_arn":"arn:aws:iam::111122223333:role/vault"`
	for name, c := range map[string]struct {
		config string
		fields map[string]any
		notes  []string // of each, what it begins with
	}{
		"as written by default": {
			`{"access_key":"AKIA1","region":"","iam_endpoint":"","sts_fallback_regions":null,"max_retries":-1,"rotation_period":0,"disable_automated_rotation":false,"username_template":` + quoted(defaultTemplate) + `}`,
			map[string]any{}, nil,
		},
		"what is the same": {
			`{"region":"eu-west-1","iam_endpoint":"https://iam.test","sts_endpoint":"https://sts.test","max_retries":0}`,
			map[string]any{"region": "eu-west-1", "iam_endpoint": "https://iam.test", "sts_endpoint": "https://sts.test", "max_retries": 0}, nil,
		},
		"more retries than there can be": {
			`{"max_retries":51}`, map[string]any{}, []string{"max_retries=51: not carried over: this engine takes 0 to 50"},
		},
		"a region of STS": {
			`{"region":"us-east-1","sts_region":"eu-west-1"}`, map[string]any{"region": "eu-west-1"}, []string{"sts_region=eu-west-1: carried over as region"},
		},
		"fallbacks": {
			`{"sts_fallback_endpoints":["https://a.test"],"sts_fallback_regions":["eu-west-1"]}`, map[string]any{},
			[]string{`sts_fallback_endpoints=["https://a.test"]: not carried over`, `sts_fallback_regions=["eu-west-1"]: not carried over`},
		},
		"a rotation": {
			`{"rotation_period":86400,"rotation_schedule":"0 0 * * *","rotation_window":3600,"rotation_policy":"p"}`, map[string]any{},
			[]string{"rotation_period=86400: not carried over", "rotation_policy=p: not", "rotation_schedule=0 0 * * *: not", "rotation_window=3600: not"},
		},
		"federation": {
			"{" + federated + "}",
			map[string]any{"identity_token_audience": "aws", "identity_token_ttl": json.Number("7200"), "role_arn": "arn:aws:iam::111122223333:role/vault"},
			[]string{"identity_token_audience=aws: carried over, but the token's subject"},
		},
		"a role that is ignored": {
			`{"role_arn":"arn:aws:iam::111122223333:role/vault"}`, map[string]any{},
			[]string{"role_arn=arn:aws:iam::111122223333:role/vault: not carried over: the built-in engine ignores it"},
		},
		"a template of the role's name": {
			`{"username_template":"v-{{.PolicyName}}-{{random 20}}"}`, map[string]any{"username_template": "v-{{.RoleName}}-{{random 20}}"}, nil,
		},
		"a template of who asks": {
			`{"username_template":"v-{{.DisplayName}}-{{random 20}}"}`, map[string]any{},
			[]string{"username_template=v-{{.DisplayName}}-{{random 20}}: not carried over: this engine has neither"},
		},
		"a field of tomorrow": {
			`{"colour":"blue"}`, map[string]any{}, []string{"colour=blue: not carried over: this program does not know the field"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := translateConfig(decoded(t, c.config))
			require.Equal(t, c.fields, s.fields)
			requireNotes(t, c.notes, s.notes)
		})
	}
}

func quoted(text string) string {
	encoded, _ := json.Marshal(text)
	return string(encoded)
}

func requireNotes(t *testing.T, wanted []string, notes []note) {
	t.Helper()
	require.Len(t, notes, len(wanted), "%v", notes)
	for i, n := range notes {
		require.True(t, strings.HasPrefix(n.field+": "+n.why, wanted[i]), "%v is not %q", n, wanted[i])
	}
}

func TestTranslateRole(t *testing.T) {
	hours := ttls{standard: time.Hour, longest: 4 * time.Hour}
	s, skip := translateRole("app", decoded(t, `{"credential_type":"iam_user","policy_document":"{}","policy_arns":null,"iam_groups":["a"],
		"iam_tags":{"team":"x"},"permissions_boundary_arn":"","role_arns":null,"default_sts_ttl":0,"user_path":"/vault/apps/"}`), hours, "main", "/vault/")
	require.Empty(t, skip)
	require.Equal(t, map[string]any{
		"credential_type": "iam_user", "integration": "main", "default_ttl": int64(3600), "max_ttl": int64(14400),
		"policy_document": "{}", "policy_arns": []any{}, "iam_groups": []any{"a"}, "iam_tags": map[string]any{"team": "x"},
		"permissions_boundary_arn": "", "user_path": "/vault/apps/",
	}, s.fields)
	require.Empty(t, s.notes)

	s, skip = translateRole("old", decoded(t, `{"credential_type":"iam_user,federation_token","policy_document":"{}","default_sts_ttl":60,"user_path":"/apps/","colour":"blue"}`), hours, "default", "/vault/")
	require.Empty(t, skip)
	require.NotContains(t, s.fields, "user_path")
	requireNotes(t, []string{
		"credential_type=iam_user,federation_token: carried over for IAM users; sts/old is not",
		"colour=blue: not carried over", "default_sts_ttl=60: not carried over", "user_path=/apps/: not carried over: it does not lie beneath /vault/",
	}, s.notes)

	for _, c := range []struct{ name, role, why string }{
		{"sts", `{"credential_type":"assumed_role"}`, "IAM users only"},
		{"federation", `{"credential_type":"federation_token"}`, "IAM users only"},
		{"session", `{"credential_type":"session_token"}`, "IAM users only"},
		{"broken", `{"credential_type":"","invalid_data":"arn:x"}`, "invalid_data"},
		{"me@example", `{"credential_type":"iam_user"}`, "name"},
		{strings.Repeat("x", 65), `{"credential_type":"iam_user"}`, "name"},
	} {
		s, skip := translateRole(c.name, decoded(t, c.role), hours, "default", "/vault/")
		require.Nil(t, s, c.name)
		require.Contains(t, skip, c.why)
	}
}

func TestLeaseTTLs(t *testing.T) {
	for _, c := range []struct {
		lease             string
		standard, longest time.Duration
	}{
		{`{}`, 768 * time.Hour, 0},
		{`{"lease":"1h0m0s","lease_max":"24h0m0s"}`, time.Hour, 24 * time.Hour},
		{`{"lease":"48h0m0s","lease_max":"24h0m0s"}`, 24 * time.Hour, 24 * time.Hour},
		{`{"lease":"0s","lease_max":"0s"}`, 768 * time.Hour, 0},
		{`{"lease":"0s","lease_max":"24h0m0s"}`, 24 * time.Hour, 24 * time.Hour},
	} {
		got, err := leaseTTLs(&source{lease: decoded(t, c.lease), defaultTTL: 768 * time.Hour})
		require.NoError(t, err)
		require.Equal(t, ttls{c.standard, c.longest}, got, c.lease)
	}
	_, err := leaseTTLs(&source{lease: decoded(t, `{"lease":"soon"}`)})
	require.ErrorContains(t, err, "config/lease: lease")
}
