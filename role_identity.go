package awsiam

import (
	"errors"
	"fmt"
	"maps"

	"github.com/hashicorp/vault/sdk/helper/identitytpl"
	"github.com/hashicorp/vault/sdk/logical"
)

// roleTemplates is what of a role depends on who asks, read. It never changes.
type roleTemplates struct {
	policy *policyTemplate             // nil: nothing of the policy
	tags   map[string]identityTemplate // by key
	inText map[string]bool             // keys of tags that the policy puts into longer texts
	groups bool                        // whether it asks for groups
	// unreadable says why there is nothing of it, of a role that a write would refuse.
	unreadable error
}

// readTemplates returns nil for a role that is the same for everybody.
func readTemplates(r *role) (*roleTemplates, error) {
	t := &roleTemplates{tags: make(map[string]identityTemplate), inText: make(map[string]bool)}
	var err error
	if t.policy, err = parsePolicyTemplate(r.PolicyDocument); err != nil {
		return nil, refuse("%s: %s", fieldPolicyDocument, err)
	}
	for _, key := range sortedKeys(r.IAMTags) {
		tag, err := parseIdentityTemplate(r.IAMTags[key])
		if err != nil {
			return nil, refuse("%s: %q: %s", fieldIAMTags, key, err)
		}
		if tag != nil {
			t.tags[key], t.inText[key] = tag, tagInText(r.PolicyDocument, key)
			t.groups = t.groups || tag.asksForGroups()
		}
	}
	if t.policy == nil && len(t.tags) == 0 {
		return nil, nil
	}
	t.groups = t.groups || t.policy != nil && t.policy.groups
	return t, nil
}

// warnings are about templates whose values may mix.
func (t *roleTemplates) warnings() []string {
	if t == nil {
		return nil
	}
	var warnings []string
	warn := func(field, text string) {
		warnings = append(warnings, fmt.Sprintf("%s: in %q a template stands beside a wildcard or another template, so that who is called \"ann\" may be given what is \"anna\"'s: "+
			"put a \"/\" or \":\" between, or use identity.entity.id", field, text))
	}
	if t.policy != nil {
		for _, text := range t.policy.blurred() {
			warn(fieldPolicyDocument, text)
		}
	}
	for _, key := range sortedKeys(t.tags) {
		if t.tags[key].blurred(false) {
			warn(fieldIAMTags, t.tags[key].String())
		}
	}
	return warnings
}

// requester is who asks, as core knows it.
type requester struct {
	entity *logical.Entity
	groups []*logical.Group
}

// whoAsks asks core for the request's entity, and for its groups if they are wanted.
func (b *backend) whoAsks(req *logical.Request, groups bool) (*requester, error) {
	if req.EntityID == "" {
		return nil, refuse("it has identity templates, and the token of the request has no entity: log in with an auth method. " +
			"Root tokens have none, nor have tokens that were made by such a one")
	}
	entity, err := b.System().EntityInfo(req.EntityID)
	if err != nil {
		return nil, fmt.Errorf("asking Vault for the entity %q of the request: %w", req.EntityID, err)
	}
	if entity == nil {
		return nil, refuse("it has identity templates, and Vault does not know the entity %q of the request any more: log in again", req.EntityID)
	}
	who := &requester{entity: entity}
	if groups {
		if who.groups, err = b.System().GroupsForEntity(req.EntityID); err != nil {
			return nil, fmt.Errorf("asking Vault for the groups of the entity %q of the request: %w", req.EntityID, err)
		}
	}
	return who, nil
}

// value is what a selector stands for. It is Vault's own function that knows, with one
// selector at a time: its values are not read for templates again.
func (who *requester) value(selector string) (string, error) {
	_, value, err := identitytpl.PopulateString(identitytpl.PopulateStringInput{
		String: "{{" + selector + "}}", Entity: who.entity, Groups: who.groups, Mode: identitytpl.ACLTemplating,
	})
	switch {
	case err == nil:
		return value, nil
	case errors.Is(err, identitytpl.ErrTemplateValueNotFound):
		err = errors.New("give it one, or the token another entity")
	case errors.Is(err, identitytpl.ErrNoGroupsAttachedToToken):
		err = errors.New("it is in no group")
	}
	return "", refuse("{{%s}} has no value for the entity %q of the request: %s", selector, who.entity.ID, err)
}

// roleFor is the role as it is for who asks: itself, if that makes no difference.
func (b *backend) roleFor(req *logical.Request, r *role) (*role, error) {
	if r.templates == nil {
		return r, nil
	}
	if r.templates.unreadable != nil {
		return nil, fmt.Errorf("role %q: %w", r.Name, r.templates.unreadable)
	}
	who, err := b.whoAsks(req, r.templates.groups)
	if err == nil {
		r, err = r.filledIn(who.value, fmt.Sprintf(" with the values of entity %q", req.EntityID))
	}
	if err != nil {
		return nil, fmt.Errorf("role %q: %w", r.Name, err)
	}
	return r, nil
}

// filledIn returns a copy of a role with the values in its policy and tags. with
// says which, for people.
func (r *role) filledIn(value valueOf, with string) (*role, error) {
	filled := *r
	filled.filledWith = with
	var errs []error
	if r.templates.policy != nil {
		document, err := r.templates.policy.render(value)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", fieldPolicyDocument, err))
		}
		filled.PolicyDocument = document
	}
	if len(errs) == 0 { // also where nothing but tags depends on who asks
		errs = append(errs, filled.checkSize())
	}
	filled.IAMTags = maps.Clone(r.IAMTags)
	for _, key := range sortedKeys(r.templates.tags) {
		tag := r.templates.tags[key]
		text, err := tag.render(value)
		if err == nil && len(tag) == 1 && r.templates.inText[key] {
			if err = checkIdentityValue(text, false); err != nil {
				err = refuse("%s has ${aws:PrincipalTag/%s} in a longer text, and the value of {{%s}} %s", fieldPolicyDocument, key, tag[0].selector, err)
			}
		}
		if err == nil {
			err = checkTagValue(key, text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %q: %w", fieldIAMTags, key, err))
		}
		filled.IAMTags[key] = text
	}
	return &filled, errors.Join(errs...)
}

// knownTags are those of the role's tags that are the same for everybody.
func (r *role) knownTags() map[string]string {
	if r.templates == nil {
		return r.IAMTags
	}
	known := maps.Clone(r.IAMTags)
	maps.DeleteFunc(known, func(key, _ string) bool { return r.templates.tags[key] != nil })
	return known
}
