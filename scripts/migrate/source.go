package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/vault/api"
)

// builtInType is what Vault calls its own engine.
const builtInType = "aws"

// source is what a mount of the built-in engine shows of its settings.
type source struct {
	config      map[string]any // config/root; empty if never written
	lease       map[string]any // config/lease; empty if never written
	roles       map[string]map[string]any
	staticRoles []string
	defaultTTL  time.Duration // of the mount, or else the server's
	maxTTL      time.Duration
}

func readSource(ctx context.Context, client *api.Client, mount string) (*source, error) {
	described, err := client.Sys().GetMountWithContext(ctx, mount)
	if err != nil {
		return nil, fmt.Errorf("looking at the mount %s/: %w", mount, err)
	}
	if described.Type != builtInType {
		return nil, fmt.Errorf("the mount %s/ is of type %q: -from names one of the built-in engine, %q", mount, described.Type, builtInType)
	}
	old := &source{roles: make(map[string]map[string]any)}
	if old.defaultTTL, old.maxTTL, err = mountTTLs(ctx, client, mount); err != nil {
		return nil, err
	}
	names, err := list(ctx, client, mount+"/roles")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		role, err := read(ctx, client, mount+"/roles/"+name)
		if err != nil {
			return nil, err
		}
		if role != nil { // deleted meanwhile
			old.roles[name] = role
		}
	}
	var errs [3]error
	old.config, errs[0] = read(ctx, client, mount+"/config/root")
	old.lease, errs[1] = read(ctx, client, mount+"/config/lease")
	old.staticRoles, errs[2] = list(ctx, client, mount+"/static-roles")
	return old, errors.Join(errs[:]...)
}

// mountTTLs are the TTLs that leases have without any others, and at most.
func mountTTLs(ctx context.Context, client *api.Client, mount string) (standard, longest time.Duration, err error) {
	tuned, err := client.Sys().MountConfigWithContext(ctx, mount)
	if err != nil {
		return 0, 0, fmt.Errorf("reading how the mount %s/ is tuned: %w", mount, err)
	}
	return time.Duration(tuned.DefaultLeaseTTL) * time.Second, time.Duration(tuned.MaxLeaseTTL) * time.Second, nil
}

// read returns nil for what is not there.
func read(ctx context.Context, client *api.Client, path string) (map[string]any, error) {
	secret, err := client.Logical().ReadWithContext(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if secret == nil {
		return nil, nil
	}
	return secret.Data, nil
}

func list(ctx context.Context, client *api.Client, path string) ([]string, error) {
	secret, err := client.Logical().ListWithContext(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", path, err)
	}
	if secret == nil {
		return nil, nil
	}
	names := texts(secret.Data["keys"])
	slices.Sort(names)
	// The built-in engine names a role twice if one of an old format is still there.
	return slices.Compact(names), nil
}

// text is a field's value as text; empty for none.
func text(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(encoded)
}

// texts is the value of a field that holds a list.
func texts(value any) []string {
	entries, _ := value.([]any)
	all := make([]string, 0, len(entries))
	for _, entry := range entries {
		all = append(all, text(entry))
	}
	return all
}

// isUnset says whether a field has its zero value, whatever its type.
func isUnset(value any) bool {
	return slices.Contains([]string{"", "0", "false", "[]", "{}"}, text(value))
}
