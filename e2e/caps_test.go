package e2e

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

// TestMaxUsers: of many readers at once as many are served as the role's max_users
// allows; the others are answered once, by a client that tries again what may pass;
// and another process of the plugin counts on.
//
// Break it by answering a full role with a 429: the client then asks again.
func TestMaxUsers(t *testing.T) {
	t.Parallel()
	const limit, readers = 3, 24
	server := ownServer(t)
	m := newMountOn(t, server, newSimulation(t))
	m.write("roles/app", map[string]any{"max_users": limit})

	// With the client's own settings of retries, and a count of its requests.
	config := api.DefaultConfig()
	config.Address = server.Client.Address()
	sent := &counting{next: server.Client.CloneConfig().HttpClient.Transport}
	config.HttpClient.Transport = sent
	client, err := api.NewClient(config)
	require.NoError(t, err)
	client.SetToken(server.RootToken)
	readAll := func() (leases []string) {
		before := sent.count()
		answers, errs := make([]*api.Secret, readers), make([]error, readers)
		var all sync.WaitGroup
		for i := range readers {
			all.Go(func() { answers[i], errs[i] = client.Logical().ReadWithContext(t.Context(), m.path+"/creds/app") })
		}
		all.Wait()
		for i, secret := range answers {
			if errs[i] != nil {
				requireStatus(t, errs[i], http.StatusBadRequest, `role "app" has 3 user(s), and max_users=3`, "the oldest was made at")
				continue
			}
			leases = append(leases, secret.LeaseID)
		}
		require.Equal(t, readers, sent.count()-before, "each asked once")
		return leases
	}

	leases := readAll()
	require.Len(t, leases, limit)
	require.Len(t, m.users(), limit)

	_, err = server.Client.Sys().ReloadPluginWithContext(context.Background(), &api.ReloadPluginInput{Mounts: []string{m.path + "/"}})
	require.NoError(t, err)
	require.Empty(t, readAll())
	require.NoError(t, client.Sys().RevokeWithContext(t.Context(), leases[0]))
	eventually(t, soon, "the end of its user", func() bool { return len(m.users()) == limit-1 })
	require.Len(t, readAll(), 1)
}

// counting counts requests.
type counting struct {
	next http.RoundTripper
	mu   sync.Mutex
	n    int
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.next.RoundTrip(r)
}

func (c *counting) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}
