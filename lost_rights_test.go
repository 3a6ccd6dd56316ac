package awsiam

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"
)

// An integration that loses a right says which, when that is missed: to who asks
// for a lease, and to who ends one. The scene is that of the core. Break it by
// answering with AWS's code alone in describeAnswer, or by forgetting d.blocked
// after a conflict in deletion.delete.
func TestLostRightsAreNamed(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"iam:CreateUser", "iam:CreateAccessKey", "iam:PutUserPolicy", "iam:DeleteAccessKey", "iam:DeleteUserPolicy", "iam:DeleteUser"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel() // pauses between attempts take seconds
			e := newEnv(t, corePolicy)
			l := e.issue("app", nil)
			_, err := e.byHand().PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
				UserName: aws.String("vault-integration"), PolicyName: aws.String("lost"),
				PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"` + action + `","Resource":"*"}]}`),
			})
			require.NoError(t, err)

			_, err = e.tryIssue("app")
			if strings.HasPrefix(action, "iam:Delete") {
				require.NoError(t, err)
				err = e.revoke(l)
			}
			require.ErrorContains(t, err, "is not authorized to perform: "+action+" on resource: arn:aws:iam::"+testAccount+":user"+testPath)
			require.ErrorContains(t, err, "request id")

			_, err = e.byHand().DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: aws.String("vault-integration"), PolicyName: aws.String("lost")})
			require.NoError(t, err)
			require.NoError(t, e.revoke(l))
			e.advance(2 * time.Hour)
			e.finish()
			e.requireNothingLeft()
		})
	}
}
