package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// aLease notes a lease of user "u", promised for ttl from now.
func aLease(ttl time.Duration) (*ledger, time.Time) {
	l, now := newLedger(), time.Now()
	l.open(lease{username: "u", issued: now}, now, ttl)
	return l, now
}

func requireLive(t *testing.T, want bool, l *ledger, at time.Time) {
	t.Helper()
	_, live := l.live("u", at)
	require.Equal(t, want, live)
	require.Equal(t, want, len(l.allLive(at)) == 1)
}

func TestLeaseLivesUntilItsPromisedEnd(t *testing.T) {
	l, now := aLease(30 * time.Second)
	requireLive(t, true, l, now.Add(30*time.Second-margin-time.Millisecond))
	requireLive(t, false, l, now.Add(30*time.Second-margin))

	l.renewing("u", now.Add(10*time.Second), time.Minute)
	requireLive(t, false, l, now.Add(30*time.Second))
	l.renewed("u", now.Add(10*time.Second), now.Add(12*time.Second), time.Minute)
	requireLive(t, true, l, now.Add(68*time.Second))
	requireLive(t, false, l, now.Add(70*time.Second))
}

// TestLeaseEndsWhenItsEndIsAskedFor, not when that is answered.
func TestLeaseEndsWhenItsEndIsAskedFor(t *testing.T) {
	l, now := aLease(30 * time.Second)
	require.True(t, l.end("u", "revoked"))
	requireLive(t, false, l, now)
	require.False(t, l.end("u", "again"))
	l.renewed("u", now, now, time.Hour)
	requireLive(t, false, l, now)
	require.False(t, l.end("nobody", "revoked"))
}

// TestRenewalWithoutAnAnswer: Vault may carry out a shorter renewal at any time
// later, so that nothing longer is promised any more.
func TestRenewalWithoutAnAnswer(t *testing.T) {
	l, now := aLease(60 * time.Second)
	l.renewing("u", now, 20*time.Second)
	l.unanswered("u", 20*time.Second)
	requireLive(t, true, l, now.Add(18*time.Second))
	requireLive(t, false, l, now.Add(20*time.Second))

	l.renewing("u", now.Add(5*time.Second), 60*time.Second)
	l.renewed("u", now.Add(5*time.Second), now.Add(5*time.Second), 60*time.Second)
	requireLive(t, true, l, now.Add(23*time.Second))
	requireLive(t, false, l, now.Add(25*time.Second))
}

// TestRenewalAnsweredTooLate: the lease was running out, and Vault may be at its
// revocation already.
func TestRenewalAnsweredTooLate(t *testing.T) {
	l, now := aLease(30 * time.Second)
	l.renewing("u", now.Add(20*time.Second), 60*time.Second)
	l.renewed("u", now.Add(20*time.Second), now.Add(30*time.Second-margin), 60*time.Second)
	requireLive(t, true, l, now.Add(25*time.Second))
	requireLive(t, false, l, now.Add(30*time.Second))
}
