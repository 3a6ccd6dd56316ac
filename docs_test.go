package awsiam

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	testNameRegexp = regexp.MustCompile("`(Test[A-Za-z]+)`")
	testFuncRegexp = regexp.MustCompile(`(?m)^func (Test[A-Za-z]+)\(`)
)

// Each row of docs/reliability.md names tests, and those tests are there.
func TestReliabilityIsShownByTests(t *testing.T) {
	written := make(map[string]bool)
	for _, folder := range []string{".", "e2e", "internal/*"} {
		files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
		require.NoError(t, err)
		for _, file := range files {
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, match := range testFuncRegexp.FindAllStringSubmatch(string(source), -1) {
				written[match[1]] = true
			}
		}
	}
	doc, err := os.ReadFile("docs/reliability.md")
	require.NoError(t, err)
	rows := 0
	for line := range strings.Lines(string(doc)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| failure") || strings.HasPrefix(line, "| situation") || strings.HasPrefix(line, "| |") {
			continue
		}
		rows++
		named := testNameRegexp.FindAllStringSubmatch(line, -1)
		require.NotEmpty(t, named, "a row without a test: %s", line)
		for _, match := range named {
			require.True(t, written[match[1]], "there is no %s", match[1])
		}
	}
	require.Greater(t, rows, 40)
}
