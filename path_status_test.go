package awsiam

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// summaryPolicy is the core's and what it takes to ask for an account's numbers.
var summaryPolicy = strings.Replace(corePolicy, `"Statement":[`, `"Statement":[{"Effect":"Allow","Action":"iam:GetAccountSummary","Resource":"*"},`, 1)

// attention is what a status says that somebody should look at.
func (e *env) attention(path string) []string {
	e.t.Helper()
	resp := e.must(logical.ReadOperation, path, nil)
	require.Equal(e.t, len(resp.Warnings) == 0, resp.Data[fieldHealthy])
	return resp.Warnings
}

// requireFigures checks fields of a status.
func requireFigures(t *testing.T, want, status map[string]any) {
	t.Helper()
	got := make(map[string]any)
	for field := range want {
		got[field] = status[field]
	}
	require.Equal(t, want, got)
}

// stuck is a lease whose user cannot be deleted with the core's policy.
func (e *env) stuck(role string) lease {
	e.t.Helper()
	l := e.issue(role, nil)
	require.NoError(e.t, dependentsByHand["login profile"](e.t.Context(), e.byHand(), e.acct, l.username()))
	require.Error(e.t, e.revoke(l))
	return l
}

// TestStatusCountsUsers: in the process that made the users, in the next one before
// its reaper has read anything, and in each after that, whoever asks first.
//
// Break it by leaving awaitLearnt out, or group counts out of reaper.census.
func TestStatusCountsUsers(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.connect("other", otherAccount, corePolicy)
	oldest := e.issue("other", map[string]any{"ttl": "20h"})
	e.advance(3*time.Hour + 20*time.Minute)
	e.issue("other", nil)
	e.pool("app", 2)
	stuck := e.stuck("app")
	e.issue("app", nil)
	e.settle()

	check := func() {
		t.Helper()
		byState := make(map[userState]int)
		for _, u := range e.records() {
			byState[u.State]++
		}
		require.Equal(t, map[userState]int{stateActive: 3, statePooled: 2, stateDeleting: 1}, byState)
		whole := map[string]any{
			fieldUsers: 6, fieldUsersActive: 3, fieldUsersPooled: 2, fieldUsersDeleting: 1, fieldUsersCreating: 0, fieldUsersOverdue: 0,
			fieldUsersUnread: 0, fieldUsersUnreadable: 0,
			fieldUsersOldest: oldest.username(), fieldUsersOldestAge: "3h20m",
			fieldDeletionsFailing: 1, fieldDeletionsFirstUser: stuck.username(), fieldDeletionsLastUser: stuck.username(),
			fieldPoolWanted: 2, fieldPoolReady: 2,
			fieldIntegrations: []string{"default", "other"}, fieldIntegrationsUnwell: []string{"default"}, fieldHealthy: false,
		}
		status := e.read("status")
		if status[fieldPoolReady] != 2 {
			e.settle() // whether an earlier process's users may still be leased is found out in the background
			status = e.read("status")
		}
		requireFigures(t, whole, status)
		requireFigures(t, map[string]any{
			fieldIntegration: "other", fieldUsers: 2, fieldUsersActive: 2, fieldUsersDeleting: 0, fieldDeletionsFailing: 0,
			fieldUsersOldestAge: "3h20m", fieldHealthy: true, fieldConnection: "works", fieldVerified: true, fieldAccountID: otherAccount,
			fieldPoolWanted: 0, fieldTidy: "",
		}, e.read("status/other"))
		list := e.must(logical.ListOperation, "status/", nil).Data
		require.Equal(t, []string{"default", "other"}, list["keys"])
		require.Equal(t, map[string]any{
			"account": otherAccount, "users": 2, "active": 2, "deleting": 0, "failing": 0, "oldest": "3h20m", "healthy": true,
		}, list["key_info"].(map[string]any)["other"])
	}
	check()
	e.start()
	check()
	e.start()
	e.reap()
	check()
	require.Nil(t, e.must(logical.ReadOperation, "status/nope", nil), "a 404")
	e.refused(logical.ReadOperation, "status/a%b", nil, "not a valid name")
}

// TestStatusTellsWhatToGrant: why the last deletion failed, also where another fails
// for another reason; what to grant to whom; and that all is well when that was done.
//
// Break it by reading the reason of one of the two only, or by dropping what was
// granted from the errors.
func TestStatusTellsWhatToGrant(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	require.Empty(t, e.attention("status"))
	first := e.stuck("app")
	e.advance(time.Minute)
	second := e.issue("app", nil)
	heal := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", User: second.username(), Code: codeAccessDenied, Message: "User: arn:aws:iam::111122223333:user/vault-integration " +
		"is not authorized to perform: iam:DeleteUser on resource: user x with an explicit deny in a service control policy"})
	require.Error(t, e.revoke(second))

	for _, path := range []string{"status", "status/default"} {
		status := e.read(path)
		requireFigures(t, map[string]any{
			fieldDeletionsFailing: 2, fieldDeletionsFirstUser: first.username(), fieldDeletionsLastUser: second.username(),
			fieldDeletionsFirstSince: timestamp(e.records()[first.username()].FailedSince),
			fieldDeletionsFirstError: e.records()[first.username()].LastError, // for another reason
			fieldDeletionsLastError:  e.records()[second.username()].LastError,
		}, status)
		require.Equal(t, timestamp(e.records()[first.username()].NextAttempt), status[fieldDeletionsNextAttempt], "which is the earlier one")
		require.Subset(t, status[fieldDeletionsGrant], []string{"iam:DeleteLoginProfile", "iam:DeleteUser"})
		require.NotContains(t, status[fieldDeletionsGrant], "iam:CreateUser")
		warning := e.attention(path)
		require.Len(t, warning, 1)
		for _, text := range []string{
			`integration "default": 2 user(s) could not be deleted yet`, second.username(), "is not authorized to perform", first.username(), "has been failing for 1m",
			"must delete login profile first", "To do: grant iam:", "to arn:aws:iam::111122223333:user/vault-integration",
			`"vault read test-mount/policy/default"`, "lift the explicit deny",
		} {
			require.Contains(t, warning[0], text)
		}
		require.NotContains(t, warning[0], "may hold it", "the field has the whole of it")
	}

	heal()
	e.write("config", e.connection(e.newUserWith("exact", e.neededPolicy("policy_document"), e.neededPolicy("optional_policy_document"))))
	e.settle() // writing the integration has the reaper try again at once
	require.Empty(t, e.attention("status"))
	requireFigures(t, map[string]any{
		fieldUsers: 0, fieldDeletionsFailing: 0, fieldDeletionsFirstUser: "", fieldDeletionsLastError: "", fieldDeletionsNextAttempt: "", fieldDeletionsGrant: []string{},
		fieldUsersOldest: "", fieldUsersOldestAge: "",
	}, e.read("status"))
}

// TestStatusTellsOfAReasonOnce: users that fail for the same reason are not told of one by one.
func TestStatusTellsOfAReasonOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	first := e.stuck("app")
	e.advance(time.Minute)
	second := e.stuck("app")
	warning := e.attention("status/default")
	require.Len(t, warning, 1)
	require.Contains(t, warning[0], second.username())
	require.NotContains(t, warning[0], first.username())
	requireFigures(t, map[string]any{
		fieldDeletionsFirstUser: first.username(), fieldDeletionsFirstError: "", fieldDeletionsLastError: e.records()[second.username()].LastError,
	}, e.read("status"))
}

// TestStatusOfCalls: each attempt counts, by the integration that made it, and what
// AWS answered, also to sessions; not what status itself asks.
//
// Break it by counting in another place of the stack, or by counting GetAccountSummary.
func TestStatusOfCalls(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.assume()
	e.write("config/same", e.connection(e.anotherKey(corePolicy)))
	e.write("roles/same", map[string]any{"integration": "same", "policy_document": testPolicy})
	calls := func(name string) map[string]any {
		t.Helper()
		status := e.read("status/" + name)
		require.Equal(t, timestamp(e.b.started), status[fieldCallsSince])
		return map[string]any{"calls": status[fieldCalls], "failed": status[fieldCallsFailed], "throttled": status[fieldCallsThrottled]}
	}
	none := map[string]any{"calls": 0, "failed": map[string]int{}, "throttled": 0}
	require.Equal(t, none, calls("default"))

	e.aws.Inject(awsfake.Fault{Action: "CreateUser", Code: "Throttling", Count: 1})
	e.aws.Inject(awsfake.Fault{Action: "PutUserPolicy", LostBefore: true, Count: 1})
	l := e.issue("app", nil) // three calls, two of them twice
	require.Equal(t, map[string]any{"calls": 5, "failed": map[string]int{"Throttling": 1, codeNoAnswer: 1}, "throttled": 1}, calls("default"))
	require.NotEmpty(t, e.read("status/same")[fieldCallsLastThrottled], "of the account, not of the integration")
	require.Equal(t, none, calls("same"))
	e.write("config", map[string]any{"max_retries": 2}) // a new connection counts on
	require.NoError(t, e.revoke(l))
	require.Equal(t, 8, calls("default")["calls"])

	heal := e.aws.Inject(awsfake.Fault{Action: "AssumeRole", Code: codeAccessDenied})
	_, err := e.tryIssue("assumed")
	require.Error(t, err)
	require.Equal(t, map[string]any{"calls": 0, "failed": map[string]int{codeAccessDenied: 1}, "throttled": 0}, calls("assumed"))
	heal()

	whole := e.read("status")
	requireFigures(t, map[string]any{
		fieldCalls: 8, fieldCallsThrottled: 1, fieldCallsWaiting: 0,
		fieldCallsFailed: map[string]int{"Throttling": 1, codeNoAnswer: 1, codeAccessDenied: 1},
	}, whole)
	e.must(logical.DeleteOperation, "roles/same", nil)
	e.must(logical.DeleteOperation, "config/same", nil)
	e.start()
	require.Equal(t, none, calls("default"), "in another process")
}

// TestStatusOfCodesWithoutEnd: what answers at an endpoint may be anything.
func TestStatusOfCodesWithoutEnd(t *testing.T) {
	var counts calls
	tally := counts.of("a")
	for i := range manyCodes + 50 {
		tally.note(answerWith(fmt.Sprintf("Code%d", i)))
	}
	counted := counts.count("a")
	require.Equal(t, manyCodes+50, counted.made)
	require.Len(t, counted.failed, manyCodes+1)
	require.Equal(t, 50, counted.failed[otherCodes])
}

// TestStatusOfTheAccount: how many users it has and may have, asked once in a minute;
// and why that is not known, which fails nothing and takes no longer than askTimeout.
//
// Break it by not keeping an answer in connection.ask, by keeping it for ever, or by
// having it wait for AWS without an end.
func TestStatusOfTheAccount(t *testing.T) {
	t.Parallel()
	e := newEnv(t, summaryPolicy)
	e.connect("denied", otherAccount, corePolicy)
	e.issue("app", nil)
	asked := func() int { return e.aws.Count("GetAccountSummary") }
	known := map[string]any{fieldAccountUsers: 2, fieldAccountQuota: 5000, fieldAccountHeadroom: 4998, fieldAccountError: "", fieldConnection: "works"}
	unknown := map[string]any{fieldAccountUsers: nil, fieldAccountQuota: nil, fieldAccountHeadroom: nil}
	for range 3 {
		requireFigures(t, known, e.read("status/default"))
		requireFigures(t, map[string]any{fieldAccountHeadroom: 4998, fieldHealthy: true}, e.read("status"))
		denied := e.read("status/denied")
		requireFigures(t, unknown, denied)
		requireFigures(t, map[string]any{fieldConnection: "works", fieldHealthy: true, fieldIntegration: "denied"}, denied)
		require.Contains(t, denied[fieldAccountError], `grant iam:GetAccountSummary on "*"`)
	}
	require.Equal(t, 2, asked(), "once for each integration")
	for range 10 {
		e.acct.AddUser("/", fmt.Sprintf("other-%d", asked()), corePolicy)
		e.advance(roomKept + time.Second)
		require.Equal(t, 5000-len(e.acct.Users()), e.read("status")[fieldAccountHeadroom])
	}

	for name, fault := range map[string]awsfake.Fault{
		"an error":    {Code: "ServiceFailure", Status: 500},
		"a denial":    {Code: codeAccessDenied},
		"no answer":   {LostBefore: true},
		"throttled":   {Code: "Throttling"},
		"silence":     {Delay: time.Hour},
		"a wrong key": {Code: codeInvalidClientTokenID},
	} {
		fault.Action = "GetAccountSummary"
		heal := e.aws.Inject(fault)
		e.advance(roomKept + time.Second)
		began := time.Now()
		status := e.read("status/default")
		require.Less(t, time.Since(began), askTimeout+2*time.Second, name)
		requireFigures(t, unknown, status)
		require.NotEmpty(t, status[fieldAccountError], name)
		well := slices.Contains([]string{"a denial", "throttled"}, name)
		require.Equal(t, well, status[fieldHealthy], name)
		require.Equal(t, well, status[fieldConnection] == "works", name)
		heal()
		require.Eventually(t, func() bool { // the call that had no answer is shared until it ends
			e.advance(roomKept + time.Second)
			return len(e.attention("status")) == 0
		}, patience, 10*time.Millisecond, name)
	}
}

// answerWith is an answer of AWS's with the code.
func answerWith(code string) error { return &awsError{code} }

type awsError struct{ code string }

func (e *awsError) Error() string                 { return e.code }
func (e *awsError) ErrorCode() string             { return e.code }
func (e *awsError) ErrorMessage() string          { return e.code }
func (e *awsError) ErrorFault() smithy.ErrorFault { return smithy.FaultUnknown }

// TestStatusAttention: what is wrong is said, with what to do, and is gone when it is
// mended. The mount says the same of all.
func TestStatusAttention(t *testing.T) {
	t.Parallel()
	for name, scene := range map[string]struct {
		policy string
		breaks func(e *env) (mend func())
		text   string
	}{
		"not verified": {breaks: func(e *env) func() {
			e.write("config", map[string]any{"region": "us-west-2", "verify_connection": false})
			return func() { e.write("config", nil) }
		}, text: `it is not verified: "vault write -f test-mount/config/default" asks AWS`},
		"a key that is gone": {breaks: func(e *env) func() {
			e.deleteKey(e.key.AccessKeyID)
			return func() { e.write("config", e.connection(e.anotherKey(corePolicy))) }
		}, text: "AWS does not know the access key"},
		"AWS out of reach": {breaks: func(e *env) func() {
			heal := e.aws.Inject(awsfake.Fault{LostBefore: true})
			return func() { heal(); e.advance(unknownFor) }
		}, text: "AWS cannot be reached"},
		"no room for an integration": {breaks: func(e *env) func() {
			e.write("config", map[string]any{fieldMaxUsers: 1})
			l := e.issue("app", nil)
			return func() { require.NoError(e.t, e.revoke(l)) }
		}, text: "it has 1 users, and max_users=1"},
		"no room in an account": {policy: summaryPolicy, breaks: func(e *env) func() {
			for i := range 4501 {
				e.acct.AddUser("/", fmt.Sprintf("other-%d", i), corePolicy)
			}
			return func() {
				for i := range 10 {
					e.deleteByHand(fmt.Sprintf("other-%d", i))
				}
				e.advance(roomKept)
			}
		}, text: "its account 111122223333 has 4502 users, of all kinds, and IAM allows it 5000"},
		"a rotation that fails": {breaks: func(e *env) func() {
			e.write("config", map[string]any{"rotation_period": "1h"})
			e.pass(2 * time.Hour)
			e.settle()
			return func() {
				e.write("config", changed(e.connection(e.anotherKey(corePolicy)), map[string]any{"rotation_period": 0}))
			}
		}, text: "the rotation of its key failed"},
		"a tidy that failed": {breaks: func(e *env) func() {
			e.tidy(nil)
			return func() { e.write("config", e.connection(e.anotherKey(listingPolicy))); e.tidy(nil) }
		}, text: "the last tidy failed"},
		"a pool that cannot be filled": {breaks: func(e *env) func() {
			heal := e.aws.Inject(awsfake.Fault{Action: "CreateUser", Code: "LimitExceeded", Status: 409})
			e.reap()
			e.write("roles/app", map[string]any{"pool_size": 2})
			e.settle()
			return func() { heal(); e.pass(maxRetryPause) }
		}, text: `the pool of role "app" has 0 of 2 users, and cannot be filled`},
		"a damaged integration": {breaks: func(e *env) func() {
			e.damage(integrationPrefix+defaultIntegration, "{")
			return func() { e.write("config", e.connection(e.key)) }
		}, text: "the integration is damaged"},
		"an integration that is not there": {breaks: func(e *env) func() {
			l := e.issue("app", nil)
			in, err := e.storage.Storage.Get(e.t.Context(), integrationPrefix+defaultIntegration)
			require.NoError(e.t, err)
			require.NoError(e.t, e.storage.Storage.Delete(e.t.Context(), in.Key))
			return func() {
				require.NoError(e.t, e.storage.Storage.Put(e.t.Context(), in))
				require.NoError(e.t, e.revoke(l))
			}
		}, text: "there are records of its users, but it is not there"},
		"a reaper that is behind": {breaks: func(e *env) func() {
			e.issue("app", nil)
			e.advance(defaultTTL + clockAllowance + overdueAfter + time.Second)
			return e.reap
		}, text: "the end of 1 user(s) has been due for more than 5m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if scene.policy == "" {
				scene.policy = corePolicy
			}
			e := newEnv(t, scene.policy)
			require.Empty(t, e.attention("status"))
			e.advance(roomKept)
			mend := scene.breaks(e)
			for _, path := range []string{"status", "status/default"} {
				warnings := e.attention(path)
				require.Len(t, warnings, 1)
				require.Contains(t, warnings[0], `integration "default": `)
				require.Contains(t, warnings[0], scene.text)
			}
			require.Equal(t, []string{"default"}, e.read("status")[fieldIntegrationsUnwell])
			mend()
			require.Empty(t, e.attention("status"))
			require.Empty(t, e.attention("status/default"))
		})
	}
}

// TestStatusOfUnreadableRecords: they are some integration's, and nobody knows which.
func TestStatusOfUnreadableRecords(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	record := e.entry(l.username())
	e.damage(userPrefix+l.username(), "{")
	e.start()
	warnings := e.attention("status")
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], `"vault read test-mount/users list=true state=unreadable"`)
	requireFigures(t, map[string]any{fieldUsersUnreadable: 1, fieldUsers: 0, fieldUsersUnread: 0}, e.read("status"))
	e.damage(userPrefix+l.username(), record)
	require.NoError(t, e.revoke(l))
	require.Empty(t, e.attention("status"))
}

// TestStatusWhileRecordsCannotBeRead: it answers with what it knows, in time, and says so.
//
// Break it by having awaitLearnt wait without an end.
func TestStatusWhileRecordsCannotBeRead(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.leave("app", 10)
	require.NoError(t, e.reload())
	e.start()
	_, release := e.hold("get")
	resp := e.must(logical.ReadOperation, "status", nil)
	require.Contains(t, resp.Warnings, "the records of earlier users are still being read, as after a start: there are more users than these; ask again in some seconds")
	requireFigures(t, map[string]any{fieldUsersUnread: 10, fieldUsers: 0, fieldHealthy: true}, resp.Data)
	release()
	e.settle()
	require.Empty(t, e.attention("status"))
	require.Equal(t, 10, e.read("status")[fieldUsers])
}

// Break it by taking an error of storage for nothing being there.
func TestStatusWhenStorageFails(t *testing.T) {
	for path, steps := range map[string][]string{
		"status":         {"list config/", "get config/default", "get tidy/default"},
		"status/default": {"get config/default", "get tidy/default", "get users/"},
	} {
		for _, step := range steps {
			e := newEnv(t, corePolicy)
			e.stuck("app")
			e.storage.on(func(op, key string) (bool, error) { return true, failIf(strings.HasPrefix(op+" "+key, step)) })
			_, err := e.do(logical.ReadOperation, path, nil)
			require.ErrorIs(t, err, errInjected, step)
		}
	}
}

// TestStatusUnderThrottling: how fast AWS lets the account call, and how many calls
// wait, which its integrations share and which is added up once. Status itself waits
// no longer than it does for AWS, and takes being throttled for no trouble.
//
// Break it by adding what waits for every integration, or by taking a busy account for
// one that cannot be reached.
// What storage takes no note of cannot be seen in any record: deletions that wait for
// it are neither failing nor overdue. Break it by leaving the time out of
// reaper.complainOfStorage.
func TestStatusWhenStorageFailsTheReaper(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.issue("app", nil)
	e.advance(time.Hour)
	e.storage.on(func(op, _ string) (bool, error) { return op != "put", failIf(op == "put") })
	e.reap()
	resp := e.must(logical.ReadOperation, "status", nil)
	require.Equal(t, false, resp.Data[fieldHealthy])
	require.Contains(t, strings.Join(resp.Warnings, "\n"), "storage fails the reaper")

	e.storage.on(nil)
	e.advance(storageMemory)
	e.reap()
	e.requireNothingLeft()
	require.Empty(t, e.attention("status"))
}

func TestStatusUnderThrottling(t *testing.T) {
	t.Parallel()
	e := newEnv(t, summaryPolicy)
	e.write("config/same", e.connection(e.anotherKey(summaryPolicy)))
	e.aws.SetThrottle(5, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	for range 60 {
		crowd.Go(func() { _, _ = e.doCtx(ctx, logical.ReadOperation, "creds/app", nil) })
	}
	require.Eventually(t, func() bool {
		began := time.Now()
		status := e.read("status/default")
		require.Less(t, time.Since(began), askTimeout+2*time.Second)
		require.Equal(t, true, status[fieldHealthy], status[fieldConnection])
		return status[fieldCallsRate].(float64) > 0 && status[fieldCallsWaiting].(int) > 0 &&
			status[fieldCallsThrottled].(int) > 0 && status[fieldCallsLastThrottled] != ""
	}, patience, 10*time.Millisecond)
	cancel()
	crowd.Wait()
	e.aws.SetThrottle(0, 0)
	require.Eventually(t, func() bool {
		e.advance(settlingTime)
		e.reap()
		return len(e.records()) == 0
	}, patience, 10*time.Millisecond)

	in := e.integration()
	m := &mountStatus{integrations: make(map[string]*integrationStatus)}
	for _, name := range []string{"one", "two"} {
		m.integrations[name] = &integrationStatus{figures: newFigures(name), shared: in.governor(in.AccountID)}
		m.integrations[name].waiting = 7
	}
	data, _ := m.data(time.Now(), time.Now(), "")
	require.Equal(t, 7, data[fieldCallsWaiting])
}

// TestStatusOfNothing: a mount that was just made is well, and its lists are empty.
func TestStatusOfNothing(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.must(logical.DeleteOperation, "roles/app", nil)
	e.must(logical.DeleteOperation, "config", nil)
	require.Empty(t, e.attention("status"))
	requireFigures(t, map[string]any{fieldUsers: 0, fieldIntegrations: []string{}, fieldIntegrationsUnwell: []string{}}, e.read("status"))
	require.Equal(t, map[string]any{"keys": []string{}, "key_info": map[string]any{}}, e.must(logical.ListOperation, "status/", nil).Data)
	require.Nil(t, e.must(logical.ReadOperation, "status/default", nil), "a 404")
	require.Empty(t, e.b.calls.byIntegration, "asking for what is not there is not kept")
}

// TestStatusOfManyTroubles: nobody reads a thousand warnings.
func TestStatusOfManyTroubles(t *testing.T) {
	m := &mountStatus{integrations: make(map[string]*integrationStatus)}
	for i := range mostWarnings + 5 {
		st := &integrationStatus{figures: newFigures(fmt.Sprintf("a%02d", i))}
		st.advise(time.Now(), "aws-iam/")
		m.integrations[st.integration] = st
	}
	data, attention := m.data(time.Now(), time.Now(), "aws-iam/")
	require.Len(t, attention, mostWarnings+1)
	require.Contains(t, attention[mostWarnings], "5 more")
	require.Len(t, data[fieldIntegrationsUnwell], mostWarnings+5)
}

// TestStatusAmongMany: of twenty thousand users it reads no record, which is what takes time.
//
// Break it by listing or reading users for it.
func TestStatusAmongMany(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	e.connectMany()
	e.storeMany(t, manyUsers)
	e.start()
	e.reap()
	operations := e.countOperations()
	began := time.Now()
	status := e.read("status")
	took := time.Since(began)
	require.Equal(t, manyUsers, status[fieldUsers])
	require.Equal(t, manyUsers, status[fieldUsersActive])
	require.Equal(t, map[string]int{"list config": 1, "get config": 10, "get tidy": 5}, operations())
	began = time.Now()
	e.b.reaper.census()
	t.Logf("the status took %s, and of that the agenda was locked for %s", took, time.Since(began))
}

// TestStatusHasNoSecret: whatever goes wrong.
func TestStatusHasNoSecret(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	l := e.stuck("app")
	heal := e.aws.Inject(awsfake.Fault{Code: codeInvalidClientTokenID})
	defer heal()
	e.advance(roomKept)
	for _, op := range []logical.Operation{logical.ReadOperation, logical.ListOperation} {
		for _, path := range []string{"status", "status/", "status/default"} {
			if (op == logical.ListOperation) != strings.HasSuffix(path, "/") {
				continue
			}
			resp := e.must(op, path, nil)
			text, err := json.Marshal(map[string]any{"data": resp.Data, "warnings": resp.Warnings})
			require.NoError(t, err)
			for _, secret := range []string{e.key.SecretAccessKey, l.data["secret_access_key"].(string)} {
				require.NotContains(t, string(text), secret)
			}
		}
	}
}

// TestAge: what people are told of how long something is ago.
func TestAge(t *testing.T) {
	now := time.Now()
	for ago, want := range map[time.Duration]string{
		-time.Minute: "0s", 0: "0s", 59 * time.Second: "59s", 7*time.Minute + 3*time.Second: "7m3s",
		5*time.Hour + 10*time.Minute + 40*time.Second: "5h10m", 24 * time.Hour: "1d0h", 76*time.Hour + time.Minute: "3d4h",
	} {
		require.Equal(t, want, age(now.Add(-ago), now))
	}
	require.Empty(t, age(time.Time{}, now))
}

// TestMissingActions: what is to be granted, and not what was done.
func TestMissingActions(t *testing.T) {
	f := figures{reasons: map[string]string{
		"a": `IAM:DeleteUser: AccessDenied: User: arn:aws:iam::1:user/x is not authorized to perform: iam:DeleteUser on resource: user a (request id 1)`,
		"b": "user cannot be deleted: IAM:DeleteUser: DeleteConflict; MFA devices may hold it: grant iam:ListMFADevices, iam:DeactivateMFADevice, and iam:DeleteVirtualMFADevice on the devices",
		"c": "IAM:DeleteUser needs a session: STS:AssumeRole: AccessDenied: not authorized to perform: sts:AssumeRole on arn:aws:iam::2:role/r",
	}}
	require.Equal(t, []string{"iam:DeactivateMFADevice", "iam:DeleteUser", "iam:DeleteVirtualMFADevice", "iam:ListMFADevices", "sts:AssumeRole"}, f.missingActions())
	require.True(t, sameReason("user a: no (request id 1)", "a", "user b: no (request id 2)", "b"))
	require.False(t, sameReason("user a: no", "a", "user b: never", "b"))
}

// TestStatusOfAnIntegrationThatCannotConnect: where STS does not tell whose it is, AWS has
// not let it in, whatever the answer.
//
// Break it by taking any error of connect for one of the account's.
func TestStatusOfAnIntegrationThatCannotConnect(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"Throttling", codeAccessDenied, "ServiceFailure"} {
		e := newEnv(t, corePolicy)
		e.write("config/unverified", changed(e.connection(e.anotherKey(corePolicy)), map[string]any{"verify_connection": false}))
		heal := e.aws.Inject(awsfake.Fault{Action: "GetCallerIdentity", Code: code})
		status := e.read("status/unverified")
		require.Contains(t, status[fieldConnection], code)
		require.Equal(t, false, status[fieldHealthy])
		require.NotEmpty(t, status[fieldAccountError])
		heal()
		require.Equal(t, "works", e.read("status/unverified")[fieldConnection])
	}
}

// TestStatusOfRecordsWithoutAnIntegration: they count from the first answer of a process on.
//
// Break it by looking for them before the records are read.
func TestStatusOfRecordsWithoutAnIntegration(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	u := e.healthyRecord("lost")
	u.Username, u.AccountID = "vault-lost-1", testAccount
	e.store(t, u)
	e.start()
	requireFigures(t, map[string]any{fieldUsers: 1, fieldIntegrations: []string{"default", "lost"}}, e.read("status"))
	e.start()
	require.Contains(t, e.must(logical.ListOperation, "status/", nil).Data["keys"], "lost")
}
