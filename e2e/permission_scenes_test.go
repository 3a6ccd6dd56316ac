package e2e

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

// permissionScene sets up what a statement of the policies is for, with an
// integration that may do everything, and returns the proof that it works.
type permissionScene func(m *mount) (works func() error)

const (
	sceneGroup  = "of-a-role"
	scenePolicy = "arn:aws:iam::" + account + ":policy/of-a-role"
)

// permissionScenes has a scene for each statement that the README shows, by its name.
var permissionScenes = map[string]permissionScene{
	"MakeAndDeleteUsers":                  changedByHand("access key", "inline policy"),
	"TagUsersAsRolesSay":                  issueAndRevoke("iam_tags", map[string]any{"team": "blue"}),
	"AttachThePoliciesOfRoles":            issueAndRevoke("policy_arns", scenePolicy),
	"AddUsersToTheGroupsOfRoles":          issueAndRevoke("iam_groups", sceneGroup),
	"DetachWhatRolesGaveBefore":           afterTheRoleChanged("policy_arns", scenePolicy),
	"RemoveFromGroupsThatRolesGaveBefore": afterTheRoleChanged("iam_groups", sceneGroup),
	"MakeUsersWithinBoundariesOnly":       issueAndRevoke("permissions_boundary_arn", scenePolicy),
	"AssumeTheIntegrationsRole":           throughARole,
	"AssumeTheRolesOfBorrowers":           lent,
	"TellGoneFromDenied":                  deletedByHand,
	"RotateItsOwnKey":                     rotate,
	"CompareUserIds":                      namedAsAStranger,
	"FindRenamedUsers":                    renamed,
	"ListUsersForTidy":                    tidied("policy_document", listGroups),
	"TellTheAccountsHeadroom": func(m *mount) func() error {
		return func() error {
			if status := m.read("status/default"); status["account_headroom"] == nil {
				return fmt.Errorf("the headroom is not known: %s", status["account_error"])
			}
			return nil
		}
	},
	"EmptyUsersThatOthersChanged": changedByHand("attached policy", "login profile", "MFA device",
		"SSH public key", "signing certificate", "service-specific credential"),
	"DeleteTheirVirtualMFADevices": withMFADevice,
	"FindTheGroupsOfUsers":         tidied("iam_groups", sceneGroup),
}

// withoutAWord are statements without which the engine does what it can, and what is
// to be seen then.
var withoutAWord = map[string]string{
	"TellGoneFromDenied":           "a bare user was made",
	"FindRenamedUsers":             "all users were listed to find it",
	"DeleteTheirVirtualMFADevices": "MFADevice entity at the same path and name already exists",
}

func writeSceneRole(m *mount, field string, value any) {
	acct := m.aws.Account(account)
	acct.AddManagedPolicy("/", "of-a-role", listUsers)
	acct.AddGroup(sceneGroup, listUsers)
	role := map[string]any{"policy_document": listGroups}
	role[field] = value
	m.write("roles/app", role)
}

func issueAndRevoke(field string, value any) permissionScene {
	return func(m *mount) func() error {
		writeSceneRole(m, field, value)
		return func() error { return m.issueThenRevoke(nil) }
	}
}

// issueThenRevoke revokes a lease to whose user something was done.
func (m *mount) issueThenRevoke(do func(credential)) error {
	c, err := m.tryIssue(m.server.RootToken, "app")
	if err != nil {
		return err
	}
	if do != nil {
		do(c)
		m.age(c)
		m.aws.ResetCalls()
	}
	return m.revoke(c)
}

// afterTheRoleChanged revokes a user that has something of its role which that does
// not give any more.
func afterTheRoleChanged(field string, value any) permissionScene {
	return func(m *mount) func() error {
		writeSceneRole(m, field, value)
		c := m.issue("app")
		m.write("roles/app", map[string]any{field: ""})
		return func() error { return m.revoke(c) }
	}
}

func changedByHand(kinds ...string) permissionScene {
	return func(m *mount) func() error {
		return func() error {
			return m.issueThenRevoke(func(c credential) {
				for _, kind := range kinds {
					require.NoError(m.t, hang[kind](m.t.Context(), m.aws.byHand(account), &c.Username))
				}
			})
		}
	}
}

func deletedByHand(m *mount) func() error {
	return func() error {
		err := m.issueThenRevoke(func(c credential) { m.deleteByHand(c.Username) })
		if m.aws.Count("CreateUser") > 0 {
			err = errors.Join(err, errors.New("a bare user was made to find out"))
		}
		return err
	}
}

func namedAsAStranger(m *mount) func() error {
	return func() error {
		c, err := m.tryIssue(m.server.RootToken, "app")
		if err != nil {
			return err
		}
		m.deleteByHand(c.Username)
		m.aws.Account(account).AddUser(m.userPath, c.Username, listUsers)
		return m.revoke(c) // at once: later a list of all users would tell, too
	}
}

func renamed(m *mount) func() error {
	return func() error {
		err := m.issueThenRevoke(func(c credential) {
			_, err := m.aws.byHand(account).UpdateUser(m.t.Context(), &iam.UpdateUserInput{UserName: &c.Username, NewUserName: aws.String("renamed")})
			require.NoError(m.t, err)
		})
		if m.aws.Count("ListUsers") > 0 {
			err = errors.Join(err, errors.New("all users were listed to find it"))
		}
		return errors.Join(err, m.noneLeft())
	}
}

func (m *mount) noneLeft() error {
	if names := m.userNames(); len(names) > 0 {
		return fmt.Errorf("left behind: %v", names)
	}
	return nil
}

func withMFADevice(m *mount) func() error {
	works := changedByHand("MFA device")(m)
	return func() error {
		err := works()
		// The name is free only if the device is gone.
		_, taken := m.aws.byHand(account).CreateVirtualMFADevice(m.t.Context(), &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("by-hand")})
		return errors.Join(err, taken)
	}
}

// tidied has tidy find and delete a user that no record knows.
func tidied(field string, value any) permissionScene {
	return func(m *mount) func() error {
		writeSceneRole(m, field, value)
		return func() error {
			c, err := m.tryIssue(m.server.RootToken, "app")
			if err != nil {
				return err
			}
			m.forget(c)
			status := m.tidy(map[string]any{"dry_run": false, "safety_buffer": 0})
			if err := m.noneLeft(); err != nil {
				record, _ := m.record(c.Username) // of tidy, if it has come so far
				return fmt.Errorf("%w: %v, %v", err, status["error"], record["last_error"])
			}
			return nil
		}
	}
}

func rotate(m *mount) func() error {
	return func() error {
		_, err := m.tryWrite("rotate-root", nil)
		return err
	}
}

// throughARole has the integration assume a role in another account.
func throughARole(m *mount) func() error {
	user, found := m.aws.Account(account).User(m.aws.ownerOf(m.key))
	require.True(m.t, found)
	role := m.aws.Account(otherAccount).AddRole("vault", user.ARN, corePolicy)
	m.write("config", map[string]any{"role_arn": role})
	return func() error { return m.issueThenRevoke(nil) }
}

// lent has an integration of another account borrow the key.
func lent(m *mount) func() error {
	role := m.aws.Account(otherAccount).AddRole("vault", "arn:aws:iam::"+account+":root", corePolicy)
	endpoints := m.read("config")
	m.write("config/borrower", map[string]any{
		"source_integration": "default", "role_arn": role,
		"iam_endpoint": endpoints["iam_endpoint"], "sts_endpoint": endpoints["sts_endpoint"],
	})
	m.write("roles/app", map[string]any{"integration": "borrower", "policy_document": listGroups})
	return func() error { return m.issueThenRevoke(nil) }
}

// leaseOnly is a credential of which nothing but the lease is known.
func leaseOnly(id string) credential { return credential{lease: &api.Secret{LeaseID: id}} }
