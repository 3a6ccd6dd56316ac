package awsiam

import (
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// permissionScene sets up what a statement is for, and returns the proof that it
// works.
type permissionScene func(e *env) (works func() error)

// issueAndRevoke is the scene of a role.
func issueAndRevoke(role map[string]any) permissionScene {
	return func(e *env) func() error {
		e.acct.AddManagedPolicy("/", "of-a-role", testPolicy)
		e.acct.AddGroup("of-a-role", testPolicy)
		e.write("roles/app", role)
		return func() error {
			l, err := e.tryIssue("app")
			if err != nil {
				return err
			}
			return e.revoke(l)
		}
	}
}

func (e *env) tryIssue(role string) (lease, error) {
	e.t.Helper()
	resp, err := e.do(logical.ReadOperation, "creds/"+role, nil)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		return lease{}, err
	}
	return newLease(e.t, resp), nil
}

// changedByHand issues a user, has something done to it, and revokes it when AWS
// is sure of itself.
func changedByHand(change func(e *env, l lease)) permissionScene {
	return func(e *env) func() error {
		return func() error {
			l, err := e.tryIssue("app")
			if err != nil {
				return err
			}
			change(e, l)
			e.advance(10 * time.Minute)
			e.aws.ResetCalls()
			return e.revoke(l)
		}
	}
}

func hang(kinds ...string) func(*env, lease) {
	return func(e *env, l lease) {
		for _, kind := range kinds {
			require.NoError(e.t, dependentsByHand[kind](e.t.Context(), e.byHand(), e.acct, l.username()))
		}
	}
}

// then adds a check to a scene.
func (s permissionScene) then(check func(e *env) error) permissionScene {
	return func(e *env) func() error {
		works := s(e)
		return func() error { return errors.Join(works(), check(e)) }
	}
}

// afterRestore issues a user, takes Vault back to before, and has tidy find it.
func afterRestore(role map[string]any) permissionScene {
	return func(e *env) func() error {
		e.acct.AddGroup("of-a-role", testPolicy)
		e.write("roles/app", role)
		return func() error {
			snapshot := e.snapshot()
			if _, err := e.tryIssue("app"); err != nil {
				return err
			}
			e.restore(snapshot)
			e.advance(2 * time.Hour)
			if status := e.tidy(forReal); len(e.issuedUsers()) > 0 {
				return fmt.Errorf("tidy left users: %v", status)
			}
			return nil
		}
	}
}

func noneLeft(e *env) error {
	if users := e.issuedUsers(); len(users) > 0 {
		return fmt.Errorf("left behind: %v", users)
	}
	return nil
}

const (
	roleBoundary = "arn:aws:iam::" + testAccount + ":policy/of-a-role"
	groupOfARole = "of-a-role"
)

// permissionScenes have a scene for each statement of the policies, by its Sid.
var permissionScenes = map[string]permissionScene{
	"MakeAndDeleteUsers": changedByHand(hang("access key", "inline policy")),
	"TagUsersAsRolesSay": issueAndRevoke(map[string]any{"iam_tags": map[string]any{"team": "blue"}}),
	"AttachThePoliciesOfRoles": issueAndRevoke(map[string]any{
		"policy_arns": []string{roleBoundary, "arn:aws:iam::aws:policy/ReadOnlyAccess"},
	}),
	"AddUsersToTheGroupsOfRoles": func(e *env) func() error {
		works := issueAndRevoke(map[string]any{"iam_groups": []string{groupOfARole, "with-a-path"}})
		_, err := e.byHand().CreateGroup(e.t.Context(), &iam.CreateGroupInput{GroupName: aws.String("with-a-path"), Path: aws.String("/a/b/")})
		require.NoError(e.t, err)
		return works(e)
	},
	"DetachWhatRolesGaveBefore":           afterTheRoleChanged("policy_arns", roleBoundary),
	"RemoveFromGroupsThatRolesGaveBefore": afterTheRoleChanged("iam_groups", groupOfARole),
	"MakeUsersWithinBoundariesOnly":       issueAndRevoke(map[string]any{"permissions_boundary_arn": roleBoundary}),
	"TellGoneFromDenied": changedByHand(func(e *env, l lease) { e.deleteByHand(l.username()) }).then(func(e *env) error {
		if e.aws.Count("CreateUser") > 0 {
			return errors.New("a bare user was made to find out")
		}
		return nil
	}),
	"CompareUserIds": func(e *env) func() error {
		return func() error {
			l, err := e.tryIssue("app")
			if err != nil {
				return err
			}
			e.deleteByHand(l.username())
			e.strangerNamed(l.username())
			return e.revoke(l) // at once: later a list of all users would tell, too
		}
	},
	"FindRenamedUsers": changedByHand(func(e *env, l lease) {
		_, err := e.byHand().UpdateUser(e.t.Context(), &iam.UpdateUserInput{UserName: aws.String(l.username()), NewUserName: aws.String("renamed")})
		require.NoError(e.t, err)
	}).then(func(e *env) error {
		if e.aws.Count("ListUsers") > 0 {
			return errors.New("all users of the account were listed to find one")
		}
		return noneLeft(e)
	}),
	"ListUsersForTidy": afterRestore(nil),
	"TellTheAccountsHeadroom": func(e *env) func() error {
		return func() error {
			if status := e.read("status/default"); status[fieldAccountHeadroom] == nil {
				return fmt.Errorf("the headroom is not known: %s", status[fieldAccountError])
			}
			return nil
		}
	},
	"EmptyUsersThatOthersChanged": changedByHand(hang("attached policy", "login profile", "MFA device",
		"service-specific credential", "SSH public key", "signing certificate")),
	"DeleteTheirVirtualMFADevices": changedByHand(hang("MFA device")).then(func(e *env) error {
		_, err := e.byHand().CreateVirtualMFADevice(e.t.Context(), &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("by-hand")})
		return err // the name is free only if the device is gone
	}),
	"RotateItsOwnKey": func(e *env) func() error {
		return func() error {
			resp, err := e.do(logical.UpdateOperation, "rotate-root", nil)
			if err == nil {
				err = resp.Error()
			}
			e.pass(10 * time.Minute) // the old key is deleted when nothing uses it any more
			if user, _ := e.acct.User("exact"); len(user.AccessKeys) != 1 {
				err = errors.Join(err, fmt.Errorf("the user has %d keys", len(user.AccessKeys)))
			}
			return err
		}
	},
	"AssumeTheRolesOfBorrowers": func(e *env) func() error {
		trusted := "arn:aws:iam::" + testAccount + ":root"
		for _, account := range []string{otherAccount, "777788889999"} {
			role := e.aws.Account(account).AddRole("vault", trusted, corePolicy)
			e.write("config/a"+account, e.borrowing(defaultIntegration, map[string]any{"role_arn": role, "verify_connection": false}))
			e.write("roles/a"+account, map[string]any{"integration": "a" + account, "policy_document": testPolicy})
		}
		return func() error {
			_, err := e.tryIssue("a" + otherAccount)
			_, other := e.tryIssue("a777788889999")
			return errors.Join(err, other)
		}
	},
	"FindTheGroupsOfUsers": afterRestore(map[string]any{"iam_groups": groupOfARole}),
}

// afterTheRoleChanged issues a user and has its role give something else before
// the policy is read.
func afterTheRoleChanged(field, value string) permissionScene {
	return func(e *env) func() error {
		issueAndRevoke(map[string]any{field: value})(e)
		l := e.issue("app", nil)
		e.write("roles/app", map[string]any{field: ""})
		return func() error { return e.revoke(l) }
	}
}
