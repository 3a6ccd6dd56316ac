package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// Error codes of IAM and STS.
const (
	accessDenied = "AccessDenied"
	noSuchEntity = "NoSuchEntity"

	entityAlreadyExists = "EntityAlreadyExists"
	// invalidKey is what AWS answers to a key that it does not know (yet, or
	// any more), despite the name.
	invalidKey = "InvalidClientTokenId"
)

// call is one call to AWS, and the AWS CLI's command that makes the same.
type call struct {
	typed []string
	do    func(context.Context, caller) (answer string, err error)
}

func getCallerIdentity() call {
	return call{[]string{"aws", "sts", "get-caller-identity"}, func(ctx context.Context, c caller) (string, error) {
		who, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			return "", err
		}
		return aws.ToString(who.Arn), nil
	}}
}

// noUsers is what listUsers answers when there are none.
const noUsers = "no users"

func listUsers(path string) call {
	return call{[]string{"aws", "iam", "list-users", "--path-prefix", path}, func(ctx context.Context, c caller) (string, error) {
		users, err := usersBeneath(ctx, c, path)
		if err != nil {
			return "", err
		}
		if len(users) == 0 {
			return noUsers, nil
		}
		var names []string
		for _, user := range users {
			names = append(names, aws.ToString(user.UserName))
		}
		return "the users " + strings.Join(names, ", "), nil
	}}
}

func usersBeneath(ctx context.Context, c caller, path string) ([]types.User, error) {
	var users []types.User
	pages := iam.NewListUsersPaginator(c.iam, &iam.ListUsersInput{PathPrefix: aws.String(path)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		users = append(users, page.Users...)
	}
	return users, nil
}

func getAccountSummary() call {
	return call{[]string{"aws", "iam", "get-account-summary"}, func(ctx context.Context, c caller) (string, error) {
		summary, err := c.iam.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("the account has %d of at most %d users", summary.SummaryMap["Users"], summary.SummaryMap["UsersQuota"]), nil
	}}
}

func createAccessKey(username string) call {
	return call{[]string{"aws", "iam", "create-access-key", "--user-name", username}, func(ctx context.Context, c caller) (string, error) {
		made, err := c.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String(username)})
		if err != nil {
			return "", err
		}
		return "the new key " + aws.ToString(made.AccessKey.AccessKeyId), nil
	}}
}

func getUser(username string) call {
	return call{[]string{"aws", "iam", "get-user", "--user-name", username}, func(ctx context.Context, c caller) (string, error) {
		user, err := c.iam.GetUser(ctx, &iam.GetUserInput{UserName: aws.String(username)})
		if err != nil {
			return "", err
		}
		return aws.ToString(user.User.Arn), nil
	}}
}

// allows checks that AWS accepts a call.
func (d *demo) allows(ctx context.Context, who caller, c call) error {
	answer, waited, err := d.await(ctx, who, c, func(_ string, err error) bool {
		return !hasCode(err, accessDenied, invalidKey)
	})
	if err != nil {
		return fmt.Errorf("%s must be allowed, but AWS refused it: %w", shellCommand(c.typed...), err)
	}
	d.out.verdict(green, "allowed", answer+waited)
	d.checks++
	return nil
}

// refuses checks that AWS refuses a call for want of permission. A key that
// AWS does not know yet is another kind of refusal, which proves nothing.
func (d *demo) refuses(ctx context.Context, who caller, c call) error {
	return d.endsRefused(ctx, who, c, accessDenied, func(_ string, err error) bool { return !hasCode(err, invalidKey) })
}

// comesToRefuse checks that AWS refuses a call with a code after what was just
// done, at the latest when the demo's patience is over.
func (d *demo) comesToRefuse(ctx context.Context, who caller, c call, code string) error {
	return d.endsRefused(ctx, who, c, code, func(_ string, err error) bool { return hasCode(err, code) })
}

func (d *demo) endsRefused(ctx context.Context, who caller, c call, code string, settled func(string, error) bool) error {
	answer, waited, err := d.await(ctx, who, c, settled)
	var refusal smithy.APIError
	switch {
	case err == nil:
		return fmt.Errorf("%s must be refused with %s, but AWS accepted it: %s", shellCommand(c.typed...), code, answer)
	case !errors.As(err, &refusal) || refusal.ErrorCode() != code:
		return fmt.Errorf("%s must be refused with %s, but ended otherwise: %w", shellCommand(c.typed...), code, err)
	}
	d.out.verdict(yellow, "refused", refusal.ErrorCode()+": "+refusal.ErrorMessage()+waited)
	d.checks++
	return nil
}

// await makes a call again and again until its outcome is settled or patience
// is over, and returns the last outcome and, if there was one, how long the
// wait was, as a remark.
func (d *demo) await(ctx context.Context, who caller, c call, settled func(string, error) bool) (answer, waited string, err error) {
	d.out.command("~", shellCommand(c.typed...))
	start := time.Now()
	for {
		answer, err = c.do(ctx, who)
		elapsed := time.Since(start)
		if settled(answer, err) || elapsed > d.cloud.patience || ctx.Err() != nil {
			if elapsed > time.Second {
				waited = fmt.Sprintf(" (after %s: changes take a while to reach all of AWS)", elapsed.Round(time.Second))
			}
			return answer, waited, err
		}
		if !pause(ctx, d.cloud.interval) {
			return answer, "", err
		}
	}
}

// hasCode says whether AWS answered with one of the codes.
func hasCode(err error, codes ...string) bool {
	var refusal smithy.APIError
	return errors.As(err, &refusal) && slices.Contains(codes, refusal.ErrorCode())
}
