package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// sumsFile has the SHA-256 of all files of a release, as sha256sum -c reads them.
const sumsFile = "SHA256SUMS"

// build compiles the binary of one target.
func build(ctx context.Context, options Options, target Target) (Artifact, error) {
	artifact := Artifact{Target: target, Version: options.Version, Name: artifactName(options.Version, target)}
	environment, err := buildEnvironment(ctx, options, target)
	if err != nil {
		return Artifact{}, err
	}
	out, err := filepath.Abs(filepath.Join(options.Out, artifact.Name))
	if err != nil {
		return Artifact{}, err
	}
	// -trimpath: no folder of the machine. -buildvcs=false: nothing that only a
	// clone knows. -buildid=: nothing derived from how it was built.
	ldflags := "-s -w -buildid= -X " + pluginName + ".Version=" + options.Version
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", out, "./cmd/"+pluginName)
	cmd.Dir, cmd.Env = options.Source, environment
	// Interrupted rather than killed, the go command takes its compilers along.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if output, err := cmd.CombinedOutput(); err != nil {
		return Artifact{}, fmt.Errorf("building for %s: %w\n%s", target, err, bytes.TrimSpace(output))
	}
	artifact.SHA256, err = fileSum(out)
	return artifact, err
}

// artifactName is the file name of a binary. Versions and platforms can lie in one
// folder.
func artifactName(version string, target Target) string {
	name := strings.Join([]string{pluginName, version, target.OS, target.Arch}, "_")
	if target.OS == "windows" {
		name += ".exe"
	}
	return name
}

// kept are the settings of the go command that a build takes over: where modules
// come from, and where it keeps them and what it compiled. None changes what comes
// out, as sums are checked.
var kept = []string{"GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOAUTH", "GOMODCACHE", "GOCACHE"}

// buildEnvironment is the caller's, with everything that decides what the
// compiler makes set: the toolchain that the repository names, which the go
// command fetches if it is another one, and the oldest processors.
func buildEnvironment(ctx context.Context, options Options, target Target) ([]string, error) {
	toolchain, err := os.ReadFile(filepath.Join(options.Source, ".go-version"))
	if err != nil {
		return nil, err
	}
	values, err := exec.CommandContext(ctx, "go", append([]string{"env"}, kept...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	environment := os.Environ()
	for i, value := range strings.Split(strings.TrimSuffix(string(values), "\n"), "\n") {
		environment = append(environment, kept[i]+"="+value)
	}
	// GOENV=off: an empty variable alone would let through what "go env -w" has set.
	environment = append(environment, "GOENV=off",
		"GOTOOLCHAIN=go"+strings.TrimSpace(string(toolchain)),
		"GOOS="+target.OS, "GOARCH="+target.Arch, "CGO_ENABLED=0",
		"GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off")
	if options.Cache != "" {
		environment = append(environment, "GOCACHE="+options.Cache)
	}
	return environment, nil
}

func fileSum(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}

// writeSums writes SHA256SUMS over the files of dir.
func writeSums(dir string, files []string) error {
	var text strings.Builder
	for _, file := range files {
		sum, err := fileSum(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s  %s\n", sum, file)
	}
	return os.WriteFile(filepath.Join(dir, sumsFile), []byte(text.String()), 0o644)
}
