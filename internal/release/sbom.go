package release

import (
	"debug/buildinfo"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// The parts of CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/) that can be
// said of a Go binary. No time and no serial number, which are optional there:
// the same binary has the same SBOM.
type (
	sbom struct {
		Format     string      `json:"bomFormat"`
		Spec       string      `json:"specVersion"`
		Version    int         `json:"version"`
		Metadata   metadata    `json:"metadata"`
		Components []component `json:"components"`
	}
	metadata struct {
		Component  component  `json:"component"`
		Properties []property `json:"properties"`
	}
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		Hashes     []hash     `json:"hashes,omitempty"`
		PURL       string     `json:"purl"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
)

// writeSBOM writes the software bill of materials of a binary beside it, and
// returns its file name. What is in it, the linker wrote into the binary, as "go
// version -m" prints it: the modules that are linked in, no more and no fewer,
// and the standard library.
func writeSBOM(dir string, artifact Artifact) (string, error) {
	info, err := buildinfo.ReadFile(filepath.Join(dir, artifact.Name))
	if err != nil {
		return "", err
	}
	encoded, err := json.MarshalIndent(describe(artifact, info), "", "  ")
	if err != nil {
		return "", err
	}
	name := artifact.Name + ".cdx.json"
	return name, os.WriteFile(filepath.Join(dir, name), append(encoded, '\n'), 0o644)
}

func describe(artifact Artifact, info *debug.BuildInfo) sbom {
	subject := library(info.Main.Path, artifact.Version)
	subject.Type = "application"
	subject.Hashes = []hash{{Algorithm: "SHA-256", Content: artifact.SHA256}}
	document := sbom{
		Format: "CycloneDX", Spec: "1.6", Version: 1,
		Metadata:   metadata{Component: subject},
		Components: []component{library("std", strings.TrimPrefix(info.GoVersion, "go"))},
	}
	for _, setting := range info.Settings {
		document.Metadata.Properties = append(document.Metadata.Properties, property{"go:build:" + setting.Key, setting.Value})
	}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		linked := library(module.Path, module.Version)
		// The sum of go.sum is one over a list of files and their sums, so it
		// is no hash of any file, which CycloneDX's hashes are.
		linked.Properties = []property{{"go:sum", module.Sum}}
		document.Components = append(document.Components, linked)
	}
	return document
}

// library describes a Go module. Its package URL is in lower case, as the
// purl specification wants it for type golang.
func library(path, version string) component {
	purl := "pkg:golang/" + strings.ToLower(path) + "@" + url.QueryEscape(version)
	return component{Type: "library", Ref: purl, Name: path, Version: version, PURL: purl}
}
