package main

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Break it by having fresh compare with Expires.
func TestKeptUntilHalfIsGoneThenRenewed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	require.Equal(t, "AKIA1", b.mustGet(0, "issue"))
	require.Equal(t, "AKIA1", b.mustGet(testTTL/2-time.Second))
	require.Equal(t, "AKIA1", b.mustGet(time.Second, "renew lease/1"))
	require.Equal(t, "AKIA1", b.mustGet(testTTL/2-time.Second), "half of what was renewed")
	require.Equal(t, "AKIA1", b.mustGet(time.Second, "renew lease/1"))
	require.Equal(t, "AKIA2", b.mustGet(testTTL, "issue"), "once it has ended there is nothing to renew")
	require.Empty(t, b.log.String())
}

func TestClockThatWasSetBackIsAReasonToAsk(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	require.Equal(t, "AKIA1", b.mustGet(0, "issue"))
	require.Equal(t, "AKIA1", b.mustGet(-48*time.Hour, "renew lease/1"))
	kept, err := b.cache.load()
	require.NoError(t, err)
	require.WithinDuration(t, b.clock.Add(testTTL), kept.Expires, time.Minute)
}

// TestRenewalOfEachOutcome begins with a key of which half is gone.
func TestRenewalOfEachOutcome(t *testing.T) {
	t.Parallel()
	renewed := func(length time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, map[string]any{"lease_duration": length.Seconds(), "renewable": true})
		}
	}
	ended := refuse(http.StatusBadRequest, "lease not found")
	down := refuse(http.StatusServiceUnavailable, "Vault is sealed")
	const renew, issue = "renew lease/1", "issue"
	for name, test := range map[string]struct {
		renew, issue http.HandlerFunc
		requests     []string
		key          string // none: an error
		earlier      int
		quiet        bool // Vault is not asked again at once
	}{
		"for as long as before":              {renew: renewed(testTTL), requests: []string{renew}, key: "AKIA1", quiet: true},
		"for half as long":                   {renew: renewed(testTTL / 2), requests: []string{renew}, key: "AKIA1", quiet: true},
		"near the maximum":                   {renew: renewed(testTTL/2 - time.Second), requests: []string{renew, issue}, key: "AKIA2", earlier: 1, quiet: true},
		"near the maximum, and none to have": {renew: renewed(testTTL/2 - time.Second), issue: refuse(400, "the role is full"), requests: []string{renew, issue}, key: "AKIA1", quiet: true},
		"refused":                            {renew: refuse(400, "the role was deleted"), requests: []string{renew, issue}, key: "AKIA2", earlier: 1, quiet: true},
		"not allowed":                        {renew: refuse(403, "permission denied"), requests: []string{renew, issue}, key: "AKIA2", earlier: 1, quiet: true},
		"refused, and so is another":         {renew: refuse(400, "the role was deleted"), issue: refuse(400, "no role"), requests: []string{renew, issue}, key: "AKIA1", quiet: true},
		"the lease has ended":                {renew: ended, requests: []string{renew, issue}, key: "AKIA2", quiet: true},
		"the lease has ended, and no other":  {renew: ended, issue: down, requests: []string{renew, issue}},
		"expired by Vault's clock":           {renew: refuse(400, "lease expired"), issue: down, requests: []string{renew, issue}},
		"expired, and not revoked yet":       {renew: refuse(400, "lease is expired and has failed previous revocation attempts"), issue: down, requests: []string{renew, issue}},
		"the user was deleted":               {renew: refuse(400, `failed to renew entry: the lease of user "u" cannot be renewed: the user was deleted or is being deleted`), issue: down, requests: []string{renew, issue}},
		"the token has ended":                {renew: refuse(403, "permission denied\ninvalid token"), issue: refuse(403, "permission denied"), requests: []string{renew, issue}},
		"Vault cannot serve":                 {renew: down, requests: []string{renew}, key: "AKIA1", quiet: true},
		"Vault is overloaded":                {renew: refuse(429, "too many requests"), requests: []string{renew}, key: "AKIA1", quiet: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.mustGet(0, "issue")
			b.vault.answers["renew"], b.vault.answers["issue"] = test.renew, test.issue

			key, err := b.get(testTTL / 2)
			require.Equal(t, test.requests, b.vault.take())
			require.Equal(t, test.key, key)
			require.Equal(t, test.key == "", err != nil)
			if test.key == "" {
				_, err := b.get(-testTTL / 2)
				require.Error(t, err)
				require.Equal(t, []string{issue}, b.vault.take(), "it has ended, at whatever time one asks")
				return
			}
			if test.quiet {
				require.Equal(t, test.key, b.mustGet(time.Second), "asked again at once")
			}
			kept, err := b.cache.load()
			require.NoError(t, err)
			require.Len(t, kept.Earlier, test.earlier)
		})
	}
}

// TestRenewalWithoutContent: a proxy's answer, say. Break it by taking the check for nil
// out of renew.
func TestRenewalWithoutContent(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"nothing":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"no length": func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, map[string]any{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.mustGet(0, "issue")
			b.vault.answers["renew"] = answer
			require.Equal(t, "AKIA1", b.mustGet(testTTL/2, "renew lease/1"))
			require.Contains(t, b.log.String(), "renewing the lease")
			require.Equal(t, "AKIA1", b.mustGet(retryPause-time.Second))
		})
	}
}

// Break it by leaving the note out of keep: each call then asks a Vault that is down.
func TestVaultThatIsDownIsAskedAgainNowAndThen(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.mustGet(0, "issue")
	b.vault.answers["renew"] = refuse(http.StatusBadGateway, "down")
	require.Equal(t, "AKIA1", b.mustGet(testTTL/2, "renew lease/1"))
	require.Contains(t, b.log.String(), "the key that is kept goes on until")
	require.Equal(t, "AKIA1", b.mustGet(retryPause-time.Second))
	require.Equal(t, "AKIA1", b.mustGet(time.Second, "renew lease/1"))

	b.vault.answers["issue"] = b.vault.answers["renew"]
	_, err := b.get(testTTL / 2)
	require.ErrorContains(t, err, "down", "a key whose lease has ended is not handed out")

	b.vault.answers["issue"] = nil
	b.vault.take()
	require.Equal(t, "AKIA2", b.mustGet(0, "issue"))
}

func TestVaultThatCannotBeReached(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.mustGet(0, "issue")
	b.client = clientOf(t, "http://127.0.0.1:1") // where nobody listens
	require.Equal(t, "AKIA1", b.mustGet(testTTL/2))
	_, err := b.get(testTTL / 2)
	require.ErrorContains(t, err, "reading aws-iam/creds/app")
}

// Break it by never asking whether a lease has ended.
func TestCheckFindsALeaseThatWasRevoked(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.check = true
	b.mustGet(0, "issue")
	require.Equal(t, "AKIA1", b.mustGet(0, "lookup lease/1"))

	for _, answer := range []http.HandlerFunc{refuse(403, "permission denied"), refuse(500, "no idea")} {
		b.vault.answers["lookup"] = answer
		require.Equal(t, "AKIA1", b.mustGet(0, "lookup lease/1"))
	}
	require.Contains(t, b.log.String(), "no idea")

	b.vault.answers["lookup"] = refuse(400, "invalid lease")
	require.Equal(t, "AKIA2", b.mustGet(0, "lookup lease/1", "issue"))
	kept, err := b.cache.load()
	require.NoError(t, err)
	require.Empty(t, kept.Earlier)

	// One of which another took over lives on.
	b.vault.answers["lookup"], b.vault.answers["renew"] = nil, refuse(400, "not renewable")
	require.Equal(t, "AKIA3", b.mustGet(testTTL/2, "renew lease/2", "issue"))
	b.vault.answers["lookup"] = refuse(400, "invalid lease")
	require.Equal(t, "AKIA4", b.mustGet(0, "lookup lease/3", "issue"))
	kept, err = b.cache.load()
	require.NoError(t, err)
	require.Len(t, kept.Earlier, 1)
	require.Equal(t, "lease/2", kept.Earlier[0].LeaseID)
}

// Break it by taking undo out of issue.
func TestKeyThatCannotBeKeptIsRevoked(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	folder := b.cache.folder
	b.vault.answers["issue"] = func(w http.ResponseWriter, _ *http.Request) {
		_ = os.RemoveAll(folder)
		writeJSON(w, http.StatusOK, leased(1, testTTL, map[string]any{"access_key_id": "AKIA1", "secret_access_key": secretWord}))
	}
	_, err := b.get(0)
	require.ErrorContains(t, err, "keeping the key")
	require.Equal(t, []string{"issue", "revoke lease/1"}, b.vault.take())
}

func TestAnswerOfAnotherEngineIsNoKey(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"nothing": refuse(http.StatusNotFound, ""),
		"without lease": func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, 200, map[string]any{"data": map[string]any{"a": 1}})
		},
		"other fields": func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, 200, leased(1, testTTL, map[string]any{"access_key_id": 1, "password": secretWord}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.vault.answers["issue"] = answer
			_, err := b.get(0)
			require.ErrorContains(t, err, "reading aws-iam/creds/app")
		})
	}
}

// Break it by keeping only the last lease.
func TestRevokeEndsAllThatIsKept(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	require.NoError(t, b.revoke(t.Context()), "nothing yet")
	require.Contains(t, b.log.String(), "nothing is kept")
	b.mustGet(0, "issue")
	b.vault.answers["renew"] = refuse(400, "not renewable")
	require.Equal(t, "AKIA2", b.mustGet(testTTL/2, "renew lease/1", "issue"))

	b.vault.answers["revoke"] = refuse(403, "permission denied")
	require.ErrorContains(t, b.revoke(t.Context()), "takes the capability update on sys/leases/revoke")
	require.Equal(t, []string{"revoke lease/2", "revoke lease/1"}, b.vault.take())
	require.Equal(t, "AKIA2", b.mustGet(0), "what could not be revoked stays")

	b.vault.answers["revoke"] = nil
	require.NoError(t, b.revoke(t.Context()))
	require.Equal(t, []string{"revoke lease/2", "revoke lease/1"}, b.vault.take())
	require.Equal(t, "AKIA3", b.mustGet(0, "issue"))
}

// TestRevokeThatIsHalfDone: the key that was revoked is not handed out, and the lease
// that was not is known.
func TestRevokeThatIsHalfDone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.mustGet(0, "issue")
	b.vault.answers["renew"] = refuse(400, "not renewable")
	b.mustGet(testTTL/2, "renew lease/1", "issue")
	calls := 0
	b.vault.answers["revoke"] = func(w http.ResponseWriter, _ *http.Request) {
		calls++
		if calls > 1 {
			writeJSON(w, http.StatusBadGateway, nil)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
	require.ErrorContains(t, b.revoke(t.Context()), "lease/1")
	b.vault.take()
	require.Equal(t, "AKIA3", b.mustGet(0, "issue"))

	b.vault.answers["revoke"] = nil
	require.NoError(t, b.revoke(t.Context()))
	require.Equal(t, []string{"revoke lease/3", "revoke lease/1"}, b.vault.take())
}

func TestLeasesThatHaveEndedAreForgotten(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.vault.answers["renew"] = refuse(400, "not renewable")
	b.mustGet(0, "issue")
	for range 5 {
		b.mustGet(testTTL/2, append([]string{"renew " + b.lastLease()}, "issue")...)
		kept, err := b.cache.load()
		require.NoError(t, err)
		require.LessOrEqual(t, len(kept.Earlier), 2)
	}
}

func (b *bench) lastLease() string {
	b.t.Helper()
	kept, err := b.cache.load()
	require.NoError(b.t, err)
	return kept.LeaseID
}

func TestNoTokenIsSaid(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.client.ClearToken()
	b.vault.answers["issue"] = refuse(403, "permission denied")
	_, err := b.get(0)
	require.ErrorContains(t, err, "vault login")
}
