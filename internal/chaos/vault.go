package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/api"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// mountPath is where the engine is mounted, without a slash.
const mountPath = "aws-iam"

// caller is a client of the cluster that goes to another node when one does not
// serve it. It makes one attempt at a time, so that it is known what each was
// answered. It is for one goroutine.
type caller struct {
	nodes []*api.Client
	at    int
}

// newCaller returns a client with the token that begins with one of the nodes, and
// waits for an answer no longer than patience.
func newCaller(cluster *vaultdev.Cluster, token string, first int, patience time.Duration) (*caller, error) {
	c := &caller{at: first}
	for _, node := range cluster.Nodes {
		client, err := node.Client.Clone()
		if err != nil {
			return nil, err
		}
		client.SetToken(token)
		client.SetMaxRetries(0)
		client.SetClientTimeout(patience)
		c.nodes = append(c.nodes, client)
	}
	return c, nil
}

// once makes one attempt at the present node, and goes to the next if it failed.
func (c *caller) once(do func(*api.Logical) (*api.Secret, error)) (*api.Secret, error) {
	secret, err := do(c.nodes[c.at%len(c.nodes)].Logical())
	if err != nil {
		c.at++
	}
	return secret, err
}

// write makes one attempt to write.
func (c *caller) write(ctx context.Context, path string, body map[string]any) (*api.Secret, error) {
	return c.once(func(l *api.Logical) (*api.Secret, error) { return l.WriteWithContext(ctx, path, body) })
}

// insist tries until it succeeds or the context ends.
func (c *caller) insist(ctx context.Context, do func(*api.Logical) (*api.Secret, error)) (*api.Secret, error) {
	for {
		secret, err := c.once(do)
		if err == nil || !pause(ctx, 300*time.Millisecond) {
			return secret, err
		}
	}
}

// mount enables the engine and writes its integrations and roles. It returns the
// path of the users of each integration.
func mount(ctx context.Context, cluster *vaultdev.Cluster, plugin vaultdev.Plugin, c *cloud) (map[string]string, error) {
	leader, err := cluster.Leader(ctx)
	if err != nil {
		return nil, err
	}
	if err := leader.Register(ctx, plugin); err != nil {
		return nil, err
	}
	if err := leader.Enable(ctx, mountPath, plugin, api.MountConfigInput{}); err != nil {
		return nil, err
	}
	paths := make(map[string]string)
	logical := leader.Client.Logical()
	for _, in := range integrations {
		key, path := c.keys[in.name], mountPath+"/config/"+in.name
		_, err := logical.WriteWithContext(ctx, path, map[string]any{
			"access_key": key.AccessKeyID, "secret_key": key.SecretAccessKey, "user_path": in.userPath,
			"iam_endpoint": c.url, "sts_endpoint": c.url, "max_retries": in.retries,
		})
		if err != nil {
			return nil, err
		}
		stored, err := logical.ReadWithContext(ctx, path)
		if err != nil {
			return nil, err
		}
		paths[in.name] = text(stored, "issued_user_path")
	}
	for _, r := range roles {
		if _, err := logical.WriteWithContext(ctx, mountPath+"/roles/"+r.name, r.body()); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// text is a field of an answer, empty if it is not there.
func text(secret *api.Secret, field string) string {
	if secret == nil {
		return ""
	}
	value, _ := secret.Data[field].(string)
	return value
}

// keys are what a list answered.
func keys(secret *api.Secret) []string {
	if secret == nil {
		return nil
	}
	var names []string
	listed, _ := secret.Data["keys"].([]any)
	for _, name := range listed {
		names = append(names, fmt.Sprint(name))
	}
	return names
}

// records returns what the engine has on record of each user.
func (c *caller) records(ctx context.Context) (map[string]map[string]any, error) {
	listed, err := c.insist(ctx, func(l *api.Logical) (*api.Secret, error) { return l.ListWithContext(ctx, mountPath+"/users") })
	if err != nil {
		return nil, err
	}
	records := make(map[string]map[string]any)
	for _, name := range keys(listed) {
		records[name] = nil
	}
	return records, nil
}

// describeRecords adds to records what they hold, as far as they can be read.
func (c *caller) describeRecords(ctx context.Context, records map[string]map[string]any) {
	for _, name := range slices.Collect(maps.Keys(records)) {
		record, err := c.once(func(l *api.Logical) (*api.Secret, error) { return l.ReadWithContext(ctx, mountPath+"/users/"+name) })
		switch {
		case err != nil:
			records[name] = map[string]any{"unreadable": err.Error()}
		case record != nil:
			records[name] = record.Data
		}
	}
}

// leaseWord returns what Vault says of a lease: nil if it has none of that id.
func (c *caller) leaseWord(ctx context.Context, id string) (*api.Secret, error) {
	secret, err := c.insist(ctx, func(l *api.Logical) (*api.Secret, error) {
		found, err := l.WriteWithContext(ctx, "sys/leases/lookup", map[string]any{"lease_id": id})
		if status(err) == http.StatusBadRequest {
			return nil, nil
		}
		return found, err
	})
	return secret, err
}

// status is the HTTP status of Vault's answer, 0 if there was none.
func status(err error) int {
	var answer *api.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}
