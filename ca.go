package awsiam

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"sync"
)

// maxCALength bounds ca_pem: enough for all the CAs that browsers trust, and well
// within what Vault's storage takes as one entry.
const maxCALength = 256 << 10

// validateCA admits certificates only, each well-formed, with any text between
// them. It quotes nothing, since what was pasted may be a key.
func validateCA(bundle string) error {
	if bundle == "" {
		return nil
	}
	if len(bundle) > maxCALength {
		return refuse("%s has %d characters: use at most %d", fieldCAPEM, len(bundle), maxCALength)
	}
	found := 0
	block, rest := pem.Decode([]byte(bundle))
	for ; block != nil; block, rest = pem.Decode(rest) {
		found++
		if block.Type != "CERTIFICATE" {
			return refuse("%s: block %d is not a certificate: give certificates of CAs only, no keys", fieldCAPEM, found)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return refuse("%s: block %d is a damaged certificate: %s", fieldCAPEM, found, err)
		}
	}
	// pem.Decode passes over a block that it cannot read.
	if begun := strings.Count(bundle, "-----BEGIN"); found == 0 || found != begun {
		return refuse("%s: %d of %d blocks can be read: give certificates in PEM, -----BEGIN CERTIFICATE----- and so on, with their line breaks", fieldCAPEM, found, begun)
	}
	return nil
}

// httpClients has one client for all integrations that trust the system's CAs,
// and one for all that trust the same CAs of their own. These are not dropped
// before the backend ends: a CA changes once in years, and little is left of one.
type httpClients struct {
	public *http.Client

	mu      sync.Mutex
	private map[string]*http.Client // by ca_pem
}

func newHTTPClients() *httpClients {
	return &httpClients{public: newHTTPClient(), private: make(map[string]*http.Client)}
}

// of returns the client for the integration.
func (c *httpClients) of(in *integration) *http.Client {
	if in.CAPEM == "" {
		return c.public
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if client := c.private[in.CAPEM]; client != nil {
		return client
	}
	// An empty pool, not the system's: who names the CA wants no other.
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(in.CAPEM)) // was validated when it was written
	client := newHTTPClientFor(roots)
	c.private[in.CAPEM] = client
	return client
}

func (c *httpClients) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.public.CloseIdleConnections()
	for _, client := range c.private {
		client.CloseIdleConnections()
	}
}
