package release

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	// pinned is an action at a commit, with the version that it is said to be.
	pinned     = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	makeTarget = regexp.MustCompile(`\bmake ([a-z-]+)`)
)

// TestWorkflows checks that the workflows run nothing that can change beneath them,
// and call make targets that there are. Break it by naming a version instead of a
// commit.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	files, err := filepath.Glob("../../.github/workflows/*.yml")
	require.NoError(t, err)
	called := make(map[string]bool)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(content), "\npermissions:\n  contents: read\n", "%s: all rights unless it says less", file)
		for line := range strings.Lines(string(content)) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "- ")
			if action, uses := strings.CutPrefix(line, "uses: "); uses {
				require.Regexp(t, pinned, action, file)
			}
			command, runs := strings.CutPrefix(line, "run: ")
			if !runs {
				continue
			}
			for _, match := range makeTarget.FindAllStringSubmatch(command, -1) {
				require.Contains(t, string(makefile), "\n"+match[1]+":", "a make target that %s calls", file)
				called[match[1]] = true
			}
		}
	}
	require.Equal(t, map[string]bool{"test": true, "vulncheck": true, "release": true}, called)
}
