package awsiam

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// runBy names the test that runs a document's shell commands: all of them, as e2e's
// sectionsOf and reader.follow see to.
var runBy = map[string]string{
	"README.md":          "TestREADME",
	"docs/faq.md":        "TestQuestions",
	"docs/migration.md":  "TestMigrationGuide",
	"docs/operations.md": "TestOperationsGuide",
	"docs/security.md":   "TestSecurityModel",
	"docs/upgrade.md":    "TestUpgrade",

	"examples/agent/README.md":      "TestExamples",
	"examples/aws-cli/README.md":    "TestExamples",
	"examples/go/README.md":         "TestExamples",
	"examples/kubernetes/README.md": "TestExamples",
	"examples/node/README.md":       "TestExamples",
	"examples/systemd/README.md":    "TestExamples",
	"examples/terraform/README.md":  "TestExamples",
}

// asNamed is how a document's test names it: an example by its folder alone.
func asNamed(document string) string {
	if folder, ok := strings.CutPrefix(filepath.ToSlash(filepath.Dir(document)), "examples/"); ok {
		return `"` + folder + `"`
	}
	return `"../` + document + `"`
}

// notRun says why the commands of a document cannot be run.
var notRun = map[string]string{
	"oci/README.md": "they build and run an image, which takes Docker; it says what is checked instead",
}

// notCommands are what else stands in blocks.
var notCommands = []string{"hcl", "json", "mermaid", "text", "yaml"}

var (
	codeBlock = regexp.MustCompile("(?s)\n *```([a-z]*)\n(.*?)\n? *```\n")
	// A call of make: with options, of which -C has a value, before its first target.
	makeTarget = regexp.MustCompile(`(?m)^\s*(?:\$ )?make (?:-C \S+ |-\S+ )*([a-z][a-z-]*)`)
)

// documents are all that is written for people, by their paths.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path != "." && strings.HasPrefix(entry.Name(), ".") || slices.Contains([]string{"node_modules", "bin", "dist"}, entry.Name())):
			return filepath.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		content, err := os.ReadFile(path)
		found[filepath.ToSlash(path)] = string(content)
		return err
	}))
	require.Greater(t, len(found), 5)
	return found
}

// Every document that has shell commands has a test that runs them, or says why there
// is none. Break it by writing a document that nobody runs.
func TestEveryCommandOfADocumentIsRun(t *testing.T) {
	sources := make(map[string]string) // of tests, by name
	for _, folder := range []string{".", "e2e"} {
		files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
		require.NoError(t, err)
		for _, file := range files {
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, match := range testFuncRegexp.FindAllStringSubmatch(string(source), -1) {
				sources[match[1]] = string(source)
			}
		}
	}
	withCommands := make(map[string]bool)
	for document, content := range documents(t) {
		require.Zero(t, strings.Count(content, "```")%2, "%s: a block without an end", document)
		for _, block := range codeBlock.FindAllStringSubmatch(content, -1) {
			if slices.Contains(notCommands, block[1]) {
				continue
			}
			require.Contains(t, []string{"sh", "console"}, block[1], "%s: a block that does not say what it is: %s", document, block[2])
			withCommands[document] = true
			if notRun[document] != "" {
				continue
			}
			require.Equal(t, "sh", block[1], "%s: only sh is run: %s", document, block[2])
			test := runBy[document]
			require.NotEmpty(t, test, "%s: no test runs\n%s", document, block[2])
			require.Contains(t, sources[test], asNamed(document), "%s is not what %s runs", document, test)
		}
	}
	for document := range runBy {
		require.True(t, withCommands[document], "%s has no commands", document)
	}
	for document := range notRun {
		require.True(t, withCommands[document], "%s has no commands", document)
	}
}

// What documents have make do, there is.
func TestMakeTargetsOfDocuments(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	seen := 0
	for document, content := range documents(t) {
		for _, block := range codeBlock.FindAllStringSubmatch(content, -1) {
			for _, match := range makeTarget.FindAllStringSubmatch(block[2], -1) {
				seen++
				require.Regexp(t, `(?m)^`+match[1]+`:`, string(makefile), "%s: make %s", document, match[1])
			}
		}
	}
	require.Greater(t, seen, 3)
}

var (
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading      = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInAnchor  = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// Links from one document to another lead somewhere.
func TestLinksOfDocuments(t *testing.T) {
	all := documents(t)
	anchors := func(content string) (found []string) {
		for _, match := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(content, ""), -1) {
			anchor := notInAnchor.ReplaceAllString(strings.ToLower(match[1]), "")
			found = append(found, strings.ReplaceAll(anchor, " ", "-"))
		}
		return found
	}
	for document, content := range all {
		for _, match := range markdownLink.FindAllStringSubmatch(codeBlock.ReplaceAllString(content, ""), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(match[1], "#")
			target := document
			if path != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(document), path))
				_, err := os.Stat(target)
				require.NoError(t, err, "%s: %s", document, match[1])
			}
			if anchor != "" && filepath.Ext(target) == ".md" {
				require.Contains(t, anchors(all[target]), anchor, "%s: %s", document, match[1])
			}
		}
	}
}

var (
	eventType  = regexp.MustCompile("`aws-iam/([a-z-]+)`")
	logMessage = regexp.MustCompile("(?m)^\\| (error|warn) \\| `([^`]+)` \\|")
)

// The operations guide has every event, and no other.
func TestOperationsGuideHasEveryEvent(t *testing.T) {
	guide := documents(t)["docs/operations.md"]
	_, table, found := strings.Cut(guide, "\n## Events\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	var written []string
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| `") {
			for _, match := range eventType.FindAllStringSubmatch(line, -1) {
				written = append(written, match[1])
			}
		}
	}
	ends := []string{eventCredsRevoke, eventCredsDelete, eventCredsReap, eventCredsTidy}
	sent := []string{eventCredsCreate, eventCredsRenew, eventConfigWrite, eventConfigDelete, eventConfigRotate, eventConfigRotate + eventFailed, eventRoleWrite, eventRoleDelete}
	for _, end := range ends {
		sent = append(sent, end, end+eventFailed)
	}
	require.ElementsMatch(t, sent, written)
}

// The messages that the operations guide has one be woken for are the code's, and of the
// levels that it says.
func TestOperationsGuideHasMessagesOfTheLog(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var code strings.Builder
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		code.Write(source)
	}
	messages := logMessage.FindAllStringSubmatch(documents(t)["docs/operations.md"], -1)
	require.Greater(t, len(messages), 5)
	for _, message := range messages {
		call := map[string]string{"error": ".Error", "warn": ".Warn"}[message[1]]
		require.Contains(t, code.String(), call+`("`+message[2])
	}
}

// Who looks for a file's subject finds it. Break it by adding a file.
func TestArchitectureHasEveryFile(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	architecture := documents(t)["docs/architecture.md"]
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			require.Equal(t, 1, strings.Count(architecture, "\n| `"+file+"`")+strings.Count(architecture, ", `"+file+"`"), file)
		}
	}
}
