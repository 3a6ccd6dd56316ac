package awsiam

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// rotations knows when an integration's key has to be looked at: to finish a
// rotation, or because its period is over. What it keeps is a hint only, learnt
// once from storage and then from every write; a pass costs what is due.
type rotations struct {
	b *backend

	mu      sync.Mutex
	due     map[string]time.Time // by integration
	running map[string]bool      // integrations whose key is being rotated or cleared away
	listed  bool                 // due has what earlier processes left
}

// note takes the time from an integration as it was stored.
func (r *rotations) note(in *integration) {
	if due := in.Rotation.due(); !due.IsZero() {
		r.schedule(in.Name, due)
		return
	}
	r.forget(in.Name)
}

func (r *rotations) schedule(name string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due[name] = at
}

func (r *rotations) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.due, name)
}

func (r *rotations) busy(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running[name]
}

// alone does the work unless some is under way for the integration, when it returns
// false.
func (r *rotations) alone(name string, work func()) bool {
	r.mu.Lock()
	busy := r.running[name]
	r.running[name] = true
	r.mu.Unlock()
	if busy {
		return false
	}
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.running, name)
	}()
	work()
	return true
}

// pass begins what is due, each integration by itself, since AWS may take its time.
func (r *rotations) pass(ctx context.Context, s logical.Storage) error {
	if err := r.list(ctx, s); err != nil {
		return err
	}
	now := r.b.now()
	r.mu.Lock()
	var names []string
	for name, due := range r.due {
		if !now.Before(due) && !r.running[name] {
			names = append(names, name)
		}
	}
	r.mu.Unlock()
	for _, name := range names {
		r.b.reaper.spawn(s, func(s logical.Storage) {
			r.alone(name, func() { r.work(ctx, s, name) })
		})
	}
	return nil
}

// list learns the names of integrations, once: each is then read when it is worked on.
func (r *rotations) list(ctx context.Context, s logical.Storage) error {
	r.mu.Lock()
	listed := r.listed
	r.mu.Unlock()
	if listed {
		return nil
	}
	names, err := s.List(ctx, integrationPrefix)
	if err != nil {
		return fmt.Errorf("listing integrations: %w", err)
	}
	now := r.b.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		if _, known := r.due[name]; !known {
			r.due[name] = now
		}
	}
	r.listed = true
	return nil
}

// work does what is due by what is stored.
func (r *rotations) work(ctx context.Context, s logical.Storage, name string) {
	b := r.b
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	in, err := getIntegration(ctx, s, name)
	switch {
	case errors.Is(err, errDamagedIntegration):
		r.forget(name) // writing it again takes note of it
		return
	case err != nil:
		b.reaper.complainOfStorage(err)
		return
	case in == nil:
		r.forget(name)
		return
	}
	r.note(in)
	due := in.Rotation.due()
	if due.IsZero() || b.now().Before(due) {
		return
	}
	tidied, err := b.tidiedThrough(ctx, s, name)
	switch {
	case err != nil:
		b.reaper.complainOfStorage(err)
		return
	case in.Rotation.pending() && tidied != "":
		// It may be at work with the old key.
	case in.Rotation.pending():
		err = b.finish(ctx, s, name)
	default:
		err = b.rotateOnSchedule(ctx, s, name)
	}
	if err != nil && b.reaper.lifetime.Err() == nil {
		b.events.aboutRotation(eventConfigRotate+eventFailed, name, "", in.AccessKey)
		b.Logger().Error("the rotation of an integration's key failed and is tried again", "integration", name, "error", describe(err))
	}
}

// rotateOnSchedule notes a failure in the integration, where it can be read.
func (b *backend) rotateOnSchedule(ctx context.Context, s logical.Storage, name string) error {
	limited, cancel := context.WithTimeout(ctx, rotateTimeout)
	defer cancel()
	_, failure := b.rotate(limited, s, name)
	if failure == nil || errors.Is(failure, errSuperseded) || b.reaper.lifetime.Err() != nil {
		return nil
	}
	noting, cancel := b.noting(ctx)
	defer cancel()
	in, err := getIntegration(noting, s, name)
	if err == nil && in != nil {
		_, err = b.changeRotation(noting, s, name, in.Rotation.Journal.ID, func(in *integration) error {
			in.Rotation.LastError = describe(failure)
			in.Rotation.failed(failure, b.now())
			return nil
		})
	}
	return errors.Join(failure, err)
}
