package awsiam

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// shelf is a storage of roles whose readings a test can hold back.
type shelf struct {
	mu    sync.Mutex
	roles map[string]*role
	reads int
	err   error
	// read is called between the reading and its return.
	read func()
}

func newShelf(names ...string) *shelf {
	s := &shelf{roles: make(map[string]*role), read: func() {}}
	for _, name := range names {
		s.put(name, "old")
	}
	return s
}

func (s *shelf) put(name, document string) {
	r := newRole(name)
	r.PolicyDocument, r.PolicyARNs, r.IAMGroups, r.IAMTags = document, []string{"arn"}, []string{"group"}, map[string]string{"team": "payments"}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[name] = r
}

func (s *shelf) get(_ context.Context, _ logical.Storage, name string) (*role, error) {
	s.mu.Lock()
	s.reads++
	var found *role
	if r := s.roles[name]; r != nil {
		found = r.clone()
	}
	err := s.err
	s.mu.Unlock()
	s.read()
	return found, err
}

// document is what the cache says, in the end.
func document(t *testing.T, c *cache[*role], name string) string {
	t.Helper()
	r, err := c.get(t.Context(), nil, name)
	require.NoError(t, err)
	return r.PolicyDocument
}

func TestCacheReadsAnEntryOnce(t *testing.T) {
	s := newShelf("app")
	c := newCache(s.get)
	for range 3 {
		require.Equal(t, "old", document(t, c, "app"))
	}
	require.Equal(t, 1, s.reads)
}

// Break it by keeping whatever was read without an error, or with one.
func TestCacheKeepsNeitherAbsenceNorErrors(t *testing.T) {
	s := newShelf()
	c := newCache(s.get)
	r, err := c.get(t.Context(), nil, "app")
	require.NoError(t, err)
	require.Nil(t, r)

	s.put("app", "new")
	s.err = errInjected
	_, err = c.get(t.Context(), nil, "app")
	require.ErrorIs(t, err, errInjected)
	s.err = nil
	require.Equal(t, "new", document(t, c, "app"))
}

// A reading that was overtaken by a change must not be put back after it. Break
// it by not comparing changes in keep, or by not counting one of them.
func TestCacheDoesNotKeepWhatAChangeOvertook(t *testing.T) {
	for name, change := range map[string]func(*cache[*role], *shelf){
		"written": func(c *cache[*role], s *shelf) {
			require.NoError(t, c.change("app", func() error { s.put("app", "new"); return nil }))
		},
		"written on another node": func(c *cache[*role], s *shelf) { s.put("app", "new"); c.forget("app") },
		"all of it":               func(c *cache[*role], s *shelf) { s.put("app", "new"); c.forgetAll() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf("app")
			c := newCache(s.get)
			s.read = func() { s.read = func() {}; change(c, s) } // after the first reading, before it returns
			require.Equal(t, "old", document(t, c, "app"), "it asked before the change")
			require.Equal(t, "new", document(t, c, "app"))
		})
	}
}

// A write whose failure was reported may happen at any later time. Break it by
// not noting a name as doubtful.
func TestCacheKeepsNothingAfterAWriteThatFailed(t *testing.T) {
	s := newShelf("app", "other")
	c := newCache(s.get)
	require.Equal(t, "old", document(t, c, "app"))
	require.ErrorIs(t, c.change("app", func() error { return errInjected }), errInjected)
	require.Equal(t, "old", document(t, c, "app"))
	s.put("app", "new") // now it happens
	require.Equal(t, "new", document(t, c, "app"))
	require.Equal(t, "old", document(t, c, "other"))
	before := s.reads
	require.Equal(t, "old", document(t, c, "other"), "which nobody has written, is kept")
	require.Equal(t, before, s.reads)
}

// Break it by removing the bound in keep.
func TestCacheIsBounded(t *testing.T) {
	s := newShelf()
	c := newCache(s.get)
	for i := range cacheLimit + 10 {
		s.put(strconv.Itoa(i), "old")
		require.Equal(t, "old", document(t, c, strconv.Itoa(i)))
	}
	require.Len(t, c.kept, cacheLimit)
}

// Callers change what they get, as handlers do that write it again. Break it by
// handing out or keeping the value itself, or by leaving a field out of a clone.
func TestCachedValuesCannotBeChanged(t *testing.T) {
	s := newShelf("app")
	c := newCache(s.get)
	for range 3 { // as read, and twice as kept
		r, err := c.get(t.Context(), nil, "app")
		require.NoError(t, err)
		require.Equal(t, s.roles["app"], r)
		r.Name, r.PolicyARNs[0], r.IAMGroups[0], r.IAMTags["team"] = "else", "else", "else", "else"
	}
	requireNothingShared(t, s.roles["app"], s.roles["app"].clone())
	in := newIntegration("default")
	in.Rotation.Journal.Forsaken, in.source = newIntegration("default"), newIntegration("source")
	requireNothingShared(t, in, in.clone())
	require.Equal(t, in, in.clone())
}

// requireNothingShared checks that two structs of the type have no memory in common.
func requireNothingShared(t *testing.T, a, b any) {
	t.Helper()
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	require.NotEqual(t, x.Pointer(), y.Pointer())
	for i := range x.Elem().NumField() {
		field := x.Elem().Type().Field(i)
		if field.Type == reflect.TypeFor[*roleTemplates]() {
			continue // which never changes
		}
		switch field.Type.Kind() {
		case reflect.Slice, reflect.Map:
			require.NotZero(t, x.Elem().Field(i).Len(), "%s: nothing to compare", field.Name)
			require.NotEqual(t, x.Elem().Field(i).Pointer(), y.Elem().Field(i).Pointer(), field.Name)
		case reflect.Pointer:
			require.NotZero(t, x.Elem().Field(i).Pointer(), "%s: nothing to compare", field.Name)
			require.NotEqual(t, x.Elem().Field(i).Pointer(), y.Elem().Field(i).Pointer(), field.Name)
		case reflect.Struct:
			if field.Type != reflect.TypeFor[time.Time]() {
				requireNothingShared(t, x.Elem().Field(i).Addr().Interface(), y.Elem().Field(i).Addr().Interface())
			}
		case reflect.String, reflect.Int, reflect.Int64, reflect.Bool:
		default:
			t.Errorf("%s: the clone has to be told how to copy a %s", field.Name, field.Type)
		}
	}
}

// Whatever is going on at once: once a write has ended nobody gets what was there
// before it. Break it by not comparing changes in keep.
func TestCacheUnderConcurrentWrites(t *testing.T) {
	s := newShelf("app")
	s.put("app", "0")
	c := newCache(s.get)
	var written atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				floor := written.Load()
				r, err := c.get(ctx, nil, "app")
				if err != nil {
					t.Error(err)
					return
				}
				if n, err := strconv.ParseInt(r.PolicyDocument, 10, 64); err != nil || n < floor {
					t.Errorf("%d was written, and after that %s read (%v)", floor, r.PolicyDocument, err)
					return
				}
			}
		})
	}
	for i := int64(1); i <= 2000 && !t.Failed(); i++ {
		err := c.change("app", func() error { s.put("app", strconv.FormatInt(i, 10)); return nil })
		require.NoError(t, err)
		written.Store(i)
	}
	cancel()
	wg.Wait()
}

// What core says was changed elsewhere is read again, and nothing else is.
func TestInvalidation(t *testing.T) {
	const role, integration = "get roles", "get config"
	for key, want := range map[string][]string{
		"":               {role, integration},
		"roles/app":      {role},
		"config/default": {integration},
		"roles/other":    {},
		"config/other":   {},
		"roles/":         {},
		"users/someone":  {},
		"tidy/default":   {},
		"roles":          {},
		"something/else": {},
	} {
		t.Run(fmt.Sprintf("%q", key), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			e.issue("app", nil)
			e.b.InvalidateKey(t.Context(), key)
			operations := e.countOperations()
			e.issue("app", nil)
			seen := operations()
			for _, operation := range []string{role, integration} {
				read := 0
				for _, wanted := range want {
					if wanted == operation {
						read++
					}
				}
				require.GreaterOrEqual(t, seen[operation], read, operation)
				require.Equal(t, read > 0, seen[operation] > 0, operation)
			}
		})
	}
}

// Handlers see what is stored, whatever is kept in memory. Break it by having one
// ask a cache.
func TestHandlersReadWhatIsStored(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.issue("app", nil)
	r, err := getRole(t.Context(), e.storage, "app")
	require.NoError(t, err)
	r.MaxTTL = 7 * time.Hour
	entry, err := logical.StorageEntryJSON(rolePrefix+"app", r)
	require.NoError(t, err)
	require.NoError(t, e.storage.Put(t.Context(), entry))
	require.EqualValues(t, 7*3600, e.read("roles/app")["max_ttl"])
	e.write("roles/app", map[string]any{"default_ttl": "1h"})
	require.EqualValues(t, 7*3600, e.read("roles/app")["max_ttl"])
	require.Equal(t, 7*time.Hour, e.issue("app", nil).secret.MaxTTL)
}
