package awsiam

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

func TestUsersShowsAnIssuedUser(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)

	require.Equal(t, []string{l.username()}, e.must(logical.ListOperation, "users/", nil).Data["keys"])
	shown := e.read("users/" + l.username())
	record := e.records()[l.username()]
	require.Equal(t, map[string]any{
		"username": l.username(), "user_path": testPath, "user_id": l.data["user_id"], "arn": l.data["arn"],
		"access_key_id": l.data["access_key_id"], "account_id": testAccount, "role": "app", "integration": "default",
		"state": "active", "created": timestamp(record.Created), "expires": timestamp(record.Expires), "deadline": timestamp(record.Deadline),
		"entity_id": "test-entity", "display_name": "test-display", "attempts": 0, "last_error": "", "next_attempt": "",
	}, shown)
	require.NotContains(t, shown, "secret_access_key")

	require.NoError(t, e.revoke(l))
	require.Nil(t, e.must(logical.ReadOperation, "users/"+l.username(), nil))
}

// A user that could not be deleted tells why, how often and when again, until
// it is gone: when Vault has given up, and when its role is no more.
func TestUsersShowsWhatCouldNotBeDeleted(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	require.NoError(t, dependentsByHand["login profile"](t.Context(), e.byHand(), e.acct, l.username()))
	for range 6 { // as often as Vault tries
		require.Error(t, e.revoke(l))
	}
	e.must(logical.DeleteOperation, "roles/app", nil)

	shown := e.read("users/" + l.username())
	require.Equal(t, "deleting", shown["state"])
	require.Equal(t, 6, shown["attempts"])
	require.Contains(t, shown["last_error"], "DeleteConflict")
	next, err := time.Parse(time.RFC3339, shown["next_attempt"].(string))
	require.NoError(t, err)
	require.True(t, next.After(e.clock.now()))

	_, err = e.byHand().DeleteLoginProfile(t.Context(), &iam.DeleteLoginProfileInput{UserName: aws.String(l.username())})
	require.NoError(t, err)
	e.advance(next.Sub(e.clock.now()) + time.Second)
	e.reap()
	e.requireNothingLeft()
}

func TestUsersShowsAnUnfinishedCreation(t *testing.T) {
	e := newEnv(t, corePolicy)
	var shown map[string]any
	e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Count: 1, Hook: func(c awsfake.Call) { shown = e.read("users/" + c.User) }})
	e.issue("app", nil)
	require.Equal(t, "creating", shown["state"])
	require.Empty(t, shown["expires"])
	require.Empty(t, shown["access_key_id"])
}

func TestUsersBadInput(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.refused(logical.ReadOperation, "users/a b", nil, "username", "letters")
	e.refused(logical.ReadOperation, "users/a..b", nil, "username")
	e.refused(logical.ReadOperation, "users/a/b", nil, "username")
	e.refused(logical.ReadOperation, "users/a", map[string]any{"colour": "red"}, "colour")
	resp, err := e.do(logical.ReadOperation, "users/none", nil)
	require.NoError(t, err)
	require.Nil(t, resp)
}
