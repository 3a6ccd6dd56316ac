package awsiam

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// doorman counts the TCP connections to a server.
type doorman struct {
	mu     sync.Mutex
	opened int
	open   map[net.Conn]bool
}

func (d *doorman) watch(conn net.Conn, state http.ConnState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch state {
	case http.StateNew:
		d.opened++
		d.open[conn] = true
	case http.StateClosed, http.StateHijacked:
		delete(d.open, conn)
	}
}

func (d *doorman) count() (opened, open int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.opened, len(d.open)
}

// newWatchedEnv is newEnv with a doorman in front of AWS.
func newWatchedEnv(t *testing.T) (*env, *doorman) {
	t.Helper()
	e := newEnv(t, corePolicy)
	d := &doorman{open: make(map[net.Conn]bool)}
	server := httptest.NewUnstartedServer(e.aws)
	server.Config.ConnState = d.watch
	server.Start()
	t.Cleanup(server.Close)
	e.url = server.URL
	e.write("config", e.connection(e.key))
	return e, d
}

// A lease makes two calls at once at most, so that two connections are enough
// for any number of leases one after another. Break it by making an HTTP client
// for each connection, or by sending requests past inOnePiece.
func TestConnectionsAreReused(t *testing.T) {
	e, d := newWatchedEnv(t)
	for range 200 {
		require.NoError(t, e.revoke(e.issue("app", nil)))
	}
	opened, _ := d.count()
	require.LessOrEqual(t, opened, 4)
}

// Break it by lowering idleConnections to the SDK's 10.
func TestConnectionsOfConcurrentLeasesAreReused(t *testing.T) {
	const clients = 32
	e, d := newWatchedEnv(t)
	e.aws.SetLatency(5 * time.Millisecond) // so that all of them are on their way at once
	for range 8 {
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				if err := e.revoke(e.issue("app", nil)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	opened, _ := d.count()
	require.LessOrEqual(t, opened, 2*2*clients, "two each at once, and some that came too late to be taken")
}

// Break it by giving newConnection an HTTP client of its own.
func TestIntegrationsShareConnections(t *testing.T) {
	const integrations = 100
	e, d := newWatchedEnv(t)
	for i := range integrations {
		name := fmt.Sprintf("i%d", i)
		e.write("config/"+name, e.connection(e.anotherKey(corePolicy)))
		e.write("roles/"+name, map[string]any{"integration": name, "policy_document": testPolicy})
		require.NoError(t, e.revoke(e.issue(name, nil)))
	}
	opened, _ := d.count()
	require.LessOrEqual(t, opened, 4)
}

// Break it by taking CloseIdleConnections out of backend.clean.
func TestReloadsLeakNoConnections(t *testing.T) {
	e, d := newWatchedEnv(t)
	for range 10 {
		require.NoError(t, e.revoke(e.issue("app", nil)))
		require.NoError(t, e.reload())
		e.start()
	}
	opened, _ := d.count()
	require.GreaterOrEqual(t, opened, 10)
	require.Eventually(t, func() bool {
		_, open := d.count()
		return open == 0
	}, patience, 5*time.Millisecond, "connections of backends that are gone")
}

// Break it by taking the ClientSessionCache out of newHTTPClient.
func TestTLSSessionsAreResumed(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "resumed: %t", r.TLS.DidResume)
	}))
	t.Cleanup(server.Close)
	client := newHTTPClient()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	client.Transport.(inOnePiece).TLSClientConfig.RootCAs = roots
	for _, want := range []string{"resumed: false", "resumed: true"} {
		require.Equal(t, want, ask(t, client, server.URL))
		client.CloseIdleConnections() // the next one takes another
	}
}

// Break it by leaving CheckRedirect out of newHTTPClient.
func TestRedirectsAreNotFollowed(t *testing.T) {
	asked := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	t.Cleanup(elsewhere.Close)
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	ask(t, newHTTPClient(), server.URL)
	require.Zero(t, asked)
}

// A request that was not sent, since its connection turned out to be closed, is
// sent on another. Break it by leaving GetBody out of inOnePiece.
func TestWhatAClosedConnectionDidNotTakeIsSentOnAnother(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(server.Close)
	client := newHTTPClient()
	t.Cleanup(client.CloseIdleConnections)
	var dialled []*closingConn
	client.Transport.(inOnePiece).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		dialled = append(dialled, &closingConn{Conn: conn})
		return dialled[len(dialled)-1], err
	}
	for range 2 {
		const body = "Action=GetUser"
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, io.NopCloser(strings.NewReader(body))) // like the SDK's
		require.NoError(t, err)
		request.ContentLength = int64(len(body))
		response, err := client.Do(request)
		require.NoError(t, err)
		answer, err := io.ReadAll(response.Body)
		require.NoError(t, errors.Join(err, response.Body.Close()))
		require.Equal(t, body, string(answer))
		dialled[0].closed.Store(true)
	}
	require.Len(t, dialled, 2)
}

// closingConn takes nothing any more once it is closed by the other side.
type closingConn struct {
	net.Conn
	closed atomic.Bool
}

func (c *closingConn) Write(b []byte) (int, error) {
	if c.closed.Load() {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(b)
}

// ask posts to the URL and returns the answer's body.
func ask(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("Action=GetUser"))
	require.NoError(t, err)
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}
