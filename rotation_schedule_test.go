package awsiam

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// Break it by leaving Period out of rotation.due.
func TestRotationPeriod(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.refused(logical.UpdateOperation, "config", map[string]any{"rotation_period": "59m"}, "rotation_period", "at least 1h")
	e.write("config", map[string]any{"rotation_period": "24h"})
	config := e.read("config")
	require.Equal(t, int64(24*60*60), config["rotation_period"])
	require.Empty(t, config["last_rotation"])
	next, err := time.Parse(time.RFC3339, config["next_rotation"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, e.clock.now().Add(24*time.Hour), next, time.Minute)

	e.pass(23 * time.Hour)
	e.requireOneKey()
	require.Equal(t, e.key.AccessKeyID, e.integration().AccessKey)
	used := e.key.AccessKeyID
	for range 3 {
		e.pass(24 * time.Hour)
		require.NotEqual(t, used, e.integration().AccessKey)
		used = e.integration().AccessKey
		require.Len(t, e.ownKeys(), 2)
		e.pass(retireAfter)
		e.requireOneKey()
	}
	e.write("config", map[string]any{"rotation_period": 0})
	require.Empty(t, e.read("config")["next_rotation"])
	e.pass(48 * time.Hour)
	require.Equal(t, used, e.integration().AccessKey)
	e.requireOneKey()
}

// An integration that was stored before anybody took note of its key's age is not
// rotated at once. Break it by leaving KeySince as it is in rotation.rewritten.
func TestRotationPeriodOfAKeyOfUnknownAge(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	in := e.integration()
	in.Rotation = rotation{}
	require.NoError(t, e.b.putIntegration(t.Context(), e.storage, in))
	e.write("config", map[string]any{"rotation_period": "24h"})
	e.pass(23 * time.Hour)
	require.Equal(t, []string{e.key.AccessKeyID}, e.ownKeys())
	e.pass(time.Hour)
	require.Len(t, e.ownKeys(), 2)
}

// A process finds the schedule of the one before. Break it by leaving out
// rotations.list.
func TestRotationPeriodOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.write("config", map[string]any{"rotation_period": "24h"})
	e.advance(24 * time.Hour)
	e.start()
	e.reap()
	require.NotEqual(t, e.key.AccessKeyID, e.integration().AccessKey)
	e.advance(retireAfter)
	e.start()
	e.reap()
	e.requireOneKey()
}

// Break it by not noting the failure in rotateOnSchedule: it would be tried again at
// every pass, and nobody could read why it fails.
func TestAScheduledRotationThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.write("config", map[string]any{"rotation_period": "24h"})
	remove := e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Code: "AccessDenied"})
	e.pass(24 * time.Hour)
	require.Contains(t, e.read("config")["last_rotation_error"], "needs iam:CreateAccessKey on arn:")
	attempts := e.aws.Count("CreateAccessKey")
	e.reap()
	require.Equal(t, attempts, e.aws.Count("CreateAccessKey"), "tried again without a pause")
	e.pass(maxRefusedPause)
	require.Greater(t, e.aws.Count("CreateAccessKey"), attempts)
	remove()
	e.pass(maxRefusedPause)
	require.NotEqual(t, e.key.AccessKeyID, e.integration().AccessKey)
	config := e.read("config")
	require.Empty(t, config["last_rotation_error"])
	require.NotEmpty(t, config["last_rotation"])
	e.pass(retireAfter)
	e.requireOneKey()
}

// Only the active node writes. Break it by leaving WriteSafeReplicationState out of
// backend.periodic.
func TestOnlyANodeThatMayWriteRotates(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.write("config", map[string]any{"rotation_period": "1h"})
	e.system.ReplicationStateVal = consts.ReplicationPerformanceStandby
	e.aMomentLater()
	e.advance(2 * time.Hour)
	require.NoError(t, e.b.periodic(t.Context(), &logical.Request{Storage: e.storage}))
	e.b.reaper.done.Wait()
	require.Equal(t, []string{e.key.AccessKeyID}, e.ownKeys())
}

// A node that was deposed while it slept cannot write, and deletes no key by what it
// knew. Break it by deleting the keys before the write in backend.finish.
func TestADeposedNodeDeletesNoKey(t *testing.T) {
	t.Parallel()
	for _, state := range []rotationState{rotationProving, rotationRetiring} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, rotatingPolicy)
			e.cutOff(state)
			e.storage.on(func(op, _ string) (bool, error) { return op != "put", failIf(op == "put") })
			e.pass(settlingTime)
			require.Len(t, e.ownKeys(), 2)
			e.storage.on(nil)
			e.pass(settlingTime)
			e.requireOneKey()
		})
	}
}

// A reload is not held up by AWS: the next process takes back what was begun. Break it
// by having finishNow outlive the backend.
func TestReloadWhileANewKeyIsProved(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	e.write("config", map[string]any{"rotation_period": "24h"})
	entered, leave := make(chan struct{}, 100), make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(leave) }))
	remove := e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Skip: 1, Hook: func(awsfake.Call) { entered <- struct{}{}; <-leave }})
	defer remove()
	e.advance(24 * time.Hour)
	e.b.reaper.pass(e.storage)
	<-entered
	began := time.Now()
	require.NoError(t, e.reload())
	require.Less(t, time.Since(began), 5*time.Second)
	remove()
	e.start()
	require.Len(t, e.ownKeys(), 2)
	require.Empty(t, e.read("config")["last_rotation_error"])
	e.pass(0) // takes it back, and what is due is done after that
	require.Equal(t, []string{e.key.AccessKeyID}, e.ownKeys())
}

// Break it by logging the integration, or by showing the journal.
func TestARotationShowsNoSecret(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	var log bytes.Buffer
	e.logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &syncWriter{w: &log}})
	e.start()
	var secrets []string
	shown := fmt.Sprint(e.rotated(), e.read("config"))
	secrets = append(secrets, e.integration().SecretKey, e.key.SecretAccessKey)
	e.pass(retireAfter)
	remove := e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Garbled: true})
	_, err := e.do(logical.UpdateOperation, "rotate-root", nil)
	require.Error(t, err)
	remove()
	e.pass(settlingTime)
	shown += fmt.Sprint(err, e.read("config")) + log.String()
	require.Contains(t, shown, "was rotated")
	for _, secret := range secrets {
		require.NotContains(t, shown, secret)
	}
	e.requireOneKey()
	entry, err := e.storage.Get(t.Context(), integrationPrefix+defaultIntegration)
	require.NoError(t, err)
	require.NotContains(t, string(entry.Value), e.key.SecretAccessKey, "a key that is gone leaves no secret")
}

// syncWriter lets several goroutines write.
type syncWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (s *syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}
