package release

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	copyLine       = regexp.MustCompile(`(?m)^COPY --chmod=0755 (\S+) (\S+)$`)
	entrypointLine = regexp.MustCompile(`(?m)^ENTRYPOINT \["([^"]+)"\]$`)
)

// TestImage checks of oci/Dockerfile what can be checked without building it. Break
// it by naming binaries another way in artifactName.
func TestImage(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../oci/Dockerfile")
	require.NoError(t, err)
	copied := copyLine.FindStringSubmatch(string(content))
	require.NotNil(t, copied)
	started := entrypointLine.FindStringSubmatch(string(content))
	require.NotNil(t, started)
	require.Equal(t, copied[2], started[1])
	require.Regexp(t, `^/`, started[1], "there is no shell that would look for it")

	for _, target := range Targets {
		if target.OS != "linux" {
			continue
		}
		// TARGETARCH is as in GOARCH.
		file := strings.NewReplacer("${VERSION}", testVersion, "${TARGETARCH}", target.Arch).Replace(copied[1])
		require.Equal(t, artifactName(testVersion, target), file)
	}
}
