package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// newCluster runs three nodes that know the plugin, with further settings in
// their environment. What they logged is looked through at the end.
func newCluster(t *testing.T, env ...string) *vaultdev.Cluster {
	t.Helper()
	config := serverConfig
	config.Env = env
	cluster, err := vaultdev.StartCluster(t.Context(), config, 3)
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, node := range cluster.Nodes {
			require.NoError(t, checkLog(node))
		}
		require.NoError(t, cluster.Stop())
	})
	require.NoError(t, cluster.Nodes[0].Register(t.Context(), plugin))
	return cluster
}

func leader(t *testing.T, cluster *vaultdev.Cluster) *vaultdev.Server {
	t.Helper()
	// Of use in a cleanup too, where the test's context has ended.
	node, err := cluster.Leader(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	return node
}

// newClusterMount is newMountOn whose end is left to the node that leads then.
func newClusterMount(t *testing.T, cluster *vaultdev.Cluster) *mount {
	t.Helper()
	m := newMountOn(t, leader(t, cluster), newSimulation(t))
	t.Cleanup(func() { m.server = leader(t, cluster) })
	return m
}

// at is the mount as it is reached through this node.
func (m *mount) at(node *vaultdev.Server) *mount {
	other := *m
	other.server = node
	return &other
}

// requireAlive checks that the lease is alive in Vault, its user in AWS, and that
// the record lets the user live at least as long as the lease.
func (m *mount) requireAlive(c credential) {
	m.t.Helper()
	require.Empty(m.t, c.listGroups(), "the key of %s", c.Username)
	lease := patiently(m.t, func(ctx context.Context) (*api.Secret, error) {
		return m.server.Client.Sys().LookupWithContext(ctx, c.lease.LeaseID)
	})
	ends, err := time.Parse(time.RFC3339Nano, lease.Data["expire_time"].(string))
	require.NoError(m.t, err)

	record, found := m.record(c.Username)
	require.True(m.t, found)
	require.Equal(m.t, "active", record["state"])
	expires, err := time.Parse(time.RFC3339Nano, record["expires"].(string))
	require.NoError(m.t, err)
	require.False(m.t, expires.Before(ends), "the record ends at %s, the lease at %s", expires, ends)
}

// record is the plugin's record of a user, which the reaper may be about to end.
func (m *mount) record(username string) (record map[string]any, found bool) {
	m.t.Helper()
	path := "sys/raw/" + m.records() + username
	secret := patiently(m.t, func(ctx context.Context) (*api.Secret, error) {
		return m.server.Client.Logical().ReadWithContext(ctx, path)
	})
	if secret == nil {
		return nil, false
	}
	require.NoError(m.t, json.Unmarshal([]byte(secret.Data["value"].(string)), &record))
	return record, true
}

// records is the folder of the records of users.
func (m *mount) records() string {
	m.t.Helper()
	return "logical/" + m.uuid() + "/users/"
}

// recorded are the names of all users on record.
func (m *mount) recorded() []string {
	m.t.Helper()
	return m.rawKeysIn(m.records(), "")
}

// leased are the ids of all leases of the mount.
func (m *mount) leased() []string {
	m.t.Helper()
	return m.rawKeysIn("sys/expire/id/", m.path+"/")
}

// rawKeysIn are the keys of all entries beneath prefix, without the folder.
func (m *mount) rawKeysIn(folder, prefix string) (keys []string) {
	m.t.Helper()
	for _, key := range m.rawKeys(folder + prefix) {
		keys = append(keys, strings.TrimPrefix(key, folder))
	}
	return keys
}

// requireOnly checks that there is nothing but these credentials: no other user,
// no other record and no other lease; and that they are alive.
func (m *mount) requireOnly(alive ...credential) {
	m.t.Helper()
	var names, users, ids []string
	for _, c := range alive {
		m.requireAlive(c)
		names, ids = append(names, c.Username), append(ids, c.lease.LeaseID)
	}
	for _, user := range m.users() {
		users = append(users, user.Name)
	}
	require.ElementsMatch(m.t, names, users, "users in AWS")
	require.ElementsMatch(m.t, names, m.recorded(), "records")
	require.ElementsMatch(m.t, ids, m.leased(), "leases")
}

// unfinished is a mount of which something is left to the reaper, and what is to
// be alive in it.
type unfinished struct {
	*mount
	alive []credential
}

// requireSettled checks that the reaper leaves nothing but what is to be alive.
//
// It would leave an unfinished creation alone for five minutes, because a deposed
// leader may be at work on it, and a user whose lease was never stored until that
// would have ended. As if all that time had passed, the dates in such records are
// moved back; another leader, who learns them from storage, has a pass within a
// minute.
func requireSettled(t *testing.T, cluster *vaultdev.Cluster, mounts ...unfinished) {
	t.Helper()
	node := leader(t, cluster)
	for _, left := range mounts {
		left.at(node).makeDue(left.alive)
	}
	require.NoError(t, node.StepDown(t.Context()))
	node = leader(t, cluster)
	for _, left := range mounts {
		m := left.at(node)
		eventually(t, 3*time.Minute, "the end of what nobody holds", func() bool {
			return len(m.users()) == len(left.alive) && len(m.recorded()) == len(left.alive)
		})
		// The leases of users who went another way end without ado.
		m.revokeAllBut(left.alive)
		m.requireOnly(left.alive...)
	}
}

// makeDue moves the dates of all records but those of the living a day back.
func (m *mount) makeDue(alive []credential) {
	m.t.Helper()
	for _, name := range m.recorded() {
		if slices.ContainsFunc(alive, func(c credential) bool { return c.Username == name }) {
			continue
		}
		record, found := m.record(name)
		if !found {
			continue
		}
		for _, field := range []string{"created", "expires", "deadline", "next_attempt", "recreated_at", "doubted_since", "key_doubted_since"} {
			text, ok := record[field].(string)
			if !ok {
				continue
			}
			date, err := time.Parse(time.RFC3339Nano, text)
			require.NoError(m.t, err)
			record[field] = date.AddDate(0, 0, -1)
		}
		encoded, err := json.Marshal(record)
		require.NoError(m.t, err)
		_, err = m.server.Client.Logical().WriteWithContext(m.t.Context(), "sys/raw/"+m.records()+name, map[string]any{"value": string(encoded)})
		require.NoError(m.t, err)
	}
}

// revokeAllBut ends leases that nobody knows of, since the answer that named them
// was lost.
func (m *mount) revokeAllBut(alive []credential) {
	m.t.Helper()
	for _, id := range m.leased() {
		if !slices.ContainsFunc(alive, func(c credential) bool { return c.lease.LeaseID == id }) {
			require.NoError(m.t, m.revoke(credential{lease: &api.Secret{LeaseID: id}}))
		}
	}
}
