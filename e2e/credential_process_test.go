package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// buildCredentialProcess is made once for all tests, at the first need.
var buildCredentialProcess = sync.OnceValues(func() (string, error) {
	path := filepath.Join(serverConfig.PluginDir, "aws-iam-credential-process")
	output, err := exec.CommandContext(context.Background(), "go", "build", "-o", path, "vault-plugin-secrets-aws-iam/scripts/credential-process").CombinedOutput()
	if err != nil {
		return "", &exec.Error{Name: string(output), Err: err}
	}
	return path, nil
})

// credentialProcess runs scripts/credential-process as a person would who may read
// the mount's credentials, in a home of their own.
type credentialProcess struct {
	m    *mount
	bin  string
	home string
	env  []string
	// args are those that each run has.
	args []string
}

func newCredentialProcess(t *testing.T, m *mount, args ...string) *credentialProcess {
	t.Helper()
	bin, err := buildCredentialProcess()
	require.NoError(t, err)
	policy := newPolicy(t, m.server, "credential-process-"+m.path, `
		path "`+m.path+`/creds/*" { capabilities = ["read"] }
		path "sys/leases/revoke" { capabilities = ["update"] }`)
	home := t.TempDir()
	return &credentialProcess{
		m: m, bin: bin, home: home, args: append([]string{"-mount", m.path, "-role", "app"}, args...),
		env: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "VAULT_ADDR=" + m.server.Addr, "VAULT_TOKEN=" + newToken(t, m.server, nil, policy)},
	}
}

// run returns what the program printed. No secret is in what it tells a person.
func (p *credentialProcess) run(args ...string) vaultdev.Result {
	p.m.t.Helper()
	cmd := exec.CommandContext(p.m.t.Context(), p.bin, append(append([]string(nil), p.args...), args...)...)
	cmd.Env = p.env
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(p.m.t, err, &exit)
	}
	require.Zero(p.m.t, handedOut.find([]byte(stderr.String()), true), "secrets on standard error")
	return vaultdev.Result{Stdout: stdout.String(), Stderr: stderr.String(), ExitCode: cmd.ProcessState.ExitCode()}
}

// key runs the program and expects a key.
func (p *credentialProcess) key(args ...string) credential {
	p.m.t.Helper()
	result := p.run(args...)
	require.Zero(p.m.t, result.ExitCode, result.Stderr)
	return p.parse(result.Stdout)
}

func (p *credentialProcess) parse(stdout string) credential {
	p.m.t.Helper()
	var printed struct {
		Version                                  int
		AccessKeyId, SecretAccessKey, Expiration string //nolint:revive // as AWS spells them
	}
	decoder := json.NewDecoder(strings.NewReader(stdout))
	decoder.DisallowUnknownFields()
	require.NoError(p.m.t, decoder.Decode(&printed))
	require.Equal(p.m.t, 1, printed.Version)
	expiration, err := time.Parse(time.RFC3339, printed.Expiration)
	require.NoError(p.m.t, err)
	require.True(p.m.t, time.Now().Before(expiration.Add(time.Second)), printed.Expiration) // it has whole seconds
	return credential{
		AccessKeyID: printed.AccessKeyId, SecretAccessKey: printed.SecretAccessKey,
		LeaseExpiration: printed.Expiration, AccountID: account, aws: p.m.aws,
	}
}

// TestCredentialProcessSharesOneLease starts sixteen at once. Break it by not reading
// the file again once the lock is had.
func TestCredentialProcessSharesOneLease(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	p := newCredentialProcess(t, m)
	results := make([]vaultdev.Result, 16)
	var done sync.WaitGroup
	for i := range results {
		done.Go(func() { results[i] = p.run() })
	}
	done.Wait()
	for _, result := range results {
		require.Zero(t, result.ExitCode, result.Stderr)
		require.Equal(t, results[0].Stdout, result.Stdout)
	}
	require.Len(t, m.users(), 1)
	require.Equal(t, 1, m.aws.Count("CreateUser"))
	require.Len(t, m.leases("app"), 1)
	require.Empty(t, p.parse(results[0].Stdout).listGroups())
	require.Equal(t, results[0].Stdout, p.run().Stdout)

	// Another TTL is another lease.
	require.NotEqual(t, results[0].Stdout, p.run("-ttl", "5m").Stdout)
	require.Len(t, m.users(), 2)
}

// TestCredentialProcessGoesOnFromLeaseToLease asks all the time: the key that it has
// then always works.
func TestCredentialProcessGoesOnFromLeaseToLease(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/app", map[string]any{"policy_document": listGroups, "default_ttl": "6s", "max_ttl": "12s"})
	p := newCredentialProcess(t, m)
	first := p.key()
	begun, latest := time.Now(), first
	eventually(t, soon, "another key", func() bool {
		latest = p.key()
		require.Empty(t, latest.listGroups())
		return latest.AccessKeyID != first.AccessKeyID
	})
	require.Greater(t, time.Since(begun), 6*time.Second, "it was renewed")
	require.Empty(t, first.listGroups(), "who was given the first uses it until its end")
	require.Equal(t, 2, m.aws.Count("CreateUser"))

	// Revoking ends both.
	require.Zero(t, p.run("-revoke").ExitCode)
	require.Empty(t, m.users())
	require.Contains(t, p.run("-revoke").Stderr, "nothing is kept")
}

// TestCredentialProcessAfterTheEndOfItsUser: an operator has ended the lease, or the
// user.
func TestCredentialProcessAfterTheEndOfItsUser(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	p := newCredentialProcess(t, m)
	revoked := p.key()
	m.revokePrefix("app")
	require.Equal(t, revoked.AccessKeyID, p.key().AccessKeyID, "nobody has asked Vault")
	second := p.key("-check")
	require.NotEqual(t, revoked.AccessKeyID, second.AccessKeyID)
	require.Equal(t, second.AccessKeyID, p.key("-check").AccessKeyID)
	require.Len(t, m.users(), 1)

	// Its lease lives on, and can be revoked.
	_, err := m.server.Client.Logical().DeleteWithContext(t.Context(), m.path+"/users/"+m.users()[0].Name)
	require.NoError(t, err)
	require.Zero(t, p.run("-revoke").ExitCode)
	require.NotEqual(t, second.AccessKeyID, p.key().AccessKeyID)

	// At half of its lease a user that is gone is found out.
	m.write("roles/app", map[string]any{"policy_document": listGroups, "default_ttl": "6s"})
	brief := newCredentialProcess(t, m)
	gone := brief.key()
	for _, user := range m.users() {
		_, err := m.server.Client.Logical().DeleteWithContext(t.Context(), m.path+"/users/"+user.Name)
		require.NoError(t, err)
	}
	eventually(t, soon, "another key", func() bool { return brief.key().AccessKeyID != gone.AccessKeyID })
	require.Empty(t, brief.key().listGroups())
}

// TestCredentialProcessWithoutVault: what is kept goes on, and without it the reason
// is said.
func TestCredentialProcessWithoutVault(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/app", map[string]any{"policy_document": listGroups, "default_ttl": "20s"})
	target, err := url.Parse(m.server.Addr)
	require.NoError(t, err)
	front := httptest.NewServer(httputil.NewSingleHostReverseProxy(target))
	t.Cleanup(front.Close)
	p := newCredentialProcess(t, m, "-address", front.URL)
	p.env = append(p.env, "VAULT_MAX_RETRIES=0")
	first := p.key()

	front.Close()
	require.Equal(t, first.AccessKeyID, p.key().AccessKeyID)
	eventually(t, soon, "half of the lease to be gone", func() bool {
		result := p.run()
		require.Zero(t, result.ExitCode, result.Stderr)
		require.Equal(t, first.AccessKeyID, p.parse(result.Stdout).AccessKeyID)
		return strings.Contains(result.Stderr, "the key that is kept goes on until "+first.LeaseExpiration)
	})
	require.Empty(t, first.listGroups())

	refused := p.run("-ttl", "10s")
	require.Equal(t, 1, refused.ExitCode)
	require.Contains(t, refused.Stderr, "connection refused")
	require.Empty(t, refused.Stdout)
}

// TestCredentialProcessIsRefused shows what a person is told, and that nothing is
// printed for an SDK to take for credentials.
func TestCredentialProcessIsRefused(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	p := newCredentialProcess(t, m)
	for want, args := range map[string][]string{
		`"nobody"`:            {"-role", "nobody"},
		"permission denied":   {"-mount", "sys"},
		"ttl":                 {"-ttl", "soon"},
		"-role has to name":   {"-role", ""},
		"no arguments but":    {"more"},
		"reading the token":   {"-token-file", "/nowhere"},
		"deadline exceeded":   {"-timeout", "1us"},
		"folder for the keys": {"-cache", "/dev/null"},
	} {
		result := p.run(args...)
		require.Equal(t, 1, result.ExitCode, want)
		require.Contains(t, result.Stderr, want)
		require.Empty(t, result.Stdout)
	}
	p.env = append(p.env, "VAULT_TOKEN=")
	require.Contains(t, p.run().Stderr, "vault login")
	require.Empty(t, m.users())
}

// awsProfile writes examples/aws-cli/config for the mount's program, and returns it.
func (p *credentialProcess) awsProfile(t *testing.T) string {
	t.Helper()
	example, err := os.ReadFile("../examples/aws-cli/config")
	require.NoError(t, err)
	const command = "aws-iam-credential-process -role app"
	require.Equal(t, 1, strings.Count(string(example), "= "+command+"\n"))
	path := filepath.Join(p.home, "config")
	filled := strings.ReplaceAll(string(example), command, p.bin+" "+strings.Join(p.args, " "))
	require.NoError(t, os.WriteFile(path, []byte(filled), 0o600))
	return path
}

// TestCredentialProcessOfAWSSDK: the SDK for Go runs the program and calls AWS with
// what it prints.
func TestCredentialProcessOfAWSSDK(t *testing.T) {
	m := newMount(t)
	p := newCredentialProcess(t, m)
	for _, variable := range p.env { // the SDK's children have its own environment
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	loaded, err := config.LoadDefaultConfig(t.Context(),
		config.WithSharedConfigFiles([]string{p.awsProfile(t)}), config.WithSharedCredentialsFiles(nil), config.WithSharedConfigProfile("app"))
	require.NoError(t, err)
	client := sts.NewFromConfig(loaded, func(o *sts.Options) { o.BaseEndpoint = aws.String(m.aws.url) })
	for range 3 {
		who, err := client.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		require.NoError(t, err)
		require.Equal(t, m.users()[0].ARN, aws.ToString(who.Arn))
	}
	found, err := loaded.Credentials.Retrieve(t.Context())
	require.NoError(t, err)
	require.True(t, found.CanExpire)
	require.WithinDuration(t, time.Now().Add(29*time.Minute), found.Expires, 30*time.Second)
	require.Len(t, m.users(), 1)
}

// testAWSCLI runs the commands of examples/aws-cli.
func testAWSCLI(t *testing.T, m *mount) {
	t.Helper()
	shell := newExampleShell(t, m, "aws-cli", "AWS_ENDPOINT_URL="+m.aws.url)
	var printed struct{ AccessKeyId string } //nolint:revive // as AWS spells it
	_, output, found := strings.Cut(shell.next("make"), "\n{")
	require.True(t, found)
	require.NoError(t, json.Unmarshal([]byte("{"+output), &printed))
	require.Equal(t, m.users()[0].AccessKeys[0].ID, printed.AccessKeyId)
	if onPath(t, "aws", "the command of examples/aws-cli that calls AWS") {
		require.Contains(t, shell.next("aws sts"), m.users()[0].ARN)
		require.Len(t, m.users(), 1)
	} else {
		shell.skip("aws sts")
	}
	shell.next("-revoke")
	require.Empty(t, m.users())
}

// Vault answers a lookup of a lease that it does not have in this way, which is what
// -check goes by.
func TestVaultsWordsForALeaseThatHasEnded(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	c := m.issue("app")
	require.NoError(t, m.revoke(c))
	client := clientWith(t, m.server, m.server.RootToken)
	_, err := client.Sys().LookupWithContext(t.Context(), c.lease.LeaseID)
	requireStatus(t, err, http.StatusBadRequest, "invalid lease")
	_, err = client.Sys().RenewWithContext(t.Context(), c.lease.LeaseID, 0)
	requireStatus(t, err, http.StatusBadRequest, "lease not found")
	require.NoError(t, m.revoke(c), "revoking it again is no error")
	client.SetToken("hvs.none")
	_, err = client.Sys().RenewWithContext(t.Context(), c.lease.LeaseID, 0)
	requireStatus(t, err, http.StatusForbidden, "invalid token")
}
