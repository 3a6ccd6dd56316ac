package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// report says what was done, or would be, about each path, and what was not carried
// over and why.
func (p *plan) report(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "From %s/, the built-in aws engine, to %s/\n", p.options.from, p.options.to)
	for _, s := range p.steps {
		fmt.Fprintf(&b, "\n%s: %s\n", p.options.to+"/"+s.path, s.outcome(p.options.write))
		for _, field := range slices.Sorted(maps.Keys(s.body)) {
			fmt.Fprintf(&b, "    %s=%s\n", field, shown(field, s.body[field]))
		}
		for _, warning := range s.warnings {
			fmt.Fprintf(&b, "    warning: %s\n", warning)
		}
		writeNotes(&b, s.notes)
	}
	if len(p.notes) > 0 {
		b.WriteString("\nBesides\n")
		writeNotes(&b, p.notes)
	}
	b.WriteString("\n" + p.summary() + "\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func writeNotes(b *strings.Builder, notes []note) {
	for _, n := range notes {
		fmt.Fprintf(b, "  ! %s: %s\n", n.field, n.why)
	}
}

func (s *step) outcome(write bool) string {
	switch s.action {
	case same:
		return "is there already, and the same"
	case keep:
		return "IS THERE ALREADY AND STAYS AS IT IS, without -overwrite; it would get"
	case skip:
		return "NOT CARRIED OVER: " + s.why
	case blocked:
		return "CANNOT BE WRITTEN: " + s.why + "; it would get"
	case create, update:
	}
	switch {
	case s.err != nil:
		return "REFUSED: " + s.err.Error()
	case !write:
		return "would " + string(s.action)
	case !s.written:
		return "not written"
	}
	return string(s.action) + "d"
}

// shown is a field's value as a person would write it; never the secret.
func shown(field string, value any) string {
	if field == "secret_key" {
		return "(not shown)"
	}
	if ttl, ok := value.(int64); ok && strings.HasSuffix(field, "_ttl") {
		return (time.Duration(ttl) * time.Second).String()
	}
	return text(value)
}

// summary counts, and tells what to do next.
func (p *plan) summary() string {
	counts := make(map[action]int)
	written, refused, notes := 0, 0, len(p.notes)
	for _, s := range p.steps {
		counts[s.action]++
		notes += len(s.notes)
		if s.written {
			written++
		}
		if s.err != nil {
			refused++
		}
	}
	found := fmt.Sprintf("%d the same, %d different and kept, %d not carried over, %d notes (!)", counts[same], counts[keep], counts[skip], notes)
	if !p.options.write {
		return fmt.Sprintf("Nothing was written. To write: %d; %s.\nThe engine checks each when it is written. Add -write to do it.",
			counts[create]+counts[update], found)
	}
	return fmt.Sprintf("Written: %d, refused: %d; %s.\nWhat the integration's user must be allowed to do in AWS: vault read -field=policy_document %s/policy/%s",
		written, refused, found, p.options.to, p.options.integration)
}
