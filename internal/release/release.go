// Package release makes what is published of a version of the plugin: a static
// binary for each platform, an SBOM of each, the lines that register them with
// Vault, and SHA256SUMS over all of it.
//
// The same source, version and Go toolchain give the same files, bit for bit,
// wherever and by whomever they are built; [Reproduce] shows it. So anybody can
// tell that a published binary comes from the published source.
package release

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// pluginName is the module, the binary, and the plugin in Vault's catalog.
const pluginName = "vault-plugin-secrets-aws-iam"

// Target is a platform that binaries are released for.
type Target struct {
	OS   string // as in GOOS
	Arch string // as in GOARCH
}

func (t Target) String() string { return t.OS + "/" + t.Arch }

// Targets are the platforms of a release: those that people run Vault on, of
// the ones that HashiCorp publishes it for.
var Targets = []Target{
	{"linux", "amd64"},
	{"linux", "arm64"},
	{"linux", "s390x"},
	{"darwin", "amd64"},
	{"darwin", "arm64"},
	{"windows", "amd64"},
	{"windows", "arm64"},
}

// Options say what to make of which source.
type Options struct {
	Source  string   // folder of the root module
	Out     string   // folder for the files, made if it is not there
	Version string   // semantic, with a leading v; what the plugin reports to Vault
	Targets []Target // in the order in which they are built and listed
	Cache   string   // folder of the compiler's cache; empty: the go command's own
}

// Artifact is one binary of a release.
type Artifact struct {
	Target  Target
	Name    string // file name in Options.Out
	Version string
	SHA256  string // in hex
}

// versionPattern is what Vault takes for the version of a plugin: a semantic
// one with a leading v. Build metadata is left out, since "+" would be part of
// file names.
var versionPattern = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

// Make builds the release into options.Out. Progress goes to say, one line for
// each binary.
func Make(ctx context.Context, options Options, say func(line string)) ([]Artifact, error) {
	if !versionPattern.MatchString(options.Version) {
		return nil, fmt.Errorf("%q is no semantic version with a leading v, as in v1.2.3", options.Version)
	}
	if err := os.MkdirAll(options.Out, 0o755); err != nil {
		return nil, err
	}
	var artifacts []Artifact
	var files []string
	for _, target := range options.Targets {
		artifact, err := build(ctx, options, target)
		if err != nil {
			return nil, err
		}
		sbom, err := writeSBOM(options.Out, artifact)
		if err != nil {
			return nil, fmt.Errorf("SBOM of %s: %w", artifact.Name, err)
		}
		say(artifact.SHA256 + "  " + artifact.Name)
		artifacts = append(artifacts, artifact)
		files = append(files, artifact.Name, sbom)
	}
	if err := os.WriteFile(filepath.Join(options.Out, registerFile), []byte(registerText(artifacts)), 0o644); err != nil {
		return nil, err
	}
	return artifacts, writeSums(options.Out, append(files, registerFile))
}

// registerFile has the commands that tell Vault of each binary.
const registerFile = "REGISTER.txt"

// RegisterCommand is the command that puts the binary, once it lies in the
// server's plugin_directory under its own name, into Vault's catalog.
func (a Artifact) RegisterCommand() string {
	return fmt.Sprintf("vault plugin register -sha256=%s -command=%s -version=%s secret %s",
		a.SHA256, a.Name, a.Version, pluginName)
}

func registerText(artifacts []Artifact) string {
	var text strings.Builder
	for _, artifact := range artifacts {
		fmt.Fprintf(&text, "# %s\n%s\n", artifact.Target, artifact.RegisterCommand())
	}
	return text.String()
}
