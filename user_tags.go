package awsiam

import (
	"context"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/hashicorp/vault/sdk/logical"
)

// The tags that the engine gives by itself to users that have tags at all: these
// take a permission that the core does not.
const (
	tagMount     = "vault-mount"
	tagRole      = "vault-role"
	tagRequestID = "vault-request-id"
	tagEntityID  = "vault-entity-id"
)

// automaticTags are their keys. Those of which there is no room for all are given in
// this order.
var automaticTags = []string{tagRole, tagMount, tagRequestID, tagEntityID}

// maxOwnTags is how many tags a role can have.
var maxOwnTags = maxTags - len(automaticTags)

// userTags are the tags of a user that is made for the request, or ahead of any, for
// which the request says nothing. The mount goes by its path: core tells a request's
// backend no accessor, and the UUID that the backend is told is shown to nobody.
func userTags(req *logical.Request, r *role) map[string]string {
	if !r.givesTags() {
		return nil
	}
	tags := maps.Clone(r.IAMTags)
	values := map[string]string{tagMount: req.MountPoint, tagRole: r.Name, tagRequestID: req.ID, tagEntityID: req.EntityID}
	for _, key := range automaticTags {
		// A role of an older plugin may have such a key itself, or leave no room.
		if values[key] != "" && len(tags) < maxTags && !hasKey(r.IAMTags, key) {
			tags[key] = asTagValue(values[key])
		}
	}
	return tags
}

// laterTags are those of a user that was made ahead which are known only now.
func laterTags(req *logical.Request, r *role) map[string]string {
	tags := userTags(req, r)
	for key := range r.knownTags() {
		delete(tags, key)
	}
	return tags
}

// givesTags says whether the role's users have tags. Those of a pool may have only such
// as nobody can know before they are leased.
func (r *role) givesTags() bool {
	return len(r.IAMTags) > 0 || r.templates != nil && len(r.templates.tags) > 0
}

// hasKey ignores case, as IAM does with the keys of tags.
func hasKey(tags map[string]string, key string) bool {
	for own := range tags {
		if strings.EqualFold(own, key) {
			return true
		}
	}
	return false
}

// asTagValue makes a tag's value of what tells people something and decides nothing.
func asTagValue(text string) string {
	characters := []rune(text)
	for i, r := range characters {
		if !tagValueRegexp.MatchString(string(r)) {
			characters[i] = '_'
		}
	}
	return string(characters[:min(len(characters), maxTagValueLength)])
}

func iamTags(tags map[string]string) []types.Tag {
	var list []types.Tag
	for _, key := range sortedKeys(tags) {
		list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return list
}

// tagUser gives tags to a user that was made without.
func (c *creation) tagUser(ctx context.Context) error {
	return c.change(ctx, "", func(ctx context.Context) error {
		_, err := c.conn.iam.TagUser(ctx, &iam.TagUserInput{UserName: &c.user.Username, Tags: iamTags(c.tags)})
		return err
	})
}
