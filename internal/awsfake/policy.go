package awsfake

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// document is a policy as it was sent and as it is judged by. It never changes once parsed.
type document struct {
	text       string
	size       int // in bytes, white space between tokens not counted
	variables  bool
	statements []statement
}

type statement struct {
	allow                   bool
	actions, notActions     []string
	resources, notResources []string
	principals              []string // of trust policies; "*" is anybody
	conditions              []condition
}

// policyKind tells identity policies, which are about resources, from trust policies, which are
// about principals.
type policyKind int

const (
	identityPolicy policyKind = iota
	trustPolicy
)

var (
	sidForm    = regexp.MustCompile(`^[0-9A-Za-z]*$`)
	actionForm = regexp.MustCompile(`^[0-9A-Za-z-]+:[0-9A-Za-z*?-]+$`)
)

func malformed(format string, args ...any) *apiError {
	return fail("MalformedPolicyDocument", format, args...)
}

// object is a JSON object with its values unparsed: policy element names count their case, which
// encoding/json ignores for struct fields.
type object map[string]json.RawMessage

var errSyntax = malformed("Syntax errors in policy.")

// parseDocument parses and checks a policy as IAM does when it is put (IAM user guide,
// "reference_policies_grammar").
func parseDocument(text, partition string, kind policyKind) (*document, error) {
	var top object
	if err := json.Unmarshal([]byte(text), &top); err != nil || top == nil {
		return nil, malformed("This policy contains invalid Json")
	}
	for name := range top {
		// Id is for resource policies alone.
		if name != "Version" && name != "Statement" && (name != "Id" || kind == identityPolicy) {
			return nil, errSyntax
		}
	}
	doc := &document{text: text}
	if raw, ok := top["Version"]; ok {
		version, single := stringsOf(raw)
		if !single || version[0] != "2012-10-17" && version[0] != "2008-10-17" {
			return nil, errSyntax
		}
		// Without this version ${…} is just text.
		doc.variables = version[0] == "2012-10-17"
	}
	var minified bytes.Buffer
	must(json.Compact(&minified, []byte(text)))
	doc.size = minified.Len()

	sids := map[string]bool{}
	for _, raw := range statementsOf(top["Statement"]) {
		st, err := parseStatement(raw, partition, kind, sids)
		if err != nil {
			return nil, err
		}
		doc.statements = append(doc.statements, st)
	}
	if len(doc.statements) == 0 {
		return nil, errSyntax
	}
	return doc, nil
}

// statementsOf reads one statement or a list of them.
func statementsOf(raw json.RawMessage) []object {
	var many []object
	if json.Unmarshal(raw, &many) == nil {
		return many
	}
	var single object
	if json.Unmarshal(raw, &single) == nil {
		return []object{single}
	}
	return nil
}

func parseStatement(raw object, partition string, kind policyKind, sids map[string]bool) (st statement, err error) {
	fields, err := statementFields(raw, kind)
	if err != nil {
		return st, err
	}
	if err := checkSid(fields["Sid"], sids); err != nil {
		return st, err
	}
	switch strings.Join(fields["Effect"], ",") {
	case "Allow":
		st.allow = true
	case "Deny":
	default:
		return st, errSyntax
	}
	st.actions, st.notActions = fields["Action"], fields["NotAction"]
	st.resources, st.notResources = fields["Resource"], fields["NotResource"]
	if err := st.checkActions(); err != nil {
		return st, err
	}
	if kind == trustPolicy {
		st.principals, err = parsePrincipals(raw["Principal"])
	} else {
		err = st.checkResources(partition)
	}
	if err != nil {
		return st, err
	}
	st.conditions, err = parseConditions(raw["Condition"])
	return st, err
}

// statementFields reads the elements of a statement that are text or lists of texts.
func statementFields(raw object, kind policyKind) (map[string][]string, error) {
	known := []string{"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
	if kind == trustPolicy {
		known = []string{"Sid", "Effect", "Action", "Principal", "Condition"}
	}
	fields := map[string][]string{}
	for name, value := range raw {
		switch {
		case !slices.Contains(known, name) && strings.HasSuffix(name, "Principal"):
			return nil, malformed("Policy document should not specify a principal.")
		case !slices.Contains(known, name):
			return nil, errSyntax
		case name == "Condition" || name == "Principal":
			continue
		}
		list, single := stringsOf(value)
		if list == nil || !single && (name == "Sid" || name == "Effect") {
			return nil, errSyntax
		}
		fields[name] = list
	}
	return fields, nil
}

// checkSid checks a statement's id, if it has one, and notes it.
func checkSid(sid []string, taken map[string]bool) error {
	for _, id := range sid {
		if !sidForm.MatchString(id) {
			return malformed("Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*")
		}
		if taken[id] {
			return malformed("Statement IDs (SID) in a single policy must be unique.")
		}
		taken[id] = true
	}
	return nil
}

func (st statement) checkActions() error {
	if len(st.actions)+len(st.notActions) == 0 {
		return malformed("Policy statement must contain actions.")
	}
	if len(st.actions) > 0 && len(st.notActions) > 0 {
		return errSyntax
	}
	for _, a := range slices.Concat(st.actions, st.notActions) {
		if a != "*" && !actionForm.MatchString(a) {
			return malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
		}
	}
	return nil
}

func (st statement) checkResources(partition string) error {
	if len(st.resources)+len(st.notResources) == 0 {
		return malformed("Policy statement must contain resources.")
	}
	if len(st.resources) > 0 && len(st.notResources) > 0 {
		return errSyntax
	}
	for _, r := range slices.Concat(st.resources, st.notResources) {
		if r == "*" {
			continue
		}
		parts := strings.SplitN(r, ":", 6)
		if parts[0] != "arn" || len(parts) < 6 {
			return malformed(`Resource %s must be in ARN format or "*".`, r)
		}
		if !glob(wildcards(parts[1]), partition) {
			return malformed(`Partition "%s" is not valid for resource "%s".`, parts[1], r)
		}
	}
	return nil
}

// parsePrincipals reads "*", {"AWS": …} and {"Federated": …}. Principals of other kinds cannot call this AWS.
func parsePrincipals(raw json.RawMessage) ([]string, error) {
	if list, single := stringsOf(raw); single && list[0] == "*" {
		return list, nil
	}
	var kinds object
	if err := json.Unmarshal(raw, &kinds); err != nil || len(kinds) == 0 {
		return nil, malformed("AssumeRole policy must contain principals")
	}
	var all []string
	for kind, value := range kinds {
		list, _ := stringsOf(value)
		switch {
		case list == nil:
			return nil, errSyntax
		case kind == "AWS" || kind == "Federated":
			all = append(all, list...)
		case kind != "Service" && kind != "CanonicalUser":
			return nil, malformed("Invalid principal in policy")
		}
	}
	return all, nil
}

// stringsOf reads a string (then single is true) or a list of strings; nil for anything else.
func stringsOf(raw json.RawMessage) (list []string, single bool) {
	var one *string
	if json.Unmarshal(raw, &one) == nil && one != nil {
		return []string{*one}, true
	}
	var many []*string
	if json.Unmarshal(raw, &many) != nil || slices.Contains(many, nil) {
		return nil, false
	}
	list = []string{}
	for _, s := range many {
		list = append(list, *s)
	}
	return list, false
}
