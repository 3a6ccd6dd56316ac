package chaos

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

const issuedPath = "/vault/1a2b3c4d/"

// stage is a run without Vault servers: what the engine would do in AWS, the
// test does with the engine's own key.
type stage struct {
	*run
	t      *testing.T
	engine *iam.Client
	owner  *iam.Client
}

func newStage(t *testing.T) *stage {
	t.Helper()
	c, err := newCloud(t.Context(), 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.stop()) })
	s := &stage{t: t, run: &run{
		options: Options{Seed: 1, Nodes: 3}, cloud: c, ledger: newLedger(), strangers: newStrangers(), tally: newTally(),
		paths: map[string]string{"core": issuedPath, "told": issuedPath, "wide": issuedPath, "wide-too": "/vault/too/1a2b3c4d/"},
	}}
	s.watcher = &watcher{cloud: c, ledger: s.ledger, ask: func(lease) string { return "it has 20 s to live" }}
	c.Watch(s.watcher.saw)
	s.strangers.settle(c, s.paths)
	s.engine, s.owner = c.as(c.keys["wide"]), c.as(c.Account(wideAccount).Root())
	return s
}

// issue makes a user and hands its credential out.
func (s *stage) issue(name string) lease {
	s.t.Helper()
	user, key := s.cloud.Account(wideAccount).AddUser(issuedPath, name, policy(usefulAction))
	handed := lease{id: "aws-iam/creds/x/" + name, role: "x", account: wideAccount, username: name, key: key, issued: time.Now(), had: user}
	s.ledger.open(handed, time.Now(), time.Minute)
	return handed
}

func (s *stage) deleteKey(by *iam.Client, of lease) {
	s.t.Helper()
	_, err := by.DeleteAccessKey(s.t.Context(), &iam.DeleteAccessKeyInput{UserName: &of.username, AccessKeyId: &of.key.AccessKeyID})
	require.NoError(s.t, err)
}

// verdict is what the run's end would find, and its printed report.
func (s *stage) verdict(records map[string]map[string]any, logs serverLogs) (failures []string, printed string) {
	s.t.Helper()
	report := &Report{
		options: s.options, counts: map[string]int{}, strangers: s.strangers.count(),
		users: s.cloud.leftUsers(s.strangers), records: records, cuts: s.watcher.all(), touched: s.strangers.touched(s.cloud),
		logs: logs.problems(s.cloud.secrets),
	}
	for _, what := range []string{leasesIssued, renewals, revoked, processesKilled, faultsInAWS} {
		report.counts[what] = 3
	}
	report.diagnosis = s.diagnose(report, logs)
	var out strings.Builder
	require.NoError(s.t, report.Write(&out))
	return report.Failures(), out.String()
}

func TestVerdictPasses(t *testing.T) {
	s := newStage(t)
	failures, printed := s.verdict(nil, serverLogs{[]byte("[INFO] all is well\n")})
	require.Empty(t, failures)
	require.Contains(t, printed, "PASSED")
	require.Contains(t, printed, "foreign users touched, of 36")
}

// TestVerdictOnALeftover: wherever in the account a user is left it is seen,
// described and held against the run.
//
// Break it by having leftUsers look at one path only.
func TestVerdictOnALeftover(t *testing.T) {
	for _, path := range []string{issuedPath, "/moved/"} {
		s := newStage(t)
		s.cloud.Account(coreAccount).AddUser(path, "vault-core-left", policy(usefulAction))
		failures, printed := s.verdict(map[string]map[string]any{"vault-core-left": {"state": "deleting", "attempts": 7}},
			serverLogs{nil, []byte("2026-01-02T03:04:05Z [ERROR] could not delete vault-core-left yet\n")})
		require.Equal(t, []string{"1 users left in AWS", "1 records left", "1 live access keys left"}, failures)
		require.Contains(t, printed, "FAILED")
		require.Contains(t, printed, "LEFT: vault-core-left")
		require.Contains(t, printed, `"attempts":7`)
		require.Contains(t, printed, "could not delete vault-core-left yet  (node 1)")
		require.Contains(t, printed, "was never handed out")
	}
}

func TestVerdictOnARecordAlone(t *testing.T) {
	failures, _ := newStage(t).verdict(map[string]map[string]any{"gone": nil}, nil)
	require.Equal(t, []string{"1 records left"}, failures)
}

// TestVerdictOnACutLease: whatever a live lease loses by the engine's doing is
// seen at once, and told with what Vault says of the lease.
//
// Break it by having live return false, or by not comparing what is lost.
func TestVerdictOnACutLease(t *testing.T) {
	s := newStage(t)
	held := s.issue("vault-wide-cut")
	s.deleteKey(s.engine, held)

	failures, printed := s.verdict(nil, nil)
	require.Contains(t, failures, "1 live leases wrongly cut")
	require.Contains(t, printed, "CUT: vault-wide-cut has lost access key "+held.key.AccessKeyID)
	require.Contains(t, printed, "seen with: DeleteAccessKey")
	require.Contains(t, printed, "Vault:     it has 20 s to live")
}

// TestCutsThatNoCallShows are found by looking at all leases.
func TestCutsThatNoCallShows(t *testing.T) {
	s := newStage(t)
	held := s.issue("vault-wide-bare")
	_, err := s.owner.DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: &held.username, PolicyName: aws.String("policy-0")})
	require.NoError(t, err)
	require.Empty(t, s.watcher.all(), "hands announce themselves, and are not watched")
	s.watcher.lookAtAll()
	require.Len(t, s.watcher.all(), 1)
	require.Equal(t, "inline policy policy-0", s.watcher.all()[0].lost)
	s.watcher.lookAtAll()
	require.Len(t, s.watcher.all(), 1, "each lease once")
}

// TestVerdictOnAnEntityThatIsNotThere: a lease of a role with identity templates
// that is not its caller's is one that was cut.
//
// Break it by not looking for the entity in lost.
func TestVerdictOnAnEntityThatIsNotThere(t *testing.T) {
	for entitys, lost := range map[string]string{"me": "", "somebody-else": "entity me"} {
		user := awsfake.UserInfo{
			Policies: map[string]string{"vault-wide-who": strings.ReplaceAll(policy(usefulAction, entitysObjects), entityTemplate, entitys)},
			Tags:     map[string]string{entityTag: entitys},
		}
		handed := lease{entity: "me", had: user}
		require.Equal(t, lost, handed.lost(user, true))
		user.Tags = nil
		require.Equal(t, "entity me", handed.lost(user, true))
	}
}

// TestEndsThatAreNoCuts: the engine deletes what somebody has asked for, what
// has run out, and what was never handed out.
func TestEndsThatAreNoCuts(t *testing.T) {
	s := newStage(t)
	ended, over := s.issue("vault-wide-revoked"), s.issue("vault-wide-over")
	s.ledger.end(ended.username, "revoked")
	s.ledger.renewing(over.username, time.Now(), margin)
	_, strayKey := s.cloud.Account(wideAccount).AddUser(issuedPath, "vault-wide-undone")
	s.deleteKey(s.engine, ended)
	s.deleteKey(s.engine, over)
	s.deleteKey(s.engine, lease{username: "vault-wide-undone", key: strayKey})
	s.watcher.lookAtAll()
	require.Empty(t, s.watcher.all())
}

// TestHandsAddOnly: what others hang on a user is nothing that it has lost.
func TestHandsAddOnly(t *testing.T) {
	s := newStage(t)
	held := s.issue("vault-wide-hung")
	h := newHands(1, s.cloud, s.ledger, s.strangers, s.tally, s.paths)
	for die := range uint64(len(dependents)) {
		require.True(t, h.hang(t.Context(), s.owner, held, die), "dependent %d", die)
	}
	s.watcher.lookAtAll()
	require.Empty(t, s.watcher.all())
}

// TestHandsEndLeases: what hands destroy is not the engine's doing, and the
// stranger that takes a user's place is nothing that is left.
func TestHandsEndLeases(t *testing.T) {
	for _, kind := range []handKind{deleteKey, deleteUser, replace} {
		s := newStage(t)
		held := s.issue("vault-wide-hit")
		h := newHands(1, s.cloud, s.ledger, s.strangers, s.tally, s.paths)
		require.True(t, h.do(t.Context(), kind, 5))
		s.watcher.lookAtAll()
		require.Empty(t, s.watcher.all())
		require.False(t, s.ledger.end(held.username, "again"))
		require.Len(t, s.cloud.leftUsers(s.strangers), map[handKind]int{deleteKey: 1}[kind])
		require.Empty(t, s.strangers.touched(s.cloud))
	}
}

// TestVerdictOnATouchedStranger: a stranger that was changed is touched as one
// that was deleted is.
//
// Break it by comparing names only in touched.
func TestVerdictOnATouchedStranger(t *testing.T) {
	s := newStage(t)
	first, second := s.strangers.made[len(s.strangers.made)-1], s.strangers.made[len(s.strangers.made)-2]
	_, err := s.engine.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &first.Name, PolicyName: aws.String("x"), PolicyDocument: aws.String(policy(everything))})
	require.NoError(t, err)
	require.True(t, newHands(1, s.cloud, s.ledger, s.strangers, s.tally, s.paths).delete(t.Context(), s.owner,
		lease{account: second.account, username: second.Name}))

	failures, printed := s.verdict(nil, nil)
	require.Equal(t, []string{"2 foreign users touched"}, failures)
	require.Contains(t, printed, "TOUCHED: "+first.ARN+": changed")
	require.Contains(t, printed, "TOUCHED: "+second.ARN+": deleted")
}

func TestVerdictOnTheLogs(t *testing.T) {
	s := newStage(t)
	_, key := s.cloud.Account(coreAccount).AddUser("/", "somebody")
	s.cloud.secrets.add(key.SecretAccessKey)
	failures, printed := s.verdict(nil, serverLogs{
		[]byte("[DEBUG] aws-iam: key " + key.SecretAccessKey + "\n"),
		[]byte("[ERROR] plugin: panic: runtime error: nil pointer\n"),
	})
	require.Equal(t, []string{"1 users left in AWS", "1 live access keys left", "2 problems in the servers' logs"}, failures)
	require.Contains(t, printed, "node 0: 1 secret access keys are in the log")
	require.Contains(t, printed, "nil pointer")
}

// TestSecretsAreTakenDown where they come into being: in AWS's answers.
func TestSecretsAreTakenDown(t *testing.T) {
	s := newStage(t)
	held := s.issue("vault-wide-new")
	out, err := s.owner.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &held.username})
	require.NoError(t, err)
	require.Equal(t, 1, s.cloud.secrets.find([]byte("x"+*out.AccessKey.SecretAccessKey+"y")))
	require.Zero(t, s.cloud.secrets.find([]byte((*out.AccessKey.SecretAccessKey)[:39])))
}

func TestAnIdleRunProvesNothing(t *testing.T) {
	require.Len(t, new(Report).Failures(), 5)
}

// TestWeatherIsCounted by the calls of the engine that it meets, and is over
// when the run is.
func TestWeatherIsCounted(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithCancel(t.Context())
	up := make(chan struct{})
	go func() {
		defer close(up)
		(&sky{cloud: s.cloud, tally: s.tally}).let(ctx, weather{kind: denied, lasts: time.Hour, fault: awsfake.Fault{Code: "AccessDenied", Account: wideAccount}})
	}()
	list := func(by *iam.Client) bool {
		_, err := by.ListGroups(t.Context(), &iam.ListGroupsInput{})
		return err == nil
	}
	require.Eventually(t, func() bool { return !list(s.engine) }, time.Minute, time.Millisecond)
	require.False(t, list(s.owner))
	cancel()
	<-up
	require.True(t, list(s.engine))
	require.Equal(t, 1, s.tally.get(string(denied)))
	require.Equal(t, 1, s.tally.get(faultsInAWS))
}
