package awsiam

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	// idleConnections is how many connections to one endpoint are kept: a
	// creation makes two calls at once, and as many of them as this serves
	// reuse theirs. The SDK's default of 10 would close the others.
	idleConnections = 128
	// idleEndpoints is how many endpoints may have as many as that: IAM and STS.
	idleEndpoints = 2
	// tlsSessions is how many endpoints' TLS sessions are remembered: IAM's, and
	// STS's of each region in use.
	tlsSessions = 64
)

// newHTTPClient makes the one client that all integrations of the mount share that
// have no CA of their own.
func newHTTPClient() *http.Client { return newHTTPClientFor(nil) }

// newHTTPClientFor makes a client that trusts the CAs in roots, and no other unless
// that is nil.
//
// It is no awshttp.BuildableClient: the SDK's service clients copy that where the
// environment sets timeouts, each with connections of its own that nobody closes.
func newHTTPClientFor(roots *x509.CertPool) *http.Client {
	t := awshttp.NewBuildableClient().GetTransport()
	t.MaxIdleConnsPerHost = idleConnections
	t.MaxIdleConns = idleEndpoints * idleConnections
	t.TLSClientConfig.RootCAs = roots
	// Without a cache, net/http resumes no session: each connection would cost
	// the whole handshake.
	t.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(tlsSessions)
	return &http.Client{
		Transport: inOnePiece{t},
		Timeout:   attemptTimeout,
		// A request is signed for one host. To another it is of no use, and its
		// answer may hold a secret.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// inOnePiece sends requests whose body is in memory and known to be.
//
// The SDK's bodies are of a type of its own. Ahead of such a body net/http flushes
// the header, in a packet by itself; and the SDK closes it as soon as the answer is
// there, which a quick one is before net/http has looked for the body's end: it
// takes the body for broken then, and closes a connection that could be reused.
// Nor can net/http send such a body again, where a connection turns out to have
// been closed before anything was written to it.
type inOnePiece struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t inOnePiece) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return t.Transport.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if closeErr := req.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	whole := req.WithContext(req.Context()) // a copy: the request itself is not ours to change
	whole.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	whole.Body = io.NopCloser(bytes.NewReader(body))
	return t.Transport.RoundTrip(whole)
}
