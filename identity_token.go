package awsiam

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/hashicorp/vault/sdk/helper/pluginidentityutil"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
)

// Fields of pluginidentityutil.AddPluginIdentityTokenFields.
const (
	fieldIdentityTokenAudience = "identity_token_audience"
	fieldIdentityTokenTTL      = "identity_token_ttl"

	// defaultTokenTTL is Vault's own (pluginutil.IdentityTokenRequest).
	defaultTokenTTL = time.Hour
	// maxAudienceLength is AWS's bound on a client id of an OIDC provider (IAM API
	// reference, CreateOpenIDConnectProvider).
	maxAudienceLength = 255
)

// tokenMinter makes an identity token of the mount's for the integration.
type tokenMinter func(ctx context.Context, in *integration) (pluginutil.IdentityToken, error)

// mintToken has Vault sign who this mount is. Vault's Community edition cannot:
// across the plugin's process boundary only the text of its error arrives.
func (b *backend) mintToken(ctx context.Context, in *integration) (pluginutil.IdentityToken, error) {
	ttl := in.IdentityTokenTTL
	if ttl == 0 {
		ttl = defaultTokenTTL
	}
	made, err := b.System().GenerateIdentityToken(ctx, &pluginutil.IdentityTokenRequest{Audience: in.IdentityTokenAudience, TTL: ttl})
	switch unsupported := pluginidentityutil.ErrPluginWorkloadIdentityUnsupported.Error(); {
	case err == nil:
		return made.Token, nil
	case strings.Contains(err.Error(), unsupported):
		return "", refuse("%s: this Vault server cannot mint identity tokens (%s): it takes Vault Enterprise; use %s, %s or the server's default credentials instead",
			fieldIdentityTokenAudience, unsupported, fieldAccessKey, fieldSourceIntegration)
	}
	return "", fmt.Errorf("asking Vault for an identity token: %w", err)
}

// tryMinting finds out whether Vault can vouch for an integration that AWS is not to
// be asked about: if it cannot, that is better known when it is written.
func (b *backend) tryMinting(ctx context.Context, in *integration) error {
	if !in.federated() {
		return nil
	}
	_, err := b.mintToken(ctx, in)
	return err
}

// federated says whether Vault vouches for the integration at AWS.
func (in *integration) federated() bool { return in.IdentityTokenAudience != "" }

// validateFederation checks the fields of workload identity federation.
func (in *integration) validateFederation() error {
	switch {
	case !in.federated() && in.IdentityTokenTTL != 0:
		return refuse("%s goes with %s: give it too, or set 0", fieldIdentityTokenTTL, fieldIdentityTokenAudience)
	case !in.federated():
		return nil
	case in.AccessKey != "" || in.SecretKey != "":
		return refuse("%s and %s exclude each other: clear one of them", fieldIdentityTokenAudience, fieldAccessKey)
	case in.RoleARN == "":
		return refuse("%s needs %s: it is the role that Vault's tokens are exchanged for", fieldIdentityTokenAudience, fieldRoleARN)
	case in.ExternalID != "":
		return refuse("%s does not go with %s: AWS takes none with an identity token", fieldExternalID, fieldIdentityTokenAudience)
	case len(in.IdentityTokenAudience) > maxAudienceLength:
		return refuse("%s has %d characters: AWS takes at most %d", fieldIdentityTokenAudience, len(in.IdentityTokenAudience), maxAudienceLength)
	}
	return nil
}

// federatedProvider exchanges a new token for each session: a token may be short-lived.
type federatedProvider struct {
	client stscreds.AssumeRoleWithWebIdentityAPIClient
	in     *integration
	mint   tokenMinter
}

// Retrieve implements aws.CredentialsProvider.
func (p *federatedProvider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	token, err := p.mint(ctx, p.in)
	if err != nil {
		return aws.Credentials{}, err
	}
	return stscreds.NewWebIdentityRoleProvider(p.client, p.in.RoleARN, minted{token}, func(o *stscreds.WebIdentityRoleOptions) {
		o.RoleSessionName = p.in.sessionName()
	}).Retrieve(ctx)
}

// minted is a token at hand, which prints as nothing.
type minted struct{ pluginutil.IdentityToken }

// GetIdentityToken implements stscreds.IdentityTokenRetriever.
func (m minted) GetIdentityToken() ([]byte, error) { return []byte(m.Token()), nil }
