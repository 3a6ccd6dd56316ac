package awsiam

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// fillAgenda notes healthy users of some integrations.
func fillAgenda(g *agenda, n int) {
	now := time.Now()
	for i := range n {
		g.note(fmt.Sprintf("vault-app-%020d", i), kind{fmt.Sprintf("a%d", i%manyAccounts), "app", stateActive, false}, now.Add(time.Hour+time.Duration(i)*time.Second))
	}
}

// newBenchReaper is the reaper of a backend that has been set up.
func newBenchReaper(b *testing.B, storage logical.Storage) *reaper {
	b.Helper()
	made, err := Factory(b.Context(), &logical.BackendConfig{
		Logger: hclog.NewNullLogger(), StorageView: storage, BackendUUID: testUUID, System: new(logical.StaticSystemView),
	})
	require.NoError(b, err)
	b.Cleanup(func() { made.Cleanup(context.Background()) })
	return made.(*backend).reaper
}

// A pass with nothing due, however many healthy users there are.
func BenchmarkReaperPass(b *testing.B) {
	for _, n := range []int{0, 5000, manyUsers} {
		b.Run(fmt.Sprintf("users=%d", n), func(b *testing.B) {
			storage := new(logical.InmemStorage)
			r := newBenchReaper(b, storage)
			r.pass(storage) // has learnt that there are no records
			fillAgenda(&r.agenda, n)
			for b.Loop() {
				r.pass(storage)
			}
		})
	}
}

// What one write adds to the work of a request, among many users.
func BenchmarkReaperSchedule(b *testing.B) {
	r := newReaper(&backend{now: time.Now})
	fillAgenda(&r.agenda, manyUsers)
	at := time.Now()
	for b.Loop() {
		at = at.Add(time.Second)
		r.schedule("vault-app-00000000000000000000", at)
	}
}

// What is kept in memory for the reaper, counts, lists and lookups: B/user for each
// record, its name and its key's id included.
func BenchmarkReaperMemory(b *testing.B) {
	records := make([][]byte, manyUsers)
	for i := range records {
		u := &userRecord{State: stateActive, Expires: time.Now().Add(time.Hour), issuedUser: issuedUser{
			Username: fmt.Sprintf("vault-app-%020d", i), Role: "app", Integration: fmt.Sprintf("a%d", i%manyAccounts),
			AccessKeyID: fmt.Sprintf("AKIA%016d", i), Created: time.Now(),
		}}
		encoded, err := json.Marshal(u)
		require.NoError(b, err)
		records[i] = encoded
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var r *reaper
	for b.Loop() {
		r = newReaper(&backend{now: time.Now})
		for _, encoded := range records {
			u := new(userRecord) // with strings of its own, as from storage
			require.NoError(b, json.Unmarshal(encoded, u))
			r.wrote(u)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/manyUsers, "B/user")
	runtime.KeepAlive(r)
	runtime.KeepAlive(records)
}

// From the start of the process until all records have been read, in the
// background.
func BenchmarkReaperStart(b *testing.B) {
	e := &env{storage: &faultyStorage{Storage: new(logical.InmemStorage)}, clock: new(clock)}
	e.storeMany(b, manyUsers)
	for b.Loop() {
		r := newBenchReaper(b, e.storage)
		r.pass(e.storage)
		r.done.Wait()
	}
}
