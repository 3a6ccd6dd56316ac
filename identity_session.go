package awsiam

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	// sessionRenewedAhead is how long before its end a session is replaced, so that no
	// call is signed with one that ends on its way.
	sessionRenewedAhead = 5 * time.Minute
	// renewalPatience is how long a call waits for that while there is a session, and
	// renewalPause for how long none waits again after it failed.
	renewalPatience = 5 * time.Second
	renewalPause    = 30 * time.Second
)

// keptSessions returns sessions of the provider, each until it is time to replace it.
func keptSessions(provider aws.CredentialsProvider) aws.CredentialsProvider {
	return aws.NewCredentialsCache(&sessions{made: provider}, renewAhead)
}

func renewAhead(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = sessionRenewedAhead }

// sessions has the one before serve to its end where the next cannot be had: an STS
// that fails for minutes fails no call of IAM then. The cache around it calls it once
// at a time.
type sessions struct {
	made aws.CredentialsProvider
	ends time.Time // the last one
}

// Retrieve implements aws.CredentialsProvider.
func (s *sessions) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if time.Now().Before(s.ends) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, renewalPatience)
		defer cancel()
	}
	made, err := s.made.Retrieve(ctx)
	if err == nil {
		s.ends = made.Expires
	}
	return made, err
}

// HandleFailToRefresh implements aws.HandleFailRefreshCredentialsCacheStrategy.
func (s *sessions) HandleFailToRefresh(_ context.Context, last aws.Credentials, failure error) (aws.Credentials, error) {
	now := time.Now()
	if !now.Before(s.ends) {
		return aws.Credentials{}, failure
	}
	again := now.Add(renewalPause)
	if s.ends.Before(again) {
		again = s.ends
	}
	last.Expires = again.Add(sessionRenewedAhead) // which the cache takes away
	return last, nil
}
