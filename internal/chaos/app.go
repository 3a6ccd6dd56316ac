package chaos

import (
	"context"
	"errors"

	"github.com/hashicorp/vault/api"
)

// app is who the clients are to Vault: somebody whose token has an entity, as an
// application's has and the root token has not.
type app struct{ token, entity string }

const (
	appName = "chaos-app"
	// appRights are wide, since rights are not what a run is about.
	appRights = `path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }`
)

// login makes the entity, and a token that outlives any run.
func login(ctx context.Context, c *caller) (app, error) {
	for _, w := range []struct {
		path string
		body map[string]any
	}{
		{"sys/policies/acl/" + appName, map[string]any{"policy": appRights}},
		{"auth/token/roles/" + appName, map[string]any{"allowed_policies": appName, "allowed_entity_aliases": appName}},
	} {
		if _, err := c.write(ctx, w.path, w.body); err != nil {
			return app{}, err
		}
	}
	made, err := c.once(func(l *api.Logical) (*api.Secret, error) {
		return l.WriteWithContext(ctx, "auth/token/create/"+appName, map[string]any{"entity_alias": appName, "policies": []string{appName}, "ttl": "48h"})
	})
	if err != nil {
		return app{}, err
	}
	if made == nil || made.Auth == nil || made.Auth.EntityID == "" {
		return app{}, errors.New("vault made a token without an entity")
	}
	return app{made.Auth.ClientToken, made.Auth.EntityID}, nil
}
