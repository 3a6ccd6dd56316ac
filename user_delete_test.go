package awsiam

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// iamClient is a person's way to the simulated AWS, with the key.
func (e *env) iamClient(key awsfake.Credentials) *iam.Client {
	return iam.New(iam.Options{
		Region: defaultRegion, BaseEndpoint: aws.String(e.url), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, key.SessionToken),
	})
}

// byHand is the account's administrator.
func (e *env) byHand() *iam.Client { return e.iamClient(e.acct.Root()) }

// deleteByHand deletes a user past the engine.
func (e *env) deleteByHand(username string) {
	e.t.Helper()
	require.NoError(e.t, (&emptying{iam: e.byHand(), username: username}).run(e.t.Context()))
	_, err := e.byHand().DeleteUser(e.t.Context(), &iam.DeleteUserInput{UserName: &username})
	require.NoError(e.t, err)
}

// sshPublicKey has the form of an RSA key, and a modulus that nobody will miss.
var sshPublicKey = "ssh-rsa " + base64.StdEncoding.EncodeToString(slices.Concat(
	[]byte("\x00\x00\x00\x07ssh-rsa\x00\x00\x00\x03\x01\x00\x01\x00\x00\x01\x01\x00"), bytes.Repeat([]byte{0xc5}, 256))) + " by-hand"

// dependentsByHand hangs on a user whatever IAM requires gone before it can be deleted.
var dependentsByHand = map[string]func(ctx context.Context, api *iam.Client, acct *awsfake.Account, username string) error{
	"access key": func(ctx context.Context, api *iam.Client, _ *awsfake.Account, username string) error {
		_, err := api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &username})
		return err
	},
	"inline policy": func(ctx context.Context, api *iam.Client, _ *awsfake.Account, username string) error {
		_, err := api.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &username, PolicyName: aws.String("by-hand"), PolicyDocument: aws.String(testPolicy)})
		return err
	},
	"attached policy": func(ctx context.Context, api *iam.Client, acct *awsfake.Account, username string) error {
		policy := acct.AddManagedPolicy("/", "by-hand", testPolicy)
		_, err := api.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &username, PolicyArn: &policy})
		return err
	},
	"group": func(ctx context.Context, api *iam.Client, acct *awsfake.Account, username string) error {
		acct.AddGroup("by-hand")
		_, err := api.AddUserToGroup(ctx, &iam.AddUserToGroupInput{UserName: &username, GroupName: aws.String("by-hand")})
		return err
	},
	"login profile": func(ctx context.Context, api *iam.Client, _ *awsfake.Account, username string) error {
		_, err := api.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: &username, Password: aws.String("Correct-horse-7-battery")})
		return err
	},
	"MFA device": func(ctx context.Context, api *iam.Client, _ *awsfake.Account, username string) error {
		device, err := api.CreateVirtualMFADevice(ctx, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("by-hand")})
		if err != nil {
			return err
		}
		_, err = api.EnableMFADevice(ctx, &iam.EnableMFADeviceInput{UserName: &username, SerialNumber: device.VirtualMFADevice.SerialNumber,
			AuthenticationCode1: aws.String("123456"), AuthenticationCode2: aws.String("654321")})
		return err
	},
	"service-specific credential": func(ctx context.Context, api *iam.Client, _ *awsfake.Account, username string) error {
		_, err := api.CreateServiceSpecificCredential(ctx, &iam.CreateServiceSpecificCredentialInput{UserName: &username, ServiceName: aws.String("codecommit.amazonaws.com")})
		return err
	},
	"SSH public key": func(ctx context.Context, api *iam.Client, _ *awsfake.Account, username string) error {
		_, err := api.UploadSSHPublicKey(ctx, &iam.UploadSSHPublicKeyInput{UserName: &username, SSHPublicKeyBody: aws.String(sshPublicKey)})
		return err
	},
	"signing certificate": func(ctx context.Context, api *iam.Client, _ *awsfake.Account, username string) error {
		_, err := api.UploadSigningCertificate(ctx, &iam.UploadSigningCertificateInput{UserName: &username,
			CertificateBody: aws.String("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----")})
		return err
	},
}

// Break it by taking a kind out of allDependents.
func TestRevocationDeletesWhateverTheUserHasBecome(t *testing.T) {
	for kind, hang := range dependentsByHand {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, widePolicy)
			l := e.issue("app", nil)
			require.NoError(t, hang(t.Context(), e.byHand(), e.acct, l.username()))
			require.NoError(t, e.revoke(l))
			e.requireNothingLeft()
		})
	}
	t.Run("all at once", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, widePolicy)
		l := e.issue("app", nil)
		for _, hang := range dependentsByHand {
			require.NoError(t, hang(t.Context(), e.byHand(), e.acct, l.username()))
		}
		require.NoError(t, e.revoke(l))
		e.requireNothingLeft()
	})
}

func TestRevocationSaysWhatHoldsTheUser(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	require.NoError(t, dependentsByHand["login profile"](t.Context(), e.byHand(), e.acct, l.username()))

	err := e.revoke(l)
	require.ErrorContains(t, err, "DeleteConflict")
	require.ErrorContains(t, err, "must delete login profile first", "AWS's own words")
	require.ErrorContains(t, err, "login profile may hold it: grant iam:DeleteLoginProfile", "and what would release it")
	require.NotContains(t, err.Error(), "access keys may", "what could be looked at does not")
	user, ok := e.acct.User(l.username())
	require.True(t, ok)
	require.Empty(t, user.AccessKeys, "the key dies whatever holds the user")
	record := e.records()[l.username()]
	require.Equal(t, stateDeleting, record.State)
	require.Equal(t, 1, record.Attempts)
	require.Contains(t, record.LastError, "DeleteConflict")

	_, err = e.byHand().DeleteLoginProfile(t.Context(), &iam.DeleteLoginProfileInput{UserName: aws.String(l.username())})
	require.NoError(t, err)
	e.finish()
	e.requireNothingLeft()
	require.NoError(t, e.revoke(l), "Vault's retry finds nothing to do")
}

// A user deleted by hand is gone under any permissions, once it is old enough
// for AWS's word. Break it by letting deletion.checkTraces return the denial.
func TestRevocationOfAUserDeletedByHand(t *testing.T) {
	byName := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListAccessKeys","Resource":"arn:aws:iam::%s:user/vault-*"},%s]}`,
		testAccount, corePolicy[len(`{"Version":"2012-10-17","Statement":[`):len(corePolicy)-len(`]}`)])
	for name, policy := range map[string]string{"core": corePolicy, "wide": widePolicy, "listing by name": byName} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			l := e.issue("app", nil)
			e.deleteByHand(l.username())

			require.Error(t, e.revoke(l), "so young a user may only not be known yet")
			require.Len(t, e.records(), 1)
			e.advance(6 * time.Minute)
			require.NoError(t, e.revoke(l))
			e.requireNothingLeft()
		})
	}
}

// AccessDenied for a user that is there must never count as gone. Break it by
// letting deletion.recreate return nil when the name is taken.
func TestRevocationDoesNotTakeADenialForSuccess(t *testing.T) {
	denials := map[string]string{
		"nothing allowed":      `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`,
		"only creation":        `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:CreateUser","Resource":"*"}]}`,
		"all but DeleteUser":   `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*"},{"Effect":"Deny","Action":"iam:DeleteUser","Resource":"*"}]}`,
		"all, in another path": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::*:user/other/*"}]}`,
	}
	for name, policy := range denials {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			l := e.issue("app", nil)
			e.advance(10 * time.Minute)
			_, e.key = e.acct.AddUser("/", "crippled", policy)
			e.write("config", e.connection(e.key))

			err := e.revoke(l)
			refused := "IAM:ListAccessKeys: AccessDenied: " // and so nothing more is asked
			if name == "all but DeleteUser" {
				refused = "IAM:DeleteUser: AccessDenied: "
			}
			require.ErrorContains(t, err, refused)
			require.NotContains(t, err.Error(), "operation error")
			if name == "nothing allowed" {
				require.ErrorContains(t, err, "grant iam:ListAccessKeys")
			}
			require.Len(t, e.issuedUsers(), 1)
			require.Equal(t, stateDeleting, e.records()[l.username()].State)
		})
	}
}

// strangerNamed makes somebody else's user of that name in the engine's path.
func (e *env) strangerNamed(username string) awsfake.UserInfo {
	stranger, _ := e.acct.AddUser(testPath, username, testPolicy)
	return stranger
}

// Break it by skipping deletion.checkOwnership.
func TestAStrangersUserOfTheSameNameIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, policy := range policies {
		t.Run("made after ours was deleted/"+name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			l := e.issue("app", nil)
			e.deleteByHand(l.username())
			stranger := e.strangerNamed(l.username())
			e.advance(10 * time.Minute)
			err := e.revoke(l)
			if name == "wide" {
				require.NoError(t, err, "the ids differ, so ours is gone")
				require.Empty(t, e.records())
			} else {
				require.ErrorContains(t, err, "iam:GetUser")
			}
			e.finish()
			found, ok := e.acct.User(l.username())
			require.True(t, ok)
			require.Equal(t, stranger, found)
		})
		t.Run("there before ours, and the process gone/"+name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			var stranger awsfake.UserInfo
			e.storage.on(func(op, key string) (bool, error) {
				if op == "put" && stranger.Name == "" && matchesKey(userPrefix, key) {
					stranger = e.strangerNamed(key[len(userPrefix):])
					e.advance(time.Hour) // so that it is older than the record
				}
				return true, nil
			})
			remove := e.aws.Inject(awsfake.Fault{Action: "CreateUser", Lost: true, Count: 1, Hook: func(awsfake.Call) { e.kill() }})
			_, err := e.do(logical.ReadOperation, "creds/app", nil)
			require.Error(t, err)
			remove()
			e.heal()
			// The record was written an hour after the stranger was made.
			for username, record := range e.records() {
				record.Created = record.Created.Add(time.Hour)
				require.NoError(t, e.b.putUser(t.Context(), e.storage, record), username)
			}
			e.finish()
			found, ok := e.acct.User(stranger.Name)
			require.True(t, ok, "a stranger's user was deleted")
			require.Equal(t, stranger, found)
		})
	}
}

func TestATakenNameIsReplacedByAnother(t *testing.T) {
	e := newEnv(t, corePolicy)
	var stranger awsfake.UserInfo
	e.storage.on(func(op, key string) (bool, error) {
		if op == "put" && stranger.Name == "" {
			stranger = e.strangerNamed(key[len(userPrefix):])
		}
		return true, nil
	})
	l := e.issue("app", nil)
	require.NotEqual(t, stranger.Name, l.username())
	require.Len(t, e.records(), 1)
	require.NoError(t, e.revoke(l))
	found, ok := e.acct.User(stranger.Name)
	require.True(t, ok)
	require.Equal(t, stranger, found)
}

// Break it by dropping the comparison of accounts in deleteInAWS.
func TestAUserInAnotherAccountIsLeftAlone(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	elsewhere := e.aws.Account("444455556666")
	stranger, _ := elsewhere.AddUser(testPath, l.username(), testPolicy)
	_, key := elsewhere.AddUser("/", "integration", widePolicy)
	// Past the guard of the write, as a restored snapshot may have it.
	in, err := getIntegration(t.Context(), e.storage, defaultIntegration)
	require.NoError(t, err)
	in.AccessKey, in.SecretKey, in.AccountID, in.Revision = key.AccessKeyID, key.SecretAccessKey, elsewhere.ID(), "restored"
	require.NoError(t, e.b.putIntegration(t.Context(), e.storage, in))

	require.ErrorContains(t, e.revoke(l), "444455556666")
	found, ok := elsewhere.User(l.username())
	require.True(t, ok)
	require.Equal(t, stranger, found)
	require.Len(t, e.records(), 1)
}

// A lease whose user is long gone must not end another user of that name.
func TestRevocationSparesALaterUserOfTheName(t *testing.T) {
	e := newEnv(t, corePolicy)
	l := e.issue("app", nil)
	require.NoError(t, e.b.changeUser(t.Context(), e.storage, l.username(), func(u *userRecord) (bool, error) {
		u.AccessKeyID = "AKIALATERUSEROFTHENAME"
		return true, nil
	}))
	require.NoError(t, e.revoke(l))
	require.Len(t, e.issuedUsers(), 1)
	require.Len(t, e.records(), 1)
}

// The process goes while deletion has the user made again to learn whether it
// was gone. Where users are listed that one is known by its path, too. Break it by not
// setting RecreatedAt, or by leaving isRecreated out of deletion.find.
func TestACrashWhileRecreatingLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]string{"core": corePolicy, "and GetUser": byPathPolicy, "and ListUsers": listedPolicy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			l := e.issue("app", nil)
			e.deleteByHand(l.username())
			e.advance(10 * time.Minute)
			e.aws.Inject(awsfake.Fault{Action: "DeleteUser", Count: 1, LostBefore: true, Hook: func(awsfake.Call) { e.kill() }})
			require.Error(t, e.revoke(l))
			e.heal()
			require.Len(t, e.issuedUsers(), 1)
			e.finish()
			e.requireNothingLeft()
		})
	}
}

// A key whose answer was lost does not keep the user either, where the creation fails.
// Break it by keeping AccessKeyID in creation.createAccessKey.
func TestAStrayKeyDoesNotHoldUpTheUndoing(t *testing.T) {
	t.Parallel()
	for name, policy := range policies {
		for what, fault := range map[string]awsfake.Fault{
			"keys are not listed":                 {Action: "ListAccessKeys", Code: "AccessDenied", Count: 1},
			"AWS does not know the stray key yet": {Action: "DeleteAccessKey", Code: "NoSuchEntity", Count: 1},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, policy)
				e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Lost: true, Count: 1})
				e.aws.Inject(fault)
				e.aws.Inject(awsfake.Fault{Action: "PutUserPolicy", Code: "LimitExceeded"}) // it would show whose the user is
				e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", FailAfter: true, Count: 1})
				resp, err := e.do(logical.ReadOperation, "creds/app", nil)
				require.True(t, err != nil || resp.IsError())
				e.finish()
				e.requireNothingLeft()
			})
		}
	}
}

// Nobody is handed a user that may have a key beside that of the lease: the caller is
// served under another name. Break it by returning nil from creation.checkOnlyKey where
// there are others, or where the known key is not listed; or by taking errStrayKey out
// there, or out of creation.createAccessKey.
func TestAUserWithAStrayKeyIsNotHandedOut(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*env) (heal func()){
		"AWS lists it": func(*env) func() { return func() {} },
		"AWS does not know it yet": func(e *env) func() {
			return e.aws.Inject(awsfake.Fault{Action: "DeleteAccessKey", Code: "NoSuchEntity", Count: 1})
		},
		"AWS lists no key yet": func(e *env) func() { return e.answered(noKeys, "ListAccessKeys") },
		"AWS does not know the user yet": func(e *env) func() {
			return e.aws.Inject(awsfake.Fault{Action: "ListAccessKeys", Code: "AccessDenied", Count: 1})
		},
		"AWS has no room for a third": func(e *env) func() {
			config := e.connection(e.key)
			config["max_retries"] = 2
			e.write("config", config)
			return e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Lost: true, Count: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			heal := prepare(e)
			e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Lost: true, Count: 1})
			l := e.issue("app", nil)
			heal()
			require.Equal(t, 2, e.aws.Count("CreateUser"))
			user, _ := e.acct.User(l.username())
			require.Len(t, user.AccessKeys, 1)
			require.Equal(t, l.data["access_key_id"], user.AccessKeys[0].ID)
			require.NoError(t, e.revoke(l))
			e.finish()
			e.requireNothingLeft()
		})
	}
}

// Where that is so under every name, or some are taken, the error says what it is, and can
// pass. Break it by taking errStrayKey for a name that is taken in outOfNames, or by
// telling the last failure alone.
func TestEveryUserHasAStrayKey(t *testing.T) {
	t.Parallel()
	lost := awsfake.Fault{Action: "CreateAccessKey", Lost: true, Count: 1}
	for name, faults := range map[string]func(*env){
		"every one": func(e *env) {
			lost := lost
			lost.Hook = func(awsfake.Call) { // and the one after the next again
				again := lost
				again.Skip = 1
				e.aws.Inject(again)
			}
			e.aws.Inject(lost)
		},
		"the others' names are taken": func(e *env) {
			e.aws.Inject(lost)
			e.aws.Inject(awsfake.Fault{Action: "CreateUser", Code: "EntityAlreadyExists", Skip: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			faults(e)
			_, err := e.do(logical.ReadOperation, "creds/app", nil)
			var coded logical.HTTPCodedError
			require.ErrorAs(t, err, &coded)
			require.Equal(t, http.StatusBadGateway, coded.Code())
			require.ErrorContains(t, err, "the answer about an access key was lost")
			require.Equal(t, maxNames, e.aws.Count("CreateUser"))
			e.finish()
			e.requireNothingLeft()
		})
	}
}

// A node that was deposed meanwhile takes back a user with a stray key, too, at once. Break
// it by having deletion.keepProof write where no key is on record.
func TestADeposedNodeTakesBackAUserWithAStrayKey(t *testing.T) {
	t.Parallel()
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, policy)
			deposed := func(awsfake.Call) {
				e.storage.on(func(op, _ string) (bool, error) {
					return op != "put" && op != "delete", failIf(op == "put" || op == "delete")
				})
			}
			e.aws.Inject(awsfake.Fault{Action: "CreateAccessKey", Lost: true, Count: 1, Hook: deposed})
			resp, err := e.do(logical.ReadOperation, "creds/app", nil)
			require.True(t, err != nil || resp.IsError())
			require.Equal(t, 2, e.aws.Count("CreateAccessKey"))
			require.Empty(t, e.issuedUsers())
		})
	}
}
