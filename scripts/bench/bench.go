package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// bench is one run of the program.
type bench struct {
	options
	sizes
	tools
	out   io.Writer
	root  string // the repository's folder
	found results
}

// run measures everything that is asked for. A section that fails is noted, and
// the others go on.
func (b *bench) run(ctx context.Context, on machine) results {
	start := time.Now()
	b.found = results{Command: b.command(), Date: start.UTC().Truncate(time.Second), Machine: on}
	if b.wants("a", "b", "c", "d") {
		for i := range b.runs {
			if b.runs > 1 {
				b.say("Run %d of %d", i+1, b.runs)
			}
			b.attempt(ctx, "", func() error { return b.compare(ctx) })
		}
	}
	b.together(ctx, []string{"e", "g"}, func() error { return b.populate(ctx) })
	b.section(ctx, "f", func() error { return b.measurePass(ctx) })
	b.section(ctx, "h", func() error { return b.measureSoak(ctx) })
	b.found.Took = time.Since(start).Round(time.Second)
	return b.found
}

// section runs a section if it is asked for.
func (b *bench) section(ctx context.Context, letter string, act func() error) {
	b.together(ctx, []string{letter}, act)
}

// together runs sections that are measured in one go, if one of them is asked for.
func (b *bench) together(ctx context.Context, letters []string, act func() error) {
	if !b.wants(letters...) || ctx.Err() != nil {
		return
	}
	var names []string
	for _, s := range sections {
		if slices.Contains(letters, s.letter) && b.wants(s.letter) {
			names = append(names, s.letter+", "+s.name)
		}
	}
	name := strings.Join(names, "; ")
	b.say("Section %s", name)
	start := time.Now()
	b.attempt(ctx, name, act)
	b.found.Timings = append(b.found.Timings, timing{name, time.Since(start).Seconds()})
	b.say("  took %s", time.Since(start).Round(time.Second))
}

// attempt notes the failure of a part.
func (b *bench) attempt(ctx context.Context, name string, act func() error) {
	err := act()
	if err == nil {
		return
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if name != "" {
		err = fmt.Errorf("section %s: %w", name, err)
	}
	b.say("  FAILED: %v", err)
	b.found.Failures = append(b.found.Failures, err.Error())
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.out, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// report prints the tables and writes the document: into the documentation after
// a full run that was not interrupted, else into a new folder, to be looked at.
func (b *bench) report(found results, interrupted bool) error {
	if err := writeTables(b.out, found); err != nil {
		return err
	}
	at := documentIn(b.root)
	if !b.full() || interrupted {
		dir, err := os.MkdirTemp("", "aws-iam-bench-results-")
		if err != nil {
			return err
		}
		at = document{dir}
	}
	if err := at.write(found); err != nil {
		return err
	}
	b.say("Written: %s", at.page())
	if len(found.Failures) > 0 {
		return fmt.Errorf("%d parts have failed", len(found.Failures))
	}
	return nil
}
