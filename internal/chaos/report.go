package chaos

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what came of a run.
type Report struct {
	options         Options
	shaken, settled time.Duration
	counts          map[string]int

	// What must not be there.
	users   []leftUser
	records map[string]map[string]any // by user name
	cuts    []*cut
	touched []string // strangers
	logs    []string // crashes, and secrets

	strangers int // how many there were
	// leases are those that Vault still has although nothing is left of them,
	// irrevocable how many of those it has given up on, leasesForced how many
	// are left after an operator's revocation by force.
	leases, leasesForced int
	irrevocable          string

	diagnosis []string
}

// Failures says what speaks against the engine, or against the run as a proof;
// nothing if all is well.
func (r *Report) Failures() []string {
	var failures []string
	fail := func(count int, what string) {
		if count > 0 {
			failures = append(failures, fmt.Sprintf("%d %s", count, what))
		}
	}
	fail(len(r.users), "users left in AWS")
	fail(len(r.records), "records left")
	fail(r.liveKeys(), "live access keys left")
	fail(len(r.cuts), "live leases wrongly cut")
	fail(len(r.touched), "foreign users touched")
	fail(len(r.logs), "problems in the servers' logs")
	for _, what := range []string{leasesIssued, renewals, revoked, processesKilled, faultsInAWS} {
		if r.counts[what] == 0 {
			failures = append(failures, "the run proves nothing: "+what+": 0")
		}
	}
	return failures
}

// liveKeys counts the active keys of the users that are left.
func (r *Report) liveKeys() (count int) {
	for _, user := range r.users {
		count += len(keyIDs(user.UserInfo))
	}
	return count
}

// section is a part of the table, and the counts that are in it.
type section struct {
	title string
	rows  []string
}

var sections = []section{
	{"Faults on Vault", []string{
		string(killLeader), string(killStandby), string(killPlugin), string(killAll), string(pauseLeader), string(pauseStandby),
		string(isolateLeader), string(isolateStandby), string(stepDown), string(sealLeader), string(reloadPlugin), processesKilled,
	}},
	{"Calls to AWS that met a fault", []string{
		string(lostAfter), string(lostBefore), string(failAfter), string(failBefore), string(garbled),
		string(throttled), string(rateLimited), string(delayed), string(denied), faultsInAWS,
	}},
	{"Other trouble in AWS", []string{
		string(lagging), string(hangOn), string(deleteKey), string(deleteUser), string(replace), string(rename), string(newcomer),
	}},
	{"Leases and roles", []string{
		leasesIssued, issuesFailed, renewals, renewalsFailed, revoked, revokedPrefix, leftToExpire, revokesFailed, usedAtEnd,
		rolesWritten, rolesDeleted,
	}},
}

// Write prints the table, what was found, and the verdict.
func (r *Report) Write(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(table, "\nSeed %d, %d nodes, %s of faults, clean %s after the last\n", r.options.Seed, r.options.Nodes,
		r.shaken.Round(time.Second), r.settled.Round(time.Second))
	for _, s := range sections {
		fmt.Fprintf(table, "\n%s\n", s.title)
		for _, row := range s.rows {
			fmt.Fprintf(table, "  %s\t%d\n", row, r.counts[row])
		}
	}
	fmt.Fprintf(table, "\nLeft behind\n")
	for _, row := range []struct {
		what  string
		count any
	}{
		{"users in AWS", len(r.users)},
		{"records", len(r.records)},
		{"live access keys", r.liveKeys()},
		{"live leases wrongly cut", len(r.cuts)},
		{fmt.Sprintf("foreign users touched, of %d", r.strangers), len(r.touched)},
		{"problems in the servers' logs", len(r.logs)},
		{"leases of users long gone, still in Vault", r.leases},
		{"  of these given up by Vault", r.irrevocable},
		{"  left after a revocation by force", r.leasesForced},
	} {
		fmt.Fprintf(table, "  %s\t%v\n", row.what, row.count)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return r.writeVerdict(out)
}

func (r *Report) writeVerdict(out io.Writer) error {
	var text strings.Builder
	for _, leftover := range r.diagnosis {
		fmt.Fprintf(&text, "\n%s\n", leftover)
	}
	if failures := r.Failures(); len(failures) > 0 {
		fmt.Fprintf(&text, "\nFAILED: %s\n", strings.Join(failures, "; "))
	} else {
		fmt.Fprintf(&text, "\nPASSED\n")
	}
	_, err := io.WriteString(out, text.String())
	return err
}
