package release

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const testVersion = "v9.8.7-test"

// host is what the tests build for: its packages are compiled anyway.
var host = Target{OS: runtime.GOOS, Arch: runtime.GOARCH}

// made is the release of one target, made once for all tests.
func made(t *testing.T) (Options, Artifact) {
	t.Helper()
	source, err := filepath.Abs("../..")
	require.NoError(t, err)
	options := Options{Source: source, Out: t.TempDir(), Version: testVersion, Targets: []Target{host}}
	artifacts, err := Make(t.Context(), options, func(string) {})
	require.NoError(t, err)
	require.Len(t, artifacts, 1)
	return options, artifacts[0]
}

// TestRelease looks at all that a release is, for this machine's platform, and
// at two builds of it being identical, which takes most of the time. Break that
// by leaving out -buildvcs=false in build, in a clone: git worktrees have no stamp.
func TestRelease(t *testing.T) {
	t.Parallel()
	options, artifact := made(t)
	path := filepath.Join(options.Out, artifact.Name)

	t.Run("binary", func(t *testing.T) {
		printed, err := exec.CommandContext(t.Context(), path, "-version").Output()
		require.NoError(t, err)
		require.Equal(t, testVersion+"\n", string(printed))
		requireStatic(t, path)
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotContains(t, string(content), options.Source, "a folder of this machine")
		sum := sha256.Sum256(content)
		require.Equal(t, hex.EncodeToString(sum[:]), artifact.SHA256)
	})
	t.Run("files", func(t *testing.T) {
		var names []string
		entries, err := os.ReadDir(options.Out)
		require.NoError(t, err)
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		require.ElementsMatch(t, []string{artifact.Name, artifact.Name + ".cdx.json", "REGISTER.txt", "SHA256SUMS"}, names)

		listed := make(map[string]string)
		sums, err := os.ReadFile(filepath.Join(options.Out, "SHA256SUMS"))
		require.NoError(t, err)
		for line := range strings.Lines(string(sums)) {
			sum, name, found := strings.Cut(strings.TrimSpace(line), "  ")
			require.True(t, found, line)
			listed[name], err = fileSum(filepath.Join(options.Out, name))
			require.NoError(t, err)
			require.Equal(t, listed[name], sum, name)
		}
		require.Len(t, listed, len(names)-1, "all files but itself")

		register, err := os.ReadFile(filepath.Join(options.Out, "REGISTER.txt"))
		require.NoError(t, err)
		require.Equal(t, "# "+host.String()+"\n"+artifact.RegisterCommand()+"\n", string(register))
	})
	t.Run("SBOM", func(t *testing.T) { requireSBOM(t, path+".cdx.json", artifact) })
	t.Run("identical when built again elsewhere", func(t *testing.T) {
		require.NoError(t, Reproduce(t.Context(), options, false, func(string) {}))
	})
}

// requireStatic checks that the binary needs no loader and no library, so that
// it runs in any distribution and in an image without one.
func requireStatic(t *testing.T, path string) {
	t.Helper()
	if host.OS != "linux" {
		return // only there are binaries static
	}
	binary, err := elf.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, binary.Close()) }()
	for _, segment := range binary.Progs {
		require.NotEqual(t, elf.PT_INTERP, segment.Type)
	}
	libraries, err := binary.ImportedLibraries()
	require.NoError(t, err)
	require.Empty(t, libraries)
}

// requireSBOM checks that the SBOM names the binary and every module that "go
// list" says it is made of.
func requireSBOM(t *testing.T, path string, artifact Artifact) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	var document sbom
	require.NoError(t, json.Unmarshal(content, &document))
	require.Equal(t, "CycloneDX", document.Format)
	require.Equal(t, "1.6", document.Spec)
	subject := document.Metadata.Component
	require.Equal(t, "application", subject.Type)
	require.Equal(t, testVersion, subject.Version)
	require.Equal(t, []hash{{"SHA-256", artifact.SHA256}}, subject.Hashes)

	list := exec.CommandContext(t.Context(), "go", "list", "-deps",
		"-f", "{{with .Module}}{{if not .Main}}{{.Path}}@{{.Version}}{{end}}{{end}}", "./cmd/"+pluginName)
	list.Dir, list.Env = "../..", append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	output, err := list.Output()
	require.NoError(t, err)
	wanted := make(map[string]bool)
	for module := range strings.FieldsSeq(string(output)) {
		wanted[module] = true
	}
	require.NotEmpty(t, wanted)

	references := make(map[string]bool)
	described := make(map[string]bool)
	for _, component := range document.Components {
		require.False(t, references[component.Ref], "twice: %s", component.Ref)
		references[component.Ref] = true
		if component.Name == "std" {
			continue
		}
		described[component.Name+"@"+component.Version] = true
		require.Regexp(t, `^h1:`, component.Properties[0].Value, component.Name)
	}
	require.Equal(t, wanted, described)
	require.Len(t, document.Components, len(wanted)+1, "the modules and the standard library")
}

func TestPackageURL(t *testing.T) {
	t.Parallel()
	require.Equal(t, "pkg:golang/github.com/microsoft/go-winio@v0.6.2", library("github.com/Microsoft/go-winio", "v0.6.2").PURL)
	require.Equal(t, "pkg:golang/github.com/pierrec/lz4@v2.6.1%2Bincompatible", library("github.com/pierrec/lz4", "v2.6.1+incompatible").PURL)
}

// Two builds that differ are told apart, by name. Break it by having
// differences look at one side only.
func TestDifferences(t *testing.T) {
	t.Parallel()
	first := []byte("11  same\n22  changed\n33  lost\n")
	second := []byte("11  same\n44  changed\n55  added\n")
	require.Equal(t, []string{"changed", "lost", "added"}, differences(first, second))
	require.Empty(t, differences(first, first))
}

func TestVersionHasToBeSemantic(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"", "1.2.3", "v1.2", "v1.2.3+metadata", "v1.2.3/..", "latest"} {
		_, err := Make(t.Context(), Options{Out: t.TempDir(), Version: version}, func(string) {})
		require.ErrorContains(t, err, "no semantic version", version)
	}
}

// The platforms that a release is promised for.
func TestTargets(t *testing.T) {
	t.Parallel()
	var names []string
	for _, target := range Targets {
		names = append(names, target.String())
	}
	require.ElementsMatch(t, []string{
		"linux/amd64", "linux/arm64", "linux/s390x", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64",
	}, names)
}
