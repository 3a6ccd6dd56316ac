package e2e

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/require"
)

// everything is the policy of a user that may do all there is.
const everything = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`

// TestVaultGoneForGood: right after a lease of at most a minute was issued,
// Vault is killed and never comes back. Three minutes later AWS refuses the key
// whatever can be refused. Break it by leaving withExpiry out of
// role.inlinePolicy.
func TestVaultGoneForGood(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	m := newMountOn(t, server, newSimulation(t))
	m.write("roles/brief", map[string]any{"policy_document": everything, "default_ttl": "1m", "max_ttl": "1m"})
	c := m.issue("brief")
	require.NoError(t, server.Kill())
	client := c.client()
	calls := map[string]func() error{
		"ListGroups": func() error {
			_, err := client.ListGroups(t.Context(), &iam.ListGroupsInput{})
			return err
		},
		"CreateUser": func() error {
			_, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("made-by-" + c.AccessKeyID)})
			return err
		},
		"CreateAccessKey": func() error {
			out, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{})
			if err == nil {
				_, err = client.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{AccessKeyId: out.AccessKey.AccessKeyId})
			}
			return err
		},
		"DeleteUserPolicy": func() error { // of the very policy
			_, err := client.DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: &c.Username, PolicyName: aws.String("another")})
			if codeOf(err) == "NoSuchEntity" {
				return nil // it was let try
			}
			return err
		},
	}
	for name, call := range calls {
		require.NoError(t, call(), name)
	}
	_, err := client.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: aws.String("made-by-" + c.AccessKeyID)})
	require.NoError(t, err)

	m.aws.Advance(3 * time.Minute)
	for name, call := range calls {
		require.Equal(t, "AccessDenied", codeOf(call()), name)
	}
	_, err = sts.New(sts.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(m.aws.url), Credentials: client.Options().Credentials,
	}).GetCallerIdentity(t.Context(), nil)
	require.NoError(t, err, "which AWS cannot deny")

	m.aws.Advance(-3 * time.Minute)
	require.NoError(t, server.Restart(t.Context()), "for the test's end")
	require.NoError(t, m.revoke(c))
}

// TestLeaseNeverStored: Vault is killed between the plugin's answer and its own
// storing of the lease, which nobody knows of then. The user ends with the
// lease that it was to have. Break it by making userRecord.due ignore Expires.
func TestLeaseNeverStored(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	m := newMountOn(t, server, newSimulation(t))
	m.write("roles/brief", map[string]any{"policy_document": listGroups, "default_ttl": "20s"})
	c := m.issue("brief")
	require.NoError(t, server.Kill())
	require.NoError(t, server.Restart(t.Context()))
	_, err := server.Client.Logical().DeleteWithContext(t.Context(), "sys/raw/sys/expire/id/"+c.lease.LeaseID)
	require.NoError(t, err)
	require.NoError(t, server.Kill())
	require.NoError(t, server.Restart(t.Context()))
	require.Empty(t, m.leases("brief"))
	require.True(t, c.exists())
	// 20 s and two minutes of allowance, and one pass of the reaper.
	eventually(t, 5*time.Minute, "the end of the user", func() bool { return !c.exists() })
	eventually(t, soon, "the end of the record", func() bool { return len(m.storedRecords()) == 0 })
}

// TestForcedRevocation: an operator ends a lease that cannot be revoked. The
// user is under users/ until the reaper can delete it.
func TestForcedRevocation(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	c := m.issue("app")
	m.write("roles/app", map[string]any{"default_ttl": "1h"})
	admin := m.aws.Account(account).Root()
	hold := credential{AccessKeyID: admin.AccessKeyID, SecretAccessKey: admin.SecretAccessKey, aws: m.aws}.client()
	_, err := hold.CreateLoginProfile(t.Context(), &iam.CreateLoginProfileInput{UserName: &c.Username, Password: aws.String("Correct-horse-7-battery")})
	require.NoError(t, err)

	require.ErrorContains(t, m.revoke(c), "grant iam:DeleteLoginProfile")
	cli(t, m.server, "lease", "revoke", "-force", "-prefix", c.lease.LeaseID)
	require.Empty(t, m.leases("app"))
	require.Contains(t, cli(t, m.server, "list", m.path+"/users"), c.Username)
	shown := m.read("users/" + c.Username)
	require.Equal(t, "deleting", shown["state"])
	require.Contains(t, shown["last_error"], "must delete login profile first")
	require.Equal(t, "InvalidClientTokenId", c.listGroups(), "the key is dead")

	_, err = hold.DeleteLoginProfile(t.Context(), &iam.DeleteLoginProfileInput{UserName: &c.Username})
	require.NoError(t, err)
	eventually(t, 3*time.Minute, "the reaper's success", func() bool { return !c.exists() })
	eventually(t, soon, "the end of the record", func() bool { return len(m.storedRecords()) == 0 })
}
