package awsfake

import "strings"

// In a pattern, wildcards are runes of the private use area, so that neither a value filled in for a
// variable nor ${*} can be taken for one.
const (
	anyRun  = '\uE000' // *
	anyRune = '\uE001' // ?
)

var asWildcards = strings.NewReplacer("*", string(anyRun), "?", string(anyRune))

// wildcards makes a pattern of a text in which * and ? are wildcards.
func wildcards(text string) string { return asWildcards.Replace(text) }

// glob tells whether a pattern matches all of a text; * crosses any character, / and : too.
func glob(pattern, text string) bool {
	p, t := []rune(pattern), []rune(text)
	pi, ti, star, resume := 0, 0, -1, 0
	for ti < len(t) {
		switch {
		case pi < len(p) && p[pi] == anyRun:
			star, resume = pi, ti
			pi++
		case pi < len(p) && (p[pi] == anyRune || p[pi] == t[ti]):
			pi, ti = pi+1, ti+1
		case star >= 0:
			resume++
			pi, ti = star+1, resume
		default:
			return false
		}
	}
	for pi < len(p) && p[pi] == anyRun {
		pi++
	}
	return pi == len(p)
}

// arnLike compares ARNs part by part: here, unlike in Resource, a wildcard stays between its colons
// but for the last part.
func arnLike(have, want string) bool {
	h, w := strings.SplitN(have, ":", 6), strings.SplitN(want, ":", 6)
	if len(h) != 6 || len(w) != 6 {
		return want == string(anyRun)
	}
	for i := range h {
		if !glob(w[i], h[i]) {
			return false
		}
	}
	return true
}

// expand fills in the policy variables of a text, which is a pattern if so wanted. It tells false if
// a variable has no value in this request: then the text matches nothing.
func expand(text string, keys conditionKeys, pattern, variables bool) (string, bool) {
	convert := func(s string) string { return s }
	if pattern {
		convert = wildcards
	}
	var out strings.Builder
	for variables {
		before, rest, found := strings.Cut(text, "${")
		name, after, closed := strings.Cut(rest, "}")
		if !found || !closed {
			break
		}
		out.WriteString(convert(before))
		name, fallback, hasFallback := strings.Cut(name, ",")
		switch value := keys[strings.ToLower(strings.TrimSpace(name))]; {
		case name == "*" || name == "?" || name == "$":
			out.WriteString(name)
		case len(value) == 1:
			out.WriteString(value[0])
		case hasFallback:
			out.WriteString(strings.Trim(fallback, " '"))
		default:
			return "", false
		}
		text = after
	}
	out.WriteString(convert(text))
	return out.String(), true
}
