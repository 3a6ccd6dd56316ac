package awsiam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

const referenceHead = `# API reference

Made from what the plugin tells Vault of its paths; ` + "`make docs`" + ` makes it anew. Vault has it too:
` + "`vault path-help aws-iam/roles/app`" + `, and as an OpenAPI document with ` + "`-format=json`" + `. The
[OpenAPI document](openapi.json) of this version, with the operations by the names in
this reference, is for code generators. The [README](../README.md#api) says more about what it
all is for.

Paths are below the mount, which is at ` + "`aws-iam`" + ` here. Every request carries a token in the
header ` + "`X-Vault-Token`" + `. What is answered is in the field ` + "`data`" + ` of Vault's answer, beside
` + "`warnings`" + ` and what Vault tells of the lease; all fields are there unless it says
"not always". Durations in requests are seconds or texts as ` + "`90m`" + `, in answers they are
numbers of seconds. An update keeps what it does not mention, and a field that a path
does not know is refused. ` + "`LIST`" + ` is a method of Vault's own: ` + "`GET`" + ` with the parameter
` + "`list=true`" + ` is the same, and what the CLI sends where ` + "`vault read`" + ` is given it.

The examples are answers to real requests, of which names, keys and ids have been made
recognisable, times been rounded, and the address of AWS been replaced.

`

// The reference is what the schema says. Break it by changing a description.
func TestAPIReferenceIsUpToDate(t *testing.T) {
	requireGenerated(t, "docs/api.md", reference(t))
}

// reference is docs/api.md.
func reference(t *testing.T) string {
	t.Helper()
	r := apiReference{examples: realAnswers(t), tables: make(map[string]string)}
	r.printf("%s| failure | |\n|---|---|\n", referenceHead)
	for _, status := range slices.Sorted(maps.Keys(failures)) {
		r.printf("| %d | %s |\n", status, failures[status])
	}
	r.printf("\n| request | operation | |\n|---|---|---|\n")
	sections := sectionsOfReference(newBackend(testUUID).Paths)
	for _, s := range sections {
		for _, op := range s.operations {
			for _, req := range op.requests {
				r.printf("| `%s %s` | `%s` | [%s](#%s) |\n", req.method, shownPath(req.path), req.id(), op.Summary, anchorOf(op.Summary))
			}
		}
	}
	for _, s := range sections {
		r.section(s)
	}
	return r.text.String()
}

// referenceSection is about the paths that begin alike.
type referenceSection struct {
	begins     string
	titles     []string
	help       string
	operations []*referenceOperation
}

// referenceOperation is what is said once of several requests, as where an integration
// is named and where none is.
type referenceOperation struct {
	framework.OperationProperties
	requests []referenceRequest
}

type referenceRequest struct {
	path    *framework.Path
	own     *framework.DisplayAttributes
	kind    logical.Operation
	method  string
	command string
}

func sectionsOfReference(paths []*framework.Path) []*referenceSection {
	var sections []*referenceSection
	for _, path := range paths {
		shown := strings.TrimPrefix(shownPath(path), "aws-iam/")
		begins, _, _ := strings.Cut(shown, "/")
		i := slices.IndexFunc(sections, func(s *referenceSection) bool { return s.begins == begins })
		if i < 0 {
			i = len(sections)
			sections = append(sections, &referenceSection{begins: begins})
		}
		s := sections[i]
		if title := "`" + shown + "`"; !slices.Contains(s.titles, title) {
			s.titles = append(s.titles, title)
		}
		s.help, _, _ = strings.Cut(path.HelpDescription, "\n\n## ")
		for _, req := range []referenceRequest{
			{kind: logical.ListOperation, method: "LIST", command: "list"},
			{kind: logical.ReadOperation, method: "GET", command: "read"},
			{kind: logical.UpdateOperation, method: "POST", command: "write"}, // for CreateOperation, too
			{kind: logical.DeleteOperation, method: "DELETE", command: "delete"},
		} {
			if op, ok := path.Operations[req.kind]; ok {
				req.path, req.own = path, op.Properties().DisplayAttrs
				s.add(op.Properties(), req)
			}
		}
	}
	return sections
}

func (s *referenceSection) add(op framework.OperationProperties, req referenceRequest) {
	for _, known := range s.operations {
		if known.Summary == op.Summary && known.Description == op.Description {
			known.requests = append(known.requests, req)
			return
		}
	}
	s.operations = append(s.operations, &referenceOperation{op, []referenceRequest{req}})
}

// shownPath is the path of a pattern, with <names> in it.
func shownPath(path *framework.Path) string {
	return "aws-iam/" + regexp.MustCompile(`\(\?P<(\w+)>.*\)`).ReplaceAllString(strings.TrimRight(path.Pattern, "/?$"), "<$1>")
}

// anchorOf is what GitHub makes of a heading.
func anchorOf(title string) string {
	return strings.ReplaceAll(regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(title), ""), " ", "-")
}

// id is the operation's id, as the framework puts it together.
// TestAPIReferenceNamesAllOperations compares it.
func (r referenceRequest) id() string {
	verb, noun := r.path.DisplayAttrs.OperationVerb, r.path.DisplayAttrs.OperationSuffix
	if r.own != nil {
		verb, noun = r.own.OperationVerb, r.own.OperationSuffix
	}
	if verb == "" {
		if noun == "" {
			noun = strings.Trim(regexp.MustCompile(`\W+`).ReplaceAllString(strings.TrimPrefix(shownPath(r.path), "aws-iam/"), "-"), "-")
		}
		verb = r.command
	}
	return strings.TrimSuffix(operationPrefix+"-"+verb+"-"+noun, "-")
}

type apiReference struct {
	text     strings.Builder
	examples map[string]string
	tables   map[string]string // which operation has one already
}

func (r *apiReference) printf(format string, args ...any) { fmt.Fprintf(&r.text, format, args...) }

func (r *apiReference) section(s *referenceSection) {
	r.printf("\n## %s\n\n%s\n", strings.Join(s.titles, ", "), markdown(s.help))
	for _, op := range s.operations {
		r.printf("\n### %s\n\n", strings.TrimSuffix(op.Summary, "."))
		if !slices.Equal(strings.Fields(op.Description), strings.Fields(s.help)) {
			r.printf("%s\n\n", markdown(op.Description))
		}
		for _, req := range op.requests {
			r.printf("- `%s /v1/%s`: `vault %s %s`\n", req.method, shownPath(req.path), req.command, shownPath(req.path))
		}
		r.parameters(op)
		var fails []string
		for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
			response := op.Responses[status][0]
			if response.Description == failures[status] {
				fails = append(fails, strconv.Itoa(status))
				continue
			}
			r.printf("\n**%d** %s\n", status, markdown(response.Description))
			r.answer(op, response.Fields)
		}
		if fails != nil {
			r.printf("\nFailures: %s.\n", strings.Join(fails, ", "))
		}
	}
}

func (r *apiReference) parameters(op *referenceOperation) {
	fields, where := make(map[string]*framework.FieldSchema), make(map[string][]string)
	for _, req := range op.requests {
		for name, field := range req.path.Fields {
			in := "body"
			switch sent := req.kind == logical.UpdateOperation; {
			case strings.Contains(req.path.Pattern, "<"+name+">"):
				in = "path"
			case !sent && !field.Query:
				continue
			case !sent:
				in = "query"
			}
			fields[name] = field
			if !slices.Contains(where[name], in) {
				where[name] = append(where[name], in)
			}
		}
	}
	if len(fields) == 0 {
		return
	}
	r.printf("\n| parameter | in | type | default | |\n|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field, standard := fields[name], ""
		text := strings.Join(strings.Fields(field.Description), " ")
		if field.Default != nil {
			standard = fmt.Sprintf("`%v`", field.Default)
			text = strings.TrimSuffix(text, fmt.Sprintf(" Default: %v.", field.Default))
		}
		r.printf("| `%s` | %s | %s | %s | %s |\n", name, strings.Join(where[name], ", "), typeName(field), standard, cell(text))
	}
}

func (r *apiReference) answer(op *referenceOperation, fields map[string]*framework.FieldSchema) {
	if len(fields) == 0 {
		return
	}
	var rows strings.Builder
	rows.WriteString("\n| field | type | |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field, note := fields[name], ""
		if !field.Required {
			note = " Not always there."
		}
		fmt.Fprintf(&rows, "| `%s` | %s | %s%s |\n", name, typeName(field), cell(field.Description), note)
	}
	table := rows.String()
	if first, ok := r.tables[table]; ok {
		r.printf("\nThe fields are those of \"[%s](#%s)\".\n", first, anchorOf(first))
	} else {
		r.tables[table] = strings.TrimSuffix(op.Summary, ".")
		r.printf("%s", table)
	}
	for _, req := range op.requests {
		if answer := r.examples[req.id()]; answer != "" {
			r.printf("\n```json\n%s\n```\n", answer)
		}
	}
}

var (
	quotedCommand = regexp.MustCompile(`"(vault [^"]*)"`)
	codeWords     = regexp.MustCompile(`[\w./-]*<[^>\s]+>[\w./]*|\b\w+_\w+(=\w+)?\b|\b\w+=\w+|{{.*}}`)
)

// markdown marks what is code, which would be taken for HTML or emphasis.
func markdown(text string) string {
	parts := strings.Split(quotedCommand.ReplaceAllString(text, "`$1`"), "`")
	for i := range parts {
		if i%2 == 0 {
			parts[i] = codeWords.ReplaceAllString(parts[i], "`$0`")
		}
	}
	return strings.Join(parts, "`")
}

func cell(text string) string {
	return strings.ReplaceAll(markdown(strings.Join(strings.Fields(text), " ")), "|", `\|`)
}

func typeName(field *framework.FieldSchema) string {
	name := map[framework.FieldType]string{
		framework.TypeString: "text", framework.TypeBool: "boolean", framework.TypeInt: "integer", framework.TypeInt64: "integer", framework.TypeFloat: "number",
		framework.TypeDurationSecond: "duration", framework.TypeCommaStringSlice: "list of texts", framework.TypeStringSlice: "list of texts",
		framework.TypeKVPairs: "object of texts", framework.TypeMap: "object",
	}[field.Type]
	if field.AllowedValues == nil {
		return name
	}
	var values []string
	for _, value := range field.AllowedValues {
		values = append(values, fmt.Sprintf("`%v`", value))
	}
	return strings.Join(values, ", ")
}

// realAnswers are what the engine answers to requests, in JSON, by the operations' ids.
func realAnswers(t *testing.T) map[string]string {
	t.Helper()
	e := newEnv(t, widePolicy)
	began := time.Now()
	e.write("roles/app", map[string]any{"default_ttl": "30m", "max_ttl": "12h", "iam_tags": "team=payments"})
	answers := make(map[string]string)
	ask := func(id string, op logical.Operation, path string) map[string]any {
		resp := e.must(op, path, nil)
		answer := map[string]any{"data": resp.Data}
		if resp.Secret != nil {
			answer["lease_duration"], answer["renewable"] = int(resp.Secret.TTL.Seconds()), resp.Secret.Renewable
		}
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		require.NoError(t, encoder.Encode(answer))
		answers[operationPrefix+"-"+id] = strings.TrimSpace(text.String())
		return resp.Data
	}
	ask("list-integrations", logical.ListOperation, "config/")
	ask("read-integration", logical.ReadOperation, "config/default")
	ask("list-roles", logical.ListOperation, "roles/")
	ask("read-role", logical.ReadOperation, "roles/app")
	user := ask("generate-credentials", logical.ReadOperation, "creds/app")
	ask("list-users", logical.ListOperation, "users/")
	ask("read-user", logical.ReadOperation, "users/"+user[fieldUsername].(string))
	ask("look-up-access-key", logical.ReadOperation, "lookup/"+user[fieldAccessKeyID].(string))
	ask("read-status", logical.ReadOperation, "status")
	ask("list-integration-statuses", logical.ListOperation, "status/")
	ask("read-integration-status", logical.ReadOperation, "status/default")
	ask("read-integration-policy", logical.ReadOperation, "policy/default")
	ask("tidy-integration", logical.UpdateOperation, "tidy/default")
	require.Eventually(t, func() bool { return e.read("tidy-status/default")[fieldState] == string(tidyDone) }, time.Minute, 5*time.Millisecond)
	ask("read-integration-tidy-status", logical.ReadOperation, "tidy-status/default")
	rotated := ask("rotate-integration-root", logical.UpdateOperation, "rotate-root/default")
	known := strings.NewReplacer(
		e.url, "https://aws.example.com", e.key.AccessKeyID, "AKIAIOSFODNN7EXAMPLE", rotated[fieldAccessKey].(string), "AKIAIOSFODNN8EXAMPLE",
		user[fieldAccessKeyID].(string), "AKIAI44QH8DHBEXAMPLE", user[fieldSecretAccessKey].(string), "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY",
		user[fieldUserID].(string), "AIDACKCEVSQ6C2EXAMPLE", user[fieldUsername].(string), "vault-app-k3vexampleexample2q7z",
	)
	for id, answer := range answers {
		answer = ageRegexp.ReplaceAllString(answer, `${1}0s"`)
		answers[id] = timeRegexp.ReplaceAllStringFunc(known.Replace(answer), func(text string) string {
			at, err := time.Parse(time.RFC3339, text)
			require.NoError(t, err)
			return timestamp(exampleTime.Add(at.Sub(began).Round(time.Minute)))
		})
	}
	return answers
}

var (
	timeRegexp  = regexp.MustCompile(`\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z`)
	ageRegexp   = regexp.MustCompile(`("(?:users_oldest_age|oldest)": ")\d+s"`)
	exampleTime = time.Date(2026, time.January, 5, 9, 30, 0, 0, time.UTC)
)

// All operations are in the reference, under the ids of the OpenAPI document.
func TestAPIReferenceNamesAllOperations(t *testing.T) {
	text := reference(t)
	for path, item := range served(t)["paths"].(map[string]any) {
		for method, operation := range methodsOf(item.(map[string]any)) {
			require.Contains(t, text, "| `"+operation["operationId"].(string)+"` |", "%s %s", method, path)
			for status := range operation["responses"].(map[string]any) {
				code, err := strconv.Atoi(status)
				require.NoError(t, err)
				require.NotEmpty(t, http.StatusText(code))
			}
		}
	}
	for id := range realAnswers(t) {
		require.Contains(t, text, "`"+id+"`", "an example of no operation")
	}
	anchors := make(map[string]int)
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		anchors[anchorOf(heading[1])]++
	}
	links := regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(text, -1)
	require.NotEmpty(t, links)
	for _, link := range links {
		require.Equal(t, 1, anchors[link[1]], "headings of #%s", link[1])
	}
}
