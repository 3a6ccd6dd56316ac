// Command go stands for a user's program: it has an AWS key from Vault for as long as
// it runs, by Vault's Go client and its lifetime watcher, and gives it back in the end.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/hashicorp/vault/api"
)

// retryPause is after an error, and what bounds how often a key is asked for.
const retryPause = time.Second

func main() {
	log.SetFlags(0)
	path := "aws-iam/creds/app"
	if len(os.Args) > 1 {
		path = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, path); err != nil {
		log.Fatal(err) //nolint:gocritic // stop has nothing to do any more
	}
}

func run(ctx context.Context, path string) error {
	// VAULT_ADDR, VAULT_TOKEN and so on are taken from the environment.
	client, err := api.NewClient(nil)
	if err != nil {
		return err
	}
	k := &keeper{client: client, path: path}
	if err := k.issue(ctx); err != nil {
		return err
	}
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		k.keep(ctx)
	}()

	// Here the work is done, with clients of AWS's SDK that have k as their credentials:
	// sts.New(sts.Options{Credentials: aws.NewCredentialsCache(k), Region: …}).
	key, err := k.Retrieve(ctx)
	if err != nil {
		return err
	}
	log.Println("working with", key.AccessKeyID, "until", key.Expires.Format(time.RFC3339), "at least")
	<-ctx.Done()

	<-kept
	return k.revoke(context.WithoutCancel(ctx))
}

// keeper has the key of the role at all times, and is a credential provider of AWS's
// SDK.
type keeper struct {
	client *api.Client
	path   string

	mu    sync.Mutex
	lease *api.Secret
	end   time.Time
}

var _ aws.CredentialsProvider = (*keeper)(nil)

// Retrieve returns the key that there is.
func (k *keeper) Retrieve(context.Context) (aws.Credentials, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Now().After(k.end) {
		return aws.Credentials{}, errors.New("the lease has ended")
	}
	id, _ := k.lease.Data["access_key_id"].(string)
	secret, _ := k.lease.Data["secret_access_key"].(string)
	return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, CanExpire: true, Expires: k.end}, nil
}

func (k *keeper) issue(ctx context.Context) error {
	asked := time.Now()
	lease, err := k.client.Logical().ReadWithContext(ctx, k.path)
	if err != nil {
		return err
	}
	if lease == nil {
		return fmt.Errorf("there is nothing at %s", k.path)
	}
	k.mu.Lock()
	k.lease, k.end = lease, asked.Add(time.Duration(lease.LeaseDuration)*time.Second)
	k.mu.Unlock()
	log.Println("issued", lease.Data["username"])
	return nil
}

// keep has the lease renewed, and reads another key when it cannot be any more.
func (k *keeper) keep(ctx context.Context) {
	for ctx.Err() == nil {
		if err := k.watch(ctx); err != nil {
			log.Println("failed:", err)
		}
		if ctx.Err() != nil {
			return
		}
		if err := k.issue(ctx); err != nil {
			log.Println("failed:", err)
			select {
			case <-time.After(retryPause):
			case <-ctx.Done():
			}
		}
	}
}

// watch returns when the lease is about to end: near the role's max_ttl, or because
// Vault refuses to renew it.
func (k *keeper) watch(ctx context.Context) error {
	watcher, err := k.client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: k.lease})
	if err != nil {
		return err
	}
	go watcher.Start()
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-watcher.DoneCh():
			return err
		case renewal := <-watcher.RenewCh():
			k.mu.Lock()
			k.end = renewal.RenewedAt.Add(time.Duration(renewal.Secret.LeaseDuration) * time.Second)
			k.mu.Unlock()
			log.Println("renewed", k.lease.Data["username"])
		}
	}
}

// revoke ends the lease, and with it the IAM user.
func (k *keeper) revoke(ctx context.Context) error {
	if err := k.client.Sys().RevokeWithContext(ctx, k.lease.LeaseID); err != nil {
		return err
	}
	log.Println("revoked")
	return nil
}
