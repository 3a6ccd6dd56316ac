package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/api"
)

// settle ends all leases, waits until nothing is left or the time for it is
// over, and judges.
func (r *run) settle(ctx context.Context) (*Report, error) {
	// A cluster that does not serve must not hold up the verdict for ever.
	ctx, cancel := context.WithDeadline(ctx, r.calm.Add(drainTime+wholeTimeout))
	defer cancel()
	say(r.options.Progress, r.started, "all healed: the leases that are live have to work, then all are ended")
	r.useLive(ctx)
	if err := r.emptyPools(ctx); err != nil {
		return nil, fmt.Errorf("emptying the pools: %w", err)
	}
	r.endLeases(ctx)
	report := &Report{options: r.options, shaken: r.calm.Sub(r.started), strangers: r.strangers.count()}
	for {
		var err error
		if report.records, err = r.caller.records(ctx); err != nil {
			return nil, fmt.Errorf("listing the records: %w", err)
		}
		report.users = r.cloud.leftUsers(r.strangers)
		if len(report.users) == 0 && len(report.records) == 0 || time.Since(r.calm) > drainTime {
			break
		}
		if !pause(ctx, time.Second) {
			return nil, ctx.Err()
		}
	}
	report.settled = time.Since(r.calm)
	report.counts = r.tally.all()
	report.cuts = r.watcher.all()
	report.touched = r.strangers.touched(r.cloud)
	r.countLeases(ctx, report)
	r.caller.describeRecords(ctx, report.records)
	logs, err := readLogs(r.cluster)
	if err != nil {
		return nil, err
	}
	report.logs = logs.problems(r.cloud.secrets)
	report.diagnosis = r.diagnose(report, logs)
	return report, nil
}

// useLive has each live lease's client use its credential, and asks Vault for
// the lease. A key that was made under a lag shortly before takes its time.
func (r *run) useLive(ctx context.Context) {
	for _, held := range r.ledger.allLive(time.Now().Add(margin)) {
		use := func() error {
			_, err := r.cloud.as(held.key).ListGroups(ctx, &iam.ListGroupsInput{})
			return err
		}
		err := use()
		for err != nil && time.Since(r.calm) < longestLag && pause(ctx, time.Second) {
			err = use()
		}
		if err != nil && ctx.Err() == nil {
			r.watcher.cut(held.username, "the use of its credential: "+err.Error(), "")
			continue
		}
		found, err := r.caller.leaseWord(ctx, held.id)
		if err == nil && found == nil {
			r.watcher.cut(held.username, "its lease in Vault", "")
			continue
		}
		r.tally.add(usedAtEnd)
	}
}

// emptyPools has no user made any more that waits for a lease.
func (r *run) emptyPools(ctx context.Context) error {
	for _, spec := range roles {
		if spec.pool == 0 {
			continue
		}
		body := spec.body()
		body["pool_size"] = 0
		if _, err := r.caller.insist(ctx, writeRole(ctx, spec.name, body)); err != nil {
			return err
		}
	}
	return nil
}

// endLeases revokes a part of the leases that are left, one by one or a role's
// together, and waits until the others have run out.
func (r *run) endLeases(ctx context.Context) {
	prefix := roles[0].name
	for _, held := range r.ledger.allLive(time.Now()) {
		switch {
		case held.role == prefix:
			r.ledger.end(held.username, "revoked by prefix")
		case held.issued.UnixMilli()%2 == 0:
			r.ledger.end(held.username, "revoked")
			_, _ = r.caller.write(ctx, "sys/leases/revoke", map[string]any{"lease_id": held.id})
		}
	}
	_, _ = r.caller.write(ctx, "sys/leases/revoke-prefix/"+mountPath+"/creds/"+prefix, nil)
	for len(r.ledger.allLive(time.Now())) > 0 && pause(ctx, time.Second) {
		r.watcher.lookAtAll()
	}
}

// countLeases asks what Vault still has, and how many of those it has given up
// on; then it has them dropped, as an operator would.
func (r *run) countLeases(ctx context.Context, report *Report) {
	all, _ := r.caller.leases(ctx)
	report.leases = len(all)
	given, err := r.caller.insist(ctx, func(l *api.Logical) (*api.Secret, error) {
		return l.ReadWithDataWithContext(ctx, "sys/leases/count", map[string][]string{"type": {"irrevocable"}})
	})
	if err == nil && given != nil {
		report.irrevocable = fmt.Sprint(given.Data["lease_count"])
	}
	_, _ = r.caller.write(ctx, "sys/leases/revoke-force/"+mountPath, nil)
	all, _ = r.caller.leases(ctx)
	report.leasesForced = len(all)
}

// leases are the ids of the mount's leases that Vault has.
func (c *caller) leases(ctx context.Context) ([]string, error) {
	pending, ids := []string{mountPath + "/"}, []string(nil)
	for len(pending) > 0 {
		folder := pending[0]
		pending = pending[1:]
		listed, err := c.insist(ctx, func(l *api.Logical) (*api.Secret, error) {
			return l.ListWithContext(ctx, "sys/leases/lookup/"+folder)
		})
		if err != nil {
			return nil, err
		}
		for _, key := range keys(listed) {
			if path := folder + key; strings.HasSuffix(key, "/") {
				pending = append(pending, path)
			} else {
				ids = append(ids, path)
			}
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// describeLease says in words what Vault knows of a lease.
func (c *caller) describeLease(ctx context.Context, id string) string {
	found, err := c.leaseWord(ctx, id)
	switch {
	case err != nil:
		return "no answer: " + err.Error()
	case found == nil:
		return "there is no such lease"
	default:
		return fmt.Sprintf("the lease has %v s to live", found.Data["ttl"])
	}
}
