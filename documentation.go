package awsiam

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	// operationPrefix begins the ids of all operations in OpenAPI documents.
	operationPrefix = "aws-iam"
	// helpWidth is that of a terminal, which `vault path-help` does not wrap for.
	helpWidth = 80
	// helpIndent is how far Vault indents descriptions there.
	helpIndent = 8
)

// failures are what the paths answer with other than success. They have no fields in
// the schema: the framework has room for those of one response of an operation.
var failures = map[int]string{
	http.StatusBadRequest:         "Refused: errors has what is wrong, and what to do about it. The same request would be refused again.",
	http.StatusNotFound:           "There is none.",
	http.StatusBadGateway:         "AWS, or the way to it, failed, or throttles: errors has why. The same request may succeed later; Vault's clients try again by themselves.",
	http.StatusServiceUnavailable: "The plugin has just started, and has not read all that it takes yet. The same request may succeed in a moment; Vault's clients try again by themselves.",
}

// okResponse is for an operation that answers with fields, or fails in these ways, or
// refuses: every operation refuses fields that it does not know.
func okResponse(description string, fields map[string]*framework.FieldSchema, fails ...int) map[int][]framework.Response {
	return failing(map[int][]framework.Response{http.StatusOK: {{Description: description, Fields: fields}}}, fails)
}

// doneResponse is for an operation that has nothing to tell.
func doneResponse(fails ...int) map[int][]framework.Response {
	return failing(map[int][]framework.Response{http.StatusNoContent: {{Description: "Done."}}}, fails)
}

// warnedResponse is for an operation that has nothing to tell but warnings.
func warnedResponse(fails ...int) map[int][]framework.Response {
	responses := doneResponse(fails...)
	responses[http.StatusOK] = []framework.Response{{Description: "Done; warnings has what to look at."}}
	return responses
}

func listResponse(description string, fails ...int) map[int][]framework.Response {
	responses := okResponse("The names.", map[string]*framework.FieldSchema{
		"keys": {Type: framework.TypeStringSlice, Description: description, Required: true},
	}, fails...)
	responses[http.StatusNotFound] = []framework.Response{{Description: "The list is empty."}}
	return responses
}

func failing(responses map[int][]framework.Response, fails []int) map[int][]framework.Response {
	for _, status := range append(fails, http.StatusBadRequest) {
		responses[status] = []framework.Response{{Description: failures[status]}}
	}
	return responses
}

// shown are the fields of a request as a response has them: always there, without
// defaults, and with durations in seconds.
func shown(fields map[string]*framework.FieldSchema) map[string]*framework.FieldSchema {
	answers := make(map[string]*framework.FieldSchema, len(fields))
	for name, field := range fields {
		answer := *field
		answer.Required, answer.Default, answer.Query = true, nil, false
		if answer.Type == framework.TypeDurationSecond {
			answer.Type = framework.TypeInt
			answer.Description += " In seconds."
		}
		answers[name] = &answer
	}
	return answers
}

// defaultDuration is a default as a request can give it. In the OpenAPI document
// durations are strings.
func defaultDuration(d time.Duration) string {
	text := d.String()
	for _, nothing := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, nothing) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// among are the values that a field can have, for its schema.
func among[T ~string](values ...T) []any {
	allowed := make([]any, len(values))
	for i, value := range values {
		allowed[i] = string(value)
	}
	return allowed
}

// operationID names a path's operations, or one of them. Without a verb it is the
// operation's own: read, write, list or delete.
func operationID(verb, noun string) *framework.DisplayAttributes {
	return &framework.DisplayAttributes{OperationVerb: verb, OperationSuffix: noun}
}

// nameOperations is operationID for what perIntegration returns.
func nameOperations(paths []*framework.Path, verb, noun string) []*framework.Path {
	paths[0].DisplayAttrs = operationID(verb, noun)
	paths[1].DisplayAttrs = operationID(verb, strings.TrimSuffix("integration-"+noun, "-"))
	return paths
}

// describePaths completes what the paths tell of themselves, for the OpenAPI document
// and for `vault path-help`. The latter shows parameters only, and wraps no line.
func describePaths(paths []*framework.Path) {
	lists := make(map[string]framework.OperationHandler) // of paths that cannot be asked for help themselves
	for _, path := range paths {
		if name, ok := strings.CutSuffix(path.Pattern, "/$"); ok {
			lists[name+"$"] = path.Operations[logical.ListOperation]
		}
	}
	for _, path := range paths {
		attributes := framework.DisplayAttributes{}
		if path.DisplayAttrs != nil {
			attributes = *path.DisplayAttrs
		}
		attributes.OperationPrefix = operationPrefix
		path.DisplayAttrs = &attributes

		help := strings.TrimSpace(path.HelpDescription)
		for _, operation := range path.Operations {
			if op, ok := operation.(*framework.PathOperation); ok && op.Description == "" {
				op.Description = help
			}
		}
		path.HelpSynopsis = wrapText(path.HelpSynopsis, helpWidth-helpIndent)
		path.HelpDescription = wrapText(help, helpWidth) + operationsHelp(path, lists[path.Pattern]) + answerHelp(path)
	}
	for _, path := range paths {
		for _, field := range path.Fields {
			if field.Default != nil && !strings.Contains(strings.ToLower(field.Description), "default") {
				field.Description += fmt.Sprintf(" Default: %v.", field.Default)
			}
			field.Description = wrapText(field.Description, helpWidth-helpIndent)
		}
	}
}

// commands are the commands of Vault's CLI for operations, in the order of the help.
var commands = []struct {
	name       string
	operations []logical.Operation
}{
	{"list", []logical.Operation{logical.ListOperation}},
	{"read", []logical.Operation{logical.ReadOperation}},
	{"write", []logical.Operation{logical.UpdateOperation, logical.CreateOperation}},
	{"delete", []logical.Operation{logical.DeleteOperation}},
}

// operationsHelp is what can be done with the path, or what lists below it.
func operationsHelp(path *framework.Path, list framework.OperationHandler) string {
	operations := maps.Clone(path.Operations)
	if list != nil {
		operations[logical.ListOperation] = list
	}
	var help strings.Builder
	help.WriteString("\n\n## OPERATIONS\n")
	for _, command := range commands {
		for _, operation := range command.operations {
			if op, ok := operations[operation]; ok {
				help.WriteString("\n    vault " + command.name + "\n" + indented(op.Properties().Summary))
				break
			}
		}
	}
	return strings.TrimRight(help.String(), "\n")
}

// answerHelp is what the fields of the path's answers mean, where they are not the
// parameters of the path.
func answerHelp(path *framework.Path) string {
	answers := make(map[string]*framework.FieldSchema)
	for _, operation := range path.Operations {
		for _, response := range operation.Properties().Responses[http.StatusOK] {
			for name, field := range response.Fields {
				parameter := path.Fields[name]
				if name != "keys" && (parameter == nil || !strings.HasPrefix(field.Description, parameter.Description)) {
					answers[name] = field
				}
			}
		}
	}
	if len(answers) == 0 {
		return ""
	}
	var help strings.Builder
	help.WriteString("\n\n## ANSWER\n")
	for _, name := range slices.Sorted(maps.Keys(answers)) {
		fmt.Fprintf(&help, "\n    %s (%s)\n%s", name, answers[name].Type, indented(answers[name].Description))
	}
	return strings.TrimRight(help.String(), "\n")
}

func indented(text string) string {
	margin := strings.Repeat(" ", helpIndent)
	return margin + strings.ReplaceAll(wrapText(text, helpWidth-helpIndent), "\n", "\n"+margin) + "\n"
}

// templateAction finds actions of templates, which are not broken.
var templateAction = regexp.MustCompile(`{{.*?}}`)

// wrapText breaks paragraphs into lines of the width. What is indented stays as it is.
func wrapText(text string, width int) string {
	paragraphs := strings.Split(strings.TrimSpace(text), "\n\n")
	for i, paragraph := range paragraphs {
		if !strings.HasPrefix(paragraph, " ") {
			paragraphs[i] = strings.Join(linesOf(wordsOf(paragraph), width), "\n")
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

func wordsOf(text string) []string {
	const space = "\x00"
	whole := templateAction.ReplaceAllStringFunc(text, func(action string) string { return strings.Join(strings.Fields(action), space) })
	words := strings.Fields(whole)
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], space, " ")
	}
	return words
}

func linesOf(words []string, width int) []string {
	var lines []string
	for _, word := range words {
		last := len(lines) - 1
		if last >= 0 && len([]rune(lines[last]))+1+len([]rune(word)) <= width {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// keepReferences has the references of the OpenAPI document arrive in the one that Vault
// serves of all its mounts (sys/internal/specs/openapi). Vault 1.21.1 decodes what a
// plugin in a process of its own has sent with mapstructure, which knows them by the
// name of the field, Ref, and leaves out "$ref": requests and answers would have no
// schema. With both names they get through. Only that request has the parameter.
func keepReferences(req *logical.Request, resp *logical.Response) error {
	if _, ok := req.Data["requestResponsePrefix"]; !ok || req.Path != "" {
		return nil
	}
	encoded, err := json.Marshal(resp.Data["openapi"])
	if err != nil {
		return fmt.Errorf("encoding the OpenAPI document: %w", err)
	}
	var document map[string]any
	if err := json.Unmarshal(encoded, &document); err != nil {
		return fmt.Errorf("decoding the OpenAPI document: %w", err)
	}
	nameReferences(document)
	resp.Data["openapi"] = document
	return nil
}

func nameReferences(value any) {
	switch v := value.(type) {
	case map[string]any:
		if reference, ok := v["$ref"]; ok {
			v["ref"] = reference
		}
		for _, item := range v {
			nameReferences(item)
		}
	case []any:
		for _, item := range v {
			nameReferences(item)
		}
	}
}
