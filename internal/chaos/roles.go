package chaos

import (
	"fmt"
	"slices"
)

// roleSpec is one way to give the issued users the useful action.
type roleSpec struct {
	name, integration                          string
	inline, managed, group, tags, withBoundary bool
	// templated says that the inline policy and a tag hold the caller's entity.
	templated bool
	// pool is how many users wait for a lease.
	pool int
}

// roles are those that clients issue from.
var roles = []roleSpec{
	{name: "core", integration: "core", inline: true},
	{name: "core-again", integration: "core", inline: true, pool: 3},
	{name: "told", integration: "told", inline: true},
	{name: "wide-inline", integration: "wide", inline: true, tags: true},
	{name: "wide-managed", integration: "wide", managed: true, withBoundary: true},
	{name: "wide-group", integration: "wide", group: true},
	{name: "wide-who", integration: "wide", inline: true, templated: true, pool: 2},
	{name: "too-who", integration: "wide-too", inline: true, managed: true, templated: true},
	{name: "wide-all", integration: "wide-too", inline: true, managed: true, group: true, tags: true, withBoundary: true, pool: 2},
}

// maxTTL is every role's max_ttl. No client holds a lease for as long, so that
// a renewal is always granted in full.
const maxTTL = "30m"

// of is the role's integration.
func (r roleSpec) of() integration {
	return integrations[slices.IndexFunc(integrations, func(in integration) bool { return in.name == r.integration })]
}

const (
	entityTag      = "entity"
	entityTemplate = "{{identity.entity.id}}"
	entitysObjects = `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::chaos/` + entityTemplate + `/*"}`
)

// body is what is written to make the role.
func (r roleSpec) body() map[string]any {
	account := r.of().account
	body := map[string]any{"integration": r.integration, "default_ttl": "30s", "max_ttl": maxTTL}
	if r.pool > 0 {
		body["pool_size"] = r.pool
	}
	if r.integration != "told" {
		body["propagation_timeout"] = 0 // so that there are more leases
	}
	if r.inline {
		body["policy_document"] = policy(usefulAction)
	}
	if r.templated {
		body["policy_document"] = policy(usefulAction, entitysObjects)
		body["iam_tags"] = map[string]string{entityTag: entityTemplate}
	}
	if r.managed {
		body["policy_arns"] = []string{policyARN(account, managedName)}
	}
	if r.group {
		body["iam_groups"] = []string{groupName}
	}
	if r.withBoundary {
		body["permissions_boundary_arn"] = policyARN(account, limitName)
	}
	if r.tags {
		body["iam_tags"] = map[string]string{"team": "chaos", "role": r.name}
	}
	return body
}

func policyARN(account, name string) string {
	return fmt.Sprintf("arn:aws:iam::%s:policy/%s", account, name)
}
