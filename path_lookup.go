package awsiam

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// accessKeyIDRegexp is what the IAM API reference says of an AccessKeyId (data
// type AccessKey).
var accessKeyIDRegexp = regexp.MustCompile(`^\w{16,128}$`)

func (b *backend) pathLookup() []*framework.Path {
	return []*framework.Path{{
		Pattern: "lookup/" + capture(fieldAccessKeyID), DisplayAttrs: operationID("look-up", "access-key"),
		Fields: map[string]*framework.FieldSchema{
			fieldAccessKeyID: {Type: framework.TypeString, Description: "Access key id of an IAM user (AKIA…)."},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.lookupRead, Summary: "Tell whose an access key id is.", Description: strings.TrimSpace(lookupHelp),
				Responses: okResponse("The record of the user that has the key.", userResponseFields(), http.StatusNotFound, http.StatusServiceUnavailable),
				// What is in memory is there.
				ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
			},
		},
		HelpSynopsis: "Whose an access key id is.", HelpDescription: lookupHelp,
	}}
}

func (b *backend) lookupRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	id := d.Get(fieldAccessKeyID).(string)
	switch {
	case !accessKeyIDRegexp.MatchString(id):
		return logical.ErrorResponse("%s: %q is none: it has at least 16 letters and digits, as in AKIAIOSFODNN7EXAMPLE", fieldAccessKeyID, id), nil
	case strings.HasPrefix(id, "ASIA"):
		// IAM user guide, reference_identifiers: the prefix of temporary keys of STS.
		return logical.ErrorResponse("%s: %s is a temporary key of a session, which AWS keeps to itself: "+
			"CloudTrail has who made the session (GetSessionToken, AssumeRole)", fieldAccessKeyID, id), nil
	}
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	u, damaged, err := b.findHolder(ctx, req.Storage, id)
	switch {
	case err != nil:
		return nil, surveyError(ctx, err)
	case u != nil:
		return u.response(), nil
	case len(damaged) > 0:
		return logical.ErrorResponse("no record that can be read names access key %s; but those of user(s) %s cannot be read: "+
			"list these users' keys in AWS", id, some(damaged)), nil
	}
	return nil, nil
}

// findHolder returns the record of the user that has the key, or, where there is
// none, the users whose records cannot be read. Only storage is believed: the
// agenda says where to look first.
func (b *backend) findHolder(ctx context.Context, s logical.Storage, accessKeyID string) (*userRecord, []string, error) {
	if username, ok := b.reaper.holder(accessKeyID); ok {
		u, err := b.readUser(ctx, s, username)
		if err != nil && !unreadable(err) {
			return nil, nil, err
		}
		if u != nil && u.AccessKeyID == accessKeyID {
			return u, nil, nil
		}
	}
	names, err := userNames(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	facts, err := b.factsOf(ctx, s, names)
	if err != nil {
		return nil, nil, err
	}
	var damaged []string
	for _, name := range names {
		switch known := facts[name]; {
		case known.state == stateUnreadable:
			damaged = append(damaged, name)
		case known.accessKeyID == accessKeyID:
			u, err := b.readUser(ctx, s, name)
			return u, nil, err
		}
	}
	return nil, damaged, nil
}

const lookupHelp = `
An access key id (AKIA…) that turned up in a log, in CloudTrail or in public: this
tells which issued user has it, for which role it was made, and who asked for it.
Nothing is found if the user is gone, or the key is not of this mount. A user that
is still being made has its key on record only when it is handed out.`
