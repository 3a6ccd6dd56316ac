package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

// raw reads an entry of Vault's storage as it is, below the encryption.
func (m *mount) raw(key string) string {
	m.t.Helper()
	value, stored := m.tryRaw(key)
	require.True(m.t, stored, "nothing is stored at %s", key)
	return value
}

func (m *mount) tryRaw(key string) (value string, stored bool) {
	m.t.Helper()
	secret, err := m.server.Client.Logical().ReadWithContext(m.t.Context(), "sys/raw/"+key)
	require.NoError(m.t, err)
	if secret == nil {
		return "", false
	}
	return secret.Data["value"].(string), true
}

// rawKeys returns the keys of all entries beneath a folder of the storage.
func (m *mount) rawKeys(folder string) []string {
	m.t.Helper()
	secret := patiently(m.t, func(ctx context.Context) (*api.Secret, error) {
		return m.server.Client.Logical().ListWithContext(ctx, "sys/raw/"+folder)
	})
	if secret == nil {
		return nil
	}
	var keys []string
	for _, key := range secret.Data["keys"].([]any) {
		if path := folder + key.(string); strings.HasSuffix(path, "/") {
			keys = append(keys, m.rawKeys(path)...)
		} else {
			keys = append(keys, path)
		}
	}
	return keys
}

// storedRecords are the plugin's records of users, by user name.
func (m *mount) storedRecords() map[string]string {
	m.t.Helper()
	folder := "logical/" + m.uuid() + "/users/"
	records := make(map[string]string)
	for _, key := range m.rawKeys(folder) {
		if record, stored := m.tryRaw(key); stored { // it may have been removed since
			records[strings.TrimPrefix(key, folder)] = record
		}
	}
	return records
}

// storedLease is a lease as core stores it. Data is the response that was given
// when it was issued, which is core's own doing.
type storedLease struct {
	Data      map[string]any  `json:"data"`
	Secret    json.RawMessage `json:"secret"`
	IssueTime time.Time       `json:"issue_time"`
}

func (m *mount) storedLease(id string) storedLease {
	m.t.Helper()
	var lease storedLease
	require.NoError(m.t, json.Unmarshal([]byte(m.raw("sys/expire/id/"+id)), &lease))
	require.NotEmpty(m.t, lease.Secret)
	return lease
}

// internalData is the plugin's own part of the lease.
func (l storedLease) internalData(t *testing.T) map[string]any {
	t.Helper()
	var secret struct {
		InternalData map[string]any `json:"internal_data"`
	}
	require.NoError(t, json.Unmarshal(l.Secret, &secret))
	require.NotEmpty(t, secret.InternalData)
	return secret.InternalData
}
