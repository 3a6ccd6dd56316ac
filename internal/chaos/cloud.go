package chaos

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// The accounts, and what the integrations of each may do.
const (
	coreAccount = "111122223333" // exactly the eight actions
	toldAccount = "222233334444" // with the grants by name that tell "gone" from "denied"
	wideAccount = "333344445555" // everything; two integrations share it
)

var accounts = []string{coreAccount, toldAccount, wideAccount}

const (
	eightActions = `{"Effect":"Allow","Action":["iam:DeleteAccessKey","iam:PutUserPolicy","iam:DeleteUserPolicy","iam:DeleteUser",` +
		`"iam:ListUserPolicies","iam:CreateUser","iam:CreateAccessKey","iam:ListAccessKeys"],"Resource":"arn:aws:iam::*:user/vault/*"}`
	tellingActions = `{"Effect":"Allow","Action":["iam:ListAccessKeys","iam:GetUser"],` +
		`"Resource":["arn:aws:iam::*:user/vault/*","arn:aws:iam::*:user/vault-*"]}`
	everything = `{"Effect":"Allow","Action":"*","Resource":"*"}`

	// usefulAction is what every role allows, in one way or another, so that a
	// credential can be seen to be complete.
	usefulAction = `{"Effect":"Allow","Action":"iam:ListGroups","Resource":"*"}`
)

func policy(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

// integration is one of the engine's connections to AWS. Of retries there are
// few or many, so that some faults are ridden out and some come through.
type integration struct {
	name, account, userPath string
	policy                  string
	retries                 int
}

var integrations = []integration{
	{name: "core", account: coreAccount, userPath: "/vault/", policy: policy(eightActions), retries: 3},
	{name: "told", account: toldAccount, userPath: "/vault/", policy: policy(eightActions, tellingActions), retries: 1},
	{name: "wide", account: wideAccount, userPath: "/vault/", policy: policy(everything), retries: -1},
	{name: "wide-too", account: wideAccount, userPath: "/vault/too/", policy: policy(everything), retries: 3},
}

const (
	managedName = "chaos-useful" // a customer managed policy
	limitName   = "chaos-limit"  // a permissions boundary
	groupName   = "chaos-group"
)

// cloud is the simulated AWS of a run.
type cloud struct {
	*awsfake.AWS
	url     string
	server  *http.Server
	served  chan error
	secrets *secretBook

	keys map[string]awsfake.Credentials // of the integrations, by name
	ours map[string]bool                // ids of the users that setting up has made
}

// newCloud starts a simulated AWS on a free port of this machine.
func newCloud(ctx context.Context, seed uint64) (*cloud, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &cloud{
		AWS: awsfake.New(), url: "http://" + listener.Addr().String(), served: make(chan error, 1), secrets: newSecretBook(),
		keys: make(map[string]awsfake.Credentials), ours: make(map[string]bool),
	}
	c.Seed(int64(seed)) //nolint:gosec // any number will do
	c.server = &http.Server{Handler: c.secrets.watch(c.AWS), ReadHeaderTimeout: 10 * time.Second}
	go func() { c.served <- c.server.Serve(listener) }()
	c.furnish()
	return c, nil
}

// furnish makes what the integrations and roles need in the accounts.
func (c *cloud) furnish() {
	for _, id := range accounts {
		account := c.Account(id)
		c.secrets.add(account.Root().SecretAccessKey)
		account.AddManagedPolicy("/", managedName, policy(usefulAction))
		account.AddManagedPolicy("/", limitName, policy(everything))
		account.AddGroup(groupName, policy(usefulAction))
	}
	for _, in := range integrations {
		user, key := c.Account(in.account).AddUser("/", "integration-"+in.name, in.policy)
		c.secrets.add(key.SecretAccessKey)
		c.keys[in.name], c.ours[user.ID] = key, true
	}
}

func (c *cloud) stop() error {
	err := c.server.Close()
	if ended := <-c.served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// heal ends all trouble that is not a fault with an end of its own.
func (c *cloud) heal() {
	c.SetLag(awsfake.Lag{})
	c.SetThrottle(0, 0)
}

// as returns a client with the key, which gives up after a few attempts.
func (c *cloud) as(key awsfake.Credentials) *iam.Client {
	return iam.New(iam.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(c.url), RetryMaxAttempts: 5,
		Credentials: credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, ""),
	})
}

// isRoot says whether a call came from an account's owner: from the hands.
func (c *cloud) isRoot(call awsfake.Call) bool {
	return call.Account != "" && call.AccessKeyID == c.Account(call.Account).Root().AccessKeyID
}

// leftUsers are the users that neither setting up nor a stranger has made,
// wherever in the accounts they are.
func (c *cloud) leftUsers(strangers *strangers) []leftUser {
	var left []leftUser
	for _, id := range accounts {
		for _, user := range c.Account(id).Users() {
			if !c.ours[user.ID] && !strangers.has(user.ID) {
				left = append(left, leftUser{account: id, UserInfo: user})
			}
		}
	}
	return left
}

// leftUser is a user that nobody but the engine can have made.
type leftUser struct {
	account string
	awsfake.UserInfo
}
