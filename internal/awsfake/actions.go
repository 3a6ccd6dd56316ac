package awsfake

// iamActions is all of IAM that this AWS knows. What an action is authorized on is as in the service
// authorization reference for IAM.
var iamActions = map[string]action{
	"CreateUser":   {createUser, onNewUser, []string{"UserName"}},
	"GetUser":      {getUser, onUser, nil},
	"UpdateUser":   {updateUser, onOldAndNewUser, []string{"UserName"}},
	"DeleteUser":   {deleteUser, onUser, []string{"UserName"}},
	"ListUsers":    {listUsers, onAnything, nil},
	"TagUser":      {tagUser, onUser, []string{"UserName", "Tags.member.1.Key"}},
	"UntagUser":    {untagUser, onUser, []string{"UserName", "TagKeys.member.1"}},
	"ListUserTags": {listUserTags, onUser, []string{"UserName"}},

	"PutUserPolicy":    {putUserPolicy, onUser, []string{"UserName", "PolicyName", "PolicyDocument"}},
	"GetUserPolicy":    {getUserPolicy, onUser, []string{"UserName", "PolicyName"}},
	"DeleteUserPolicy": {deleteUserPolicy, onUser, []string{"UserName", "PolicyName"}},
	"ListUserPolicies": {listUserPolicies, onUser, []string{"UserName"}},

	"AttachUserPolicy":              {attachUserPolicy, onUser, []string{"UserName", "PolicyArn"}},
	"DetachUserPolicy":              {detachUserPolicy, onUser, []string{"UserName", "PolicyArn"}},
	"ListAttachedUserPolicies":      {listAttachedUserPolicies, onUser, []string{"UserName"}},
	"PutUserPermissionsBoundary":    {putUserPermissionsBoundary, onUser, []string{"UserName", "PermissionsBoundary"}},
	"DeleteUserPermissionsBoundary": {deleteUserPermissionsBoundary, onUser, []string{"UserName"}},
	"CreatePolicy":                  {createPolicy, onNewPolicy, []string{"PolicyName", "PolicyDocument"}},
	"GetPolicy":                     {getPolicy, onPolicy, []string{"PolicyArn"}},
	"DeletePolicy":                  {deletePolicy, onPolicy, []string{"PolicyArn"}},

	"CreateAccessKey":      {createAccessKey, onUser, nil},
	"UpdateAccessKey":      {updateAccessKey, onUser, []string{"AccessKeyId", "Status"}},
	"DeleteAccessKey":      {deleteAccessKey, onUser, []string{"AccessKeyId"}},
	"ListAccessKeys":       {listAccessKeys, onUser, nil},
	"GetAccessKeyLastUsed": {getAccessKeyLastUsed, onKeyOwner, []string{"AccessKeyId"}},

	"CreateGroup":         {createGroup, onNewGroup, []string{"GroupName"}},
	"GetGroup":            {getGroup, onGroup, []string{"GroupName"}},
	"DeleteGroup":         {deleteGroup, onGroup, []string{"GroupName"}},
	"ListGroups":          {listGroups, onAnything, nil},
	"AddUserToGroup":      {addUserToGroup, onGroup, []string{"GroupName", "UserName"}},
	"RemoveUserFromGroup": {removeUserFromGroup, onGroup, []string{"GroupName", "UserName"}},
	"ListGroupsForUser":   {listGroupsForUser, onUser, []string{"UserName"}},
	"PutGroupPolicy":      {putGroupPolicy, onGroup, []string{"GroupName", "PolicyName", "PolicyDocument"}},
	"DeleteGroupPolicy":   {deleteGroupPolicy, onGroup, []string{"GroupName", "PolicyName"}},

	"CreateLoginProfile":              {createLoginProfile, onUser, []string{"Password"}},
	"GetLoginProfile":                 {getLoginProfile, onUser, nil},
	"DeleteLoginProfile":              {deleteLoginProfile, onUser, nil},
	"UploadSigningCertificate":        {uploadSigningCertificate, onUser, []string{"CertificateBody"}},
	"ListSigningCertificates":         {listSigningCertificates, onUser, nil},
	"DeleteSigningCertificate":        {deleteSigningCertificate, onUser, []string{"CertificateId"}},
	"UploadSSHPublicKey":              {uploadSSHPublicKey, onUser, []string{"UserName", "SSHPublicKeyBody"}},
	"ListSSHPublicKeys":               {listSSHPublicKeys, onUser, nil},
	"DeleteSSHPublicKey":              {deleteSSHPublicKey, onUser, []string{"UserName", "SSHPublicKeyId"}},
	"CreateServiceSpecificCredential": {createServiceCredential, onUser, []string{"UserName", "ServiceName"}},
	"ListServiceSpecificCredentials":  {listServiceCredentials, onUser, nil},
	"DeleteServiceSpecificCredential": {deleteServiceCredential, onUser, []string{"ServiceSpecificCredentialId"}},

	"CreateVirtualMFADevice": {createVirtualMFADevice, onNewMFA, []string{"VirtualMFADeviceName"}},
	"EnableMFADevice":        {enableMFADevice, onUser, []string{"UserName", "SerialNumber", "AuthenticationCode1", "AuthenticationCode2"}},
	"DeactivateMFADevice":    {deactivateMFADevice, onUser, []string{"SerialNumber"}},
	"DeleteVirtualMFADevice": {deleteVirtualMFADevice, onMFA, []string{"SerialNumber"}},
	"ListMFADevices":         {listMFADevices, onUser, nil},
	"ListVirtualMFADevices":  {listVirtualMFADevices, onAnything, nil},

	"GetAccountSummary": {getAccountSummary, onAnything, nil},
	"CreateRole":        {createRole, onNewRole, []string{"RoleName", "AssumeRolePolicyDocument"}},
	"GetRole":           {getRole, onRole, []string{"RoleName"}},
	"DeleteRole":        {deleteRole, onRole, []string{"RoleName"}},
	"PutRolePolicy":     {putRolePolicy, onRole, []string{"RoleName", "PolicyName", "PolicyDocument"}},
	"DeleteRolePolicy":  {deleteRolePolicy, onRole, []string{"RoleName", "PolicyName"}},
}

// stsActions are beyond identity policies, but for AssumeRole, which asks the role's trust policy too.
// AssumeRoleWithWebIdentity asks that alone.
var stsActions = map[string]action{
	"GetCallerIdentity": {do: getCallerIdentity},
	"GetSessionToken":   {do: getSessionToken},
	"AssumeRole":        {do: assumeRole, required: []string{"RoleArn", "RoleSessionName"}},
	webIdentity:         {do: assumeRoleWithWebIdentity, required: []string{"RoleArn", "RoleSessionName", "WebIdentityToken"}},
}

// webIdentity is the one action that is answered whoever asks, and whose signature is not looked at.
const webIdentity = "AssumeRoleWithWebIdentity"

// notInChina are calls that answer InvalidAction there, since CodeCommit does not exist in China.
var notInChina = map[string]bool{"UploadSSHPublicKey": true, "ListSSHPublicKeys": true, "DeleteSSHPublicKey": true}

func onAnything(*request) []string { return []string{"*"} }

// onUser is the user's ARN with its path. A user that does not exist, or not yet for this caller, has
// no path and is judged without: a policy that is scoped to a path answers AccessDenied then.
func onUser(q *request) []string {
	if name := q.get("UserName"); name != "" {
		if u := q.acct.userByName(name); u == nil || !q.sees(u) {
			return []string{q.acct.arn("user", "/", name)}
		}
	}
	u, err := q.user()
	if err != nil {
		return []string{q.caller.arn()}
	}
	return []string{u.arn()}
}

func onNewUser(q *request) []string {
	return []string{q.acct.arn("user", q.path("Path"), q.get("UserName"))}
}

func onKeyOwner(q *request) []string {
	if k := q.aws.keys[q.get("AccessKeyId")]; k != nil && k.who.acct == q.acct && k.who.user != nil {
		return []string{k.who.user.arn()}
	}
	return []string{"access key " + q.get("AccessKeyId")}
}

func onNewGroup(q *request) []string {
	return []string{q.acct.arn("group", q.path("Path"), q.get("GroupName"))}
}

func onGroup(q *request) []string {
	if g := q.acct.groupByName(q.get("GroupName")); g != nil {
		return []string{g.arn()}
	}
	return []string{q.acct.arn("group", "/", q.get("GroupName"))}
}

func onNewRole(q *request) []string {
	return []string{q.acct.arn("role", q.path("Path"), q.get("RoleName"))}
}

func onRole(q *request) []string {
	if r := q.acct.roleByName(q.get("RoleName")); r != nil {
		return []string{r.arn()}
	}
	return []string{q.acct.arn("role", "/", q.get("RoleName"))}
}

func onNewPolicy(q *request) []string {
	return []string{q.acct.arn("policy", q.path("Path"), q.get("PolicyName"))}
}

func onPolicy(q *request) []string { return []string{q.get("PolicyArn")} }

func onNewMFA(q *request) []string {
	return []string{q.acct.arn("mfa", q.path("Path"), q.get("VirtualMFADeviceName"))}
}

func onMFA(q *request) []string { return []string{q.get("SerialNumber")} }

// path is a Path parameter, "/" by default.
func (q *request) path(name string) string {
	if p := q.get(name); p != "" {
		return p
	}
	return "/"
}
