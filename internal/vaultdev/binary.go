// Package vaultdev runs a real Vault server with the plugin in it, for the
// end-to-end tests and the demo.
//
// It is not Vault's dev mode: the server has a configuration file, integrated
// storage on disk, an init and an unseal, so that it can be killed, restarted
// on the same data and joined by further nodes. It is for loopback use on a
// developer's machine only: one key share, no TLS, and sys/raw open.
package vaultdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// modulePath is this repository's module, and the package whose Version
	// variable the linker sets.
	modulePath = "vault-plugin-secrets-aws-iam"

	// minMajor and minMinor are the oldest Vault that the plugin is tested on.
	minMajor, minMinor = 1, 21

	// progressInterval is how often a long build says that it is still alive.
	progressInterval = 30 * time.Second
)

// FindVault returns the absolute path of a Vault binary that can run a server,
// and writes to progress which one it took and why. In this order:
//
//   - VAULT_BIN from the environment, whatever its version;
//   - vault on the PATH, if it is Community Edition 1.21 or newer (an
//     Enterprise binary does not start without a licence);
//   - bin/vault of the repository, if it is the version that tools/vault pins;
//   - bin/vault, built from tools/vault now. That takes about 9 minutes on two
//     cores when nothing is in the build cache, and says so.
func FindVault(ctx context.Context, progress io.Writer) (string, error) {
	if path := os.Getenv("VAULT_BIN"); path != "" {
		version, err := vaultVersion(ctx, path)
		if err != nil {
			return "", fmt.Errorf("VAULT_BIN is set but is no Vault binary: %w", err)
		}
		fmt.Fprintf(progress, "Vault %s: %s, as VAULT_BIN says\n", version, path)
		return filepath.Abs(path)
	}

	if path, err := exec.LookPath("vault"); err == nil {
		version, err := vaultVersion(ctx, path)
		switch {
		case err != nil:
			fmt.Fprintf(progress, "not using %s from the PATH: %v\n", path, err)
		case !suitable(version):
			fmt.Fprintf(progress, "not using %s from the PATH: it is %s, wanted is Community Edition %d.%d or newer\n",
				path, version, minMajor, minMinor)
		default:
			fmt.Fprintf(progress, "Vault %s: %s, from the PATH\n", version, path)
			return filepath.Abs(path)
		}
	}

	root, err := RepositoryRoot(ctx)
	if err != nil {
		return "", err
	}
	return pinnedVault(ctx, root, progress)
}

// pinnedVault returns bin/vault below root, building it unless it is there
// already in the version that tools/vault pins.
func pinnedVault(ctx context.Context, root string, progress io.Writer) (string, error) {
	path := filepath.Join(root, "bin", "vault")
	pinned, err := pinnedVersion(root)
	if err != nil {
		return "", err
	}

	have, err := vaultVersion(ctx, path)
	switch {
	case err == nil && have == pinned:
		fmt.Fprintf(progress, "Vault %s: %s, built from tools/vault\n", have, path)
		return path, nil
	case err == nil:
		fmt.Fprintf(progress, "%s is %s, tools/vault pins %s: building it anew\n", path, have, pinned)
	case !errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(progress, "%s does not run (%v): building it anew\n", path, err)
	}

	if err := buildVault(ctx, root, path, pinned, progress); err != nil {
		return "", fmt.Errorf("building Vault %s from tools/vault: %w", pinned, err)
	}
	return path, nil
}

func buildVault(ctx context.Context, root, path, version string, progress io.Writer) error {
	fmt.Fprintf(progress, "Building Vault %s from source into %s (tools/vault). "+
		"Once, this takes about 9 minutes on two cores; later runs find it there.\n", version, path)
	start := time.Now()

	done := make(chan struct{})
	defer close(done)
	go func() {
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				fmt.Fprintf(progress, "  still building Vault: %s so far\n", time.Since(start).Round(time.Second))
			}
		}
	}()

	// Built beside its place and renamed, so that an interrupted build never
	// leaves half a binary that the next run would take for a whole one.
	partial := path + ".partial"
	defer func() { _ = os.Remove(partial) }() // gone already after the rename
	err := goBuild(ctx, filepath.Join(root, "tools", "vault"), partial, "-s -w", "github.com/hashicorp/vault")
	if err != nil {
		return err
	}
	if err := os.Rename(partial, path); err != nil {
		return err
	}
	fmt.Fprintf(progress, "Built Vault %s in %s\n", version, time.Since(start).Round(time.Second))
	return nil
}

// goBuild builds one main package of the module in dir into out, statically
// and with the flags of the Makefile's build target.
func goBuild(ctx context.Context, dir, out, ldflags, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	// Interrupted rather than killed, the go command takes its compilers along.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, bytes.TrimSpace(output))
	}
	return nil
}

// RepositoryRoot asks the go command in which folder this module lies: it answers the
// same in the root module and in the modules that replace it with a folder.
func RepositoryRoot(ctx context.Context) (string, error) {
	output, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", modulePath).Output()
	if err != nil {
		return "", fmt.Errorf("finding the folder of module %s: %w", modulePath, err)
	}
	return strings.TrimSpace(string(output)), nil
}

var pinPattern = regexp.MustCompile(`(?m)^(?:require)?\s*github\.com/hashicorp/vault (v\S+)`)

// pinnedVersion reads the version of Vault that tools/vault/go.mod requires.
func pinnedVersion(root string) (string, error) {
	path := filepath.Join(root, "tools", "vault", "go.mod")
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	match := pinPattern.FindSubmatch(content)
	if match == nil {
		return "", fmt.Errorf("%s requires no github.com/hashicorp/vault", path)
	}
	return string(match[1]), nil
}

// vaultVersion runs "vault version", which prints a line like
// "Vault v1.21.1 (<commit>), built <time>", and returns the "v1.21.1" of it.
func vaultVersion(ctx context.Context, path string) (string, error) {
	output, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(output))
	if len(fields) < 2 || fields[0] != "Vault" {
		return "", fmt.Errorf("%s version printed %q", path, output)
	}
	return strings.TrimSuffix(fields[1], ","), nil
}

var versionPattern = regexp.MustCompile(`^v(\d+)\.(\d+)\.`)

// suitable says whether a version as vaultVersion returns it is Community
// Edition (Enterprise carries build metadata, "+ent") and new enough.
func suitable(version string) bool {
	match := versionPattern.FindStringSubmatch(version)
	if match == nil || strings.Contains(version, "+") {
		return false
	}
	major, _ := strconv.Atoi(match[1])
	minor, _ := strconv.Atoi(match[2])
	return major > minMajor || major == minMajor && minor >= minMinor
}
