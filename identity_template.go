package awsiam

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// identityTemplate is a text with Vault's identity templates in it, read: pieces
// that stand as they are, and selectors whose value depends on who asks.
type identityTemplate []templatePiece

type templatePiece struct {
	text     string
	selector string // empty for a text
}

// selectorRegexp has the selectors of Vault's identity templates that have one text
// as their value (helper/identitytpl of the SDK, in the mode that Vault's own
// policies are rendered in). Lists have none there, and times are nobody's identity.
var selectorRegexp = regexp.MustCompile(`^identity\.(` +
	`entity\.(id|name|metadata\.[^{}]+|aliases\.[^.{}]+\.(id|name|(custom_)?metadata\.[^{}]+))|` +
	`groups\.(ids|names)\.[^.{}]+\.(id|name|metadata\.[^{}]+))$`)

// fixedRegexp are the selectors whose values cannot be taken for others: ids, none of
// which begins with another, and what is said of a group, which is the same for all.
var fixedRegexp = regexp.MustCompile(`^identity\.(entity\.(aliases\.[^.]+\.)?id$|groups\.)`)

// sampleValue is what stands for every value where a role is written.
const sampleValue = "x"

// parseIdentityTemplate reads a text, and returns nil for one without templates.
func parseIdentityTemplate(text string) (identityTemplate, error) {
	if !hasTemplate(text) {
		return nil, nil
	}
	var t identityTemplate
	var before strings.Builder // with a sample for each template
	for rest := text; rest != ""; {
		literal, after, found := strings.Cut(rest, "{{")
		inside, next, closed := strings.Cut(after, "}}")
		if found && !closed || strings.Contains(literal, "}}") {
			return nil, fmt.Errorf(`%q has "{{" without "}}", or "}}" without "{{"`, text)
		}
		if literal != "" {
			t = append(t, templatePiece{text: literal})
			before.WriteString(literal)
		}
		if !found {
			break
		}
		selector := strings.TrimSpace(inside)
		if !selectorRegexp.MatchString(selector) {
			return nil, fmt.Errorf("%q: {{%s}} is no identity template that has one text as its value: use identity.entity.id, identity.entity.name, "+
				"identity.entity.metadata.<key>, identity.entity.aliases.<mount accessor>.name (or id, metadata.<key>, custom_metadata.<key>), "+
				"or identity.groups.names.<group>.id (or name, metadata.<key>; or groups.ids)", text, inside)
		}
		if inVariable(before.String()) {
			return nil, fmt.Errorf("%q: {{%s}} stands in or right behind one of AWS's own ${…}: its value would say what that means", text, selector)
		}
		t = append(t, templatePiece{selector: selector})
		before.WriteString(sampleValue)
		rest = next
	}
	return t, nil
}

func hasTemplate(text string) bool { return strings.Contains(text, "{{") }

// inVariable says whether what follows the text is part of a policy variable, or may
// come to be.
func inVariable(text string) bool {
	return strings.HasSuffix(text, "$") || strings.LastIndex(text, "${") > strings.LastIndex(text, "}")
}

func (t identityTemplate) asksForGroups() bool {
	return slices.ContainsFunc(t, func(piece templatePiece) bool { return strings.HasPrefix(piece.selector, "identity.groups.") })
}

// valueOf tells what a selector stands for.
type valueOf func(selector string) (string, error)

func sample(string) (string, error) { return sampleValue, nil }

// render fills the values in, each checked for where it stands.
func (t identityTemplate) render(value valueOf) (string, error) {
	var text strings.Builder
	for _, piece := range t {
		if piece.selector == "" {
			text.WriteString(piece.text)
			continue
		}
		filled, err := value(piece.selector)
		if err != nil {
			return "", err
		}
		if err := checkIdentityValue(filled, len(t) == 1); err != nil {
			return "", refuse("the value of {{%s}} %s", piece.selector, err)
		}
		text.WriteString(filled)
	}
	return text.String(), nil
}

// valueChars are those of values beside letters and digits: those of IAM's own names
// and a few that people's and accounts' names have. Not among them are those that
// mean something in a policy or in what it is about (* ? $ { } " \ % …).
const valueChars = " +=,.@_-~|'"

// checkIdentityValue says what is wrong with a value. It decides by what is known to
// be harmless, since what a character means is up to each of AWS's services.
//
// A slash or a colon would move the boundary of a path or of an ARN's field: who is
// called "ann/private" would be given a part of what is ann's. Where the template is
// the whole text there is no boundary to be moved.
//
// The value is not in the message: it may be nobody else's business.
func checkIdentityValue(value string, whole bool) error {
	for _, r := range value {
		switch {
		case unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
			return fmt.Errorf("has the character U+%04X, which cannot be seen", r)
		case unicode.In(r, unicode.L, unicode.M, unicode.N), strings.ContainsRune(valueChars, r):
		case r == '/' || r == ':':
			if !whole {
				return fmt.Errorf("has a %q, which would lead out of the place that the template has: use another, such as identity.entity.id", r)
			}
		default:
			return fmt.Errorf("has the character %q (U+%04X), which could change what the policy means: only letters, digits, spaces and %s are taken", r, r, strings.TrimSpace(valueChars))
		}
	}
	first, _ := utf8.DecodeRuneInString(value)
	switch {
	case value == "":
		return errors.New("is empty, which would widen what it stands in")
	case strings.Trim(value, ".") == "":
		return errors.New("has nothing but dots, which some of AWS's services take for a step up in a path")
	case strings.TrimSpace(value) != value:
		return errors.New("begins or ends with a space")
	case unicode.Is(unicode.M, first):
		return fmt.Errorf("begins with U+%04X, which would change the character before it", first)
	}
	return nil
}

// blurred says whether the values of two entities can come to mean the same, or the
// one's include the other's: in one part of a path there is a template beside a
// wildcard, or beside another template. Of "home-{{name}}*" ann has what is anna's.
func (t identityTemplate) blurred(pattern bool) bool {
	const name = "\x00"
	var text strings.Builder
	for _, piece := range t {
		switch {
		case piece.selector == "":
			text.WriteString(piece.text)
		case !fixedRegexp.MatchString(piece.selector):
			text.WriteString(name)
		}
	}
	for _, part := range strings.FieldsFunc(text.String(), func(r rune) bool { return r == '/' || r == ':' }) {
		if names := strings.Count(part, name); names > 1 || names == 1 && pattern && strings.ContainsAny(part, "*?") {
			return true
		}
	}
	return false
}

// String is the text that the template was read from, but for white space.
func (t identityTemplate) String() string {
	var text strings.Builder
	for _, piece := range t {
		if piece.selector != "" {
			text.WriteString("{{" + piece.selector + "}}")
		}
		text.WriteString(piece.text)
	}
	return text.String()
}
