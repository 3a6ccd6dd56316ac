package awsiam

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// The engine without Vault and without latency: what its own work costs, and that
// of the SDK and of net/http, with the simulated AWS in the same process. The
// reaper's benchmarks are in scale_bench_test.go.

// bench is a backend with an integration and a role "app".
type bench struct {
	b       *testing.B
	backend *backend
	storage logical.Storage
}

func newBench(b *testing.B) *bench {
	b.Helper()
	cloud := awsfake.New()
	server := httptest.NewServer(cloud)
	b.Cleanup(server.Close)
	_, key := cloud.Account(testAccount).AddUser("/", "vault-integration", corePolicy)
	made, err := Factory(b.Context(), &logical.BackendConfig{
		Logger: hclog.NewNullLogger(), StorageView: new(logical.InmemStorage), BackendUUID: testUUID,
		System: &logical.StaticSystemView{DefaultLeaseTTLVal: time.Hour, MaxLeaseTTLVal: 24 * time.Hour},
	})
	require.NoError(b, err)
	b.Cleanup(func() { made.Cleanup(context.Background()) })
	e := &bench{b: b, backend: made.(*backend), storage: new(logical.InmemStorage)}
	e.handle(&logical.Request{Operation: logical.CreateOperation, Path: "config", Data: map[string]any{
		"access_key": key.AccessKeyID, "secret_key": key.SecretAccessKey, "iam_endpoint": server.URL, "sts_endpoint": server.URL,
	}})
	e.handle(&logical.Request{Operation: logical.CreateOperation, Path: "roles/app", Data: map[string]any{"policy_document": testPolicy, "propagation_timeout": "0s"}})
	e.backend.reaper.pass(e.storage) // as after a minute in service
	e.backend.reaper.done.Wait()
	return e
}

func (e *bench) handle(req *logical.Request) *logical.Response {
	req.Storage, req.ClientTokenAccessor = e.storage, "accessor"
	resp, err := e.backend.HandleRequest(e.b.Context(), req)
	if err != nil || resp.IsError() {
		e.b.Errorf("%s %s: %v %v", req.Operation, req.Path, resp, err)
	}
	return resp
}

func (e *bench) issue() *logical.Response {
	return e.handle(&logical.Request{Operation: logical.ReadOperation, Path: "creds/app"})
}

func (e *bench) revoke(issued *logical.Response) {
	e.handle(&logical.Request{Operation: logical.RevokeOperation, Path: "creds/app", Secret: issued.Secret, Data: issued.Data})
}

// The life of a lease: six calls of AWS, one after another but for two pairs.
func BenchmarkLease(b *testing.B) {
	e := newBench(b)
	e.revoke(e.issue()) // connects
	b.ReportAllocs()
	for b.Loop() {
		e.revoke(e.issue())
	}
}

// The same from many clients at once.
func BenchmarkLeaseParallel(b *testing.B) {
	e := newBench(b)
	e.revoke(e.issue())
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			e.revoke(e.issue())
		}
	})
}

func BenchmarkRenewal(b *testing.B) {
	e := newBench(b)
	l := e.issue()
	defer e.revoke(l)
	l.Secret.IssueTime, l.Secret.Increment = time.Now(), time.Hour
	b.ReportAllocs()
	for b.Loop() {
		secret := *l.Secret
		e.handle(&logical.Request{Operation: logical.RenewOperation, Path: "creds/app", Secret: &secret, Data: l.Data})
	}
}

func BenchmarkRoleRead(b *testing.B) {
	e := newBench(b)
	b.ReportAllocs()
	for b.Loop() {
		e.handle(&logical.Request{Operation: logical.ReadOperation, Path: "roles/app"})
	}
}
