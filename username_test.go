package awsiam

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/helper/template"
	"github.com/stretchr/testify/require"
)

func TestDefaultUsername(t *testing.T) {
	for _, role := range []string{"a", "app", "a.b", "a.", "app_1-2", longestRoleName} {
		require.NoError(t, validateUsernameTemplate("", role))
		name, err := newUsername("", role)
		require.NoError(t, err)
		require.Regexp(t, `^vault-.{1,37}-[a-z2-7]{20}$`, name)
		require.True(t, strings.HasPrefix(name, "vault-"+role[:min(37, len(role))]+"-"))
		require.LessOrEqual(t, len(name), 64)
	}
}

// IAM ignores case in user names, so that names must not differ by case alone.
func TestRandomTextIsOfOneCase(t *testing.T) {
	for n := 1; n <= maxRandomLength; n++ {
		text, err := randomText(n)
		require.NoError(t, err)
		require.Len(t, text, n)
		require.Equal(t, strings.ToLower(text), text)
	}
	for _, n := range []int{-1, 0, maxRandomLength + 1, 1 << 40} {
		_, err := randomText(n)
		require.ErrorContains(t, err, "1 to 64")
	}
}

func TestUsernameTemplates(t *testing.T) {
	for text, like := range map[string]string{
		`{{ random 20 }}`:                 `^[a-z2-7]{20}$`,
		`{{ .RoleName }}-{{ random 20 }}`: `^app\.b-[a-z2-7]{20}$`,
		`{{ uuid }}`:                      `^[0-9a-f-]{36}$`,
		`{{ .RoleName | replace "." "_" | uppercase }}{{ random 12 }}`:  `^APP_B[a-z2-7]{12}$`,
		`{{ printf "vault-%s-%s" (unix_time) (random 20) }}`:            `^vault-[0-9]{10}-[a-z2-7]{20}$`,
		`{{ printf "%.2s%03d" .RoleName 7 }}{{ random 12 }}`:            `^ap007[a-z2-7]{12}$`,
		`{{ print .RoleName (random 20) | truncate 20 }}`:               `^app\.b[a-z2-7]{15}$`,
		`{{ random 30 | sha256 | truncate 30 }}`:                        `^[0-9a-f]{30}$`,
		`{{ timestamp "2006" }}{{ random 12 }}`:                         `^20[0-9]{2}[a-z2-7]{12}$`,
		`{{ random 30 | base64 | truncate 30 }}`:                        `^[A-Za-z0-9+]{30}$`,
		`{{ if eq .RoleName "app.b" }}yes{{ else }}no{{ end }}{{uuid}}`: `^yes`,
		`{{ with $x := random 20 }}{{ slice $x 0 10 }}{{ end }}`:        `^[a-z2-7]{10}$`,
		`{{- /* a comment */ -}} {{ random 20 | lowercase }}`:           `^[a-z2-7]{20}$`,
		`{{ printf "%s-%s" .RoleName (random 80 | truncate 1) }}`:       "",
		`v-{{ random 4 }}`:                             "",
		`v-{{ random 20 | truncate 8 }}`:               "",
		`v-{{ timestamp "20060102150405.000000000" }}`: "",
		`v-{{ unix_time_millis }}`:                     "",
		`{{ "static" }}`:                               "",
		`{{ unix_time }}`:                              "",
		`{{ .RoleName | sha256 | truncate 60 }}`:       "",
		`{{ .Password }}{{ random 20 }}`:               "",
		`{{ random }}`:                                 "",
		`{{ random "20" }}`:                            "",
		`{{ random 20`:                                 "",
		`{{ random 20 }} `:                             "",
		`{{ random 20 }}é`:                             "",
		`{{ random 20 | printf "%q" }}`:                "",
		`{{ slice .RoleName 0 40 }}{{ random 12 }}`:    "",
		`{{ index .RoleName 99 }}{{ random 12 }}`:      "",
		`{{ if eq (random 1) "a" }}{{ else }}{{ random 20 }}{{ end }}..`: "",
		`{{ call .RoleName }}{{ random 20 }}`:                            "",
		`{{ nil }}{{ random 20 }}`:                                       "",
		`{{ break }}{{ random 20 }}`:                                     "",
	} {
		err := validateUsernameTemplate(text, "app.b")
		if like == "" {
			var refused refusal
			require.ErrorAs(t, err, &refused, text)
			require.ErrorContains(t, err, fieldUsernameTemplate)
			continue
		}
		require.NoError(t, err, text)
		name, err := newUsername(text, "app.b")
		require.NoError(t, err, text)
		require.Regexp(t, like, name)
	}
}

// Each of these would run for ever or ask for more memory than there is. Break
// it, under ulimit -v, by taking a function out of templateFunctions.
func TestUsernameTemplatesThatWouldExhaustTheServer(t *testing.T) {
	double := func(first, again string) string {
		return first + strings.Repeat(again, (maxTemplateLength-len(first)-25)/len(again)) + `{{ len $a }}{{ random 12 }}`
	}
	for name, text := range map[string]string{
		"endless":           `{{ range $i := 1000000000000 }}{{ end }}`,
		"endless, trimmed":  "{{-\n\trange 1000000000000 }}{{ end }}",
		"itself":            `{{ template "template" . }}`,
		"block":             `{{ block "template" . }}{{ end }}`,
		"long random":       `{{ random 1000000000000 }}`,
		"replace":           double(`{{ $a := "`+long(100)+`" }}`, `{{ $a = replace "" $a $a }}`),
		"base64":            double(`{{ $a := "`+long(100)+`" }}`, `{{ $a = $a | base64 | base64 | base64 | base64 | base64 | base64 }}`),
		"print":             double(`{{ $a := "`+long(100)+`" }}`, `{{ $a = print $a $a $a $a $a $a $a $a }}`),
		"println":           double(`{{ $a := "`+long(100)+`" }}`, `{{ $a = println $a $a $a $a $a $a $a }}`),
		"printf":            double(`{{ $a := "`+long(100)+`" }}`, `{{ $a = printf "%s%s%s%s%s%s" $a $a $a $a $a $a }}`),
		"printf, repeated":  double(`{{ $a := "x" }}`, `{{ $a = printf "%[1]s%[1]s%[1]s%[1]s%[1]s" $a }}`),
		"printf, wide":      strings.Repeat(`{{ printf "%999999d" 1 }}`, 20),
		"printf, precise":   strings.Repeat(`{{ printf "%.999999f" 1.0 }}`, 18),
		"printf, by number": strings.Repeat(`{{ printf "%*d" 999999 1 }}`, 18),
		"js":                double(`{{ $a := "\\" }}`, `{{ $a = $a|js|js|js|js|js|js|js|js|js|js }}`),
		"html":              double(`{{ $a := "&&&&" }}`, `{{ $a = html $a $a $a $a }}`),
		"urlquery":          double(`{{ $a := "%%%%" }}`, `{{ $a = urlquery $a $a $a $a }}`),
	} {
		t.Run(name, func(t *testing.T) {
			require.LessOrEqual(t, len(text), maxTemplateLength)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			require.Error(t, validateUsernameTemplate(text, "app"))
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20), "bytes allocated")
		})
	}
}

// A name is checked when it is drawn as well: chance can make a bad one.
func TestRenderedNameIsChecked(t *testing.T) {
	for text, says := range map[string]string{
		`{{ if true }}{{ .RoleName }}{{ end }}/`: "IAM takes letters",
		`{{ .RoleName }}` + long(62):             "at most 64",
		`..{{ .RoleName }}`:                      "must not contain",
		`{{ slice .RoleName 9 }}`:                "cannot be rendered",
		``:                                       "",
	} {
		name, err := newUsername(text, "app")
		if says == "" {
			require.NoError(t, err)
			require.NotEmpty(t, name)
			continue
		}
		require.ErrorContains(t, err, says)
	}
}

// Templates are parsed once, and not as many kept as there ever were. Break it by
// not clearing what was parsed, or by keeping nothing.
func TestParsedTemplatesAreBounded(t *testing.T) {
	m := templateMemo{parsed: make(map[string]template.StringTemplate)}
	for i := range 3*maxParsedTemplates + 1 {
		_, err := m.get(fmt.Sprintf("{{ random 20 }}-%d", i))
		require.NoError(t, err)
		require.LessOrEqual(t, len(m.parsed), maxParsedTemplates)
	}
	require.Len(t, m.parsed, 1)
	_, err := m.get("{{")
	require.Error(t, err)
	require.Len(t, m.parsed, 1)
}
