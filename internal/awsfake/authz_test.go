package awsfake_test

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/stretchr/testify/require"
)

// call is an IAM call on one of the things that authzWorld makes.
type call func(context.Context, *iam.Client) error

func get(user string) call {
	return func(ctx context.Context, c *iam.Client) error {
		_, err := c.GetUser(ctx, &iam.GetUserInput{UserName: &user})
		return err
	}
}

func create(path, user string, change ...func(*iam.CreateUserInput)) call {
	return func(ctx context.Context, c *iam.Client) error {
		in := &iam.CreateUserInput{UserName: &user, Path: &path}
		for _, f := range change {
			f(in)
		}
		_, err := c.CreateUser(ctx, in)
		return err
	}
}

func withTag(key, value string) func(*iam.CreateUserInput) {
	return func(in *iam.CreateUserInput) { in.Tags = append(in.Tags, types.Tag{Key: &key, Value: &value}) }
}

func withBoundary(arn string) func(*iam.CreateUserInput) {
	return func(in *iam.CreateUserInput) { in.PermissionsBoundary = &arn }
}

func attach(user, arn string) call {
	return func(ctx context.Context, c *iam.Client) error {
		_, err := c.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &user, PolicyArn: &arn})
		return err
	}
}

func move(user, toPath string) call {
	return func(ctx context.Context, c *iam.Client) error {
		_, err := c.UpdateUser(ctx, &iam.UpdateUserInput{UserName: &user, NewPath: &toPath})
		return err
	}
}

func join(user, group string) call {
	return func(ctx context.Context, c *iam.Client) error {
		_, err := c.AddUserToGroup(ctx, &iam.AddUserToGroupInput{UserName: &user, GroupName: &group})
		return err
	}
}

func leave(user, group string) call {
	return func(ctx context.Context, c *iam.Client) error {
		_, err := c.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: &user, GroupName: &group})
		return err
	}
}

func listUsers(ctx context.Context, c *iam.Client) error {
	_, err := c.ListUsers(ctx, &iam.ListUsersInput{PathPrefix: aws.String("/vault/")})
	return err
}

func summary(ctx context.Context, c *iam.Client) error {
	_, err := c.GetAccountSummary(ctx, nil)
	return err
}

func deleteMFA(ctx context.Context, c *iam.Client) error {
	_, err := c.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: aws.String("arn:aws:iam::111122223333:mfa/vault/token")})
	return err
}

const (
	onVault  = "arn:aws:iam::*:user/vault/*"
	readOnly = "arn:aws:iam::aws:policy/ReadOnlyAccess"
	admin    = "arn:aws:iam::aws:policy/AdministratorAccess"
)

// TestAuthorization: one caller with the given policies makes one call in an account that holds the
// users /vault/a/bob and /staff/eve, the group ops and the MFA device /vault/token.
func TestAuthorization(t *testing.T) {
	version1 := func(statement string) string { return `{"Statement":[` + statement + `]}` }
	for name, c := range map[string]struct {
		policies []string
		call     call
		want     string
	}{
		"no policy":                            {nil, get("bob"), "AccessDenied"},
		"action and path match":                {[]string{statement("Allow", "iam:GetUser", onVault)}, get("bob"), ""},
		"another action":                       {[]string{statement("Allow", "iam:PutUserPolicy", onVault)}, get("bob"), "AccessDenied"},
		"another path":                         {[]string{statement("Allow", "iam:*", onVault)}, get("eve"), "AccessDenied"},
		"actions ignore case":                  {[]string{statement("Allow", "IAM:getuser", onVault)}, get("bob"), ""},
		"action with wildcards":                {[]string{statement("Allow", "iam:G?tU*", onVault)}, get("bob"), ""},
		"resources count case":                 {[]string{statement("Allow", "iam:*", "arn:aws:iam::*:user/VAULT/*")}, get("bob"), "AccessDenied"},
		"a star crosses slashes":               {[]string{statement("Allow", "iam:*", "arn:aws:iam::*:user/*b")}, get("bob"), ""},
		"a question mark is one character":     {[]string{statement("Allow", "iam:*", "arn:aws:iam::*:user/vault/?/b?b")}, get("bob"), ""},
		"another account":                      {[]string{statement("Allow", "iam:*", "arn:aws:iam::999999999999:user/*")}, get("bob"), "AccessDenied"},
		"explicit deny wins":                   {[]string{allowAll, statement("Deny", "iam:GetUser", onVault)}, get("bob"), "AccessDenied"},
		"a deny elsewhere does not":            {[]string{allowAll, statement("Deny", "iam:GetUser", "arn:aws:iam::*:user/staff/*")}, get("bob"), ""},
		"NotAction":                            {[]string{`{"Statement":{"Effect":"Allow","NotAction":"iam:Delete*","Resource":"*"}}`}, get("bob"), ""},
		"NotAction names it":                   {[]string{`{"Statement":{"Effect":"Allow","NotAction":["iam:Get*"],"Resource":"*"}}`}, get("bob"), "AccessDenied"},
		"NotResource":                          {[]string{`{"Statement":{"Effect":"Allow","Action":"*","NotResource":"arn:aws:iam::*:user/staff/*"}}`}, get("bob"), ""},
		"NotResource names it":                 {[]string{`{"Statement":{"Effect":"Allow","Action":"*","NotResource":"arn:aws:iam::*:user/vault/*"}}`}, get("bob"), "AccessDenied"},
		"a missing user has no path":           {[]string{statement("Allow", "iam:*", onVault)}, get("nobody"), "AccessDenied"},
		"a missing user by name":               {[]string{statement("Allow", "iam:*", "arn:aws:iam::*:user/no*")}, get("nobody"), "NoSuchEntity"},
		"creation by the path asked for":       {[]string{statement("Allow", "iam:CreateUser", onVault)}, create("/vault/b/", "new"), ""},
		"creation outside the path":            {[]string{statement("Allow", "iam:CreateUser", onVault)}, create("/", "new"), "AccessDenied"},
		"creation of a taken name":             {[]string{statement("Allow", "iam:CreateUser", onVault)}, create("/vault/", "eve"), "EntityAlreadyExists"},
		"tags need a right of their own":       {[]string{statement("Allow", "iam:CreateUser", onVault)}, create("/vault/", "new", withTag("k", "v")), "AccessDenied"},
		"tags with that right":                 {[]string{statement("Allow", "iam:CreateUser", onVault), statement("Allow", "iam:TagUser", onVault)}, create("/vault/", "new", withTag("k", "v")), ""},
		"a boundary needs none":                {[]string{statement("Allow", "iam:CreateUser", onVault)}, create("/vault/", "new", withBoundary(readOnly)), ""},
		"a boundary demanded and given":        {[]string{statement("Allow", "iam:CreateUser", onVault, `{"StringEquals":{"iam:PermissionsBoundary":"`+readOnly+`"}}`)}, create("/vault/", "new", withBoundary(readOnly)), ""},
		"a boundary demanded and not given":    {[]string{statement("Allow", "iam:CreateUser", onVault, `{"StringEquals":{"iam:PermissionsBoundary":"`+readOnly+`"}}`)}, create("/vault/", "new"), "AccessDenied"},
		"another boundary than demanded":       {[]string{statement("Allow", "iam:CreateUser", onVault, `{"StringEquals":{"iam:PermissionsBoundary":"`+readOnly+`"}}`)}, create("/vault/", "new", withBoundary(admin)), "AccessDenied"},
		"a tag demanded and given":             {[]string{statement("Allow", "iam:*", onVault, `{"StringLike":{"aws:RequestTag/team":"a*"}}`)}, create("/vault/", "new", withTag("team", "ab")), ""},
		"a tag demanded and not given":         {[]string{statement("Allow", "iam:*", onVault, `{"StringLike":{"aws:RequestTag/team":"a*"}}`)}, create("/vault/", "new"), "AccessDenied"},
		"only certain tag keys":                {[]string{statement("Allow", "iam:*", onVault, `{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}`)}, create("/vault/", "new", withTag("a", ""), withTag("c", "")), "AccessDenied"},
		"none but those tag keys":              {[]string{statement("Allow", "iam:*", onVault, `{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}`)}, create("/vault/", "new", withTag("a", "")), ""},
		"one tag key at least":                 {[]string{statement("Allow", "iam:*", onVault, `{"ForAnyValue:StringEquals":{"aws:TagKeys":"a"}}`)}, create("/vault/", "new", withTag("x", ""), withTag("a", "")), ""},
		"a tag of the user":                    {[]string{statement("Allow", "iam:*", "*", `{"StringEquals":{"aws:ResourceTag/team":"blue"}}`)}, get("bob"), ""},
		"a user without the tag":               {[]string{statement("Allow", "iam:*", "*", `{"StringEquals":{"aws:ResourceTag/team":"blue"}}`)}, get("eve"), "AccessDenied"},
		"attaching certain policies":           {[]string{statement("Allow", "iam:AttachUserPolicy", onVault, `{"ArnEquals":{"iam:PolicyARN":"`+readOnly+`"}}`)}, attach("bob", readOnly), ""},
		"attaching others":                     {[]string{statement("Allow", "iam:AttachUserPolicy", onVault, `{"ArnEquals":{"iam:PolicyARN":"`+readOnly+`"}}`)}, attach("bob", admin), "AccessDenied"},
		"groups by their own ARN":              {[]string{statement("Allow", "iam:AddUserToGroup", "arn:aws:iam::*:group/ops")}, join("bob", "ops"), ""},
		"groups not by the user's":             {[]string{statement("Allow", "iam:AddUserToGroup", onVault)}, join("bob", "ops"), "AccessDenied"},
		"leaving by the group's ARN":           {[]string{statement("Allow", "iam:RemoveUserFromGroup", "arn:aws:iam::*:group/ops")}, leave("bob", "ops"), ""},
		"leaving not by the user's":            {[]string{statement("Allow", "iam:RemoveUserFromGroup", onVault)}, leave("bob", "ops"), "AccessDenied"},
		"listing users on a path":              {[]string{statement("Allow", "iam:ListUsers", onVault)}, listUsers, "AccessDenied"},
		"listing users on all":                 {[]string{statement("Allow", "iam:ListUsers", "*")}, listUsers, ""},
		"the summary on a path":                {[]string{statement("Allow", "iam:*", "arn:aws:iam::*:*")}, summary, "AccessDenied"},
		"the summary on all":                   {[]string{statement("Allow", "iam:*", "*")}, summary, ""},
		"a device by its own ARN":              {[]string{statement("Allow", "iam:*", "arn:aws:iam::*:mfa/vault/*")}, deleteMFA, ""},
		"a device not by a user's":             {[]string{statement("Allow", "iam:*", "arn:aws:iam::*:user/*")}, deleteMFA, "AccessDenied"},
		"moving needs the old place":           {[]string{statement("Allow", "iam:UpdateUser", "arn:aws:iam::*:user/vault/b/*")}, move("bob", "/vault/b/"), "AccessDenied"},
		"moving needs the new place":           {[]string{statement("Allow", "iam:UpdateUser", "arn:aws:iam::*:user/vault/a/*")}, move("bob", "/vault/b/"), "AccessDenied"},
		"moving with both":                     {[]string{statement("Allow", "iam:UpdateUser", onVault)}, move("bob", "/vault/b/"), ""},
		"variables with a version":             {[]string{statement("Allow", "iam:*", "arn:aws:iam::*:user/ops/${aws:username}")}, get("caller"), ""},
		"variables without one are text":       {[]string{version1(`{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::*:user/ops/${aws:username}"}`)}, get("caller"), "AccessDenied"},
		"variables with the old one are text":  {[]string{`{"Version":"2008-10-17",` + version1(`{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::*:user/ops/${aws:username}"}`)[1:]}, get("caller"), "AccessDenied"},
		"a variable's value is no wildcard":    {[]string{statement("Allow", "iam:*", "arn:aws:iam::*:user/${*}")}, get("bob"), "AccessDenied"},
		"an unknown variable matches nothing":  {[]string{statement("Allow", "iam:*", "arn:aws:iam::*:user/*${aws:nothing}")}, get("bob"), "AccessDenied"},
		"an unknown variable with a fall-back": {[]string{statement("Allow", "iam:*", "arn:aws:iam::*:user/vault/a/${aws:nothing, 'bob'}")}, get("bob"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			acct := w.Account(testAccount)
			acct.AddUser("/vault/a/", "bob")
			acct.AddUser("/staff/", "eve")
			acct.AddGroup("ops")
			root := w.root()
			_, err := root.TagUser(t.Context(), &iam.TagUserInput{UserName: aws.String("bob"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}})
			require.NoError(t, err)
			_, err = root.CreateVirtualMFADevice(t.Context(), &iam.CreateVirtualMFADeviceInput{Path: aws.String("/vault/"), VirtualMFADeviceName: aws.String("token")})
			require.NoError(t, err)
			_, caller := acct.AddUser("/ops/", "caller", c.policies...)
			requireCode(t, c.want, c.call(t.Context(), w.iam(caller)))
		})
	}
}

// TestPermissionSources: policies count whether inline, attached or a group's, and a boundary limits
// them all.
func TestPermissionSources(t *testing.T) {
	w := newWorld(t)
	acct, ctx := w.Account(testAccount), t.Context()
	_, key := acct.AddUser("/", "caller")
	c, root := w.iam(key), w.root()
	may := get("caller")
	requireCode(t, "AccessDenied", may(ctx, c))

	require.NoError(t, attach("caller", readOnly)(ctx, root))
	requireCode(t, "", may(ctx, c), "attached")
	_, err := root.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: aws.String("caller"), PolicyArn: aws.String(readOnly)})
	require.NoError(t, err)
	requireCode(t, "AccessDenied", may(ctx, c), "detached")

	acct.AddGroup("readers", statement("Allow", "iam:Get*", "*"))
	require.NoError(t, join("caller", "readers")(ctx, root))
	requireCode(t, "", may(ctx, c), "by group")
	denial := statement("Deny", "*", "*")
	_, err = root.PutGroupPolicy(ctx, &iam.PutGroupPolicyInput{GroupName: aws.String("readers"), PolicyName: aws.String("stop"), PolicyDocument: &denial})
	require.NoError(t, err)
	requireCode(t, "AccessDenied", may(ctx, c), "denied by group")
	require.ErrorContains(t, may(ctx, c), "with an explicit deny in an identity-based policy")
	_, err = root.DeleteGroupPolicy(ctx, &iam.DeleteGroupPolicyInput{GroupName: aws.String("readers"), PolicyName: aws.String("stop")})
	require.NoError(t, err)

	boundary := acct.AddManagedPolicy("/", "only-lists", statement("Allow", "iam:List*", "*"))
	_, err = root.PutUserPermissionsBoundary(ctx, &iam.PutUserPermissionsBoundaryInput{UserName: aws.String("caller"), PermissionsBoundary: &boundary})
	require.NoError(t, err)
	requireCode(t, "AccessDenied", may(ctx, c), "outside the boundary")
	require.ErrorContains(t, may(ctx, c), "because no permissions boundary allows the iam:GetUser action")
	_, err = root.DeleteUserPermissionsBoundary(ctx, &iam.DeleteUserPermissionsBoundaryInput{UserName: aws.String("caller")})
	require.NoError(t, err)
	requireCode(t, "", may(ctx, c), "the boundary is gone")
}

// TestAccessDeniedText: tools read who, what and on what out of the message.
func TestAccessDeniedText(t *testing.T) {
	w := newWorld(t)
	_, key := w.Account(testAccount).AddUser("/ops/", "caller")
	require.ErrorContains(t, create("/vault/", "new")(t.Context(), w.iam(key)),
		"User: arn:aws:iam::111122223333:user/ops/caller is not authorized to perform: iam:CreateUser on resource: "+
			"arn:aws:iam::111122223333:user/vault/new because no identity-based policy allows the iam:CreateUser action")
}
