package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

const (
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[1;36m"
	plain  = "\x1b[0m"

	// lineWidth is what fits an ordinary terminal.
	lineWidth = 78
	// masked stands for a secret of a real account.
	masked = "********"
)

// printer writes the demo's text. Whatever it is told to hide never gets out,
// in what way ever it comes in.
type printer struct {
	mu      sync.Mutex
	w       io.Writer
	colours bool
	hidden  []string
	steps   int
	current string // the step being told
}

func newPrinter(w io.Writer, colours bool) *printer { return &printer{w: w, colours: colours} }

// colourful says whether colours are wanted there: on a terminal, unless the
// environment says otherwise (https://no-color.org).
func colourful(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(f)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// hide has a secret masked in all that is printed from now on.
func (p *printer) hide(secret string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if secret != "" {
		p.hidden = append(p.hidden, secret)
	}
}

// Write implements io.Writer. Secrets must come whole, as they do in lines.
func (p *printer) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := string(text)
	for _, secret := range p.hidden {
		out = strings.ReplaceAll(out, secret, masked)
	}
	_, err := io.WriteString(p.w, out)
	return len(text), err
}

func (p *printer) paint(colour, text string) string {
	if !p.colours {
		return text
	}
	return colour + text + plain
}

// step begins the next numbered step, with why it matters.
func (p *printer) step(title, why string) {
	p.steps++
	p.current = fmt.Sprintf("step %d, %s", p.steps, title)
	p.heading(fmt.Sprintf("%d. %s", p.steps, title))
	p.line(why)
}

// where names the step being told, for an error.
func (p *printer) where() string {
	if p.current == "" {
		return ""
	}
	return " in " + p.current
}

func (p *printer) heading(title string) { fmt.Fprintf(p, "\n%s\n", p.paint(cyan, title)) }

// line prints a paragraph.
func (p *printer) line(text string) {
	if text = wrap(text, "  "); text != "" {
		fmt.Fprintln(p, text)
	}
}

// command prints what a person would type. The prompt says who runs it: "$"
// this demo, "~" nobody, since the demo makes the same call with AWS's SDK.
func (p *printer) command(prompt, text string) {
	fmt.Fprintf(p, "\n  %s %s\n", prompt, p.paint(bold, text))
}

// block prints a program's output as it is, set in.
func (p *printer) block(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		_, _ = io.WriteString(p, strings.TrimRight("    "+line, " \n")+"\n")
	}
}

// verdict prints what AWS answered.
func (p *printer) verdict(colour, word, text string) {
	body := strings.TrimPrefix(wrap(word+": "+text, "    "), "    "+word)
	fmt.Fprintf(p, "    %s%s\n", p.paint(colour, word), body)
}

func (p *printer) success(text string) { fmt.Fprintf(p, "  %s\n", p.paint(green, text)) }

func (p *printer) failure(title, details string) {
	fmt.Fprintf(p, "\n%s\n", p.paint(red, title))
	for line := range strings.Lines(details) {
		p.line(line)
	}
}

// item prints a paragraph of a list.
func (p *printer) item(text string) {
	fmt.Fprintln(p, "  - "+strings.TrimSpace(wrap(text, "    ")))
}

// wrap breaks a paragraph into lines, each set in by indent. A word that fits
// no line stays where it is.
func wrap(text, indent string) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = indent + word
		case len(line)+1+len(word) > lineWidth && len(indent)+len(word) <= lineWidth:
			lines = append(lines, line)
			line = indent + word
		default:
			line += " " + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
