package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// defaultRegion is where commercial AWS's IAM is.
const defaultRegion = "us-east-1"

// cloud is the AWS that the demo runs against.
type cloud struct {
	config aws.Config // of the administrator, who makes the integration user
	admin  caller
	root   awsfake.Credentials // of the simulated account, for a second shell

	account, callerARN, partition string
	// iamEndpoint and stsEndpoint are "" for AWS's public ones.
	iamEndpoint, stsEndpoint string

	// patience is how long something that AWS does not do at once may take.
	// IAM is eventually consistent: keys, policies and deletions travel for
	// seconds, sometimes for many.
	patience time.Duration
	interval time.Duration // between two looks
}

// caller is somebody who signs calls to AWS.
type caller struct {
	iam *iam.Client
	sts *sts.Client
}

func callerFrom(cfg aws.Config) caller { return caller{iam.NewFromConfig(cfg), sts.NewFromConfig(cfg)} }

// as returns the caller that a key makes one.
func (c *cloud) as(keyID, secret string) caller {
	cfg := c.config.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(keyID, secret, "")
	return callerFrom(cfg)
}

// simulatedAWS starts a simulated AWS on a free port of this machine. Its
// administrator is the root user of its account.
func simulatedAWS(ctx context.Context) (c *cloud, stop func(context.Context) error, err error) {
	fake := awsfake.New()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{Handler: fake, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	stop = func(context.Context) error {
		err := server.Close()
		if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
			err = errors.Join(err, ended)
		}
		return err
	}

	endpoint := "http://" + listener.Addr().String()
	root := fake.Account("111122223333").Root()
	c = &cloud{
		root:        root,
		iamEndpoint: endpoint, stsEndpoint: endpoint,
		patience: 5 * time.Second, interval: 100 * time.Millisecond,
		// Made by hand: nothing of the caller's own AWS configuration counts here.
		config: aws.Config{
			Region: defaultRegion, BaseEndpoint: aws.String(endpoint),
			Credentials: credentials.NewStaticCredentialsProvider(root.AccessKeyID, root.SecretAccessKey, ""),
		},
	}
	err = c.identify(ctx)
	return c, stop, err
}

// realAWS is the account that the AWS SDK's default credentials belong to.
func realAWS(ctx context.Context) (*cloud, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		cfg.Region = defaultRegion
	}
	c := &cloud{config: cfg, patience: 90 * time.Second, interval: 2 * time.Second}
	if err := c.identify(ctx); err != nil {
		return nil, fmt.Errorf("AWS=real uses the AWS SDK's default credentials (environment, ~/.aws, instance metadata), which do not work: %w", err)
	}
	// Whatever AWS_ENDPOINT_URL or the configuration file point this demo to,
	// the plugin must go to as well.
	c.iamEndpoint = aws.ToString(c.admin.iam.Options().BaseEndpoint)
	c.stsEndpoint = aws.ToString(c.admin.sts.Options().BaseEndpoint)
	return c, nil
}

func (c *cloud) identify(ctx context.Context) error {
	c.admin = callerFrom(c.config)
	who, err := c.admin.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return err
	}
	parsed, err := arn.Parse(aws.ToString(who.Arn))
	if err != nil {
		return err
	}
	c.account, c.callerARN, c.partition = aws.ToString(who.Account), parsed.String(), parsed.Partition
	return nil
}
