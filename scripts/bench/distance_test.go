package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A new connection waits for its handshakes, one that is kept for nothing. Break it by
// leaving distant out of startCloud, or once out of distantConn.Read.
func TestConnectionsFromAfar(t *testing.T) {
	c, err := startCloud(t.Context(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.stop()) }()
	const away = 200 * time.Millisecond
	c.away.Store(int64(away))

	var opened int
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		opened++
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	defer transport.CloseIdleConnections()
	ask := func() time.Duration {
		start := time.Now()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url, http.NoBody)
		require.NoError(t, err)
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return time.Since(start)
	}
	first := ask()
	require.GreaterOrEqual(t, first, handshakes*away)
	require.Less(t, ask(), first)
	require.Equal(t, 1, opened)
}
