// Package awsiam is a secrets engine for HashiCorp Vault that makes a new AWS
// IAM user for every lease and deletes it when the lease ends.
//
// docs/architecture.md describes how the pieces work together.
package awsiam

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/singleflight"
)

// Version is the semantic version that the plugin reports to Vault. Builds set
// it with the linker's -X.
var Version = "v0.1.0"

// mountSegmentLength is how much of the mount's UUID its users' path bears.
const mountSegmentLength = 8

// backend is the secrets engine of one mount.
type backend struct {
	*framework.Backend

	// mountSegment ends the IAM path of all users of this mount, so that no
	// two mounts share a path whatever is configured. Empty in the instance
	// that core makes only to learn the plugin's version.
	mountSegment string
	httpClients  *httpClients
	connections  connections
	calls        calls
	started      time.Time // when counting began
	reaper       *reaper
	tidies       *tidies
	rotations    *rotations
	pools        *pools
	events       *events
	// now is Vault's clock; tests move it.
	now func() time.Time

	// What requests need of roles and integrations. Handlers that show or change
	// these read storage itself: an operator is shown what is there, and changes
	// that; and they are rare.
	roleCache        *cache[*role]
	integrationCache integrationCache

	// integrationWrites serialise the writes of an integration, which wait for AWS.
	integrationWrites []*locksutil.LockEntry
	// integrations is held for reading from looking at an integration until
	// the record of a user made through it is written, and for writing while
	// an integration changes. Never while waiting for AWS.
	integrations sync.RWMutex
	// userLocks guard the reading and rewriting of a record. Never held while
	// waiting for AWS, and never two at once: locksutil shares them.
	userLocks []*locksutil.LockEntry
	// condemned are the names of users whose records this process has written as
	// deleting, and not removed.
	condemned sync.Map
	// surveys lets one request at a time read the records that a list asks of, and
	// that are not known.
	surveys chan struct{}
	// retirements lets one deletion of a user run at a time.
	retirements singleflight.Group
}

// Factory makes the secrets engine of a mount.
func Factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	if conf == nil {
		return nil, fmt.Errorf("configuration passed into the backend is nil")
	}
	b := newBackend(conf.BackendUUID)
	b.events.wanted.Store(conf.EventsSender != nil)
	attentive := *conf
	attentive.System = &recentView{SystemView: conf.System}
	if err := b.Setup(ctx, &attentive); err != nil {
		return nil, fmt.Errorf("setting up the backend: %w", err)
	}
	return b, nil
}

func newBackend(uuid string) *backend {
	b := &backend{
		mountSegment: mountSegment(uuid),
		httpClients:  newHTTPClients(),
		userLocks:    locksutil.CreateLocks(),
		now:          wallClock,
		started:      time.Now(),

		roleCache:         newCache(loadRole),
		integrationCache:  integrationCache{newCache(loadIntegration)},
		integrationWrites: locksutil.CreateLocks(),

		surveys: make(chan struct{}, 1),
	}
	b.reaper = newReaper(b)
	b.tidies = newTidies(b)
	b.rotations = &rotations{b: b, due: make(map[string]time.Time), running: make(map[string]bool)}
	b.pools = newPools(b)
	b.events = newEvents(b)
	b.Backend = &framework.Backend{
		Help:           strings.TrimSpace(backendHelp),
		BackendType:    logical.TypeLogical,
		RunningVersion: Version,
		PathsSpecial: &logical.Paths{
			SealWrapStorage: []string{integrationPrefix, poolPrefix},
		},
		Paths: framework.PathAppend(b.pathConfig(), b.pathRoles(), b.pathCreds(), b.pathUsers(), b.pathLookup(), b.pathTidy(),
			b.pathPolicy(), b.pathRotateRoot(), b.pathStatus()),
		Secrets:        []*framework.Secret{b.secretIAMUser()},
		InitializeFunc: b.initialize,
		PeriodicFunc:   b.periodic,
		Invalidate:     b.invalidate,
		Clean:          b.clean,
	}
	describePaths(b.Paths)
	for _, path := range b.Paths {
		for _, operation := range path.Operations {
			if op, ok := operation.(*framework.PathOperation); ok {
				op.Callback = strict(op.Callback)
			}
		}
	}
	return b
}

// wallClock is the time by which Vault's clock and what is stored are compared. Go's
// monotonic reading is not in it: that stands still while the machine sleeps
// (package time), so that a user would go on for as long after its lease had ended.
func wallClock() time.Time { return time.Now().Round(0) }

// mountSegment is the first hex digits of the mount's UUID.
func mountSegment(uuid string) string {
	digits := strings.ReplaceAll(uuid, "-", "")
	if len(digits) < mountSegmentLength {
		return digits
	}
	return digits[:mountSegmentLength]
}

// isOwnPath says whether an IAM path is of this mount's users, beneath whatever
// integration's user_path.
func (b *backend) isOwnPath(path string) bool {
	return b.mountSegment != "" && strings.HasSuffix(strings.TrimSuffix(path, recreatedElement), "/"+b.mountSegment+"/")
}

// invalidate is called for storage that another node changed: "when an object is
// modified that belongs to the backend" (logical.Backend.InvalidateKey), with its
// key below the mount. An empty key names no object, and is taken for all of them.
//
// Only Enterprise calls it, on performance standbys and secondaries: the core of
// Vault 1.21.1 (Community) does nowhere. There, one node has backends, the active
// one. It makes them anew whenever it becomes active, or has restored a snapshot
// of integrated storage (Core.postUnseal, setupMounts), after the old ones were
// cleaned up (Core.preSeal, unloadMounts).
func (b *backend) invalidate(_ context.Context, key string) {
	if key == "" {
		b.roleCache.forgetAll()
		b.integrationCache.forgetAll()
		b.connections.dropAll()
		b.reaper.doubtAll(b.WriteSafeReplicationState())
	}
	if name, ok := strings.CutPrefix(key, rolePrefix); ok {
		b.roleCache.forget(name)
	}
	if name, ok := strings.CutPrefix(key, integrationPrefix); ok {
		b.integrationCache.forget(name)
		b.connections.drop(name)
	}
	if name, ok := strings.CutPrefix(key, userPrefix); ok {
		if b.WriteSafeReplicationState() {
			b.reaper.doubt(name)
			b.reaper.schedule(name, b.now())
		} else {
			b.reaper.forget(name) // nobody works here, and it may be gone
		}
	}
}

func (b *backend) clean(context.Context) {
	b.reaper.stop()
	b.events.stop()
	b.httpClients.closeIdle()
}

const backendHelp = `
The AWS IAM secrets engine makes a new IAM user for every lease and deletes it
when the lease ends.

Connect an AWS account under config/, define dynamic secrets under roles/, and
read creds/<role> for credentials.`
