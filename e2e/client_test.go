package e2e

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

// watch renews the lease as an application does, with Vault's Go client.
func watch(t *testing.T, m *mount, c credential) *api.LifetimeWatcher {
	t.Helper()
	watcher, err := clientWith(t, m.server, m.server.RootToken).NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: c.lease})
	require.NoError(t, err)
	go watcher.Start()
	t.Cleanup(watcher.Stop)
	return watcher
}

func TestLifetimeWatcherRenewsUntilMaxTTL(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/brief", map[string]any{"policy_document": listGroups, "default_ttl": "5s", "max_ttl": "15s"})
	issued := time.Now()
	c := m.issue("brief")
	watcher := watch(t, m, c)

	renewals := 0
	bound := time.After(soon)
	for done := false; !done; {
		select {
		case err := <-watcher.DoneCh():
			require.NoError(t, err)
			done = true
		case renewal := <-watcher.RenewCh():
			renewals++
			require.Equal(t, c.lease.LeaseID, renewal.Secret.LeaseID)
			require.Empty(t, c.listGroups(), "renewed, so that the key works")
		case <-bound:
			require.FailNow(t, "the watcher does not end")
		}
	}
	require.GreaterOrEqual(t, renewals, 2)
	require.Greater(t, time.Since(issued), 5*time.Second, "it outlived its first TTL")

	eventually(t, soon, "the end at max_ttl", func() bool { return !c.exists() })
	require.GreaterOrEqual(t, time.Since(issued), 14*time.Second)
	m.requireGone(c)
}

func TestLifetimeWatcherUntilTheApplicationIsDone(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/brief", map[string]any{"policy_document": listGroups, "default_ttl": "5s", "max_ttl": "1h"})
	c := m.issue("brief")
	watcher := watch(t, m, c)

	firstTTL := time.After(6 * time.Second)
	for alive := true; alive; {
		select {
		case <-watcher.RenewCh():
		case err := <-watcher.DoneCh():
			require.FailNow(t, "the watcher gave up", "%v", err)
		case <-firstTTL:
			alive = false
		}
	}
	require.Empty(t, c.listGroups())

	watcher.Stop()
	require.NoError(t, m.revoke(c))
	m.requireGone(c)
}

// TestRenewalIsBoundByTheMaximumOfIssue tunes the mount up after the issue: what
// was promised then, to AWS's side of things too, stays.
func TestRenewalIsBoundByTheMaximumOfIssue(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	sys := m.server.Client.Sys()
	tune := func(ttl string) {
		t.Helper()
		require.NoError(t, sys.TuneMountAllowNilWithContext(t.Context(), m.path, api.TuneMountConfigInput{MaxLeaseTTL: &ttl}))
	}
	tune("1h")
	c := m.issue("app", "ttl=10m")
	tune("100h")

	renewed, err := sys.RenewWithContext(t.Context(), c.lease.LeaseID, 50*60*60)
	require.NoError(t, err)
	require.LessOrEqual(t, renewed.LeaseDuration, 60*60)
	require.Greater(t, renewed.LeaseDuration, 59*60)
	require.NotEmpty(t, renewed.Warnings)
}
