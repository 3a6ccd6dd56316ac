package awsiam

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// tidyResumable is how long after it was asked for a run is gone on with that was cut
// off. By then a failover is over: what is found later is of a restored snapshot, or of
// a run whose end could not be stored, and somebody has to want it again.
const tidyResumable = 6 * time.Hour

// tidies are the runs under way in this process, one per integration.
type tidies struct {
	b *backend

	mu      sync.Mutex
	running map[string]*tidying
	resumed bool // runs that other processes left were looked for
	// decided are the integrations whose run this process has begun or cancelled: what
	// was read before of what an earlier process left is not so any more.
	decided map[string]bool
}

func newTidies(b *backend) *tidies {
	return &tidies{b: b, running: make(map[string]*tidying), decided: make(map[string]bool)}
}

// begin stores the run and starts it.
func (t *tidies) begin(ctx context.Context, s logical.Storage, run *tidyRun) error {
	in, err := getIntegration(ctx, s, run.Integration)
	if err != nil {
		return storageError{err}
	}
	if in == nil {
		return refuse("there is no integration %q: write %s%s", run.Integration, integrationPrefix, run.Integration)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if other := t.running[run.Integration]; other != nil {
		return refuse("a tidy of integration %q has been running since %s: read tidy-status/%s, or end it with tidy-cancel/%s",
			run.Integration, timestamp(other.snapshot().Started), run.Integration, run.Integration)
	}
	if err := putTidyRun(ctx, s, run); err != nil {
		return storageError{err}
	}
	t.start(s, run) //nolint:contextcheck // the run outlives the request
	return nil
}

// start is for callers that hold the lock.
func (t *tidies) start(s logical.Storage, run *tidyRun) {
	ctx, cancel := context.WithCancelCause(t.b.reaper.lifetime)
	work := &tidying{b: t.b, run: *run, cancel: cancel}
	t.running[run.Integration], t.decided[run.Integration] = work, true
	spawned := t.b.reaper.spawn(s, func(s logical.Storage) {
		defer cancel(nil)
		work.s = s
		work.work(ctx)
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.running, run.Integration)
	})
	if !spawned { // the next process goes on with it
		cancel(nil)
		delete(t.running, run.Integration)
	}
}

// busy says whether a run of the integration is under way.
func (t *tidies) busy(integration string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.running[integration] != nil
}

// cancel ends the run under way, or one that a process before this one did not
// end. That is stored first, so that no other process goes on with it.
func (t *tidies) cancel(ctx context.Context, s logical.Storage, integration string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var run *tidyRun
	work := t.running[integration]
	if work != nil {
		now := work.snapshot()
		run = &now
	} else {
		var err error
		if run, err = getTidyRun(ctx, s, integration); err != nil {
			return err
		}
	}
	if run == nil || run.State != tidyRunning {
		return refuse("integration %q: no tidy is running", integration)
	}
	run.State, run.Finished = tidyCancelled, t.b.now()
	if err := putTidyRun(ctx, s, run); err != nil {
		return storageError{err}
	}
	t.decided[integration] = true
	if work != nil {
		work.cancel(errCancelled)
	}
	return nil
}

// resume goes on with runs that a process before this one did not end. It
// starts again from the beginning, which finds what is left. Requests do not wait for
// what it reads.
func (t *tidies) resume(ctx context.Context, s logical.Storage) error {
	t.mu.Lock()
	resumed := t.resumed
	t.mu.Unlock()
	if resumed {
		return nil
	}
	names, err := s.List(ctx, tidyPrefix)
	if err != nil {
		return fmt.Errorf("listing the runs of tidy: %w", err)
	}
	for _, name := range names {
		run, err := getTidyRun(ctx, s, name)
		if errors.Is(err, errDamaged) {
			t.b.Logger().Error("what is stored of a tidy cannot be read: start it again", "integration", name, "error", err)
			continue
		}
		if err != nil {
			return err
		}
		if run == nil || run.State != tidyRunning {
			continue
		}
		if err := t.again(ctx, s, run); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.resumed = true
	return nil
}

// again goes on with what an earlier process has left, as it was read, unless this one
// has decided about it since, or it was cut off too long ago.
func (t *tidies) again(ctx context.Context, s logical.Storage, left *tidyRun) error {
	if t.b.now().Sub(left.Started) > tidyResumable {
		return t.giveUp(ctx, s, left)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.decided[left.Integration] {
		return nil
	}
	t.b.Logger().Info("a tidy that was cut off goes on", "integration", left.Integration, "started", timestamp(left.Started))
	// Records may be older than the run, from a snapshot: whom AWS made since, by its
	// own clock, can have a live lease.
	run := &tidyRun{Integration: left.Integration, State: tidyRunning, DryRun: left.DryRun, SafetyBuffer: max(left.SafetyBuffer, skewAllowance), Started: left.Started}
	if now := t.b.now(); run.Started.After(now) {
		run.Started = now // it was asked for by a clock that was ahead
	}
	t.start(s, run) //nolint:contextcheck // the run outlives the pass
	return nil
}

// giveUp ends a run that was cut off too long ago.
func (t *tidies) giveUp(ctx context.Context, s logical.Storage, run *tidyRun) error {
	t.mu.Lock()
	decided := t.decided[run.Integration]
	t.mu.Unlock()
	if decided {
		return nil
	}
	run.State, run.Finished = tidyFailed, t.b.now()
	run.Error = fmt.Sprintf("it was cut off, and is not gone on with more than %s after it was asked for: start it again if it is still wanted", tidyResumable)
	if err := putTidyRun(ctx, s, run); err != nil {
		return err
	}
	t.b.Logger().Error("tidy failed", "integration", run.Integration, "started", timestamp(run.Started), "error", run.Error)
	return nil
}

// status is the run under way, or the last one; nil if there was none.
func (t *tidies) status(ctx context.Context, s logical.Storage, integration string) (*tidyRun, error) {
	t.mu.Lock()
	work := t.running[integration]
	t.mu.Unlock()
	if work != nil {
		run := work.snapshot()
		return &run, nil
	}
	return getTidyRun(ctx, s, integration)
}

func getTidyRun(ctx context.Context, s logical.Storage, integration string) (*tidyRun, error) {
	entry, err := s.Get(ctx, tidyPrefix+integration)
	if undecryptable(err) {
		return nil, fmt.Errorf("%w: tidy of integration %q: %w", errDamaged, integration, err)
	}
	if err != nil || entry == nil {
		return nil, err
	}
	run := &tidyRun{DryRun: true, SafetyBuffer: defaultSafetyBuffer} // unless it says otherwise
	if err := entry.DecodeJSON(run); err != nil {
		return nil, fmt.Errorf("%w: tidy of integration %q: %w", errDamaged, integration, err)
	}
	run.Integration = integration // the key tells
	return run, nil
}

func putTidyRun(ctx context.Context, s logical.Storage, run *tidyRun) error {
	entry, err := logical.StorageEntryJSON(tidyPrefix+run.Integration, run)
	if err != nil {
		return fmt.Errorf("encoding the tidy of integration %q: %w", run.Integration, err)
	}
	if err := s.Put(ctx, entry); err != nil {
		return fmt.Errorf("writing the tidy of integration %q: %w", run.Integration, err)
	}
	return nil
}
