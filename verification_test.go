package awsiam

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// A write that changes nothing asks AWS again. What AWS refuses now is told, and
// changes nothing either. Break it by verifying only what reconnects.
func TestVerificationOnDemand(t *testing.T) {
	e := newEnv(t, corePolicy)
	before := e.read("config")
	require.Equal(t, true, before["verified"])
	e.clock.advance(time.Hour)

	e.write("config", nil)
	require.Equal(t, 1, e.aws.Count("GetCallerIdentity"))
	after := e.read("config")
	require.NotEqual(t, before["verified_at"], after["verified_at"])
	require.Equal(t, changed(before, map[string]any{"verified_at": after["verified_at"]}), after)

	e.clock.advance(time.Hour)
	e.write("config", map[string]any{"verify_connection": false})
	require.Equal(t, after, e.read("config"), "not asked, and nothing that AWS has said is in doubt")

	_, err := e.byHand().DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: aws.String("vault-integration"), AccessKeyId: &e.key.AccessKeyID})
	require.NoError(t, err)
	e.refused(logical.UpdateOperation, "config", nil, "could not be verified", "InvalidClientTokenId")
	require.Equal(t, after, e.read("config"))
}

// Break it by keeping what was verified when the integration reconnects.
func TestVerifiedIsWhatIsStored(t *testing.T) {
	e := newEnv(t, corePolicy)
	e.must(logical.DeleteOperation, "roles/app", nil)
	e.write("config", map[string]any{"region": "us-west-2", "verify_connection": false})
	shown := e.read("config")
	require.Equal(t, false, shown["verified"])
	require.Empty(t, shown["verified_at"])
	e.write("config", nil)
	require.Equal(t, true, e.read("config")["verified"])
	require.NotEmpty(t, e.read("config")["verified_at"])
}

func corePolicyIn(partition string) string {
	return strings.ReplaceAll(corePolicy, "arn:aws:", "arn:"+partition+":")
}

// A role is refused that names what the integration's partition does not have,
// wherever it names it; and so is an integration that turns out to be of another
// partition than its roles. Break it by leaving one of the checks out of
// role.validate, or checkRoles out of checkDependents.
func TestRolesOfAnotherPartitionAreRefused(t *testing.T) {
	e := newEnv(t, corePolicy)
	china := e.aws.AccountIn("aws-cn", otherAccount)
	_, key := china.AddUser("/", "vault-integration", corePolicyIn("aws-cn"))
	connection := changed(e.connection(key), map[string]any{"region": "cn-north-1"})
	e.write("config/cn", connection)
	_, other := china.AddUser("/", "unseen", corePolicyIn("aws-cn"))
	e.write("config/unseen", changed(e.connection(other), map[string]any{"region": "cn-north-1", "verify_connection": false}))
	policy := func(element, resource string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","` + element + `":"` + resource + `"}]}`
	}
	for name, c := range map[string]struct {
		ours, theirs map[string]any
	}{
		"managed policy": {
			map[string]any{"policy_arns": "arn:aws-cn:iam::aws:policy/ReadOnlyAccess"}, map[string]any{"policy_arns": "arn:aws:iam::aws:policy/ReadOnlyAccess"},
		},
		"boundary": {
			map[string]any{"policy_document": policy("Resource", "*"), "permissions_boundary_arn": "arn:aws-cn:iam::" + otherAccount + ":policy/a"},
			map[string]any{"policy_document": policy("Resource", "*"), "permissions_boundary_arn": "arn:aws:iam::" + otherAccount + ":policy/a"},
		},
		"resource": {
			map[string]any{"policy_document": policy("Resource", "arn:aws-cn:s3:::a")}, map[string]any{"policy_document": policy("Resource", "arn:aws:s3:::a")},
		},
		"all resources but": {
			map[string]any{"policy_document": policy("NotResource", "arn:*:s3:::a")}, map[string]any{"policy_document": policy("NotResource", "arn:aws-us-gov:s3:::a")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e.t = t
			e.write("roles/cn", changed(map[string]any{"integration": "cn"}, c.ours))
			e.must(logical.DeleteOperation, "roles/cn", nil)
			e.refused(logical.UpdateOperation, "roles/cn", changed(map[string]any{"integration": "cn"}, c.theirs), `"aws-cn"`)

			// Nobody knows the partition yet: it is told when AWS has been asked.
			e.write("roles/unseen", changed(map[string]any{"integration": "unseen"}, c.theirs))
			e.refused(logical.UpdateOperation, "config/unseen", nil, "role(s) unseen would not be valid any more", `"aws-cn"`)
			e.must(logical.DeleteOperation, "roles/unseen", nil)
		})
	}
}
