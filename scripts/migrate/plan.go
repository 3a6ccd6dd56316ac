package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/vault/api"
)

const (
	// pluginType is what this engine is registered as.
	pluginType = "vault-plugin-secrets-aws-iam"
	// defaultUserPath is this engine's, until an integration says otherwise.
	defaultUserPath = "/vault/"
)

// action is what is to be done about a path of the new mount.
type action string

const (
	create  action = "create"
	update  action = "update"
	same    action = "same"    // nothing to do
	keep    action = "keep"    // differs, and was not to be overwritten
	skip    action = "skip"    // cannot be carried over
	blocked action = "blocked" // something is missing, without which nothing is written
)

// step is one path of the new mount.
type step struct {
	settings
	path     string // below the mount
	action   action
	why      string         // of skip and blocked
	differs  []string       // fields whose values there differ, with these
	body     map[string]any // what is written
	written  bool
	err      error
	warnings []string
}

// plan is all that is to be done, and what became of it.
type plan struct {
	options options
	steps   []*step
	notes   []note // on neither the integration nor a role
}

func makePlan(ctx context.Context, client *api.Client, o options, old *source) (*plan, error) {
	described, err := client.Sys().GetMountWithContext(ctx, o.to)
	if err != nil {
		return nil, fmt.Errorf("looking at the mount %s/: %w", o.to, err)
	}
	if described.Type != pluginType {
		return nil, fmt.Errorf("the mount %s/ is of type %q: -to names one of this engine, %q", o.to, described.Type, pluginType)
	}
	p := &plan{options: o}
	existing, err := read(ctx, client, o.to+"/config/"+o.integration)
	if err != nil {
		return nil, err
	}
	p.steps = append(p.steps, planConfig(o, old, existing))
	t, err := leaseTTLs(old)
	if err != nil {
		return nil, err
	}
	userPath := defaultUserPath
	if existing != nil {
		userPath = text(existing["user_path"])
	}
	for _, name := range slices.Sorted(maps.Keys(old.roles)) {
		next := &step{path: "roles/" + name}
		p.steps = append(p.steps, next)
		s, why := translateRole(name, old.roles[name], t, o.integration, userPath)
		if s == nil {
			next.action, next.why = skip, why
			continue
		}
		next.settings = *s
		there, err := read(ctx, client, o.to+"/"+next.path)
		if err != nil {
			return nil, err
		}
		next.decide(there, o.overwrite)
	}
	p.notes, err = mountNotes(ctx, client, o, old)
	return p, err
}

// planConfig plans the integration. Its key is not read from the old mount, which
// does not show the secret, and is left alone where there is one.
func planConfig(o options, old *source, existing map[string]any) *step {
	s := &step{path: "config/" + o.integration, settings: *translateConfig(old.config)}
	oldKey := text(old.config["access_key"])
	key := o.accessKey
	if key == "" {
		key = oldKey
	}
	if o.secretKey != "" {
		s.fields["access_key"], s.fields["secret_key"] = key, o.secretKey
		if key == oldKey {
			s.remark("access_key", key, "is in both mounts: rotate it in neither, which would lock the other one out, or give -access-key of a user of its own")
		}
	}
	s.decide(existing, o.overwrite)
	switch {
	case o.secretKey != "" && key == "":
		s.action, s.why = blocked, "-secret-key-file without -access-key, and the old mount has no key either"
	case s.action == create && oldKey != "" && o.secretKey == "":
		s.action = blocked
		s.why = "Vault does not show the old mount's secret key: give a key with -access-key and -secret-key-file, or write the integration yourself"
	}
	return s
}

// decide compares what is to be there with what is there.
func (s *step) decide(existing map[string]any, overwrite bool) {
	if existing == nil {
		s.action, s.body = create, make(map[string]any)
		for field, value := range s.fields {
			if !isUnset(value) || field == "max_retries" {
				s.body[field] = value
			}
		}
		return
	}
	s.body = make(map[string]any)
	for _, field := range slices.Sorted(maps.Keys(s.fields)) {
		if field != "secret_key" && canonical(s.fields[field]) != canonical(existing[field]) {
			s.differs = append(s.differs, field)
			s.body[field] = s.fields[field]
		}
	}
	if s.body["access_key"] != nil {
		s.body["secret_key"] = s.fields["secret_key"]
	}
	switch {
	case len(s.differs) == 0:
		s.action = same
	case overwrite:
		s.action = update
	default:
		s.action = keep
	}
}

// canonical is a value in a form in which equal ones are equal texts: the engines
// differ in how they show lists without entries and policies.
func canonical(value any) string {
	shown := text(value)
	if shown == "[]" || shown == "{}" {
		return ""
	}
	var compact bytes.Buffer
	if json.Compact(&compact, []byte(shown)) == nil {
		return compact.String()
	}
	return shown
}

// mountNotes are about the mounts themselves.
func mountNotes(ctx context.Context, client *api.Client, o options, old *source) ([]note, error) {
	_, longest, err := mountTTLs(ctx, client, o.to)
	if err != nil {
		return nil, err
	}
	var notes []note
	if longest != old.maxTTL {
		notes = append(notes, note{"max_lease_ttl of the mount",
			fmt.Sprintf("it is %s for %s/ and %s for %s/, beyond which no lease lives: see vault secrets tune", old.maxTTL, o.from, longest, o.to)})
	}
	if text(old.lease["lease"]) == "" {
		notes = append(notes, note{"default_ttl of the roles",
			fmt.Sprintf("%s/ has no config/lease, so that its leases have its mount's TTL: consider shorter ones", o.from)})
	}
	for _, name := range old.staticRoles {
		notes = append(notes, note{"static-roles/" + name,
			"not carried over: it rotates the key of a user that is there already, and this engine makes new ones"})
	}
	return notes, nil
}

// apply writes what is to be written. A role that is refused does not keep the
// others; without an integration there can be none.
func (p *plan) apply(ctx context.Context, client *api.Client) error {
	for _, s := range p.steps {
		if s.action == blocked {
			return fmt.Errorf("nothing was written: %s", s.why)
		}
	}
	failed := 0
	for i, s := range p.steps {
		if s.action != create && s.action != update {
			continue
		}
		secret, err := client.Logical().WriteWithContext(ctx, p.options.to+"/"+s.path, s.body)
		if err != nil {
			failed++
			s.err = reason(err)
			if i == 0 {
				return fmt.Errorf("%s was refused, and no role was written: %w", s.path, s.err)
			}
			continue
		}
		s.written = true
		if secret != nil {
			s.warnings = secret.Warnings
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d role(s) refused; the others are written", failed)
	}
	return nil
}

// reason is what Vault says, without how it was asked.
func reason(err error) error {
	var answer *api.ResponseError
	if errors.As(err, &answer) && len(answer.Errors) > 0 {
		return errors.New(answer.Errors[0])
	}
	return err
}
