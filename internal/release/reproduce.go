package release

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// notSource are the folders of a repository that nothing is built from: git's,
// which an archive does not have, and what make built.
var notSource = []string{".git", "bin", "dist"}

// Reproduce makes the release of the options a second time, from a copy of the
// source in another folder and without git, and fails with the names of the
// files that differ from those in options.Out.
//
// With cold, nothing that was compiled before is used, which takes minutes for
// each target.
func Reproduce(ctx context.Context, options Options, cold bool, say func(line string)) (err error) {
	dir, err := os.MkdirTemp("", "release-again-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	again := options
	again.Source, again.Out = filepath.Join(dir, "source"), filepath.Join(dir, "out")
	if cold {
		again.Cache = filepath.Join(dir, "cache")
	}
	if err := copySource(options.Source, again.Source); err != nil {
		return err
	}
	if _, err := Make(ctx, again, say); err != nil {
		return err
	}

	first, err := os.ReadFile(filepath.Join(options.Out, sumsFile))
	if err != nil {
		return err
	}
	second, err := os.ReadFile(filepath.Join(again.Out, sumsFile))
	if err != nil {
		return err
	}
	if differ := differences(first, second); len(differ) > 0 {
		return fmt.Errorf("two builds of %s differ in %s", options.Version, strings.Join(differ, ", "))
	}
	return nil
}

// differences are the files that two SHA256SUMS do not agree on.
func differences(first, second []byte) []string {
	var files []string
	for _, pair := range [][2][]byte{{first, second}, {second, first}} {
		lines := bufio.NewScanner(bytes.NewReader(pair[0]))
		for lines.Scan() {
			_, file, _ := strings.Cut(lines.Text(), "  ")
			if !bytes.Contains(pair[1], append(lines.Bytes(), '\n')) && !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files
}

func copySource(from, to string) (err error) {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	source, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()

	return fs.WalkDir(source.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case slices.Contains(notSource, name) && entry.IsDir():
			return fs.SkipDir
		case name == ".":
			return nil
		case entry.IsDir():
			return target.Mkdir(name, 0o755)
		case !entry.Type().IsRegular() || slices.Contains(notSource, name): // in a git worktree .git is a file
			return nil
		}
		content, err := source.ReadFile(name)
		if err != nil {
			return err
		}
		return target.WriteFile(name, content, 0o644)
	})
}
