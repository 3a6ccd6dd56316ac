package awsiam

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// tunnel is an HTTP proxy that leads every connection to one address, whatever
// host was asked for, and remembers the hosts.
type tunnel struct {
	to string

	mu    sync.Mutex
	hosts map[string]bool
}

func (p *tunnel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.hosts[r.Method+" "+r.Host] = true
	p.mu.Unlock()
	there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", p.to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = there.Close()
		return
	}
	// Each direction ends the other, so that nothing outlives the caller.
	var both sync.WaitGroup
	carry := func(to io.Writer, from io.Reader) {
		_, _ = io.Copy(to, from)
		_, _ = there.Close(), here.Close()
	}
	both.Go(func() { carry(there, buffered) }) // the server may have read ahead
	both.Go(func() { carry(here, there) })
	both.Wait()
}

const (
	proxiedKey    = "TEST_PROXIED_ACCESS_KEY"
	proxiedSecret = "TEST_PROXIED_SECRET_KEY"
	proxiedCA     = "TEST_PROXIED_CA"
)

// AWS's own endpoints are reached through the proxy that the environment names.
// net/http reads that once in a process, so that the test runs itself again in
// another; and it goes through no proxy to a loopback address, so that it is the
// proxy that leads to the simulation. Break it by clearing Proxy in
// newHTTPClientFor.
func TestProxyOfTheEnvironment(t *testing.T) {
	if os.Getenv(proxiedKey) != "" {
		issueThroughTheProxy(t)
		return
	}
	fake := awsfake.New()
	_, key := fake.Account(testAccount).AddUser("/", "vault-integration", corePolicy)
	ca := newPrivateCA(t, "ours")
	server := ca.serve(t, fake, "iam.amazonaws.com", "sts.eu-central-1.amazonaws.com")
	proxy := &tunnel{to: server.Listener.Addr().String(), hosts: make(map[string]bool)}
	proxyServer := httptest.NewServer(proxy)
	t.Cleanup(proxyServer.Close)

	self, err := os.Executable()
	require.NoError(t, err)
	again := exec.CommandContext(t.Context(), self, "-test.run=^TestProxyOfTheEnvironment$", "-test.count=1")
	again.Env = append(os.Environ(), "HTTPS_PROXY="+proxyServer.URL, "https_proxy=", "NO_PROXY=", "no_proxy=",
		proxiedKey+"="+key.AccessKeyID, proxiedSecret+"="+key.SecretAccessKey, proxiedCA+"="+ca.pem)
	output, err := again.CombinedOutput()
	require.NoError(t, err, "%s", output)

	require.Equal(t, map[string]bool{"CONNECT iam.amazonaws.com:443": true, "CONNECT sts.eu-central-1.amazonaws.com:443": true}, proxy.hosts)
	require.Equal(t, 1, fake.Count("DeleteUser"))
}

func issueThroughTheProxy(t *testing.T) {
	t.Helper()
	e := newEnv(t, corePolicy)
	e.write("config/far", map[string]any{
		"access_key": os.Getenv(proxiedKey), "secret_key": os.Getenv(proxiedSecret), "ca_pem": os.Getenv(proxiedCA),
		"region": "eu-central-1", "max_retries": 0,
	})
	e.write("roles/far", map[string]any{"integration": "far", "policy_document": testPolicy})
	require.NoError(t, e.revoke(e.issue("far", nil)))
	e.requireNothingLeft()
}
