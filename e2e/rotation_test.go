package e2e

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// rotatingMount is a mount whose integration may rotate its own key.
func rotatingMount(t *testing.T) *mount {
	t.Helper()
	m := newMountOn(t, ownServer(t), newSimulation(t))
	own := `{"Effect":"Allow","Action":["iam:ListAccessKeys","iam:CreateAccessKey","iam:DeleteAccessKey"],"Resource":"arn:aws:iam::*:user/vault-rotating"},`
	m.key = m.aws.newKey(account, "vault-rotating", strings.Replace(corePolicy, `"Statement":[`, `"Statement":[`+own, 1))
	m.write("config", m.aws.integration(m.key))
	return m
}

// ownKeys are the ids of the access keys of the integration's user.
func (m *mount) ownKeys() (ids []string) {
	m.t.Helper()
	user, found := m.aws.Account(account).User("vault-rotating")
	require.True(m.t, found)
	for _, key := range user.AccessKeys {
		ids = append(ids, key.ID)
	}
	return ids
}

// makeRotationDue moves the dates of the rotation under way half an hour back, and has
// another process read them.
func (m *mount) makeRotationDue() {
	m.t.Helper()
	raw := "sys/raw/logical/" + m.uuid() + "/config/default"
	secret, err := m.server.Client.Logical().ReadWithContext(m.t.Context(), raw)
	require.NoError(m.t, err)
	var stored map[string]any
	require.NoError(m.t, json.Unmarshal([]byte(secret.Data["value"].(string)), &stored))
	journal := stored["rotation"].(map[string]any)["journal"].(map[string]any)
	for _, field := range []string{"began", "not_before"} {
		if text, ok := journal[field].(string); ok {
			date, err := time.Parse(time.RFC3339Nano, text)
			require.NoError(m.t, err)
			journal[field] = date.Add(-30 * time.Minute)
		}
	}
	encoded, err := json.Marshal(stored)
	require.NoError(m.t, err)
	_, err = m.server.Client.Logical().WriteWithContext(m.t.Context(), raw, map[string]any{"value": string(encoded)})
	require.NoError(m.t, err)
	require.NoError(m.t, m.server.KillPlugins())
}

// TestRotationByHand rotates with the command line, as an operator does, with leases
// out and keys that take their time.
func TestRotationByHand(t *testing.T) {
	t.Parallel()
	m := rotatingMount(t)
	m.aws.SetLag(awsfake.Lag{Key: 3 * time.Second})
	before := m.issue("app")

	output := cli(t, m.server, "write", "-f", m.path+"/rotate-root")

	keys := m.ownKeys()
	require.Len(t, keys, 2)
	require.Contains(t, output, keys[0])
	require.Contains(t, output, keys[1])
	require.Equal(t, keys[1], m.read("config")["access_key"])
	require.NotEmpty(t, m.read("config")["last_rotation"])
	m.aws.ResetCalls()
	require.NoError(t, m.revoke(before))
	require.NoError(t, m.revoke(m.issue("app")))
	for _, call := range m.aws.Calls() {
		require.NotEqual(t, keys[0], call.AccessKeyID)
	}
	again := cliAs(t, m.server, m.server.RootToken, "write", "-f", m.path+"/rotate-root/default")
	require.NotZero(t, again.ExitCode)
	require.Contains(t, again.Stderr, "is not finished")

	m.makeRotationDue()
	eventually(t, 3*time.Minute, "the end of the old key", func() bool { return len(m.ownKeys()) == 1 })
	require.Equal(t, keys[1:], m.ownKeys())
	require.NoError(t, m.revoke(m.issue("app")))
}

// TestRotationKilled kills Vault while AWS makes the key, and while the key is proved.
func TestRotationKilled(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]awsfake.Fault{
		"while the key is made":   {Action: "CreateAccessKey", Count: 1, Lost: true},
		"while the key is proved": {Action: "GetCallerIdentity", Count: 1, Skip: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := rotatingMount(t)
			kept := m.issue("app")
			var killing sync.WaitGroup
			killing.Add(1)
			fault.Hook = func(awsfake.Call) {
				defer killing.Done()
				if err := m.server.Kill(); err != nil {
					t.Errorf("killing Vault: %s", err)
				}
			}
			remove := m.aws.Inject(fault)
			_, err := m.tryWrite("rotate-root", nil)
			require.Error(t, err)
			killing.Wait()
			remove()
			require.Len(t, m.ownKeys(), 2)

			require.NoError(t, m.server.Restart(t.Context()))
			require.Empty(t, kept.listGroups())
			require.NoError(t, m.revoke(m.issue("app")), "not locked out")
			if strings.HasSuffix(name, "made") {
				m.makeRotationDue()
			}
			eventually(t, 3*time.Minute, "the end of the key that nobody uses", func() bool { return len(m.ownKeys()) == 1 })
			require.Equal(t, []string{m.key.AccessKeyID}, m.ownKeys())
			require.NoError(t, m.revoke(kept))
			eventually(t, soon, "another rotation", func() bool {
				_, err := m.tryWrite("rotate-root", nil)
				return err == nil
			})
		})
	}
}
