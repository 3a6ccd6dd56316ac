package awsiam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// maxInlinePolicySize is IAM's bound on a user's inline policies together,
// white space not counted (reference_iam-quotas). Whether white space inside
// strings counts is not documented, so it does here.
const maxInlinePolicySize = 2048

// maxDocumentLength bounds a document with its white space: the length of
// PolicyDocument in the API reference of PutUserPolicy.
const maxDocumentLength = 131_072

var (
	sidRegexp     = regexp.MustCompile(`^[A-Za-z0-9]*$`)
	serviceRegexp = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
	actionRegexp  = regexp.MustCompile(`^([A-Za-z0-9-]+:[A-Za-z0-9*?]+|\*:\*|\*)$`)
	// IAM user guide, reference_policies_elements_condition_operators.
	operatorRegexp = regexp.MustCompile(`^(ForAnyValue:|ForAllValues:)?(Null|(` +
		`String((Not)?Equals(IgnoreCase)?|(Not)?Like)|` +
		`(Numeric|Date)((Not)?Equals|(LessThan|GreaterThan)(Equals)?)|` +
		`Bool|BinaryEquals|(Not)?IpAddress|Arn(Not)?(Equals|Like))(IfExists)?)$`)
)

// minifyPolicy returns the document without white space between its tokens.
func minifyPolicy(document string) (string, error) {
	var minified bytes.Buffer
	if err := json.Compact(&minified, []byte(document)); err != nil {
		return "", err
	}
	return minified.String(), nil
}

// validatePolicyDocument checks a document against the grammar of identity
// policies (IAM user guide, reference_policies_grammar) and IAM's size limit,
// so that a role cannot be written that fails when a credential is read.
// partition, if known, is the only one its resources may name.
func validatePolicyDocument(field, document, partition string) error {
	policy, err := readPolicyDocument(field, document)
	if err != nil {
		return err
	}
	minified, err := minifyPolicy(document)
	if err != nil {
		return refuse("%s is not JSON: %s", field, err)
	}
	if len(minified) > maxInlinePolicySize {
		return refuse("%s has %d bytes without white space: IAM takes at most %d, move statements into a managed policy (%s)",
			field, len(minified), maxInlinePolicySize, fieldPolicyARNs)
	}
	if err := checkPolicy(policy, partition); err != nil {
		return refuse("%s: %s", field, err)
	}
	return nil
}

// readPolicyDocument decodes a document that IAM would take for JSON.
func readPolicyDocument(field, document string) (map[string]any, error) {
	if len(document) > maxDocumentLength {
		return nil, refuse("%s has %d characters: use at most %d, white space included", field, len(document), maxDocumentLength)
	}
	policy, err := decodeObject(document)
	if err != nil {
		return nil, refuse("%s is not a JSON object with \"Version\" and \"Statement\": %s", field, err)
	}
	if i := strings.IndexFunc(document, func(r rune) bool { return r > 0xFF }); i >= 0 {
		// The pattern of PolicyDocument in the API reference of PutUserPolicy.
		return nil, refuse("%s has a character beyond Latin-1 at byte %d, which IAM does not take: write it as \\uXXXX", field, i)
	}
	return policy, nil
}

func checkPolicy(policy map[string]any, partition string) error {
	for _, element := range sortedKeys(policy) {
		switch element {
		case "Version", "Statement":
		case "Id":
			return errors.New(`remove "Id": identity policies cannot have one`)
		default:
			return fmt.Errorf(`unknown element %q: a policy has "Version" and "Statement" (spelt exactly so)`, element)
		}
	}
	if version, ok := policy["Version"]; ok && version != "2012-10-17" && version != "2008-10-17" {
		return fmt.Errorf(`"Version" is %v: use "2012-10-17"`, version)
	}
	statements, ok := policy["Statement"].([]any)
	if !ok {
		statements = []any{policy["Statement"]}
	}
	if len(statements) == 0 {
		return errors.New(`"Statement" is empty: add a statement`)
	}
	var sids []string
	for i, statement := range statements {
		s, ok := statement.(map[string]any)
		if !ok {
			return errors.New(`"Statement" must be an object or a list of objects`)
		}
		if err := checkStatement(s, partition); err != nil {
			return fmt.Errorf("statement %d: %w", i+1, err)
		}
		if sid, _ := s["Sid"].(string); sid != "" {
			if slices.Contains(sids, sid) {
				return fmt.Errorf(`statement %d: the "Sid" %q is used twice`, i+1, sid)
			}
			sids = append(sids, sid)
		}
	}
	return nil
}

func checkStatement(statement map[string]any, partition string) error {
	for _, element := range sortedKeys(statement) {
		switch element {
		case "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition":
		case "Principal", "NotPrincipal":
			return fmt.Errorf("remove %q: the user it is attached to is the principal", element)
		default:
			return fmt.Errorf("unknown element %q (elements are spelt exactly as in AWS's documentation)", element)
		}
	}
	if sid, ok := statement["Sid"]; ok {
		if text, ok := sid.(string); !ok || !sidRegexp.MatchString(text) {
			return fmt.Errorf(`"Sid" is %v: use letters and digits`, sid)
		}
	}
	if effect := statement["Effect"]; effect != "Allow" && effect != "Deny" {
		return errors.New(`"Effect" must be "Allow" or "Deny"`)
	}
	if err := checkEither(statement, "Action", "NotAction", checkAction); err != nil {
		return err
	}
	if err := checkEither(statement, "Resource", "NotResource", func(resource string) error {
		return checkResource(resource, partition)
	}); err != nil {
		return err
	}
	if condition, ok := statement["Condition"]; ok {
		return checkCondition(condition)
	}
	return nil
}

// checkEither checks the strings of the one of two elements that is there.
func checkEither(statement map[string]any, element, opposite string, check func(string) error) error {
	value, ok := statement[element]
	other, otherOK := statement[opposite]
	if ok == otherOK {
		return fmt.Errorf("give either %q or %q", element, opposite)
	}
	if otherOK {
		element, value = opposite, other
	}
	values, ok := stringOrStrings(value)
	if !ok || len(values) == 0 {
		return fmt.Errorf("%q must be a string or a list of strings", element)
	}
	for _, v := range values {
		if err := check(v); err != nil {
			return fmt.Errorf("%q: %w", element, err)
		}
	}
	return nil
}

func stringOrStrings(value any) ([]string, bool) {
	if text, ok := value.(string); ok {
		return []string{text}, true
	}
	list, ok := value.([]any)
	if !ok {
		return nil, false
	}
	texts := make([]string, 0, len(list))
	for _, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, true
}

func checkAction(action string) error {
	if !actionRegexp.MatchString(action) {
		return fmt.Errorf(`%q is not an action: use "service:Action", "service:*" or "*"`, action)
	}
	return nil
}

// checkResource checks the parts of an ARN that IAM itself checks.
func checkResource(resource, partition string) error {
	if resource == "*" {
		return nil
	}
	parts := strings.SplitN(resource, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" || parts[5] == "" {
		return fmt.Errorf(`%q is not a resource: use an ARN (arn:partition:service:region:account:resource) or "*"`, resource)
	}
	// Policy variables are for the part after the fifth colon, wildcards for all
	// but the service (IAM user guide, reference_policies_elements_resource).
	if parts[1] != "*" && !partitionRegexp.MatchString(parts[1]) {
		return fmt.Errorf("%q has no valid partition: use aws, aws-cn, aws-us-gov, … or \"*\"", resource)
	}
	if !serviceRegexp.MatchString(parts[2]) {
		return fmt.Errorf("%q does not name a service: its third part takes no wildcards or variables", resource)
	}
	if partition != "" && partitionRegexp.MatchString(parts[1]) && parts[1] != partition {
		return fmt.Errorf("%q is of partition %q, the integration's account is in %q", resource, parts[1], partition)
	}
	return nil
}

func checkCondition(condition any) error {
	operators, ok := condition.(map[string]any)
	if !ok {
		return errors.New(`"Condition" must be an object of operators`)
	}
	for _, operator := range sortedKeys(operators) {
		keys, ok := operators[operator].(map[string]any)
		if !operatorRegexp.MatchString(operator) {
			return fmt.Errorf(`"Condition": %q is not an operator (they are spelt exactly as in AWS's documentation)`, operator)
		}
		if !ok {
			return fmt.Errorf(`"Condition": %q must have an object of keys`, operator)
		}
		for _, key := range sortedKeys(keys) {
			if prefix, name, _ := strings.Cut(key, ":"); prefix == "" || name == "" {
				return fmt.Errorf(`"Condition": %q of %q is not a key: use "aws:Key" or "service:Key"`, key, operator)
			}
			if !isConditionValue(keys[key]) {
				return fmt.Errorf(`"Condition": %q of %q must be a string, number or boolean, or a list of them`, key, operator)
			}
		}
	}
	return nil
}

func isConditionValue(value any) bool {
	switch v := value.(type) {
	case string, json.Number, bool:
		return true
	case []any:
		return len(v) > 0 && !slices.ContainsFunc(v, func(item any) bool {
			_, nested := item.([]any)
			return nested || !isConditionValue(item)
		})
	}
	return false
}

// decodeObject decodes one JSON object and nothing after it. encoding/json
// lets the last of several equal keys win where AWS refuses the document, so
// equal keys are refused here too.
func decodeObject(document string) (map[string]any, error) {
	dec := json.NewDecoder(strings.NewReader(document))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return nil, err
	}
	if object == nil {
		return nil, errors.New("it is null")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the closing brace")
	}
	keys := json.NewDecoder(strings.NewReader(document))
	keys.UseNumber()
	return object, checkUniqueKeys(keys)
}

// checkUniqueKeys reads one JSON value that is known to be well-formed.
func checkUniqueKeys(dec *json.Decoder) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	opening, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := make(map[any]bool)
	for dec.More() {
		if opening == '{' {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			if seen[key] {
				return fmt.Errorf("the key %q stands twice in one object", key)
			}
			seen[key] = true
		}
		if err := checkUniqueKeys(dec); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

func sortedKeys[T any](object map[string]T) []string {
	return slices.Sorted(maps.Keys(object))
}
