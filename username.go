package awsiam

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/helper/template"
)

const (
	// defaultUsernameTemplate keeps within IAM's 64 characters whatever the
	// role is called; 20 random characters make the name unguessable.
	defaultUsernameTemplate = `vault-{{ .RoleName | truncate 37 }}-{{ random 20 }}`

	maxUsernameLength = 64 // reference_iam-quotas
	maxTemplateLength = 512
	maxRandomLength   = 64
	// usernameSamples is how many names are rendered to judge a template by,
	// and minUsernameBits how much of them must be random: ten characters of
	// randomText have about 50 bits, the digits of a clock that change while the
	// samples are rendered have half of that.
	usernameSamples = 100
	minUsernameBits = 45
)

var (
	usernameRegexp = regexp.MustCompile(`^[A-Za-z0-9+=,.@_-]+$`)
	// controlRegexp finds the actions that could keep a template running for
	// ever. A user name needs none of them.
	controlRegexp = regexp.MustCompile(`\{\{-?\s*(range|template|define|block)\b`)

	formatRegexp = regexp.MustCompile(`^([^%]|%[-+# 0]*[0-9]{0,2}(\.[0-9]{0,2})?[a-zA-Z%])*$`)

	longestRoleName = strings.Repeat("x", 64)
)

// usernameData is what a username_template can refer to.
type usernameData struct {
	RoleName string
}

// newUsername renders the template, or the default one if it is empty, and
// checks that IAM would take the result.
func newUsername(usernameTemplate, roleName string) (string, error) {
	t, err := parsedTemplates.get(usernameTemplate)
	if err != nil {
		return "", err
	}
	return renderUsername(t, roleName)
}

// maxParsedTemplates is far beyond the number of templates that a mount uses.
const maxParsedTemplates = 100

// templateMemo remembers templates by their text. Parsed, they never change and
// serve any number of requests at once.
type templateMemo struct {
	mu     sync.Mutex
	parsed map[string]template.StringTemplate
}

var parsedTemplates = templateMemo{parsed: make(map[string]template.StringTemplate)}

func (m *templateMemo) get(text string) (template.StringTemplate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.parsed[text]; ok {
		return t, nil
	}
	t, err := parseUsernameTemplate(text)
	if err != nil {
		return t, err
	}
	if len(m.parsed) >= maxParsedTemplates {
		clear(m.parsed)
	}
	m.parsed[text] = t
	return t, nil
}

func parseUsernameTemplate(text string) (template.StringTemplate, error) {
	if text == "" {
		text = defaultUsernameTemplate
	}
	options := []template.Opt{template.Template(text)}
	for name, function := range templateFunctions {
		options = append(options, template.Function(name, function))
	}
	return template.NewTemplate(options...)
}

// templateFunctions stand in for those of the SDK and of text/template whose
// result can be longer than what they are given: nested in one another, a few
// of them would exhaust the server's memory, within any limit on the template.
var templateFunctions = map[string]any{
	"random":    randomText,
	"timestamp": func(layout string) (string, error) { return boundText(time.Now().Format(layout)) },
	"replace": func(old, with, text string) (string, error) {
		return boundText(strings.ReplaceAll(text, old, with))
	},
	"base64": func(text string) (string, error) {
		return boundText(base64.StdEncoding.EncodeToString([]byte(text)))
	},
	"print":    func(args ...any) (string, error) { return boundText(fmt.Sprint(args...)) },
	"printf":   printText,
	"println":  refuseFunction,
	"html":     refuseFunction,
	"js":       refuseFunction,
	"urlquery": refuseFunction,
}

// boundText refuses a text that no user name needs. It bounds the arguments of
// the next function, and with them all that a template can come to.
func boundText(text string) (string, error) {
	if len(text) > maxTemplateLength {
		return "", fmt.Errorf("a text of %d characters: at most %d are allowed on the way to a user name", len(text), maxTemplateLength)
	}
	return text, nil
}

// printText is printf without what makes much of little: long widths, widths
// from arguments, and arguments used more than once.
func printText(format string, args ...any) (string, error) {
	if !formatRegexp.MatchString(format) {
		return "", fmt.Errorf("printf: %q: widths have at most 2 digits, and '*' and '[' are not allowed", format)
	}
	return boundText(fmt.Sprintf(format, args...))
}

func refuseFunction(...any) (string, error) {
	return "", errors.New("a user name needs none of println, html, js and urlquery")
}

// randomText stands in for the SDK's function of the same name, which takes
// any length, so that a mistyped one cannot exhaust the server's memory. Its
// characters differ by more than case, because IAM's user names do.
func randomText(length int) (string, error) {
	if length < 1 || length > maxRandomLength {
		return "", fmt.Errorf("random: %d is not a length from 1 to %d", length, maxRandomLength)
	}
	var text strings.Builder
	for text.Len() < length {
		text.WriteString(rand.Text())
	}
	return strings.ToLower(text.String()[:length]), nil
}

func renderUsername(t template.StringTemplate, roleName string) (string, error) {
	name, err := t.Generate(usernameData{RoleName: roleName})
	switch {
	case err != nil:
		return "", refuse("%s cannot be rendered: %s", fieldUsernameTemplate, err)
	case len(name) > maxUsernameLength:
		return "", refuse("%s renders %d characters for a role name of %d: IAM takes at most %d, shorten it with \"truncate\"",
			fieldUsernameTemplate, len(name), len(roleName), maxUsernameLength)
	}
	if err := validateUsername(name); err != nil {
		return "", refuse("%s renders %q: %s", fieldUsernameTemplate, name, err)
	}
	return name, nil
}

// validateUsername checks a name for what IAM and the record's storage key can
// hold.
func validateUsername(name string) error {
	switch {
	case len(name) > maxUsernameLength:
		return fmt.Errorf("IAM takes at most %d characters", maxUsernameLength)
	case !usernameRegexp.MatchString(name):
		return errors.New("IAM takes letters, digits and +=,.@_- only")
	case strings.Contains(name, ".."):
		return fmt.Errorf("a name must not contain %q, which storage keys cannot hold", "..")
	}
	return nil
}

// validateUsernameTemplate refuses a template that cannot name users of the
// role: it must render valid names, and another one each time.
func validateUsernameTemplate(text, roleName string) error {
	if len(text) > maxTemplateLength {
		return refuse("%s has %d characters: use at most %d", fieldUsernameTemplate, len(text), maxTemplateLength)
	}
	if action := controlRegexp.FindString(text); action != "" {
		return refuse("%s must not use %q: a user name needs no loops and no nested templates", fieldUsernameTemplate, action)
	}
	t, err := parseUsernameTemplate(text)
	if err != nil {
		return refuse("%s is not a template: %s", fieldUsernameTemplate, err)
	}
	names := make([]string, usernameSamples)
	for i := range names {
		name, err := renderUsername(t, roleName)
		if err != nil {
			return err
		}
		// IAM compares user names ignoring case.
		names[i] = strings.ToLower(name)
	}
	if bits := randomness(names); bits < minUsernameBits {
		return refuse("%s renders names such as %q, of which too little is random: put {{ random 20 }} into it, since a name must be unique and unguessable", fieldUsernameTemplate, names[0])
	}
	return nil
}

// randomness estimates how many bits of the names differ from one to the next:
// for each position, what it takes to tell apart the characters seen there.
func randomness(names []string) float64 {
	var bits float64
	for position := range maxUsernameLength {
		seen := make(map[byte]bool)
		for _, name := range names {
			if position < len(name) {
				seen[name[position]] = true
			}
		}
		if len(seen) > 1 {
			bits += math.Log2(float64(len(seen)))
		}
	}
	return bits
}
