package awsiam

// required are the statements without which the engine, or something that a role
// asks for, does not work. Each permission is narrowed as far as IAM can (service
// authorization reference, "Actions, resources, and condition keys for IAM").
func (n *needs) required() []permission {
	var statements []permission
	if !n.lendsOnly() {
		statements = n.core()
	}
	if len(n.lentRoles) > 0 {
		statements = append(statements, permission{
			uses: "`source_integration` of others that have a `role_arn`",
			Sid:  "AssumeTheRolesOfBorrowers", Action: []string{"sts:AssumeRole"}, Resource: n.lentRoles,
		})
	}
	if n.tags {
		statements = append(statements, permission{
			uses: "`iam_tags`",
			Sid:  "TagUsersAsRolesSay", Action: []string{"iam:TagUser"}, Resource: n.users(),
		})
	}
	if len(n.policyARNs) > 0 {
		statements = append(statements, permission{
			uses: "`policy_arns`",
			Sid:  "AttachThePoliciesOfRoles", Action: []string{"iam:AttachUserPolicy", "iam:DetachUserPolicy"}, Resource: n.users(),
			Condition: onlyPolicies(n.policyARNs),
		})
	}
	if len(n.groups) > 0 {
		statements = append(statements, permission{
			uses: "`iam_groups`",
			Sid:  "AddUsersToTheGroupsOfRoles", Action: []string{"iam:AddUserToGroup", "iam:RemoveUserFromGroup"}, Resource: n.groupARNs(n.groups),
		})
	}
	if len(n.formerPolicyARNs) > 0 {
		statements = append(statements, permission{
			uses: "users issued before a role's `policy_arns` changed",
			Sid:  "DetachWhatRolesGaveBefore", Action: []string{"iam:DetachUserPolicy"}, Resource: n.users(),
			Condition: onlyPolicies(n.formerPolicyARNs),
		})
	}
	if len(n.formerGroups) > 0 {
		statements = append(statements, permission{
			uses: "users issued before a role's `iam_groups` changed",
			Sid:  "RemoveFromGroupsThatRolesGaveBefore", Action: []string{"iam:RemoveUserFromGroup"}, Resource: n.groupARNs(n.formerGroups),
		})
	}
	if n.rotates && n.roleARN == "" {
		statements = append(statements, n.rotateOwnKey())
	}
	return statements
}

// rotateOwnKey is for the user whose key it is, which is not among those that the
// engine makes.
func (n *needs) rotateOwnKey() permission {
	return permission{
		uses: "`rotate-root`; required with `rotation_period`",
		Sid:  "RotateItsOwnKey", Action: []string{"iam:ListAccessKeys", "iam:CreateAccessKey", "iam:DeleteAccessKey"}, Resource: n.keyOwner,
	}
}

// core are the eight actions that make and delete users. Where every role has a
// permissions boundary they make and empower no user without one, so that the
// integration's own key is worth no more than the boundaries. To make a bare
// user, by which the engine tells gone from denied, is denied then: it has to be
// allowed to ask by name instead.
func (n *needs) core() []permission {
	empower := []string{"iam:CreateUser", "iam:PutUserPolicy"}
	others := []string{
		"iam:CreateAccessKey", "iam:ListAccessKeys", "iam:ListUserPolicies",
		"iam:DeleteAccessKey", "iam:DeleteUserPolicy", "iam:DeleteUser",
	}
	if !n.bounded() {
		return []permission{{
			uses: "every role",
			Sid:  "MakeAndDeleteUsers", Action: append(empower, others...), Resource: n.users(),
		}}
	}
	byName := n.tellGoneFromDenied()
	byName.uses = boundaryUses
	return []permission{
		{uses: "every role", Sid: "MakeAndDeleteUsers", Action: others, Resource: n.users()},
		{
			uses: boundaryUses,
			Sid:  "MakeUsersWithinBoundariesOnly", Action: empower, Resource: n.users(),
			Condition: map[string]map[string][]string{"StringEquals": {"iam:PermissionsBoundary": n.boundaries}},
		},
		byName,
	}
}

const boundaryUses = "`permissions_boundary_arn`, where every role has one"

func (n *needs) tellGoneFromDenied() permission {
	return permission{
		uses: "telling a user that is gone from one that may not be deleted, without making a bare user of its name",
		Sid:  "TellGoneFromDenied", Action: []string{"iam:ListAccessKeys"}, Resource: n.usersByName(),
	}
}

func onlyPolicies(arns []string) map[string]map[string][]string {
	return map[string]map[string][]string{"ArnEquals": {"iam:PolicyARN": arns}}
}

// optional are the statements that help with what others have done to users, or
// to Vault.
func (n *needs) optional() []permission {
	var statements []permission
	if len(n.keyOwner) > 0 && n.roleARN == "" && !n.rotates {
		statements = append(statements, n.rotateOwnKey())
	}
	if n.lendsOnly() {
		return statements
	}
	if !n.bounded() {
		statements = append(statements, n.tellGoneFromDenied())
	}
	empty := permission{
		uses: "deleting users to which people, or AWS on finding a key in public, have attached policies, or given a console login, MFA devices, SSH keys, certificates or service credentials",
		Sid:  "EmptyUsersThatOthersChanged", Resource: n.users(),
		Action: []string{
			"iam:ListAttachedUserPolicies", "iam:DetachUserPolicy", "iam:DeleteLoginProfile",
			"iam:ListMFADevices", "iam:DeactivateMFADevice", "iam:ListSSHPublicKeys", "iam:DeleteSSHPublicKey",
			"iam:ListSigningCertificates", "iam:DeleteSigningCertificate",
			"iam:ListServiceSpecificCredentials", "iam:DeleteServiceSpecificCredential",
		},
	}
	statements = append(statements,
		permission{
			uses: "telling our users from others of the same name by their id",
			Sid:  "CompareUserIds", Action: []string{"iam:GetUser"}, Resource: n.users(),
		},
		permission{
			uses: "finding users that somebody has renamed",
			Sid:  "FindRenamedUsers", Action: []string{"iam:GetAccessKeyLastUsed"}, Resource: n.users(),
		},
		permission{
			uses: "`tidy`, and finding users that were renamed after their key was gone; it can be granted on `*` only",
			Sid:  "ListUsersForTidy", Action: []string{"iam:ListUsers"}, Resource: []string{"*"},
		},
		permission{
			uses: "the number of users that the account has left, in `status`; it can be granted on `*` only",
			Sid:  "TellTheAccountsHeadroom", Action: []string{"iam:GetAccountSummary"}, Resource: []string{"*"},
		},
		empty,
		permission{
			uses: "deleting the virtual MFA devices of such users, too, which are of no use any more",
			Sid:  "DeleteTheirVirtualMFADevices", Action: []string{"iam:DeleteVirtualMFADevice"}, Resource: []string{n.arn("mfa/*")},
		})
	if len(n.groups)+len(n.formerGroups) > 0 {
		statements = append(statements, permission{
			uses: "deleting users of which no record tells that they are in a role's groups, as `tidy` does",
			Sid:  "FindTheGroupsOfUsers", Action: []string{"iam:ListGroupsForUser"}, Resource: n.users(),
		})
	}
	return statements
}

// source are the statements for the identity that assumes the integration's role.
func (n *needs) source() []permission {
	if n.roleARN == "" || n.federated {
		return nil
	}
	statements := []permission{{
		uses: "`role_arn`; for the identity that assumes the role, whose own policy is the above",
		Sid:  "AssumeTheIntegrationsRole", Action: []string{"sts:AssumeRole"}, Resource: []string{n.roleARN},
	}}
	if n.rotates && len(n.keyOwner) > 0 {
		statements = append(statements, n.rotateOwnKey())
	}
	return statements
}
