package awsiam

import (
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// requireRotates checks, at each of the passes that follow a rotation that went
// wrong, that the integration is not locked out and that its user has two keys at
// most; in the end it has one, and can rotate again.
func (e *env) requireRotates() {
	e.t.Helper()
	for range 4 {
		require.LessOrEqual(e.t, len(e.ownKeys()), 2)
		require.Contains(e.t, e.ownKeys(), e.integration().AccessKey, "locked out")
		require.NoError(e.t, e.revoke(e.issue("app", nil)))
		e.pass(3 * time.Minute)
	}
	e.requireOneKey()
	e.rotated()
	e.pass(retireAfter)
	e.requireOneKey()
}

// rotationCalls are the calls of a rotation, and which of their kind.
func rotationBreakages() (table []breakage) {
	for _, action := range []string{"GetCallerIdentity", "ListAccessKeys", "CreateAccessKey", "DeleteAccessKey"} {
		table = append(table, awsBreakages(action)...)
	}
	for skip, step := range []string{"the key in use", "the new key"} {
		for _, fault := range []awsfake.Fault{{Code: "InvalidClientTokenId"}, {LostBefore: true}, {Status: 500}} {
			fault.Action, fault.Skip = "GetCallerIdentity", skip
			table = append(table, breakage{"AWS does not let in " + step + " " + fault.Code, func(e *env) {
				e.healers = append(e.healers, e.aws.Inject(fault))
			}})
		}
	}
	table = append(table, storageBreakages("list", integrationPrefix, 1)...)
	for nth := 1; nth <= 5; nth++ {
		table = append(table, storageBreakages("get", integrationPrefix, nth)...)
	}
	for nth := 1; nth <= 3; nth++ { // journal, new key, switch
		table = append(table, storageBreakages("put", integrationPrefix, nth)...)
	}
	return table
}

// Break it by switching in memory alone, by making the key before the journal is
// written, by clearing the journal with the switch, or by not looking again at what
// changeRotation may have written.
func TestEveryStepOfARotationGoesWrong(t *testing.T) {
	t.Parallel()
	for _, broken := range rotationBreakages() {
		t.Run(broken.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, rotatingPolicy)
			l := e.issue("app", nil)
			e.reap() // from here on nothing is due but what the rotation says
			broken.arm(e)
			_, _ = e.do(logical.UpdateOperation, "rotate-root", nil)
			e.heal()
			_, err := e.renew(l, time.Hour)
			require.NoError(t, err)
			require.NoError(t, e.revoke(l))
			e.requireRotates()
		})
	}
}

// Break it by taking the old key off the journal before AWS has deleted it.
func TestEveryStepOfRetiringAKeyGoesWrong(t *testing.T) {
	t.Parallel()
	var table []breakage
	for _, action := range []string{"GetCallerIdentity", "ListAccessKeys", "DeleteAccessKey"} {
		table = append(table, awsBreakages(action)...)
	}
	for nth := 1; nth <= 4; nth++ {
		table = append(table, storageBreakages("get", integrationPrefix, nth)...)
	}
	for nth := 1; nth <= 2; nth++ { // the attempt, the end
		table = append(table, storageBreakages("put", integrationPrefix, nth)...)
	}
	for _, broken := range table {
		t.Run(broken.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, rotatingPolicy)
			e.rotated()
			rotated := e.integration().AccessKey
			broken.arm(e)
			e.pass(retireAfter)
			e.heal()
			e.requireRotates()
			require.NotEqual(t, rotated, e.integration().AccessKey)
		})
	}
}

// The same for what a rotation has to take back. Break it by leaving the new key out
// of rotationJournal.doomed.
func TestEveryStepOfTakingBackAKeyGoesWrong(t *testing.T) {
	t.Parallel()
	var table []breakage
	for _, action := range []string{"GetCallerIdentity", "ListAccessKeys", "DeleteAccessKey"} {
		table = append(table, awsBreakages(action)...)
	}
	for nth := 1; nth <= 2; nth++ {
		table = append(table, storageBreakages("put", integrationPrefix, nth)...)
	}
	for _, cut := range []struct {
		name string
		put  int
		keys int
	}{{"made and not stored", 2, 2}, {"stored and not in use", 3, 2}} {
		for _, broken := range table {
			t.Run(cut.name+"/"+broken.name, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, rotatingPolicy)
				storageBreakages("put", integrationPrefix, cut.put)[2].arm(e)
				_, err := e.do(logical.UpdateOperation, "rotate-root", nil)
				require.Error(t, err)
				e.heal()
				require.Len(t, e.ownKeys(), cut.keys)
				broken.arm(e)
				e.pass(settlingTime)
				e.heal()
				e.requireRotates()
			})
		}
	}
}

// A key that somebody else made, long after, is not taken for the one of a lost
// answer. Break it by returning true in rotationJournal.mayHaveMade.
func TestAStrangersKeyIsLeftAlone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, rotatingPolicy)
	remove := e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", LostBefore: true})
	_, err := e.do(logical.UpdateOperation, "rotate-root", nil)
	require.ErrorContains(t, err, "may have made a key all the same")
	remove()
	e.advance(2 * time.Hour)
	stranger := e.keyByHand()
	e.reap()
	require.Contains(t, e.ownKeys(), stranger)
	require.False(t, e.integration().Rotation.pending())
}

// keyByHand makes another key for the integration's user.
func (e *env) keyByHand() string {
	e.t.Helper()
	before := e.ownKeys()
	require.NoError(e.t, dependentsByHand["access key"](e.t.Context(), e.byHand(), e.acct, integrationUser))
	after := slices.DeleteFunc(e.ownKeys(), func(id string) bool { return slices.Contains(before, id) })
	require.Len(e.t, after, 1)
	return after[0]
}
