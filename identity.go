package awsiam

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

	"github.com/hashicorp/vault/sdk/logical"
)

// origin is what an integration's credentials come from where that is neither its
// own key nor the server's environment.
type origin struct {
	lender *connection // of the source_integration
	mint   tokenMinter // of Vault's identity tokens
}

// originOf connects the integration that this one borrows from, if there is one.
func (b *backend) originOf(ctx context.Context, s logical.Storage, in *integration) (origin, error) {
	from := origin{mint: b.mintToken}
	if in.SourceIntegration == "" {
		return from, nil
	}
	if err := in.mayBorrow(); err != nil {
		return origin{}, err
	}
	var err error
	if _, from.lender, err = b.connected(ctx, s, in.SourceIntegration); err != nil {
		return origin{}, fmt.Errorf("%s %q: %w", fieldSourceIntegration, in.SourceIntegration, err)
	}
	return from, nil
}

// callerIdentity is who an integration is to AWS.
type callerIdentity struct {
	AccountID string
	ARN       string
	Partition string
}

// identify asks AWS who the integration is.
func identify(ctx context.Context, in *integration, httpClient aws.HTTPClient, from origin) (callerIdentity, error) {
	cfg, err := awsConfig(ctx, in, httpClient, from)
	if err != nil {
		return callerIdentity{}, err
	}
	return whoAmI(ctx, cfg, in)
}

func whoAmI(ctx context.Context, cfg aws.Config, in *integration) (callerIdentity, error) {
	out, err := sts.NewFromConfig(cfg, in.stsOptions).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return callerIdentity{}, err
	}
	parsed, err := arn.Parse(aws.ToString(out.Arn))
	if err != nil {
		return callerIdentity{}, fmt.Errorf("sts:GetCallerIdentity answered with the ARN %q: %w", aws.ToString(out.Arn), err)
	}
	return callerIdentity{AccountID: aws.ToString(out.Account), ARN: aws.ToString(out.Arn), Partition: parsed.Partition}, nil
}

// awsConfig builds the SDK's configuration from the integration and its origin
// alone. Only the default chain's credentials and region are taken from the server's
// environment: its retry and endpoint settings must not change the engine.
func awsConfig(ctx context.Context, in *integration, httpClient aws.HTTPClient, from origin) (aws.Config, error) {
	cfg := aws.Config{
		Region:     in.Region,
		HTTPClient: httpClient,
		Retryer:    func() aws.Retryer { return newRetryer(in.MaxRetries, in.alsoRetried()...) },
		APIOptions: []func(*middleware.Stack) error{addUserAgent},
	}
	// The region beneath is the default: it is at least of the right partition.
	var region string
	switch {
	case in.AccessKey != "":
		cfg.Credentials = credentials.NewStaticCredentialsProvider(in.AccessKey, in.SecretKey, "")
	case in.SourceIntegration != "":
		cfg.Credentials, region = from.lender.credentials, from.lender.region
	case in.federated():
		// The call that exchanges a token for a session is not signed.
	default:
		// Some of the chain's providers keep a session to its very end otherwise.
		chain, err := config.LoadDefaultConfig(ctx, config.WithCredentialsCacheOptions(renewAhead))
		if err != nil {
			return aws.Config{}, fmt.Errorf("loading the AWS SDK's default credentials: %w", err)
		}
		cfg.Credentials, region = chain.Credentials, chain.Region
	}
	if cfg.Region == "" {
		cfg.Region = region
	}
	if cfg.Region == "" {
		cfg.Region = defaultRegion
	}
	if in.RoleARN != "" {
		cfg.Credentials = keptSessions(in.roleProvider(cfg, from))
	}
	return cfg, nil
}

// roleProvider makes sessions of the integration's role.
func (in *integration) roleProvider(cfg aws.Config, from origin) aws.CredentialsProvider {
	client := sts.NewFromConfig(cfg, in.stsOptions)
	if in.federated() {
		return &federatedProvider{client: client, in: in, mint: from.mint}
	}
	return stscreds.NewAssumeRoleProvider(client, in.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = in.sessionName()
		if in.ExternalID != "" {
			o.ExternalID = aws.String(in.ExternalID)
		}
	})
}
