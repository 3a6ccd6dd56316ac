package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// run is everything of one run.
type run struct {
	options   Options
	cloud     *cloud
	cluster   *vaultdev.Cluster
	caller    *caller // for setting up and judging
	ledger    *ledger
	strangers *strangers
	watcher   *watcher
	tally     *tally
	paths     map[string]string // of issued users, by integration
	apps      app               // who the clients are

	started, calm time.Time // of the faults
}

// Run shakes, settles and judges. The error says why a run could not be carried
// out; what was found is in the report.
func Run(ctx context.Context, options Options) (report *Report, err error) {
	if err := options.validate(); err != nil {
		return nil, err
	}
	r := &run{options: options, ledger: newLedger(), strangers: newStrangers(), tally: newTally()}
	if r.cloud, err = newCloud(ctx, options.Seed); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.cloud.stop()) }()
	if r.cluster, err = vaultdev.StartCluster(ctx, options.Vault, options.Nodes); err != nil {
		return nil, fmt.Errorf("starting Vault: %w", err)
	}
	defer func() { err = errors.Join(err, r.cluster.Stop()) }()
	if err := r.prepare(ctx); err != nil {
		return nil, fmt.Errorf("preparing: %w", err)
	}
	if err = r.shake(ctx); err == nil {
		report, err = r.settle(ctx)
	}
	if err != nil || len(report.Failures()) > 0 {
		err = errors.Join(err, keepLogs(r.cluster, options.KeepLogs))
	}
	return report, err
}

// askTimeout bounds a question to Vault about a lease that was cut, which is
// asked in the midst of failovers.
const askTimeout = 30 * time.Second

// prepare mounts the engine and makes the first strangers.
func (r *run) prepare(ctx context.Context) (err error) {
	if r.caller, err = newCaller(r.cluster, r.cluster.Nodes[0].RootToken, 0, time.Minute); err != nil {
		return err
	}
	if r.paths, err = mount(ctx, r.cluster, r.options.Plugin, r.cloud); err != nil {
		return err
	}
	if r.apps, err = login(ctx, r.caller); err != nil {
		return err
	}
	r.strangers.settle(r.cloud, r.paths)
	asking, err := newCaller(r.cluster, r.cluster.Nodes[0].RootToken, 0, 10*time.Second)
	if err != nil {
		return err
	}
	var one sync.Mutex // several cuts may be asked about at a time
	r.watcher = &watcher{cloud: r.cloud, ledger: r.ledger, ask: func(held lease) string {
		one.Lock()
		defer one.Unlock()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		return asking.describeLease(ctx, held.id)
	}}
	r.cloud.Watch(r.watcher.saw)
	return nil
}

// shake lets faults, clients and hands loose until the duration is over and the
// goals are met. When it returns everything is healed and nobody is at work.
func (r *run) shake(ctx context.Context) error {
	r.started = time.Now()
	shaking, stop := context.WithCancel(ctx)
	defer stop()
	var busy sync.WaitGroup
	if err := r.workload(shaking, &busy); err != nil {
		return err
	}
	hands := newHands(r.options.Seed, r.cloud, r.ledger, r.strangers, r.tally, r.paths)
	weather := &sky{cloud: r.cloud, tally: r.tally}
	busy.Go(func() { hands.run(shaking) })
	busy.Go(func() { weather.run(shaking, newCloudSchedule(r.options.Seed)) })
	busy.Go(func() { r.tell(shaking) })

	faults := &servers{cluster: r.cluster, plugin: r.options.Plugin.Name, tally: r.tally, progress: r.options.Progress, started: r.started}
	err := faults.run(ctx, newServerSchedule(r.options.Seed, r.options.Nodes), r.enough)
	stop()
	// A client's last request may take a minute. What no fault troubles any more
	// is part of the time that the engine has to clean up.
	r.calm = time.Now()
	busy.Wait()
	return errors.Join(err, ctx.Err())
}

// enough says whether the run has had its time and its faults.
func (r *run) enough() bool {
	return time.Since(r.started) >= r.options.Duration &&
		r.tally.get(processesKilled) >= r.options.Kills && r.tally.get(faultsInAWS) >= r.options.Faults
}

// workload starts the clients.
func (r *run) workload(ctx context.Context, busy *sync.WaitGroup) error {
	busy.Go(func() { r.watcher.run(ctx) })
	for actor := waveStream; actor < clientStream+clients; actor++ {
		random := stream(r.options.Seed, actor)
		// From impatient ones, whose answers come too late, to those that wait
		// for as long as Vault's own clients do.
		caller, err := newCaller(r.cluster, r.apps.token, random.IntN(r.options.Nodes), between(random, 10*time.Second, time.Minute))
		if err != nil {
			return err
		}
		client := client{caller: caller, entity: r.apps.entity, random: random, ledger: r.ledger, watcher: r.watcher, tally: r.tally}
		switch actor {
		case waveStream:
			busy.Go(func() { (&waves{client: client}).run(ctx) })
		case roleStream:
			busy.Go(func() { (&churn{client}).run(ctx) })
		default:
			busy.Go(func() { client.run(ctx) })
		}
	}
	return nil
}

// tellInterval is the pause between two lines on how far the run is.
const tellInterval = 30 * time.Second

func (r *run) tell(ctx context.Context) {
	for pause(ctx, tellInterval) {
		say(r.options.Progress, r.started, "-- %d processes killed, %d AWS faults; %d leases issued, %d live; %d users in AWS",
			r.tally.get(processesKilled), r.tally.get(faultsInAWS),
			r.tally.get(leasesIssued), len(r.ledger.allLive(time.Now())), len(r.cloud.leftUsers(r.strangers)))
	}
}

// say prints a line with the time, as logs have it, and since the start.
func say(to io.Writer, started time.Time, format string, args ...any) {
	now := time.Now()
	fmt.Fprintf(to, "%s %7.1fs  %s\n", stamp(now), now.Sub(started).Seconds(), fmt.Sprintf(format, args...))
}
