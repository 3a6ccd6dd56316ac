package awsiam

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// privateCA issues certificates that nobody trusts who was not given its own.
type privateCA struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         string // its own certificate
}

func newPrivateCA(t *testing.T, name string) *privateCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &privateCA{certificate, key, pemBlock("CERTIFICATE", der)}
}

func pemBlock(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// serve starts a TLS server for the handler, with a certificate for the hosts and
// for 127.0.0.1.
func (ca *privateCA) serve(t *testing.T, handler http.Handler, hosts ...string) *httptest.Server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: hosts, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key.Public(), ca.key)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refusals are what the tests are about
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// behindCA is the body of a config write for AWS behind the server.
func (e *env) behindCA(server *httptest.Server, caPEM string) map[string]any {
	return changed(e.connection(e.anotherKey(corePolicy)), map[string]any{
		"iam_endpoint": server.URL, "sts_endpoint": server.URL, "ca_pem": caPEM, "max_retries": 0,
	})
}

// A private CA is trusted by the integrations that name it, and nobody else is by
// these. Break it by returning the public client from httpClients.of, or by leaving
// in.CAPEM out of connectsAs.
func TestPrivateCA(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	ca, other := newPrivateCA(t, "ours"), newPrivateCA(t, "theirs")
	server := ca.serve(t, e.aws)
	untrusted := "certificate signed by unknown authority"

	e.write("config/a", e.behindCA(server, "A comment.\n"+ca.pem+other.pem))
	require.Equal(t, "A comment.\n"+ca.pem+other.pem, e.read("config/a")["ca_pem"], "it is no secret")
	e.write("roles/a", map[string]any{"integration": "a", "policy_document": testPolicy, "propagation_timeout": "45s"})
	issued := e.must(logical.ReadOperation, "creds/a", nil)
	require.Empty(t, issued.Warnings, "the new key is proved by way of the same CA")
	require.NoError(t, e.revoke(newLease(t, issued)))
	e.requireNothingLeft()

	for _, caPEM := range []string{"", other.pem} {
		_, err := e.do(logical.UpdateOperation, "config/b", e.behindCA(server, caPEM))
		require.ErrorContains(t, err, untrusted)
	}
	_, err := e.do(logical.UpdateOperation, "config/a", map[string]any{"ca_pem": other.pem})
	require.ErrorContains(t, err, untrusted)

	// What was verified may be another now.
	e.write("config/a", map[string]any{"ca_pem": other.pem, "verify_connection": false})
	require.Empty(t, e.read("config/a")["caller_arn"])
	_, err = e.do(logical.ReadOperation, "creds/a", nil)
	require.ErrorContains(t, err, untrusted)
	e.write("config/a", map[string]any{"ca_pem": ca.pem})
	require.NotEmpty(t, e.read("config/a")["caller_arn"])
	require.NoError(t, e.revoke(e.issue("a", nil)))
}

// Integrations that trust the same CAs share connections, as those do that trust
// the system's. Break it by not keeping the clients in httpClients.of.
func TestPrivateCAsClientIsShared(t *testing.T) {
	e := newEnv(t, corePolicy)
	ca := newPrivateCA(t, "ours")
	server := ca.serve(t, e.aws)
	for _, name := range []string{"a", "b", "c"} {
		e.write("config/"+name, e.behindCA(server, ca.pem))
		e.write("roles/"+name, map[string]any{"integration": name, "policy_document": testPolicy})
		require.NoError(t, e.revoke(e.issue(name, nil)))
	}
	require.Len(t, e.b.httpClients.private, 1)
}

func TestBadCAs(t *testing.T) {
	e := newEnv(t, corePolicy)
	ca := newPrivateCA(t, "ours")
	key, err := x509.MarshalECPrivateKey(ca.key)
	require.NoError(t, err)
	oneLine := strings.ReplaceAll(ca.pem, "\n", " ")
	var inputs []input
	for what, c := range map[string]struct {
		value any
		says  string
	}{
		"no PEM":                  {"ours", "0 of 0 blocks"},
		"a file's name":           {"/etc/ssl/ca.pem", "0 of 0 blocks"},
		"a key":                   {pemBlock("EC PRIVATE KEY", key), "block 1 is not a certificate"},
		"a key with it":           {ca.pem + pemBlock("EC PRIVATE KEY", key), "block 2 is not a certificate"},
		"a damaged certificate":   {pemBlock("CERTIFICATE", []byte("x")), "block 1 is a damaged certificate"},
		"a damaged block":         {ca.pem + strings.Replace(ca.pem, "M", "!", 1), "1 of 2 blocks"},
		"no end":                  {strings.TrimSpace(ca.pem)[:len(ca.pem)-10], "0 of 1 blocks"},
		"without its line breaks": {oneLine, "with their line breaks"},
		"too long by one":         {ca.pem + long(maxCALength-len(ca.pem)+1), "at most 262144"},
		"a list":                  {[]string{ca.pem, ca.pem}, "one string"},
	} {
		inputs = append(inputs, input{name: what, path: "config/b", data: changed(e.connection(e.key), map[string]any{"ca_pem": c.value}), field: "ca_pem", says: c.says})
	}
	e.requireRefused(t, inputs)
	e.write("config/b", changed(e.connection(e.anotherKey(corePolicy)), map[string]any{"ca_pem": ca.pem + long(maxCALength-len(ca.pem))}))
}
