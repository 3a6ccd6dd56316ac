package main

import (
	"regexp"
	"strings"
)

// harmless is text that a shell takes as it is.
var harmless = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote renders an argument for a POSIX shell. Of key=value only the value is
// quoted, as a person would.
func quote(arg string) string {
	if harmless.MatchString(arg) {
		return arg
	}
	key, value, found := strings.Cut(arg, "=")
	if !found || !harmless.MatchString(key) {
		key, value = "", arg
	} else {
		key += "="
	}
	return key + "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}

// continuation is between two lines of one command, as the demo prints them.
const continuation = " \\\n      "

// shellCommand renders a command as a person would type it, on several lines
// if one is too short.
func shellCommand(args ...string) string {
	var text strings.Builder
	column := 0
	for i := 0; i < len(args); i++ {
		word := quote(args[i])
		// An option of the AWS CLI and its value belong together.
		if strings.HasPrefix(word, "--") && i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") {
			i++
			word += " " + quote(args[i])
		}
		first, _, severalLines := strings.Cut(word, "\n")
		switch {
		case i == 0:
		case column+1+len(first) > lineWidth-len(continuation):
			text.WriteString(continuation)
			column = 0
		default:
			text.WriteString(" ")
			column++
		}
		text.WriteString(word)
		column += len(first)
		if severalLines {
			column = len(word) - strings.LastIndex(word, "\n")
		}
	}
	return text.String()
}
