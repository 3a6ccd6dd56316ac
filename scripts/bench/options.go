package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sections are the parts of a run by their letters, in the order in which they
// are run.
var sections = []struct{ letter, name string }{
	{"a", "calls and round trips per lease"},
	{"b", "latency"},
	{"c", "throughput"},
	{"d", "mass revocation"},
	{"e", "memory and goroutines"},
	{"f", "the periodic pass"},
	{"g", "first lease after a restart"},
	{"h", "soak"},
}

// options is what the environment asks for.
type options struct {
	quick    bool          // small numbers, to see that everything works
	plain    bool          // no TLS between the engines and AWS
	render   bool          // write the document again from the stored results
	runs     int           // how often sections a to d are repeated
	soak     time.Duration // how long section h goes on
	sections []string      // letters; all of them in a full run
}

// full says whether this is a run whose figures belong into the documentation.
func (o options) full() bool { return !o.quick && !o.plain && len(o.sections) == len(sections) }

func (o options) wants(letters ...string) bool {
	return slices.ContainsFunc(letters, func(letter string) bool { return slices.Contains(o.sections, letter) })
}

// command is how to run this again.
func (o options) command() string {
	words := []string{"make bench"}
	if o.quick {
		words = append(words, "QUICK=1")
	}
	if o.plain {
		words = append(words, "PLAIN=1")
	}
	if o.runs != 1 {
		words = append(words, fmt.Sprintf("RUNS=%d", o.runs))
	}
	if len(o.sections) < len(sections) {
		words = append(words, "SECTIONS="+strings.Join(o.sections, ","))
	}
	if o.wants("h") {
		words = append(words, "SOAK="+shortDuration(o.soak))
	}
	return strings.Join(words, " ")
}

// shortDuration is a duration without the units that are zero: "10m", not "10m0s".
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func optionsFrom(getenv func(string) string) (options, error) {
	set := func(name string) bool { return getenv(name) != "" && getenv(name) != "0" }
	o := options{quick: set("QUICK"), plain: set("PLAIN"), render: set("RENDER"), runs: 1, soak: 10 * time.Minute}
	if o.quick {
		o.soak = 10 * time.Second
	}
	var errs []error
	if text := getenv("RUNS"); text != "" {
		var err error
		if o.runs, err = strconv.Atoi(text); err != nil || o.runs < 1 {
			errs = append(errs, fmt.Errorf("RUNS=%q is not a number from 1", text))
		}
	}
	if text := getenv("SOAK"); text != "" {
		var err error
		if o.soak, err = time.ParseDuration(text); err != nil || o.soak <= 0 {
			errs = append(errs, fmt.Errorf("SOAK=%q is not a duration such as 90s or 10m", text))
		}
	}
	asked := strings.FieldsFunc(getenv("SECTIONS"), func(r rune) bool { return r == ',' || r == ' ' })
	for _, s := range sections {
		if len(asked) == 0 || slices.Contains(asked, s.letter) {
			o.sections = append(o.sections, s.letter)
		}
	}
	for _, letter := range asked {
		if !o.wants(letter) {
			errs = append(errs, fmt.Errorf("SECTIONS: there is no section %q, only a to h", letter))
		}
	}
	return o, errors.Join(errs...)
}
