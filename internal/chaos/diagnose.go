package chaos

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

const (
	// diagnosed is how many leftovers of a kind are described.
	diagnosed = 20
	// linesShown is how many lines of logs, and how many calls, each comes with.
	linesShown = 20
)

// diagnose says of each thing that must not be there what is known of it.
func (r *run) diagnose(report *Report, logs serverLogs) []string {
	diagnosis := slices.Clone(report.logs)
	calls := r.cloud.Calls()
	tell := func(name string, lines ...string) {
		diagnosis = append(diagnosis, strings.Join(append(lines, story(name, r.ledger, calls, logs)...), "\n  "))
	}

	names := slices.Collect(maps.Keys(report.records))
	for _, user := range report.users {
		names = append(names, user.Name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, name := range names[:min(len(names), diagnosed)] {
		tell(name, append([]string{"LEFT: " + name}, r.known(report, name)...)...)
	}
	for _, c := range report.cuts[:min(len(report.cuts), diagnosed)] {
		tell(c.lease.username,
			fmt.Sprintf("CUT: %s has lost %s at %s", c.lease.username, c.lost, stamp(c.at)),
			"seen with: "+c.after,
			fmt.Sprintf("lease:     %s, issued %s, promised until %s", c.lease.id, stamp(c.lease.issued), stamp(c.lease.until)),
			"Vault:     "+c.vault)
	}
	for _, touched := range report.touched {
		diagnosis = append(diagnosis, "TOUCHED: "+touched)
	}
	return diagnosis
}

// known is what AWS, the record and the clients know of a user that is left.
func (r *run) known(report *Report, name string) []string {
	var lines []string
	for _, user := range report.users {
		if user.Name == name {
			lines = append(lines, fmt.Sprintf("AWS:       %+v", user))
		}
	}
	if record, ok := report.records[name]; ok {
		text, err := json.Marshal(record)
		if err != nil {
			text = []byte(err.Error())
		}
		lines = append(lines, "record:    "+string(text))
	}
	if held, ok := r.ledger.get(name); ok {
		lines = append(lines, fmt.Sprintf("client:    lease %s of %s, promised until %s, ended: %s", held.id, stamp(held.issued), stamp(held.until), held.ended))
	} else {
		lines = append(lines, "client:    was never handed out")
	}
	return lines
}

// story is what AWS was asked about a user, and what the servers wrote of it.
func story(name string, l *ledger, calls []awsfake.Call, logs serverLogs) []string {
	var lines []string
	for _, c := range calls {
		if c.User == name {
			lines = append(lines, fmt.Sprintf("call:      %s %s: %d %s, lost %t, took %s, by %s", stamp(c.Start), c.Action, c.Status, c.Code, c.Lost,
				c.End.Sub(c.Start).Round(time.Millisecond), c.CallerARN))
		}
	}
	lines = lines[max(0, len(lines)-linesShown):]
	named := []string{name}
	if held, ok := l.get(name); ok {
		named = append(named, held.id)
	}
	for _, line := range logs.about(named, linesShown) {
		lines = append(lines, "log:       "+line)
	}
	return lines
}

func stamp(t time.Time) string { return t.UTC().Format("15:04:05.000") }
