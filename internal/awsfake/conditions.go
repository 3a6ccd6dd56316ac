package awsfake

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// condition is one key of a Condition block with the values it is compared with. All conditions of
// a statement must hold; one value of each is enough.
type condition struct {
	quantifier string // "", "ForAnyValue", "ForAllValues"
	operator   operator
	ifExists   bool
	key        string // in lower case: condition keys ignore it
	values     []string
}

// operator compares a request's value with a policy's. A negated one holds where match does not, and
// also where the key is missing.
type operator struct {
	match   func(have, want string) bool
	negated bool
	pattern bool // * and ? in the policy's value are wildcards
	null    bool
}

func not(o operator) operator { o.negated = true; return o }

// operators are IAM's (IAM user guide, "reference_policies_elements_condition_operators").
var operators = func() map[string]operator {
	equals := operator{match: func(h, w string) bool { return h == w }}
	like := operator{match: func(h, w string) bool { return glob(w, h) }, pattern: true}
	arn := operator{match: arnLike, pattern: true}
	ip := operator{match: inNetwork}
	all := map[string]operator{
		"StringEquals": equals, "StringNotEquals": not(equals),
		"StringEqualsIgnoreCase": {match: strings.EqualFold}, "StringNotEqualsIgnoreCase": {match: strings.EqualFold, negated: true},
		"StringLike": like, "StringNotLike": not(like),
		"ArnEquals": arn, "ArnLike": arn, "ArnNotEquals": not(arn), "ArnNotLike": not(arn),
		"Bool": {match: strings.EqualFold}, "BinaryEquals": equals,
		"IpAddress": ip, "NotIpAddress": not(ip),
		"Null": {null: true},
	}
	for name, holds := range map[string]func(order int) bool{
		"Equals":            func(o int) bool { return o == 0 },
		"LessThan":          func(o int) bool { return o < 0 },
		"LessThanEquals":    func(o int) bool { return o <= 0 },
		"GreaterThan":       func(o int) bool { return o > 0 },
		"GreaterThanEquals": func(o int) bool { return o >= 0 },
	} {
		all["Date"+name] = operator{match: compared(parseDate, time.Time.Compare, holds)}
		all["Numeric"+name] = operator{match: compared(parseNumber, compareNumbers, holds)}
	}
	all["DateNotEquals"] = not(all["DateEquals"])
	all["NumericNotEquals"] = not(all["NumericEquals"])
	return all
}()

// compared makes an operator's match of a parser and an order. What does not parse matches nothing.
func compared[T any](parse func(string) (T, bool), order func(a, b T) int, holds func(int) bool) func(have, want string) bool {
	return func(have, want string) bool {
		h, ok := parse(have)
		w, ok2 := parse(want)
		return ok && ok2 && holds(order(h, w))
	}
}

// parseDate reads a date as conditions may give it: W3C's ISO 8601 profile, or seconds since 1970.
func parseDate(s string) (time.Time, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && len(s) > 4 {
		return time.Unix(n, 0), true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02", "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func parseNumber(s string) (float64, bool) {
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

func compareNumbers(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

func inNetwork(have, want string) bool {
	addr, err := netip.ParseAddr(have)
	if err != nil {
		return false
	}
	if single, err := netip.ParseAddr(want); err == nil {
		return addr == single
	}
	network, err := netip.ParsePrefix(want)
	return err == nil && network.Contains(addr)
}

// parseConditions reads a Condition block: operator → key → value or values.
func parseConditions(raw json.RawMessage) ([]condition, error) {
	if raw == nil {
		return nil, nil
	}
	var block map[string]object
	if err := json.Unmarshal(raw, &block); err != nil || block == nil {
		return nil, errSyntax
	}
	var all []condition
	for name, keys := range block {
		c := condition{}
		rest := name
		if q, after, found := strings.Cut(name, ":"); found && (q == "ForAnyValue" || q == "ForAllValues") {
			c.quantifier, rest = q, after
		}
		rest, c.ifExists = strings.CutSuffix(rest, "IfExists")
		var known bool
		if c.operator, known = operators[rest]; !known || c.operator.null && c.ifExists {
			return nil, malformed("Invalid Condition type : %s.", name)
		}
		for key, value := range keys {
			c.key = strings.ToLower(key)
			if !strings.Contains(key, ":") {
				return nil, malformed("Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
			}
			if c.values = scalarsOf(value); c.values == nil {
				return nil, errSyntax
			}
			all = append(all, c)
		}
	}
	return all, nil
}

// scalarsOf reads the values of a condition, where booleans and numbers need no quotes.
func scalarsOf(raw json.RawMessage) []string {
	var many []json.RawMessage
	if json.Unmarshal(raw, &many) != nil {
		many = []json.RawMessage{raw}
	}
	values := []string{}
	for _, one := range many {
		var s string
		switch {
		case json.Unmarshal(one, &s) == nil && one[0] == '"':
			values = append(values, s)
		case one[0] != '{' && one[0] != '[' && string(one) != "null":
			values = append(values, string(one))
		default:
			return nil
		}
	}
	return values
}

// holds judges the condition. variables tells whether ${…} in its values is to be filled in.
func (c condition) holds(keys conditionKeys, variables bool) bool {
	have, present := keys[c.key]
	if c.operator.null {
		return len(c.values) > 0 && strings.EqualFold(c.values[0], strconv.FormatBool(!present))
	}
	if !present {
		return c.ifExists || c.quantifier == "ForAllValues" || c.quantifier == "" && c.operator.negated
	}
	matches := func(value string) bool {
		for _, want := range c.values {
			if want, ok := expand(want, keys, c.operator.pattern, variables); ok && c.operator.match(value, want) {
				return !c.operator.negated
			}
		}
		return c.operator.negated
	}
	for _, value := range have {
		switch ok := matches(value); {
		case c.quantifier == "ForAllValues" && !ok:
			return false
		case c.quantifier != "ForAllValues" && ok:
			return true
		}
	}
	return c.quantifier == "ForAllValues"
}
