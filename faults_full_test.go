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

// fullRole is a role whose users have whatever a role can give.
func (e *env) fullRole() {
	e.t.Helper()
	e.acct.AddGroup("readers")
	e.write("roles/full", map[string]any{
		"policy_document": testPolicy, "policy_arns": e.acct.AddManagedPolicy("/", "managed", testPolicy), "iam_groups": "readers",
		"iam_tags": map[string]string{"team": "payments"},
	})
}

// eachBreakage runs the scenario for every way in which the actions can go
// wrong. broken is armed by the scenario.
func eachBreakage(t *testing.T, actions []string, scenario func(e *env, broken breakage)) {
	t.Helper()
	for _, action := range actions {
		for _, broken := range awsBreakages(action) {
			t.Run(broken.name, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, widePolicy)
				e.fullRole()
				scenario(e, broken)
				e.heal()
				e.finish()
				e.requireNothingLeft()
			})
		}
	}
}

func TestEveryStepOfACreationOfAUserWithEverythingGoesWrong(t *testing.T) {
	t.Parallel()
	eachBreakage(t, []string{"AttachUserPolicy", "AddUserToGroup"}, func(e *env, broken breakage) {
		broken.arm(e)
		resp, err := e.do(logical.ReadOperation, "creds/full", nil)
		e.heal()
		if err != nil || resp.IsError() {
			return
		}
		l := newLease(e.t, resp)
		user, ok := e.acct.User(l.username())
		require.True(e.t, ok)
		require.Len(e.t, user.AttachedPolicies, 1)
		require.Len(e.t, user.Groups, 1)
		require.NoError(e.t, e.revoke(l))
	})
}

func TestEveryStepOfADeletionOfAUserWithEverythingGoesWrong(t *testing.T) {
	t.Parallel()
	eachBreakage(t, []string{"DeleteAccessKey", "DetachUserPolicy", "RemoveUserFromGroup", "DeleteUserPolicy", "DeleteUser"}, func(e *env, broken breakage) {
		l := e.issue("full", nil)
		broken.arm(e)
		_ = e.revoke(l) // whatever it says, see what is left
	})
}

// Others have hung everything there is on the user.
func TestEveryStepOfEmptyingAUserGoesWrong(t *testing.T) {
	t.Parallel()
	actions := []string{
		"ListAccessKeys", "ListAttachedUserPolicies", "DetachUserPolicy", "ListGroupsForUser", "RemoveUserFromGroup", "ListUserPolicies",
		"DeleteLoginProfile", "ListMFADevices", "DeactivateMFADevice", "DeleteVirtualMFADevice", "ListSigningCertificates", "DeleteSigningCertificate",
		"ListSSHPublicKeys", "DeleteSSHPublicKey", "ListServiceSpecificCredentials", "DeleteServiceSpecificCredential", "PutUserPolicy",
	}
	eachBreakage(t, actions, func(e *env, broken breakage) {
		l := e.issue("full", nil)
		for _, hang := range dependentsByHand {
			require.NoError(e.t, hang(e.t.Context(), e.byHand(), e.acct, l.username()))
		}
		broken.arm(e)
		if e.revoke(l) == nil {
			_, ok := e.acct.User(l.username())
			require.False(e.t, ok)
		}
		if user, ok := e.acct.User(l.username()); ok && !e.killed { // what runs at once with the key's deletion may kill the process before it
			for _, key := range user.AccessKeys {
				require.NotEqual(e.t, l.data["access_key_id"], key.ID, "the key dies whatever happens to the rest")
			}
		}
	})
}

// Somebody renames the user after its key was deleted, so that only a list of all
// users tells. Break it by not keeping the record in deletion.moved.
func TestEveryStepOfSearchingARenamedUserGoesWrong(t *testing.T) {
	t.Parallel()
	eachBreakage(t, []string{"GetUser", "GetAccessKeyLastUsed", "ListUsers", "DeleteUserPolicy", "DetachUserPolicy", "DeleteUser"}, func(e *env, broken breakage) {
		other := e.issue("app", nil) // whose search shows that iam:ListUsers is allowed
		e.deleteByHand(other.username())
		e.advance(time.Hour)
		require.NoError(e.t, e.revoke(other))
		l := e.issue("full", nil)
		remove := e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Status: 500, Code: "ServiceFailure"})
		require.Error(e.t, e.revoke(l))
		remove()
		_, err := e.byHand().UpdateUser(e.t.Context(), &iam.UpdateUserInput{UserName: aws.String(l.username()), NewUserName: aws.String("renamed"), NewPath: aws.String("/elsewhere/")})
		require.NoError(e.t, err)
		e.advance(time.Hour)
		broken.arm(e)
		_ = e.revoke(l)
		e.heal()
		e.finish()
		require.Len(e.t, e.acct.Users(), 1, "of the integration")
	})
}

// Somebody has renamed the user. Once its key is gone only the record tells
// where it is. Break it by not setting RenamedTo in deletion.follow.
func TestEveryStepOfFindingARenamedUserGoesWrong(t *testing.T) {
	t.Parallel()
	eachBreakage(t, []string{"GetUser", "GetAccessKeyLastUsed", "DeleteAccessKey", "DeleteUserPolicy", "DetachUserPolicy", "DeleteUser"}, func(e *env, broken breakage) {
		l := e.issue("full", nil)
		_, err := e.byHand().UpdateUser(e.t.Context(), &iam.UpdateUserInput{UserName: aws.String(l.username()), NewUserName: aws.String("renamed"), NewPath: aws.String("/elsewhere/")})
		require.NoError(e.t, err)
		broken.arm(e)
		_ = e.revoke(l)
		e.heal()
		e.finish()
		require.Len(e.t, e.acct.Users(), 1, "of the integration")
	})
}
