package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

const (
	// corePolicy is all that this engine's integration may do: what a user of it
	// grants, so that nothing measured rests on more.
	corePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:DeleteAccessKey","iam:PutUserPolicy","iam:DeleteUserPolicy","iam:DeleteUser","iam:ListUserPolicies","iam:CreateUser","iam:CreateAccessKey","iam:ListAccessKeys"],"Resource":"arn:aws:iam::*:user/vault/*"}]}`
	// widePolicy is for the built-in engine, which looks at everything that a
	// user may have before it deletes it.
	widePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*"}]}`
)

// cloud is a simulated AWS that listens on a port of this machine.
type cloud struct {
	*awsfake.AWS
	url    string
	server *http.Server
	served chan error
	opened atomic.Int64 // connections so far
	away   atomic.Int64 // what each handshake of a new connection takes, in nanoseconds
}

// startCloud starts one that speaks TLS, unless there is nothing to speak it with.
func startCloud(ctx context.Context, secure *tls.Config) (*cloud, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &cloud{AWS: awsfake.New(), url: "http://" + listener.Addr().String(), served: make(chan error, 1)}
	c.server = &http.Server{Handler: c.AWS, ReadHeaderTimeout: 10 * time.Second, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			c.opened.Add(1)
		}
	}}
	// As AWS's endpoints for IAM and STS: no HTTP/2.
	c.server.Protocols = new(http.Protocols)
	c.server.Protocols.SetHTTP1(true)
	listener = distant{listener, func() time.Duration { return time.Duration(c.away.Load()) }}
	serve := c.server.Serve
	if secure != nil {
		c.url, c.server.TLSConfig = "https://"+listener.Addr().String(), secure
		serve = func(l net.Listener) error { return c.server.ServeTLS(l, "", "") }
	}
	go func() { c.served <- serve(listener) }()
	return c, nil
}

func (c *cloud) stop() error {
	err := c.server.Close()
	if ended := <-c.served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// integrationKey makes the user, and its key, that an engine works with in an
// account.
func (c *cloud) integrationKey(account, policy string) awsfake.Credentials {
	_, key := c.Account(account).AddUser("/", "integration", policy)
	return key
}

// accountIDs returns n account ids that begin with the digit.
func accountIDs(digit, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%d%011d", digit, i)
	}
	return ids
}
