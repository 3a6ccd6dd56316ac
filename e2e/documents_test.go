package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// section is a part of a document that has a title, with all its shell commands.
type section struct{ title, commands string }

// sectionsOf are all parts of the document that have shell commands, whatever stands
// before its first title included. TestEveryCommandOfADocumentIsRun, beside the
// documents, sees to it that each document has a test that runs them.
func sectionsOf(t *testing.T, document string) []section {
	t.Helper()
	content, err := os.ReadFile(document)
	require.NoError(t, err)
	var sections []section
	title, language, indent := "", "", ""
	for line := range strings.Lines(string(content)) {
		trimmed := strings.TrimSpace(line)
		switch {
		case language == "" && strings.HasPrefix(line, "#"):
			title = strings.TrimLeft(strings.TrimSpace(line), "# ")
		case language == "" && strings.HasPrefix(trimmed, "```"):
			indent, language, _ = strings.Cut(strings.TrimRight(line, "\n"), "```")
			if last := len(sections) - 1; language == "sh" && (last < 0 || sections[last].title != title) {
				sections = append(sections, section{title: title})
			}
		case trimmed == "```":
			language = ""
		case language == "sh":
			sections[len(sections)-1].commands += strings.TrimPrefix(line, indent)
		}
	}
	require.NotEmpty(t, sections)
	return sections
}

// reader follows a document from its first command to its last, on a server of
// its own, on which a mount is at the path that all documents have.
type reader struct {
	*mount
	folder string
	// fill has what the document's placeholders stand for, in pairs.
	fill []string
	// before and after have what stands about the commands of a section, by its title.
	before map[string]func()
	after  map[string]func(printed string)
}

// newReader has the mount ready, unless the document makes it: with a user of its
// own, which may do everything, so that what the documents say of permissions is for
// others to test.
func newReader(t *testing.T, server *vaultdev.Server, sim simulation, m *mount) *reader {
	t.Helper()
	if m == nil {
		m = &mount{t: t, server: server, path: "aws-iam", aws: sim}
	}
	r := &reader{mount: m, folder: t.TempDir(), before: make(map[string]func()), after: make(map[string]func(string))}
	cli, err := filepath.Abs(server.Command(t.Context(), "").Path)
	require.NoError(t, err)
	// Of an empty list the command line interface makes a failure.
	r.file("vault", "#!/bin/sh\n'"+cli+"' \"$@\" 2>\"$HOME/.said\" && code=0 || code=$?\ncat \"$HOME/.said\" >&2\n"+
		"grep -q '^No value found' \"$HOME/.said\" && exit 0\nexit $code\n")
	require.NoError(t, os.Chmod(filepath.Join(r.folder, "vault"), 0o700))
	return r
}

func (r *reader) file(name, content string) {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(filepath.Join(r.folder, name), []byte(content), 0o600))
}

// useKey has a document's next "AKIA…" be a key of a new user, and secret.txt hold
// its secret.
func (r *reader) useKey(name, policy string) awsfake.Credentials {
	r.t.Helper()
	key := r.aws.newKey(account, name, policy)
	r.file("secret.txt", key.SecretAccessKey)
	r.fill = append([]string{"access_key=AKIA…", "access_key=" + key.AccessKeyID + " " + r.endpoints()}, r.fill...)
	return key
}

// endpoints are the simulation's, for a command that has AWS's in the document.
func (r *reader) endpoints() string {
	return "iam_endpoint=" + r.aws.url + " sts_endpoint=" + r.aws.url
}

// follow runs all commands of the document, and returns what each section printed.
func (r *reader) follow(document string) map[string]string {
	r.t.Helper()
	printed := make(map[string]string)
	for _, part := range sectionsOf(r.t, document) {
		if before := r.before[part.title]; before != nil {
			before()
		}
		printed[part.title] += r.run(part)
		if after := r.after[part.title]; after != nil {
			after(printed[part.title])
		}
		delete(r.before, part.title)
		delete(r.after, part.title)
	}
	require.Empty(r.t, r.before, "sections that the document does not have any more")
	require.Empty(r.t, r.after, "sections that the document does not have any more")
	return printed
}

// run runs the section's commands in a shell that stops at the first failure. What
// make does is for its own tests; TestMakeTargetsOfDocuments sees that it is there.
func (r *reader) run(part section) string {
	r.t.Helper()
	var commands strings.Builder
	for line := range strings.Lines(part.commands) {
		if !strings.HasPrefix(line, "make ") {
			commands.WriteString(line)
		}
	}
	script := strings.NewReplacer(r.fill...).Replace(commands.String())
	cmd := exec.CommandContext(r.t.Context(), "bash", "-euc", "set -o pipefail; "+script)
	cmd.Dir = r.folder
	cmd.Env = []string{
		"PATH=" + r.folder + ":" + os.Getenv("PATH"), "HOME=" + r.folder, "TMPDIR=" + r.folder,
		"VAULT_ADDR=" + r.server.Addr, "VAULT_TOKEN=" + r.server.RootToken,
	}
	output, err := cmd.CombinedOutput()
	require.NoError(r.t, err, "%s:\n%s\n%s", part.title, script, output)
	return string(output)
}

// names are the users on record, in order.
func (r *reader) names() []string {
	r.t.Helper()
	secret, err := r.server.Client.Logical().ListWithContext(r.t.Context(), r.path+"/users")
	require.NoError(r.t, err)
	if secret == nil {
		return nil
	}
	var names []string
	for _, name := range secret.Data["keys"].([]any) {
		names = append(names, name.(string))
	}
	slices.Sort(names)
	return names
}
