package awsiam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"
)

// policyTemplate is a policy document with identity templates, decoded, with an
// identityTemplate in place of each text that has some. It never changes.
//
// The document is read before anything is filled in, and written again with the values
// in it: no value can become anything but a part of the text that its template stood in.
type policyTemplate struct {
	document any
	groups   bool // whether it asks for groups
}

// parsePolicyTemplate reads a document, and returns nil for one without templates, and
// for one that is no JSON, of which others tell what is wrong.
func parsePolicyTemplate(document string) (*policyTemplate, error) {
	decoded, err := decodeObject(document)
	if err != nil {
		return nil, nil //nolint:nilerr // validatePolicyDocument says so
	}
	f := new(templateFinder)
	read, err := f.read(decoded, nil)
	if err != nil || !f.found {
		return nil, err
	}
	return &policyTemplate{read, f.groups}, nil
}

// templateFinder reads the templates of a document.
type templateFinder struct{ found, groups bool }

// read returns the value with its templates read. path are the keys that lead to it.
func (f *templateFinder) read(value any, path []string) (any, error) {
	switch v := value.(type) {
	case string:
		t, err := parseIdentityTemplate(v)
		if t == nil {
			return v, describePlace(path, err)
		}
		f.found, f.groups = true, f.groups || t.asksForGroups()
		return t, describePlace(path, checkPlace(t, path))
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			read, err := f.read(item, path)
			if err != nil {
				return nil, err
			}
			list[i] = read
		}
		return list, nil
	case map[string]any:
		object := make(map[string]any, len(v))
		for _, key := range sortedKeys(v) {
			if hasTemplate(key) {
				return nil, fmt.Errorf("%q: %s", key, templatesStand)
			}
			read, err := f.read(v[key], append(slices.Clone(path), key))
			if err != nil {
				return nil, err
			}
			object[key] = read
		}
		return object, nil
	}
	return value, nil
}

func describePlace(path []string, err error) error {
	if err == nil || len(path) == 0 {
		return err
	}
	return fmt.Errorf("%q: %w", path[len(path)-1], err)
}

const templatesStand = `identity templates stand in "Resource", "NotResource" and values of conditions only`

// checkPlace says whether a template can stand there: who asks may decide on which
// things something is allowed, and not what is, nor whether.
func checkPlace(t identityTemplate, path []string) error {
	text, err := t.render(sample)
	if err != nil {
		return err
	}
	switch {
	case len(path) == 2 && path[0] == "Statement" && (path[1] == "Resource" || path[1] == "NotResource"):
		first := slices.IndexFunc(t, func(piece templatePiece) bool { return piece.selector != "" })
		before := ""
		if first > 0 {
			before = t[0].text
		}
		if strings.Count(before, ":") < 3 {
			return fmt.Errorf("%q: the partition and the service of an ARN cannot depend on who asks: put templates behind them", t)
		}
		return checkResource(text, "")
	case len(path) == 4 && path[0] == "Statement" && path[1] == "Condition":
		if !comparesTexts(path[2]) {
			return fmt.Errorf("%q: %s compares no texts: identity templates can stand in conditions whose operator has String or Arn in its name", t, path[2])
		}
		return nil
	}
	return fmt.Errorf("%q: %s", t, templatesStand)
}

// comparesTexts is true of operators for which a value is no more than itself. A date
// or a network would say how much is allowed, and a boolean whether.
func comparesTexts(operator string) bool {
	_, name, quantified := strings.Cut(operator, ":")
	if !quantified {
		name = operator
	}
	return strings.HasPrefix(name, "String") || strings.HasPrefix(name, "Arn")
}

// render is the document with the values filled in, without white space.
func (p *policyTemplate) render(value valueOf) (string, error) {
	filled, err := fillIn(p.document, value)
	if err != nil {
		return "", err
	}
	return encodePolicy(filled)
}

func fillIn(document any, value valueOf) (any, error) {
	switch v := document.(type) {
	case identityTemplate:
		return v.render(value)
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			filled, err := fillIn(item, value)
			if err != nil {
				return nil, err
			}
			list[i] = filled
		}
		return list, nil
	case map[string]any:
		object := make(map[string]any, len(v))
		for _, key := range sortedKeys(v) { // so that of several faults always the same is told
			filled, err := fillIn(v[key], value)
			if err != nil {
				return nil, err
			}
			object[key] = filled
		}
		return object, nil
	}
	return document, nil
}

// encodePolicy spells the document with no more characters than JSON and IAM demand:
// these count. Of what is beyond Latin-1 IAM takes the escape only.
func encodePolicy(document any) (string, error) {
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return "", fmt.Errorf("encoding a policy: %w", err)
	}
	var text strings.Builder
	for _, r := range strings.TrimSuffix(encoded.String(), "\n") {
		if r <= 0xFF {
			text.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&text, `\u%04x`, unit)
		}
	}
	return text.String(), nil
}

// blurred are the texts in which the values of different entities can mix.
func (p *policyTemplate) blurred() []string {
	found := make(map[string]bool)
	var look func(value any, pattern bool)
	look = func(value any, pattern bool) {
		switch v := value.(type) {
		case identityTemplate:
			if v.blurred(pattern) {
				found[v.String()] = true
			}
		case []any:
			for _, item := range v {
				look(item, pattern)
			}
		case map[string]any:
			for key, item := range v {
				// In other conditions a wildcard is a character like any other.
				exact := strings.Contains(key, "String") && !strings.Contains(key, "Like")
				look(item, pattern && !exact)
			}
		}
	}
	look(p.document, true)
	return slices.Sorted(maps.Keys(found))
}

// tagInText says whether a policy puts the value of a tag of the user's into a longer
// text, as in "home/${aws:PrincipalTag/owner}/*", where it could move a boundary.
func tagInText(document, key string) bool {
	decoded, err := decodeObject(document)
	if err != nil {
		return false
	}
	variable := regexp.MustCompile(`(?i)\$\{\s*aws:PrincipalTag/` + regexp.QuoteMeta(key) + `\s*(,[^}]*)?\}`)
	return anyText(decoded, func(text string) bool {
		found := variable.FindStringIndex(text)
		return len(found) == 2 && found[1]-found[0] < len(text)
	})
}

// anyText says whether any text among a document's values is such.
func anyText(document any, is func(string) bool) bool {
	switch v := document.(type) {
	case string:
		return is(v)
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return anyText(item, is) })
	case map[string]any:
		for _, item := range v {
			if anyText(item, is) {
				return true
			}
		}
	}
	return false
}
