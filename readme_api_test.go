package awsiam

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

var backticked = regexp.MustCompile("`([^`]+)`")

// sectionOfREADME is what stands beneath the heading, up to the next.
func sectionOfREADME(t *testing.T, heading string) string {
	t.Helper()
	file, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, after, found := strings.Cut(string(file), "\n"+heading+"\n")
	require.True(t, found, "the README has no %s", heading)
	if end := regexp.MustCompile(`(?m)^##+ `).FindStringIndex(after); end != nil {
		after = after[:end[0]]
	}
	return after
}

// rowsOf are the rows of the section's tables, by the names in the first column, where
// a name can stand more than once.
func rowsOf(section string) map[string][]string {
	rows := make(map[string][]string)
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "| `") {
			first, rest, _ := strings.Cut(strings.TrimPrefix(line, "|"), " | ")
			for _, name := range backticked.FindAllStringSubmatch(first, -1) {
				rows[name[1]] = append(rows[name[1]], rest)
			}
		}
	}
	return rows
}

// The README's tables have the fields of the schema, and no others, with their
// defaults; what a read shows besides stands beneath them. Break it by adding a field.
func TestREADMEHasTheFieldsOfTheSchema(t *testing.T) {
	b := newBackend(testUUID)
	answered := func(path string, op logical.Operation) map[string]*framework.FieldSchema {
		return b.Route(path).Operations[op].Properties().Responses[http.StatusOK][0].Fields
	}
	tidy := maps.Clone(b.Route("tidy/x").Fields)
	delete(tidy, fieldIntegration)
	creds := maps.Clone(b.Route("creds/x").Fields)
	delete(creds, fieldRole)
	role := maps.Clone(roleFields())
	delete(role, fieldRole)
	for heading, fields := range map[string]struct {
		inTable, inText map[string]*framework.FieldSchema
	}{
		"### `config/<integration>`":      {integrationFields(), integrationResponseFields()},
		"### `roles/<role>`":              {role, roleResponseFields()},
		"### `creds/<role>`":              {answered("creds/x", logical.ReadOperation), creds},
		"### `users/<username>`":          {nil, userResponseFields()},
		"### `users`: list":               {userListFields(), nil},
		"### `policy/<integration>`":      {policyResponseFields(), nil},
		"### `tidy/<integration>`":        {tidy, nil},
		"### `rotate-root/<integration>`": {nil, answered("rotate-root/x", logical.UpdateOperation)},
	} {
		section := sectionOfREADME(t, heading)
		rows := rowsOf(section)
		require.ElementsMatch(t, slices.Collect(maps.Keys(fields.inTable)), slices.Collect(maps.Keys(rows)), heading)
		for name, field := range fields.inTable {
			if field.Default != nil {
				require.Contains(t, strings.Join(rows[name], ""), fmt.Sprint(field.Default), "%s: the default of %s", heading, name)
			}
		}
		for name := range fields.inText {
			require.Contains(t, heading+section, "`"+name+"`", heading)
		}
	}
}

// Each path stands in the README's table of paths, with what can be done with it.
func TestREADMEHasThePathsOfTheSchema(t *testing.T) {
	wanted := make(map[string][]string)
	for _, section := range sectionsOfReference(newBackend(testUUID).Paths) {
		for _, op := range section.operations {
			for _, req := range op.requests {
				path := strings.TrimPrefix(shownPath(req.path), "aws-iam/")
				wanted[path] = append(wanted[path], req.command)
			}
		}
	}
	shown := make(map[string][]string)
	for path, rows := range rowsOf(sectionOfREADME(t, "## API")) {
		path = strings.ReplaceAll(path, "access key id", "access_key_id")
		for _, row := range rows {
			operations, _, _ := strings.Cut(row, " | ")
			shown[path] = append(shown[path], strings.Split(operations, ", ")...)
		}
	}
	require.Equal(t, slices.Sorted(maps.Keys(wanted)), slices.Sorted(maps.Keys(shown)))
	for path, operations := range wanted {
		require.ElementsMatch(t, operations, shown[path], path)
	}
}

var (
	vaultCommand = regexp.MustCompile("\\bvault (read|write|list|delete|path-help) ([^`\\n|#;&]*)")
	mountedPath  = regexp.MustCompile(`(?:^|[ "'])aws-iam(?:-\w+)?/`)
)

// Whatever a document has the vault command do below a mount of the engine, also
// within a sentence, there are the path, the operation and the fields for.
func TestCommandsOfDocumentsFitTheSchema(t *testing.T) {
	var documents []string
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*/*.md", "examples/*/*/*.md", "scripts/*/*.md"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		documents = append(documents, found...)
	}
	b, checked := newBackend(testUUID), 0
	for _, document := range documents {
		content, err := os.ReadFile(document)
		require.NoError(t, err)
		for _, command := range vaultCommand.FindAllStringSubmatch(strings.ReplaceAll(string(content), "\\\n", " "), -1) {
			if mountedPath.MatchString(command[2]) {
				checked++
				require.NoError(t, fits(b, command[1], command[2]), "%s: vault %s %s", document, command[1], command[2])
			}
		}
	}
	require.Greater(t, checked, 50)

	for _, wrong := range [][2]string{
		{"read", "aws-iam/credentials/app"}, {"list", "aws-iam/creds"}, {"delete", "aws-iam/creds/app"}, {"read", "aws-iam/creds/app tll=3h"},
		{"write", "aws-iam/roles/app max_user=3"}, {"read", "-field=policy aws-iam/policy"}, {"list", "aws-iam/users role=app"},
	} {
		require.Error(t, fits(b, wrong[0], wrong[1]), wrong)
	}
}

// fits is what a command has that the schema does not.
func fits(b *backend, command, arguments string) error {
	operation := map[string]logical.Operation{
		"read": logical.ReadOperation, "list": logical.ListOperation, "write": logical.UpdateOperation, "delete": logical.DeleteOperation,
	}[command]
	mounted := regexp.MustCompile(`^aws-iam(-\w+)?/(.*)$`)
	arguments = regexp.MustCompile(`<[^>]*>|\$\{?\w+\}?|…`).ReplaceAllString(arguments, "x")
	var path *framework.Path
	var wanted string
	var fields []string
	for word := range strings.FieldsSeq(arguments) {
		word = strings.Trim(word, `"'.,:)`)
		name, _, assigned := strings.Cut(word, "=")
		found := mounted.FindStringSubmatch(word)
		switch {
		case word == "list=true" && operation == logical.ReadOperation:
			operation = logical.ListOperation
		case path == nil && strings.HasPrefix(word, "-field="):
			wanted = strings.TrimPrefix(word, "-field=")
		case path == nil && found != nil:
			if path = b.Route(found[2]); path == nil {
				return fmt.Errorf("there is no %s", found[2])
			}
			if command == "list" {
				path = b.Route(strings.TrimSuffix(found[2], "/") + "/")
			}
		case path != nil && assigned && command != "list":
			fields = append(fields, name)
		case path != nil && assigned:
			return fmt.Errorf("vault list has no parameters")
		}
	}
	switch {
	case path == nil:
		return fmt.Errorf("no path of the engine is in it")
	case command == "path-help":
		return nil
	case operation == logical.ListOperation:
		if path.Operations[operation] == nil {
			return fmt.Errorf("nothing to list")
		}
	case path.Operations[operation] == nil:
		return fmt.Errorf("no %s there", command)
	}
	for _, field := range fields {
		if path.Fields[field] == nil {
			return fmt.Errorf("no field %s", field)
		}
	}
	if answer := path.Operations[operation].Properties().Responses[http.StatusOK]; wanted != "" && answer[0].Fields[wanted] == nil {
		return fmt.Errorf("no field %s in the answer", wanted)
	}
	return nil
}
