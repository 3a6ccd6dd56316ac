package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"
	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

const (
	account      = "111122223333"
	otherAccount = "444455556666"

	// corePolicy is all that the integration's user may do, and the fake
	// enforces it. Where a test needs widePolicy it says why.
	corePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:DeleteAccessKey","iam:PutUserPolicy","iam:DeleteUserPolicy","iam:DeleteUser","iam:ListUserPolicies","iam:CreateUser","iam:CreateAccessKey","iam:ListAccessKeys"],"Resource":"arn:aws:iam::*:user/vault/*"}]}`
	widePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:*","sts:AssumeRole"],"Resource":"*"}]}`

	// listGroups and listUsers each allow one call, so that tests can tell
	// which policy a user has by what AWS lets it do.
	listGroups = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:ListGroups", "Resource": "*"}]}`
	listUsers  = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:ListUsers", "Resource": "*"}]}`

	// soon is within how long things happen that nothing holds up. Loaded
	// machines are slow: it bounds a wait, and no test waits for it to pass.
	soon = 30 * time.Second
)

// simulation is a simulated AWS and where it listens.
type simulation struct {
	*awsfake.AWS
	url   string
	close func() // ends the server, as when AWS cannot be reached
}

func newSimulation(t *testing.T) simulation {
	t.Helper()
	fake := awsfake.New()
	server := httptest.NewServer(handedOut.watch(fake))
	t.Cleanup(server.Close)
	return simulation{AWS: fake, url: server.URL, close: server.Close}
}

// newKey makes an integration's user, outside the path that the policies name.
func (s simulation) newKey(accountID, name, policy string) awsfake.Credentials {
	_, key := s.Account(accountID).AddUser("/", name, policy)
	handedOut.addIntegration(key.SecretAccessKey)
	return key
}

// integration is the body of a config write. Retries are few, so that a test
// can let them run out.
func (s simulation) integration(key awsfake.Credentials) map[string]any {
	return map[string]any{
		"access_key": key.AccessKeyID, "secret_key": key.SecretAccessKey,
		"iam_endpoint": s.url, "sts_endpoint": s.url, "max_retries": 1,
	}
}

// mount is a mount of the plugin, with a simulated AWS behind it.
type mount struct {
	t      *testing.T
	server *vaultdev.Server
	path   string // without a slash at the end
	aws    simulation
	key    awsfake.Credentials // of the integration "default"
	// userPath is the IAM path of the users of this mount, and of no other.
	userPath string
}

var mounts atomic.Int64

// newMount enables the plugin on the shared server, with a simulation of its
// own, an integration "default" that has exactly corePolicy, and a role "app"
// whose users may list groups. The test's end disables the mount, which must
// leave no user behind.
func newMount(t *testing.T) *mount {
	t.Helper()
	return newMountOn(t, shared, newSimulation(t))
}

func newMountOn(t *testing.T, server *vaultdev.Server, sim simulation) *mount {
	t.Helper()
	number := mounts.Add(1)
	return newMountAt(t, server, sim, fmt.Sprintf("aws-iam-%d", number), fmt.Sprintf("vault-%d", number))
}

func newMountAt(t *testing.T, server *vaultdev.Server, sim simulation, path, integrationUser string) *mount {
	t.Helper()
	m := &mount{t: t, server: server, path: path, aws: sim}
	require.NoError(t, server.Enable(t.Context(), path, plugin, api.MountConfigInput{}))
	t.Cleanup(m.disable)
	m.key = sim.newKey(account, integrationUser, corePolicy)
	m.write("config", sim.integration(m.key))
	m.userPath = m.read("config")["issued_user_path"].(string)
	require.Regexp(t, `^/vault/[0-9a-f]{8}/$`, m.userPath)
	m.write("roles/app", map[string]any{"policy_document": listGroups})
	sim.ResetCalls()
	return m
}

// disable ends all leases of the mount and removes it, unless the test did. Only a
// change of the cluster's leader may keep it from that, which on a busy machine
// nobody need have asked for.
func (m *mount) disable() {
	m.t.Helper()
	for deadline := time.Now().Add(soon); m.uuid() != ""; time.Sleep(100 * time.Millisecond) {
		err := m.server.Client.Sys().UnmountWithContext(context.Background(), m.path)
		if err != nil && (!deposed(err) || time.Now().After(deadline)) {
			require.NoError(m.t, err)
		}
	}
	for _, id := range []string{account, otherAccount} {
		require.Empty(m.t, m.usersIn(id), "left behind by %s", m.path)
	}
}

// uuid is what Vault calls the mount's storage; empty once it is disabled.
func (m *mount) uuid() string {
	m.t.Helper()
	all := patiently(m.t, m.server.Client.Sys().ListMountsWithContext)
	if all[m.path+"/"] == nil {
		return ""
	}
	return all[m.path+"/"].UUID
}

// write writes as root. Leases of roles do not wait for keys to propagate unless
// it says so: the simulated AWS lets them in at once unless a test says otherwise.
func (m *mount) write(path string, data map[string]any) *api.Secret {
	m.t.Helper()
	secret, err := m.tryWrite(path, data)
	require.NoError(m.t, err)
	return secret
}

func (m *mount) tryWrite(path string, data map[string]any) (*api.Secret, error) {
	m.t.Helper()
	if _, said := data["propagation_timeout"]; !said && strings.HasPrefix(path, "roles/") {
		data = maps.Clone(data)
		data["propagation_timeout"] = 0
	}
	return clientWith(m.t, m.server, m.server.RootToken).Logical().WriteWithContext(m.t.Context(), m.path+"/"+path, data)
}

func (m *mount) read(path string) map[string]any {
	m.t.Helper()
	secret, err := m.server.Client.Logical().ReadWithContext(m.t.Context(), m.path+"/"+path)
	require.NoError(m.t, err)
	require.NotNil(m.t, secret, "nothing at %s", path)
	return secret.Data
}

// issue reads credentials of the role with the root token. params are the
// query's, as in "ttl=3h".
func (m *mount) issue(role string, params ...string) credential {
	m.t.Helper()
	c, err := m.tryIssue(m.server.RootToken, role, params...)
	require.NoError(m.t, err)
	return c
}

func (m *mount) tryIssue(token, role string, params ...string) (credential, error) {
	m.t.Helper()
	query := make(map[string][]string)
	for _, param := range params {
		name, value, _ := strings.Cut(param, "=")
		query[name] = []string{value}
	}
	secret, err := clientWith(m.t, m.server, token).Logical().ReadWithDataWithContext(m.t.Context(), m.path+"/creds/"+role, query)
	if err != nil {
		return credential{}, err
	}
	return newCredential(m.t, m.aws, secret), nil
}

// revoke ends the lease and waits until Vault has done so.
func (m *mount) revoke(c credential) error {
	_, err := clientWith(m.t, m.server, m.server.RootToken).Logical().WriteWithContext(m.t.Context(), "sys/leases/revoke",
		map[string]any{"lease_id": c.lease.LeaseID, "sync": true})
	return err
}

// requireGone checks that AWS does not have the user any more.
func (m *mount) requireGone(c credential) {
	m.t.Helper()
	require.False(m.t, c.exists(), "user %s", c.Username)
	require.Equal(m.t, "InvalidClientTokenId", c.listGroups())
}

// users are the users of this mount in the integration's account.
func (m *mount) users() []awsfake.UserInfo {
	m.t.Helper()
	return m.usersIn(account)
}

func (m *mount) usersIn(accountID string) []awsfake.UserInfo {
	m.t.Helper()
	var mine []awsfake.UserInfo
	for _, user := range m.aws.Account(accountID).Users() {
		if m.userPath != "" && strings.HasPrefix(user.Path, m.userPath) {
			mine = append(mine, user)
		}
	}
	return mine
}

// leases are the ids of the role's leases that Vault has.
func (m *mount) leases(role string) []string {
	m.t.Helper()
	prefix := m.path + "/creds/" + role + "/"
	secret, err := m.server.Client.Logical().ListWithContext(m.t.Context(), "sys/leases/lookup/"+prefix)
	require.NoError(m.t, err)
	if secret == nil {
		return nil
	}
	var ids []string
	for _, key := range secret.Data["keys"].([]any) {
		ids = append(ids, prefix+key.(string))
	}
	return ids
}

// actions are the IAM calls since the simulation's last reset.
func (m *mount) actions() []string {
	var actions []string
	for _, call := range m.aws.Calls() {
		actions = append(actions, call.Action)
	}
	return actions
}

// credential is what a read of creds/ returned.
type credential struct {
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	Username        string `json:"username"`
	UserID          string `json:"user_id"`
	ARN             string `json:"arn"`
	PolicyName      string `json:"policy_name"`
	LeaseExpiration string `json:"lease_expiration"`
	AccountID       string `json:"account_id"`
	AccessKey       string `json:"access_key"`
	SecretKey       string `json:"secret_key"`
	// PropagationSeconds is how long AWS took to let the key in.
	PropagationSeconds float64 `json:"propagation_seconds"`

	lease *api.Secret
	aws   simulation
}

// newCredential checks that all eleven fields are there and no other.
func newCredential(t *testing.T, sim simulation, secret *api.Secret) credential {
	t.Helper()
	encoded, err := json.Marshal(secret.Data)
	require.NoError(t, err)
	decoder := json.NewDecoder(strings.NewReader(string(encoded)))
	decoder.DisallowUnknownFields()
	c := credential{lease: secret, aws: sim}
	require.NoError(t, decoder.Decode(&c))
	require.Len(t, secret.Data, 11)
	require.Equal(t, c.AccessKeyID, c.AccessKey)
	require.Equal(t, c.SecretAccessKey, c.SecretKey)
	return c
}

func (c credential) exists() bool {
	_, found := c.aws.Account(c.AccountID).User(c.Username)
	return found
}

// listGroups uses the key as its owner would, and returns AWS's error code,
// empty for success.
func (c credential) listGroups() string {
	_, err := c.client().ListGroups(context.Background(), &iam.ListGroupsInput{})
	return codeOf(err)
}

func (c credential) listUsers() string {
	_, err := c.client().ListUsers(context.Background(), &iam.ListUsersInput{})
	return codeOf(err)
}

func (c credential) client() *iam.Client {
	return iam.New(iam.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(c.aws.url), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, ""),
	})
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	var answer smithy.APIError
	if errors.As(err, &answer) {
		return answer.ErrorCode()
	}
	return err.Error()
}
