package awsfake_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestErrors: what each action answers when what it names is not there, or what it is given is
// wrong. The account has the users bob and eve and the role r.
func TestErrors(t *testing.T) {
	w := newWorld(t)
	acct := w.Account(testAccount)
	acct.AddUser("/", "bob")
	acct.AddUser("/", "eve")
	acct.AddRole("r", "arn:aws:iam::"+testAccount+":root")
	s := &subject{backend: backend{iam: w.root()}}
	const arn = "arn:aws:iam::111122223333:policy/none"
	const doc = `&PolicyName=p&PolicyDocument={"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`
	for query, want := range map[string]string{
		"Action=UpdateUser&UserName=no&NewUserName=x":                                                                         "NoSuchEntity",
		"Action=UpdateUser&UserName=bob&NewUserName=EVE":                                                                      "EntityAlreadyExists",
		"Action=UpdateUser&UserName=bob&NewPath=x":                                                                            "ValidationError",
		"Action=DeleteUser":                                                                                                   "ValidationError",
		"Action=DeleteUser&UserName=no":                                                                                       "NoSuchEntity",
		"Action=DeleteUser&UserName=BOB":                                                                                      "NoSuchEntity",
		"Action=TagUser&UserName=no&Tags.member.1.Key=k&Tags.member.1.Value=v":                                                "NoSuchEntity",
		"Action=UntagUser&UserName=no&TagKeys.member.1=k":                                                                     "NoSuchEntity",
		"Action=ListUserTags&UserName=no":                                                                                     "NoSuchEntity",
		"Action=ListUsers&PathPrefix=vault":                                                                                   "ValidationError",
		"Action=PutUserPolicy&UserName=no" + doc:                                                                              "NoSuchEntity",
		"Action=GetUserPolicy&UserName=no&PolicyName=p":                                                                       "NoSuchEntity",
		"Action=GetUserPolicy&UserName=bob&PolicyName=p":                                                                      "NoSuchEntity",
		"Action=DeleteUserPolicy&UserName=no&PolicyName=p":                                                                    "NoSuchEntity",
		"Action=ListUserPolicies&UserName=no":                                                                                 "NoSuchEntity",
		"Action=AttachUserPolicy&UserName=no&PolicyArn=" + arn:                                                                "NoSuchEntity",
		"Action=AttachUserPolicy&UserName=bob&PolicyArn=ReadOnlyAccess/but/no/arn":                                            "InvalidInput",
		"Action=AttachUserPolicy&UserName=bob&PolicyArn=short":                                                                "ValidationError",
		"Action=DetachUserPolicy&UserName=no&PolicyArn=" + arn:                                                                "NoSuchEntity",
		"Action=ListAttachedUserPolicies&UserName=no":                                                                         "NoSuchEntity",
		"Action=PutUserPermissionsBoundary&UserName=no&PermissionsBoundary=" + arn:                                            "NoSuchEntity",
		"Action=PutUserPermissionsBoundary&UserName=bob&PermissionsBoundary=" + arn:                                           "NoSuchEntity",
		"Action=DeleteUserPermissionsBoundary&UserName=no":                                                                    "NoSuchEntity",
		"Action=DeleteUserPermissionsBoundary&UserName=bob":                                                                   "NoSuchEntity",
		"Action=GetPolicy&PolicyArn=" + arn:                                                                                   "NoSuchEntity",
		"Action=DeletePolicy&PolicyArn=" + arn:                                                                                "NoSuchEntity",
		"Action=CreateAccessKey":                                                                                              "ValidationError",
		"Action=UpdateAccessKey&UserName=bob&AccessKeyId=AKIAIOSFODNN7EXAMPLE&Status=Off":                                     "ValidationError",
		"Action=UpdateAccessKey&UserName=bob&AccessKeyId=AKIAIOSFODNN7EXAMPLE&Status=Active":                                  "NoSuchEntity",
		"Action=DeleteAccessKey&UserName=no&AccessKeyId=AKIAIOSFODNN7EXAMPLE":                                                 "NoSuchEntity",
		"Action=DeleteAccessKey&UserName=bob&AccessKeyId=short":                                                               "ValidationError",
		"Action=ListAccessKeys&UserName=no":                                                                                   "NoSuchEntity",
		"Action=GetGroup&GroupName=no":                                                                                        "NoSuchEntity",
		"Action=DeleteGroup&GroupName=no":                                                                                     "NoSuchEntity",
		"Action=RemoveUserFromGroup&GroupName=no&UserName=bob":                                                                "NoSuchEntity",
		"Action=ListGroupsForUser&UserName=no":                                                                                "NoSuchEntity",
		"Action=PutGroupPolicy&GroupName=no" + doc:                                                                            "NoSuchEntity",
		"Action=DeleteGroupPolicy&GroupName=no&PolicyName=p":                                                                  "NoSuchEntity",
		"Action=CreateLoginProfile&UserName=no&Password=longenough":                                                           "NoSuchEntity",
		"Action=CreateLoginProfile&UserName=bob&Password=short":                                                               "PasswordPolicyViolation",
		"Action=GetLoginProfile&UserName=bob":                                                                                 "NoSuchEntity",
		"Action=DeleteLoginProfile&UserName=no":                                                                               "NoSuchEntity",
		"Action=UploadSigningCertificate&UserName=no&CertificateBody=x":                                                       "NoSuchEntity",
		"Action=ListSigningCertificates&UserName=no":                                                                          "NoSuchEntity",
		"Action=DeleteSigningCertificate&UserName=bob&CertificateId=X":                                                        "NoSuchEntity",
		"Action=UploadSSHPublicKey&UserName=bob&SSHPublicKeyBody=ssh-rsa":                                                     "InvalidPublicKey",
		"Action=UploadSSHPublicKey&UserName=bob&SSHPublicKeyBody=ssh-rsa bm9uZQ==":                                            "InvalidPublicKey",
		"Action=DeleteSSHPublicKey&UserName=bob&SSHPublicKeyId=X":                                                             "NoSuchEntity",
		"Action=DeleteServiceSpecificCredential&UserName=bob&ServiceSpecificCredentialId=X":                                   "NoSuchEntity",
		"Action=EnableMFADevice&UserName=bob&SerialNumber=GAHT12345678&AuthenticationCode1=1&AuthenticationCode2=2":           "ValidationError",
		"Action=EnableMFADevice&UserName=bob&SerialNumber=GAHT12345678&AuthenticationCode1=111111&AuthenticationCode2=222222": "NoSuchEntity",
		"Action=DeactivateMFADevice&UserName=bob&SerialNumber=GAHT12345678":                                                   "NoSuchEntity",
		"Action=DeleteVirtualMFADevice&SerialNumber=GAHT12345678":                                                             "NoSuchEntity",
		"Action=CreateRole&RoleName=R&AssumeRolePolicyDocument={}":                                                            "EntityAlreadyExists",
		"Action=CreateRole&RoleName=x&AssumeRolePolicyDocument={}":                                                            "MalformedPolicyDocument",
		`Action=CreateRole&RoleName=x&AssumeRolePolicyDocument={"Statement":{"Effect":"Allow","Action":"sts:AssumeRole"}}`:    "MalformedPolicyDocument",
		`Action=CreateRole&RoleName=x&AssumeRolePolicyDocument={"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Planet":"mars"}}}`:        "MalformedPolicyDocument",
		`Action=CreateRole&RoleName=x&AssumeRolePolicyDocument={"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*","Resource":"*"}}`:       "MalformedPolicyDocument",
		`Action=CreateRole&RoleName=x&MaxSessionDuration=1&AssumeRolePolicyDocument={"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*"}}`: "ValidationError",
		"Action=PutRolePolicy&RoleName=no" + doc:           "NoSuchEntity",
		"Action=DeleteRolePolicy&RoleName=r&PolicyName=no": "NoSuchEntity",
		"Action=DeleteRole&RoleName=no":                    "NoSuchEntity",
		"Action=GetCallerIdentity":                         "InvalidAction",
		"Action=":                                          "InvalidAction",
	} {
		t.Run(query, func(t *testing.T) {
			status, body := s.raw(t, "iam", query+"&Version=2010-05-08")
			require.GreaterOrEqual(t, status, http.StatusBadRequest)
			require.Contains(t, body, "<Code>"+want+"</Code>")
		})
	}
}

// TestTrustPoliciesMayHaveAnID, unlike identity policies.
func TestTrustPoliciesMayHaveAnID(t *testing.T) {
	w := newWorld(t)
	w.Account(testAccount)
	s := &subject{backend: backend{iam: w.root()}}
	status, body := s.raw(t, "iam", "Action=CreateRole&Version=2010-05-08&RoleName=x&AssumeRolePolicyDocument="+
		`{"Id":"mine","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*"}}`)
	require.Equal(t, http.StatusOK, status, body)
}
