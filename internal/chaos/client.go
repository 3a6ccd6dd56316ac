package chaos

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/hashicorp/vault/api"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

const (
	// clients is how many work at a time, each with one lease in its hands.
	clients = 24

	minTTL, maxLeaseTTL = 10 * time.Second, time.Minute
)

// client issues, renews and ends leases, one after the other, as applications do.
type client struct {
	*caller
	entity  string // as which Vault knows it
	random  *rand.Rand
	ledger  *ledger
	watcher *watcher
	tally   *tally
}

// run goes on until the context ends. What is under way then is finished, so
// that it is known what became of it.
func (c *client) run(ctx context.Context) {
	for pause(ctx, between(c.random, 100*time.Millisecond, time.Second)) {
		c.live(ctx, pick(c.random, roles...))
	}
}

// live is the life of one lease. What is to happen is drawn first, so that it
// does not depend on what does happen.
func (c *client) live(ctx context.Context, role roleSpec) {
	ttl, renewals, end := c.ttl(), c.random.IntN(4), c.random.IntN(5)
	increments, holds := make([]time.Duration, renewals), make([]float64, renewals+1)
	for i := range increments {
		increments[i] = c.ttl()
	}
	for i := range holds {
		holds[i] = 0.5 * c.random.Float64()
	}

	username, ok := c.issue(context.WithoutCancel(ctx), role.name, role, ttl)
	if !ok {
		return
	}
	for i, increment := range increments {
		if !pause(ctx, c.part(username, holds[i])) {
			return
		}
		c.renew(context.WithoutCancel(ctx), username, increment)
	}
	if !pause(ctx, c.part(username, holds[renewals])) {
		return
	}
	if end < 2 {
		c.tally.add(leftToExpire)
		return
	}
	c.revoke(context.WithoutCancel(ctx), username, end == 2)
}

func (c *client) ttl() time.Duration {
	return between(c.random, minTTL, maxLeaseTTL).Truncate(time.Second)
}

// part is a part of the time that a lease has left.
func (c *client) part(username string, of float64) time.Duration {
	held, _ := c.ledger.get(username)
	return time.Duration(of * float64(time.Until(held.until)))
}

// issue reads a credential of a role made as the spec says, and notes it in the
// ledger.
func (c *client) issue(ctx context.Context, role string, spec roleSpec, ttl time.Duration) (username string, ok bool) {
	asked := time.Now()
	secret, err := c.once(func(l *api.Logical) (*api.Secret, error) {
		return l.ReadWithDataWithContext(ctx, mountPath+"/creds/"+role, map[string][]string{"ttl": {seconds(ttl)}})
	})
	if err != nil || secret == nil {
		c.tally.add(issuesFailed)
		return "", false
	}
	c.tally.add(leasesIssued)
	handed := lease{
		id: secret.LeaseID, role: role, account: text(secret, "account_id"), username: text(secret, "username"), issued: time.Now(),
		key: awsfake.Credentials{AccessKeyID: text(secret, "access_key_id"), SecretAccessKey: text(secret, "secret_access_key")},
	}
	// What the answer says must be there, and beside it whatever is.
	user, _ := c.watcher.cloud.Account(handed.account).User(handed.username)
	handed.had = user
	handed.had.ID = text(secret, "user_id")
	handed.had.AccessKeys = []awsfake.AccessKeyInfo{{ID: handed.key.AccessKeyID, Active: true}}
	if spec.templated {
		handed.entity = c.entity
	}
	c.ledger.open(handed, asked, time.Duration(secret.LeaseDuration)*time.Second)
	c.watcher.look(handed.username, "handed out like that")
	return handed.username, true
}

func (c *client) renew(ctx context.Context, username string, increment time.Duration) {
	held, _ := c.ledger.get(username)
	asked := time.Now()
	c.ledger.renewing(username, asked, increment)
	secret, err := c.write(ctx, "sys/leases/renew", map[string]any{"lease_id": held.id, "increment": seconds(increment)})
	if err != nil || secret == nil {
		c.tally.add(renewalsFailed)
		c.ledger.unanswered(username, increment)
		return
	}
	c.tally.add(renewals)
	c.ledger.renewed(username, asked, time.Now(), time.Duration(secret.LeaseDuration)*time.Second)
}

// revoke ends a lease, or, where Vault does not do it, leaves it to its end.
func (c *client) revoke(ctx context.Context, username string, wait bool) {
	held, _ := c.ledger.get(username)
	c.ledger.end(username, "revoked")
	for range 2 * len(c.nodes) {
		if _, err := c.write(ctx, "sys/leases/revoke", map[string]any{"lease_id": held.id, "sync": wait}); err == nil {
			c.tally.add(revoked)
			return
		}
	}
	c.tally.add(revokesFailed)
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
