package awsiam

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var updateREADME = flag.Bool("update", false, "write what the README has of the code's into it")

// sampleNeeds are those of an integration whose roles use everything, before AWS
// has named its account.
func sampleNeeds(bounded bool) *needs {
	n := newNeeds(newIntegration(defaultIntegration))
	n.partition = "aws"
	n.tags, n.unbounded = true, !bounded
	n.policyARNs, n.formerPolicyARNs = []string{"<policy>"}, []string{"<policy>"}
	n.groups, n.formerGroups = []string{"<group>"}, []string{"<group>"}
	n.lentRoles, n.unused = []string{"<role_arn of each>"}, false
	n.boundaries, n.keyOwner = []string{"<boundary>"}, []string{"<own user>"}
	return n
}

// permissionRows are the rows of the README's table, by Sid. What stands twice
// has its first wording.
func permissionRows(statements ...[]permission) (rows, sids []string) {
	for _, s := range slices.Concat(statements...) {
		if slices.Contains(sids, s.Sid) {
			continue
		}
		on := code(s.Resource)
		for _, keys := range s.Condition {
			for key, values := range keys {
				on += fmt.Sprintf(", with %#q %s", key, code(values))
			}
		}
		sids = append(sids, s.Sid)
		rows = append(rows, fmt.Sprintf("| %s | %#q | %s | %s |\n", s.uses, s.Sid, code(s.Action), on))
	}
	return rows, sids
}

func code(words []string) string { return "`" + strings.Join(words, "`, `") + "`" }

// The README shows what the code says, between markers. `go test -run README
// -update .` writes it there. Break it by changing a statement.
func TestREADMEShowsThePolicies(t *testing.T) {
	core, err := policyJSON(newSampleCore().core())
	require.NoError(t, err)
	open, within, assuming := sampleNeeds(false), sampleNeeds(true), sampleNeeds(false)
	assuming.roleARN = "<role_arn>"
	required, requiredSids := permissionRows(open.required()[1:], within.core()[1:2], assuming.source())
	optional, optionalSids := permissionRows(open.optional())
	head := "| what uses it | statement | actions | on |\n|---|---|---|---|\n"
	wanted := map[string]string{
		"core policy":          "```json\n" + core + "\n```\n",
		"required permissions": head + strings.Join(required, ""),
		"optional permissions": head + strings.Join(optional, ""),
	}

	file, err := os.ReadFile("README.md")
	require.NoError(t, err)
	readme := string(file)
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		begin, end := "<!-- "+name+", from the code -->\n", "<!-- end of "+name+" -->\n"
		block := regexp.MustCompile("(?s)" + begin + "(.*?)" + end)
		found := block.FindStringSubmatch(readme)
		require.NotNil(t, found, "the README has no %s", strings.TrimSpace(begin))
		if *updateREADME {
			readme = strings.Replace(readme, found[0], begin+wanted[name]+end, 1)
			continue
		}
		require.Equal(t, wanted[name], found[1], "go test -run README -update . writes it")
	}
	if *updateREADME {
		require.NoError(t, os.WriteFile("README.md", []byte(readme), 0o600))
	}

	// What is shown is shown to work, and all of that is shown.
	shown := slices.Concat([]string{open.core()[0].Sid}, requiredSids, optionalSids)
	shown = slices.DeleteFunc(shown, func(sid string) bool { return sid == assuming.source()[0].Sid }) // TestPermissionsOfAnAssumedRole
	require.ElementsMatch(t, slices.Collect(maps.Keys(permissionScenes)), shown)
}

func newSampleCore() *needs {
	n := newNeeds(newIntegration(defaultIntegration))
	n.partition = "aws"
	return n
}
