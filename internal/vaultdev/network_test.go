package vaultdev

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// echoNode is a node that answers each line with the same line, behind its proxy
// of the network. Its process is the one given, for the network to recognise.
func echoNode(t *testing.T, cable *network, pid int) (node *Server, address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close() //nolint:errcheck // the peer sees the end of it
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if _, err := conn.Write(append(lines.Bytes(), '\n')); err != nil {
						return
					}
				}
			}()
		}
	}()
	node = new(Server)
	node.process.Store(&process{cmd: &exec.Cmd{Process: &os.Process{Pid: pid}}})
	address, err = cable.front(t.Context(), node, listener.Addr().String())
	require.NoError(t, err)
	return node, address
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err, "the proxy itself always listens")
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// passes says whether a line comes back.
func passes(conn net.Conn) bool {
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && line == "hello\n"
}

// TestNetworkIsCutAtOneNode has this process play a node that dials two others.
// Break it by having caller return nil: a cut elsewhere then cuts this node off.
func TestNetworkIsCutAtOneNode(t *testing.T) {
	cable := newNetwork()
	t.Cleanup(cable.close)
	const nobody = 0 // no process has it
	dialler, own := echoNode(t, cable, os.Getpid())
	one, first := echoNode(t, cable, nobody)
	_, second := echoNode(t, cable, nobody)
	require.Same(t, dialler, cable.caller(context.Background(), accepted(t)))

	toFirst, toSecond, toItself := dial(t, first), dial(t, second), dial(t, own)
	for _, conn := range []net.Conn{toFirst, toSecond, toItself} {
		require.True(t, passes(conn))
	}

	cable.isolate(one)
	require.False(t, passes(toFirst), "open connections are cut")
	require.False(t, passes(dial(t, first)), "new ones are refused")
	require.True(t, passes(toSecond), "others stay open")
	require.True(t, passes(dial(t, second)))

	cable.isolate(dialler)
	require.False(t, passes(toSecond), "the other direction is cut too")
	require.False(t, passes(dial(t, second)))
	require.True(t, passes(toItself))

	cable.heal()
	require.True(t, passes(dial(t, first)))
	require.True(t, passes(dial(t, second)))
}

// TestStrangersCountAsCut: a connection of unknown origin may be an isolated
// node's.
func TestStrangersCountAsCut(t *testing.T) {
	cable := newNetwork()
	t.Cleanup(cable.close)
	one, _ := echoNode(t, cable, 0)
	_, second := echoNode(t, cable, 0)
	conn := dial(t, second)
	require.True(t, passes(conn))

	cable.isolate(one)
	require.False(t, passes(conn))
	require.False(t, passes(dial(t, second)))

	cable.heal()
	require.True(t, passes(dial(t, second)))
}

// accepted returns the far end of a connection that this process made.
func accepted(t *testing.T) net.Conn {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	dial(t, listener.Addr().String())
	conn, err := listener.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
