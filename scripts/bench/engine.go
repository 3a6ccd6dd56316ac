package main

import (
	"context"
	"fmt"

	"github.com/hashicorp/vault/api"
)

// The engines that are compared, as they are called in results and tables.
const (
	builtIn = "built-in aws"
	ours    = "this engine"
)

// The roles that every engine has in every account. All are equal; they are
// several so that one's leases can be revoked by prefix, and its users told from
// the others' by their names, which contain the role's in both engines.
const (
	steadyRole = "steady"
	massRole   = "mass"
	freshRole  = "fresh"
)

// rolePolicy is the one inline policy of all roles.
const rolePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::example/*"}]}`

// leaseTTL is longer than any run, so that nothing expires by itself.
const leaseTTL = "24h"

// engine is a mounted engine with one or more accounts.
type engine struct {
	name  string
	sites []site
}

// site is where an engine is asked for leases in one account.
type site struct {
	account string
	mount   string // without a slash
	suffix  string // of this account's roles
}

func (s site) role(role string) string { return role + s.suffix }

// creds is the path of a role's credentials, and the prefix of its leases.
func (s site) creds(role string) string { return s.mount + "/creds/" + s.role(role) }

// mountBuiltIn enables Vault's own engine once for each account, since a mount
// of it knows one only.
func (s *stage) mountBuiltIn(ctx context.Context, accounts []string) (engine, error) {
	e := engine{name: builtIn}
	for i, account := range accounts {
		at := site{account: account, mount: fmt.Sprintf("aws-%d", i), suffix: fmt.Sprintf("-%d", i)}
		if err := s.client.Sys().MountWithContext(ctx, at.mount, &api.MountInput{Type: "aws"}); err != nil {
			return e, err
		}
		key := s.cloud.integrationKey(account, widePolicy)
		err := s.writeAll(ctx, []write{
			{at.mount + "/config/root", map[string]any{
				"access_key": key.AccessKeyID, "secret_key": key.SecretAccessKey, "region": "us-east-1",
				"iam_endpoint": s.cloud.url, "sts_endpoint": s.cloud.url,
			}},
			{at.mount + "/config/lease", map[string]any{"lease": leaseTTL, "lease_max": leaseTTL}},
		})
		for _, role := range []string{steadyRole, massRole, freshRole} {
			if err == nil {
				err = s.write(ctx, at.mount+"/roles/"+at.role(role), map[string]any{
					"credential_type": "iam_user", "policy_document": rolePolicy,
				})
			}
		}
		if err != nil {
			return e, err
		}
		e.sites = append(e.sites, at)
	}
	return e, nil
}

// mountOurs enables the plugin once, with an integration for each account.
func (s *stage) mountOurs(ctx context.Context, accounts []string) (engine, error) {
	const mount = "aws-iam"
	e := engine{name: ours}
	if err := s.vault.Enable(ctx, mount, s.plugin, api.MountConfigInput{}); err != nil {
		return e, err
	}
	for i, account := range accounts {
		at := site{account: account, mount: mount, suffix: fmt.Sprintf("-%d", i)}
		key := s.cloud.integrationKey(account, corePolicy)
		integration := fmt.Sprintf("account-%d", i)
		err := s.write(ctx, mount+"/config/"+integration, map[string]any{
			"access_key": key.AccessKeyID, "secret_key": key.SecretAccessKey, "region": "us-east-1",
			"iam_endpoint": s.cloud.url, "sts_endpoint": s.cloud.url,
		})
		for _, role := range []string{steadyRole, massRole, freshRole} {
			if err == nil {
				err = s.writeOurRole(ctx, mount+"/roles/"+at.role(role), integration)
			}
		}
		if err != nil {
			return e, err
		}
		e.sites = append(e.sites, at)
	}
	return e, nil
}

// writeOurRole writes a role without the wait until IAM lets a key in, where the
// engine has that: the built-in engine does not wait either.
func (s *stage) writeOurRole(ctx context.Context, path, integration string) error {
	err := s.write(ctx, path, map[string]any{
		"integration": integration, "policy_document": rolePolicy, "default_ttl": leaseTTL, "max_ttl": leaseTTL,
	})
	if err != nil {
		return err
	}
	role, err := s.client.Logical().ReadWithContext(ctx, path)
	if err != nil || role == nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if _, waits := role.Data["propagation_timeout"]; !waits {
		return nil
	}
	return s.write(ctx, path, map[string]any{"propagation_timeout": 0})
}
