package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// crashLength is how much of a log is shown from where something crashed.
const crashLength = 4000

// crash finds what the Go runtime writes when a process ends by itself. A
// plugin's lines arrive in Vault's log, each behind a prefix.
var crash = regexp.MustCompile(`(?m)(panic: |fatal error: |SIGSEGV).*$`)

// serverLogs is all that the servers and their plugins have written, by node.
type serverLogs [][]byte

func readLogs(cluster *vaultdev.Cluster) (serverLogs, error) {
	var logs serverLogs
	for _, node := range cluster.Nodes {
		log, err := os.ReadFile(node.LogPath)
		if err != nil {
			return nil, err
		}
		logs = append(logs, log)
	}
	return logs, nil
}

// problems says what must not be in a log: crashes and secrets.
func (l serverLogs) problems(secrets *secretBook) []string {
	var problems []string
	for i, log := range l {
		if at := crash.FindIndex(log); at != nil {
			problems = append(problems, fmt.Sprintf("node %d: Vault or a plugin crashed:\n%s", i, log[at[0]:min(len(log), at[0]+crashLength)]))
		}
		if found := secrets.find(log); found > 0 {
			problems = append(problems, fmt.Sprintf("node %d: %d secret access keys are in the log", i, found))
		}
	}
	return problems
}

// about returns the last lines that name one of the things, of all nodes in
// order of time, which is what lines begin with.
func (l serverLogs) about(names []string, limit int) []string {
	var found []string
	for i, log := range l {
		for line := range bytes.Lines(log) {
			if slices.ContainsFunc(names, func(name string) bool { return bytes.Contains(line, []byte(name)) }) {
				found = append(found, fmt.Sprintf("%s  (node %d)", strings.TrimSpace(string(line)), i))
			}
		}
	}
	slices.Sort(found)
	return found[max(0, len(found)-limit):]
}

// keepLogs copies the servers' logs into a folder, where it has a name.
func keepLogs(cluster *vaultdev.Cluster, dir string) error {
	if dir == "" {
		return nil
	}
	logs, err := readLogs(cluster)
	for i, log := range logs {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, fmt.Sprintf("node-%d.log", i)), log, 0o600))
	}
	return err
}
