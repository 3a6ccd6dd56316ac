package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// examples of the documents, which the tests replace.
const (
	exampleUser = "vault-app-4k2hq0w9z3x7c1m5b8n6"
	exampleKey  = "AKIAIOSFODNN7EXAMPLE"
)

// newGuide is a reader with a mount at the documents' path, whose integration may do
// everything.
func newGuide(t *testing.T) *reader {
	t.Helper()
	server, sim := ownServer(t), newSimulation(t)
	m := newMountAt(t, server, sim, "aws-iam", "vault-guide")
	m.key = sim.newKey(account, "vault-guide-wide", widePolicy)
	m.write("config", sim.integration(m.key))
	return newReader(t, server, sim, m)
}

// about has the document's example be this user.
func (r *reader) about(c credential) {
	r.fill = append([]string{exampleUser, c.Username, exampleKey, c.AccessKeyID}, r.fill...)
}

// spoil gives the user what IAM wants gone before it lets the user go.
func (r *reader) spoil(c credential) {
	r.t.Helper()
	key := r.aws.newKey(account, "administrator-for-"+c.AccessKeyID, widePolicy)
	client := iam.New(iam.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(r.aws.url), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, ""),
	})
	_, err := client.CreateLoginProfile(r.t.Context(), &iam.CreateLoginProfileInput{UserName: &c.Username, Password: aws.String("Passw0rd!Passw0rd")})
	require.NoError(r.t, err)
}

// tidied waits for the end of a tidy in the background.
func (r *reader) tidied() {
	r.t.Helper()
	eventually(r.t, time.Minute, "the end of tidy", func() bool { return r.read("tidy-status")["state"] != "running" })
	require.Equal(r.t, "done", r.read("tidy-status")["state"])
}

// TestOperationsGuide runs all of docs/operations.md, with what it is about: a user
// that cannot be deleted, a key that has leaked, users that a snapshot does not know.
//
// Break it by leaving a step out of the document.
func TestOperationsGuide(t *testing.T) {
	t.Parallel()
	r := newGuide(t)
	stuck, leaked := r.issue("app"), r.issue("app")
	r.spoil(stuck)
	heal := r.aws.Inject(awsfake.Fault{Action: "DeleteLoginProfile", Status: 403, Code: "AccessDenied"})

	r.after["A first look"] = func(printed string) { require.Contains(t, printed, stuck.Username) }
	r.before["When a revocation fails"] = func() {
		require.Error(t, r.revoke(stuck))
		r.about(stuck)
	}
	r.after["When a revocation fails"] = func(printed string) {
		require.Contains(t, printed, "iam:DeleteLoginProfile")
		require.Regexp(t, `last_error +.*DeleteConflict`, printed)
		r.requireMetricsOf("../docs/operations.md")
		heal()
	}
	r.after["Mend it, and try again"] = func(string) { r.requireGone(stuck) }
	r.before["A key has leaked"] = func() { r.about(leaked) }
	r.after["A key has leaked"] = func(printed string) {
		require.Contains(t, printed, leaked.Username)
		r.requireGone(leaked)
	}
	// What ends after the snapshot is not there to be ended again, and too young for the
	// engine to believe that.
	r.before["Backup"] = func() {
		r.revokePrefix("brief")
		require.Empty(t, r.leases("brief"))
	}
	var lost credential
	r.after["Backup"] = func(string) { lost = r.issue("app") }
	r.before["Restore"] = func() { require.True(t, lost.exists()) }
	r.before["After a restore"] = func() { r.again("aws-iam/users") }
	r.after["After a restore"] = func(string) {
		r.tidied()
		require.NotContains(t, r.names(), lost.Username)
		r.fill = append(r.fill, "tidy dry_run=false", "tidy dry_run=false safety_buffer=0") // it is young
	}
	r.after["Delete what nobody knows"] = func(string) { r.eventuallyGone(lost) }
	r.before["Disabling a mount"] = func() { r.issue("app") }
	r.after["Disabling a mount"] = func(printed string) { require.Contains(t, printed, "No value found") }
	r.after["When the list is empty"] = func(string) { require.Empty(t, r.uuid()) }
	r.follow("../docs/operations.md")
	require.Empty(t, r.users())

	// To the Community edition no events are sent, and nothing is said of it.
	log, err := os.ReadFile(r.server.LogPath)
	require.NoError(t, err)
	require.NotContains(t, string(log), "events are lost")
}

// again waits until the server answers, as after a snapshot was restored.
func (r *reader) again(path string) {
	r.t.Helper()
	eventually(r.t, soon, "an answer of "+path, func() bool {
		_, err := clientWith(r.t, r.server, r.server.RootToken).Logical().ListWithContext(r.t.Context(), path)
		return err == nil
	})
}

func (r *reader) eventuallyGone(c credential) {
	r.t.Helper()
	eventually(r.t, time.Minute, "the end of user "+c.Username, func() bool { return !c.exists() })
}

var metricRow = regexp.MustCompile("(?m)^\\| `(vault\\.[^`]+)` \\|")

// requireMetricsOf checks that Vault measures all that the document names, with
// traffic that makes it do so, until each was seen: Vault shows ten seconds at a time.
func (r *reader) requireMetricsOf(document string) {
	r.t.Helper()
	content, err := os.ReadFile(document)
	require.NoError(r.t, err)
	missing := make(map[string]bool)
	for _, match := range metricRow.FindAllStringSubmatch(string(content), -1) {
		missing[match[1]] = true
	}
	require.Greater(r.t, len(missing), 8)
	r.write("roles/brief", map[string]any{"policy_document": listGroups, "default_ttl": "2s", "max_ttl": "1h"})
	// Of one lease the revocation fails, as Vault itself does it when its time is over.
	spoilt := r.issue("brief")
	r.spoil(spoilt)
	deadline := time.Now().Add(2 * time.Minute)
	for len(missing) > 0 {
		require.True(r.t, time.Now().Before(deadline), "Vault does not have %v", missing)
		c := r.issue("brief")
		_, err := r.server.Client.Sys().RenewWithContext(r.t.Context(), c.lease.LeaseID, 1)
		require.NoError(r.t, err)
		for name := range missing {
			if r.measures(name) {
				delete(missing, name)
			}
		}
		time.Sleep(time.Second)
	}
}

// measures says whether sys/metrics has it, in whose names of gauges is the machine's.
func (r *reader) measures(name string) bool {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.server.Addr+"/v1/sys/metrics", http.NoBody)
	require.NoError(r.t, err)
	request.Header.Set("X-Vault-Token", r.server.RootToken)
	response, err := http.DefaultClient.Do(request)
	require.NoError(r.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(r.t, err)
	var measured map[string]json.RawMessage
	require.NoError(r.t, json.Unmarshal(text, &measured), "%s", text)
	rest := strings.TrimPrefix(name, "vault.")
	return regexp.MustCompile(`"Name":"vault\.([^"]+\.)?` + regexp.QuoteMeta(rest) + `"`).Match(text)
}

// TestQuestions runs all of docs/faq.md.
func TestQuestions(t *testing.T) {
	t.Parallel()
	r := newGuide(t)
	r.before["Whose is this access key?"] = func() { r.about(r.issue("app")) }
	r.after["Our organisation denies the making of users without tags."] = func(string) {
		c := r.issue("app")
		user, _ := r.aws.Account(account).User(c.Username)
		require.Equal(t, "payments", user.Tags["team"])
		require.Equal(t, "vault", user.Tags["made_by"])
	}
	printed := r.follow("../docs/faq.md")
	require.Contains(t, printed["Whose is this access key?"], "active")
	r.endPool()
}

// endPool is what a mount needs before it is disabled.
func (r *reader) endPool() {
	r.t.Helper()
	r.write("roles/app", map[string]any{"pool_size": 0})
	r.revokePrefix("app")
	eventually(r.t, time.Minute, "the end of all users", func() bool { return len(r.users()) == 0 && len(r.storedRecords()) == 0 })
}

// TestREADME runs all of the README from the installation on, on a server that does
// not know the plugin.
//
// Break it by writing a command that does not work.
func TestREADME(t *testing.T) {
	t.Parallel()
	config := serverConfig
	config.PluginDir = t.TempDir()
	server, err := vaultdev.Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, checkLog(server))
		require.NoError(t, server.Stop())
	})
	sim := newSimulation(t)
	r := newReader(t, server, sim, nil)
	t.Cleanup(r.disable)
	built, err := os.ReadFile(filepath.Join(serverConfig.PluginDir, plugin.Command))
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(r.folder, "bin"), 0o700))
	r.file("bin/vault-plugin-secrets-aws-iam", string(built))
	require.NoError(t, os.Chmod(filepath.Join(r.folder, "bin", "vault-plugin-secrets-aws-iam"), 0o700))
	r.file("policy.json", listGroups)
	lease := `"aws-iam/creds/app/$(vault list -format=json sys/leases/lookup/aws-iam/creds/app | tr -d '][" \n' | cut -d, -f1)"`
	r.fill = []string{"/etc/vault/plugins", config.PluginDir, "<lease id>", lease, "source_integration=hub", "source_integration=hub " + r.endpoints()}

	r.before["In Vault"] = func() { r.useKey("vault-readme", widePolicy) }
	r.after["In Vault"] = func(string) {
		r.userPath = r.read("config")["issued_user_path"].(string)
		eventually(t, soon, "the end of all users", func() bool { return len(r.users()) == 0 })
	}
	r.before["Identities"] = func() {
		r.useKey("vault-hub", widePolicy)
		for _, id := range []string{"444455556666", "777788889999"} {
			sim.Account(id).AddRole("vault", "arn:aws:iam::"+account+":root", widePolicy)
		}
	}
	users := "`users`: list"
	r.before[users] = func() {
		stuck := r.issue("app")
		for range 2 {
			r.issue("app")
		}
		r.spoil(stuck)
		heal := sim.Inject(awsfake.Fault{Action: "DeleteLoginProfile", Status: 403, Code: "AccessDenied"})
		require.Error(t, r.revoke(stuck))
		heal()
		r.fill = append([]string{"vault-app-k3v", r.names()[0]}, r.fill...)
	}
	r.after[users] = func(printed string) { require.Contains(t, printed, `"keys":["vault-app-`) }
	r.follow("../README.md")
	r.endPool()
}
