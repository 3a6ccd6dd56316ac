package vaultdev

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
)

// network is the cable between the nodes of a cluster, so that it can be cut
// without privileges. In front of each node's cluster port stands a proxy whose
// address is all that the other nodes know; raft, its heartbeats and forwarded
// requests go through it. The API addresses, which clients use, do not.
type network struct {
	mu       sync.Mutex
	fronts   map[*Server]*front
	isolated map[*Server]bool
	open     map[*connection]struct{}
	done     sync.WaitGroup // of all goroutines begun here
}

// front is the proxy of one node.
type front struct {
	listener net.Listener
	target   string // host:port where the node itself listens
}

// connection is one that a proxy passes on, from one node to another. from is
// nil where it is not known, as when that node died meanwhile.
type connection struct {
	from, to *Server
	ends     [2]net.Conn
}

func newNetwork() *network {
	return &network{
		fronts:   make(map[*Server]*front),
		isolated: make(map[*Server]bool),
		open:     make(map[*connection]struct{}),
	}
}

// front returns the address, host:port, at which the other nodes reach the
// node that listens at target.
func (n *network) front(ctx context.Context, s *Server, target string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if f := n.fronts[s]; f != nil {
		f.target = target
		return f.listener.Addr().String(), nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	n.fronts[s] = &front{listener: listener, target: target}
	// The proxy outlives the call that opens it.
	n.done.Go(func() { n.serve(context.WithoutCancel(ctx), listener, s) })
	return listener.Addr().String(), nil
}

func (n *network) serve(ctx context.Context, listener net.Listener, to *Server) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		n.done.Go(func() { n.pass(ctx, conn, to) })
	}
}

// pass connects the two ends until one of them closes or the network is cut.
func (n *network) pass(ctx context.Context, client net.Conn, to *Server) {
	defer client.Close() //nolint:errcheck // the end of the connection is all that is wanted
	// A dead node refuses, as a dead machine's address would before long.
	node, err := new(net.Dialer).DialContext(ctx, "tcp", n.target(to))
	if err != nil {
		return
	}
	defer node.Close() //nolint:errcheck // as above

	c := &connection{from: n.caller(ctx, client), to: to, ends: [2]net.Conn{client, node}}
	if !n.admit(c) {
		return
	}
	defer n.forget(c)
	ended := make(chan struct{}, 2)
	for i := range c.ends {
		n.done.Go(func() {
			_, _ = io.Copy(c.ends[i], c.ends[1-i]) // how a connection ends is its nodes' affair
			ended <- struct{}{}
		})
	}
	<-ended
}

func (n *network) target(to *Server) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fronts[to].target
}

// caller finds the node that a connection comes from. All have the same IP
// address, so that only the process that owns the socket tells.
func (n *network) caller(ctx context.Context, conn net.Conn) *Server {
	nodes := make(map[int]*Server)
	n.mu.Lock()
	for s := range n.fronts {
		if p := s.process.Load(); p != nil {
			nodes[p.cmd.Process.Pid] = s
		}
	}
	n.mu.Unlock()
	theirs, ours := netip.MustParseAddrPort(conn.RemoteAddr().String()), netip.MustParseAddrPort(conn.LocalAddr().String())
	for pid, s := range nodes {
		if ownsSocket(ctx, pid, int(theirs.Port()), int(ours.Port())) {
			return s
		}
	}
	return nil
}

// admit notes the connection, unless the network is cut there.
func (n *network) admit(c *connection) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut(c) {
		return false
	}
	n.open[c] = struct{}{}
	return true
}

func (n *network) forget(c *connection) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, c)
}

// cut says whether the connection crosses a cut. Of an unknown origin it counts
// as crossing any.
func (n *network) cut(c *connection) bool {
	if c.from == nil {
		return len(n.isolated) > 0
	}
	return c.from != c.to && (n.isolated[c.from] || n.isolated[c.to])
}

func (n *network) isolate(s *Server) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.isolated[s] = true
	for c := range n.open {
		if n.cut(c) {
			for _, end := range c.ends {
				_ = end.Close() // cut is cut
			}
		}
	}
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.isolated)
}

// close ends all proxies and what goes through them.
func (n *network) close() {
	n.mu.Lock()
	for _, f := range n.fronts {
		f.listener.Close()
	}
	for c := range n.open {
		for _, end := range c.ends {
			_ = end.Close() // the nodes are gone
		}
	}
	n.mu.Unlock()
	n.done.Wait()
}
