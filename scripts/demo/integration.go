package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	// userPath is where the engine makes users, by its default.
	userPath = "/vault/"
	// integrationPath is where the engine's own user lives: beneath userPath
	// it could change its own permissions, which the engine refuses.
	integrationPath = "/demo/"
	// integrationPolicyName names that user's only inline policy.
	integrationPolicyName = "vault-aws-iam"

	// successesInARow is how often a new key must be let in before it is
	// believed: the next call may reach an endpoint that does not know it.
	successesInARow = 5
)

// integrationPolicy is all that the engine's user may do: eight actions on the
// users beneath one path. It is set in as commands are printed.
func integrationPolicy(partition string) string {
	return `{
        "Version": "2012-10-17",
        "Statement": [{
          "Effect": "Allow",
          "Action": [
            "iam:DeleteAccessKey", "iam:PutUserPolicy", "iam:DeleteUserPolicy",
            "iam:DeleteUser", "iam:ListUserPolicies", "iam:CreateUser",
            "iam:CreateAccessKey", "iam:ListAccessKeys"
          ],
          "Resource": "arn:` + partition + `:iam::*:user` + userPath + `*"
        }]
      }`
}

// integrationUser is the IAM user that the engine works as.
type integrationUser struct {
	name, arn, keyID, secret string

	made   time.Time // when its creation was asked for
	exists bool      // or may exist: a lost answer says nothing
}

// newIntegrationUser draws a name that nobody else has, so that whatever bears
// it is ours to delete.
func newIntegrationUser() *integrationUser {
	return &integrationUser{name: "vault-demo-" + strings.ToLower(rand.Text()[:12])}
}

// createUser makes the user. It is deleted at the end unless AWS has refused.
func (u *integrationUser) createUser() call {
	typed := []string{"aws", "iam", "create-user", "--path", integrationPath, "--user-name", u.name}
	return call{typed, func(ctx context.Context, c caller) (string, error) {
		u.made, u.exists = time.Now(), true
		out, err := c.iam.CreateUser(ctx, &iam.CreateUserInput{Path: aws.String(integrationPath), UserName: aws.String(u.name)})
		if err != nil {
			u.exists = !refusedOutright(err)
			return "", err
		}
		u.arn = aws.ToString(out.User.Arn)
		return u.arn, nil
	}}
}

// refusedOutright says that AWS answered that it made no user. That the user
// exists already is no such answer: nobody else draws its name, so that it was
// made by an attempt whose answer was lost.
func refusedOutright(err error) bool {
	var answer *smithyhttp.ResponseError
	return errors.As(err, &answer) && answer.HTTPStatusCode()/100 == 4 && !hasCode(err, entityAlreadyExists)
}

func (u *integrationUser) putPolicy(policy string) call {
	typed := []string{"aws", "iam", "put-user-policy", "--user-name", u.name, "--policy-name", integrationPolicyName, "--policy-document", policy}
	return call{typed, func(ctx context.Context, c caller) (string, error) {
		_, err := c.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{
			UserName: aws.String(u.name), PolicyName: aws.String(integrationPolicyName), PolicyDocument: aws.String(policy),
		})
		return "this is all that Vault will be able to do in the account", err
	}}
}

func (u *integrationUser) createKey() call {
	return call{createAccessKey(u.name).typed, func(ctx context.Context, c caller) (string, error) {
		out, err := c.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String(u.name)})
		if err != nil {
			return "", err
		}
		u.keyID, u.secret = aws.ToString(out.AccessKey.AccessKeyId), aws.ToString(out.AccessKey.SecretAccessKey)
		return "access key " + u.keyID, nil
	}}
}

// administer makes a call as the administrator. A user just made may be
// unknown to AWS for a moment.
func (d *demo) administer(ctx context.Context, c call) error {
	answer, waited, err := d.await(ctx, d.cloud.admin, c, func(_ string, err error) bool { return !hasCode(err, noSuchEntity) })
	if err != nil {
		return fmt.Errorf("%s: %w", shellCommand(c.typed[:3]...), err)
	}
	d.out.verdict(green, "done", answer+waited)
	return nil
}

// keyWorks waits until AWS lets the integration user in, several times in a row.
func (d *demo) keyWorks(ctx context.Context) error {
	who := d.cloud.as(d.integration.keyID, d.integration.secret)
	deadline := time.Now().Add(d.cloud.patience)
	for successes := 0; successes < successesInARow; {
		_, err := who.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		switch {
		case err == nil:
			successes++
		case !hasCode(err, invalidKey) || time.Now().After(deadline):
			return fmt.Errorf("the new key of %s does not work: %w", d.integration.name, err)
		default:
			successes = 0
		}
		if !pause(ctx, d.cloud.interval) {
			return ctx.Err()
		}
	}
	return nil
}
