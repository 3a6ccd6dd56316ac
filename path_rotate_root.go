package awsiam

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	fieldRotationPeriod    = "rotation_period"
	fieldLastRotation      = "last_rotation"
	fieldNextRotation      = "next_rotation"
	fieldLastRotationError = "last_rotation_error"
	fieldPreviousAccessKey = "previous_access_key"
	fieldPreviousKeptUntil = "previous_kept_until"
)

func (b *backend) pathRotateRoot() []*framework.Path {
	rotate := &framework.PathOperation{
		Callback: b.rotateRoot, Summary: "Replace the access key of the integration's own user.", Description: rotateRootHelp,
		Responses: okResponse("The key that is in use now.", map[string]*framework.FieldSchema{
			fieldIntegration:       {Type: framework.TypeString, Required: true, Description: "The integration."},
			fieldAccessKey:         {Type: framework.TypeString, Required: true, Description: "Access key id in use from now on. Its secret is not shown."},
			fieldPreviousAccessKey: {Type: framework.TypeString, Required: true, Description: "Access key id in use until now."},
			fieldPreviousKeptUntil: {Type: framework.TypeString, Required: true, Description: "Until when the previous key is kept, for what is under way, RFC 3339 in UTC. It is deleted after that."},
		}, http.StatusBadGateway),
		ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
	}
	paths := perIntegration("rotate-root", nil, logical.UpdateOperation, rotate, "Replace an integration's access key.")
	for _, path := range paths {
		path.HelpDescription = rotateRootHelp
	}
	return nameOperations(paths, "rotate", "root")
}

func (b *backend) rotateRoot(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, err := integrationName(d)
	if err != nil {
		return logical.ErrorResponse(err.Error()), nil
	}
	in, err := b.rotateAlone(ctx, req.Storage, name)
	if err != nil {
		var internal storageError
		if errors.As(err, &internal) {
			return nil, fmt.Errorf("integration %q: rotating its key: %w", name, err)
		}
		return awsFailure(fmt.Sprintf("integration %q: its key was not rotated", name), err)
	}
	return &logical.Response{Data: map[string]any{
		fieldIntegration:       name,
		fieldAccessKey:         in.AccessKey,
		fieldPreviousAccessKey: in.Rotation.Journal.Old.ID,
		fieldPreviousKeptUntil: timestamp(in.Rotation.Journal.NotBefore),
	}}, nil
}

// rotateAlone rotates unless a rotation of the integration is under way. What has
// begun is not ended by a caller that goes away.
func (b *backend) rotateAlone(ctx context.Context, s logical.Storage, name string) (in *integration, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rotateTimeout)
	defer cancel()
	defer context.AfterFunc(b.reaper.lifetime, cancel)() //nolint:contextcheck // two lifetimes meet here
	if !b.rotations.alone(name, func() { in, err = b.rotate(ctx, s, name) }) {
		return nil, refuse("a rotation is under way")
	}
	return in, err
}

const rotateRootHelp = `
Replaces the access key of the integration's own IAM user: makes another, waits
until AWS lets it in, and uses it from then on. The old key is deleted minutes
later, when nothing is signed with it any more. Only Vault knows the new secret.

The user needs iam:ListAccessKeys, iam:CreateAccessKey and iam:DeleteAccessKey on
itself, and must have no other access key, since AWS allows two. A rotation that is
cut off is finished or taken back by itself. rotation_period of the integration
rotates on schedule.`
