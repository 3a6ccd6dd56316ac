package main

import (
	"net"
	"sync"
	"time"
)

// handshakes is how many round trips a new connection costs ahead of its first
// request: TCP's handshake and TLS 1.3's.
const handshakes = 2

// distant accepts connections as from afar: what a client sends first arrives after
// the handshakes have gone back and forth, each of which takes what away says.
// Connections that are kept cost nothing more.
type distant struct {
	net.Listener
	away func() time.Duration
}

// Accept implements net.Listener.
func (l distant) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &distantConn{Conn: conn, delay: handshakes * l.away()}, nil
}

type distantConn struct {
	net.Conn
	delay time.Duration
	once  sync.Once
}

// Read implements net.Conn.
func (c *distantConn) Read(b []byte) (int, error) {
	c.once.Do(func() { time.Sleep(c.delay) })
	return c.Conn.Read(b)
}
