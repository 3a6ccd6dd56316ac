package awsfake_test

import (
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/stretchr/testify/require"
)

var userChecks = []check{
	{"create user answers the user", func(t tHelper, s *subject) {
		name := s.prefix + "made"
		out, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name, Path: aws.String(acceptancePath + "deep/")})
		require.NoError(t, err)
		require.Equal(t, name, *out.User.UserName)
		require.Equal(t, acceptancePath+"deep/", *out.User.Path)
		require.Regexp(t, `^arn:aws[a-z-]*:iam::[0-9]{12}:user`+acceptancePath+`deep/`+name+`$`, *out.User.Arn)
		require.WithinDuration(t, time.Now(), *out.User.CreateDate, 5*time.Minute)
	}},
	{"user ids begin with AIDA", func(t tHelper, s *subject) {
		name := s.user(t, "id")
		out, err := s.iam.GetUser(t.Context(), &iam.GetUserInput{UserName: &name})
		require.NoError(t, err)
		require.Regexp(t, `^AIDA[A-Z0-9]{16,}$`, *out.User.UserId)
	}},
	{"create user sets tags", func(t tHelper, s *subject) {
		name := s.prefix + "tagged"
		out, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{
			UserName: &name, Path: aws.String(acceptancePath),
			Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("Größe = a+b")}, {Key: aws.String("empty"), Value: aws.String("")}},
		})
		require.NoError(t, err)
		require.Len(t, out.User.Tags, 2)
		s.eventually(t, "the tags are listed", func() bool {
			tags, err := s.iam.ListUserTags(t.Context(), &iam.ListUserTagsInput{UserName: &name})
			return err == nil && len(tags.Tags) == 2
		})
		_, err = s.iam.UntagUser(t.Context(), &iam.UntagUserInput{UserName: &name, TagKeys: []string{"empty"}})
		require.NoError(t, err)
		s.eventually(t, "one tag is left", func() bool {
			tags, err := s.iam.ListUserTags(t.Context(), &iam.ListUserTagsInput{UserName: &name})
			return err == nil && len(tags.Tags) == 1 && *tags.Tags[0].Value == "Größe = a+b"
		})
	}},
	{"create user sets the boundary", func(t tHelper, s *subject) {
		boundary := s.policy(t, "boundary")
		name := s.prefix + "bounded"
		out, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{
			UserName: &name, Path: aws.String(acceptancePath), PermissionsBoundary: &boundary,
		})
		require.NoError(t, err)
		require.NotNil(t, out.User.PermissionsBoundary)
		require.Equal(t, boundary, *out.User.PermissionsBoundary.PermissionsBoundaryArn)
	}},
	{"a boundary must exist", func(t tHelper, s *subject) {
		name, gone := s.prefix+"b", strings.Replace(s.policy(t, "there"), "there", "gone", 1)
		_, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name, Path: aws.String(acceptancePath), PermissionsBoundary: &gone})
		requireCode(t, "NoSuchEntity", err)
	}},
	{"what is not there is 404 with a request id", func(t tHelper, s *subject) {
		_, err := s.iam.GetUser(t.Context(), &iam.GetUserInput{UserName: aws.String(s.prefix + "nobody")})
		requireCode(t, "NoSuchEntity", err)
		var missing *types.NoSuchEntityException
		require.ErrorAs(t, err, &missing)
		require.Contains(t, missing.ErrorMessage(), "nobody")
		var response *awshttp.ResponseError
		require.ErrorAs(t, err, &response)
		require.Equal(t, http.StatusNotFound, response.HTTPStatusCode())
		require.NotEmpty(t, response.ServiceRequestID())
	}},
	{"names are taken", func(t tHelper, s *subject) {
		name := s.user(t, "taken")
		_, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name, Path: aws.String(acceptancePath)})
		requireCode(t, "EntityAlreadyExists", err)
	}},
	{"names are taken whatever the path", func(t tHelper, s *subject) {
		name := s.user(t, "taken")
		_, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name, Path: aws.String(acceptancePath + "other/")})
		requireCode(t, "EntityAlreadyExists", err)
	}},
	{"names are taken ignoring case", func(t tHelper, s *subject) {
		name := strings.ToUpper(s.user(t, "taken"))
		_, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name, Path: aws.String(acceptancePath)})
		requireCode(t, "EntityAlreadyExists", err)
	}},
	{"names have 64 characters at most", func(t tHelper, s *subject) {
		longest := s.prefix + strings.Repeat("n", 64-len(s.prefix))
		_, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &longest, Path: aws.String(acceptancePath)})
		require.NoError(t, err)
		tooLong := longest + "n"
		_, err = s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &tooLong, Path: aws.String(acceptancePath)})
		requireCode(t, "ValidationError", err)
	}},
	{"names have certain characters", func(t tHelper, s *subject) {
		fine := s.prefix + "a+=,.@_-Z9"
		_, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &fine, Path: aws.String(acceptancePath)})
		require.NoError(t, err)
		for _, bad := range []string{"a b", "a/b", "a:b", "ä", "a*"} {
			_, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String(s.prefix + bad), Path: aws.String(acceptancePath)})
			requireCode(t, "ValidationError", err, bad)
		}
	}},
	{"paths begin and end with a slash", func(t tHelper, s *subject) {
		for _, bad := range []string{"vault-acceptance/", "/vault-acceptance", "/" + strings.Repeat("p", 511) + "/"} {
			_, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String(s.prefix + "p"), Path: &bad})
			requireCode(t, "ValidationError", err, bad)
		}
	}},
	{"paths have certain characters", func(t tHelper, s *subject) {
		_, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String(s.prefix + "p"), Path: aws.String(acceptancePath + "a b/")})
		requireCode(t, "ValidationError", err)
	}},
	{"a user has at most 50 tags", func(t tHelper, s *subject) {
		name := s.user(t, "tags")
		for range 2 {
			_, err := s.iam.TagUser(t.Context(), &iam.TagUserInput{UserName: &name, Tags: manyTags(0, 50)})
			require.NoError(t, err)
		}
		s.eventuallyCode(t, "LimitExceeded", func() error {
			_, err := s.iam.TagUser(t.Context(), &iam.TagUserInput{UserName: &name, Tags: manyTags(50, 51)})
			return err
		})
	}},
	{"users are listed by path", func(t tHelper, s *subject) {
		made := map[string]bool{s.user(t, "l1"): true, s.user(t, "l2"): true, s.user(t, "l3"): true}
		s.eventually(t, "all are listed", func() bool {
			found := 0
			pages := iam.NewListUsersPaginator(s.iam, &iam.ListUsersInput{PathPrefix: aws.String(acceptancePath)})
			for pages.HasMorePages() {
				page, err := pages.NextPage(t.Context())
				require.NoError(t, err)
				for _, u := range page.Users {
					require.True(t, strings.HasPrefix(*u.Path, acceptancePath))
					if made[*u.UserName] {
						found++
					}
				}
			}
			return found == 3
		})
		out, err := s.iam.ListUsers(t.Context(), &iam.ListUsersInput{PathPrefix: aws.String(acceptancePath + "none/")})
		require.NoError(t, err)
		require.Empty(t, out.Users)
	}},
	{"lists are cut at MaxItems and go on at the marker", func(t tHelper, s *subject) {
		s.user(t, "p1")
		s.user(t, "p2")
		in := &iam.ListUsersInput{PathPrefix: aws.String(acceptancePath), MaxItems: aws.Int32(1)}
		first, err := s.iam.ListUsers(t.Context(), in)
		require.NoError(t, err)
		require.Len(t, first.Users, 1)
		require.True(t, first.IsTruncated)
		in.Marker = first.Marker
		second, err := s.iam.ListUsers(t.Context(), in)
		require.NoError(t, err)
		require.Len(t, second.Users, 1)
		require.NotEqual(t, first.Users[0].UserName, second.Users[0].UserName)
	}},
	{"a page has at most 1000 items", func(t tHelper, s *subject) {
		for _, n := range []int32{0, 1001} {
			_, err := s.iam.ListUsers(t.Context(), &iam.ListUsersInput{MaxItems: &n})
			requireCode(t, "ValidationError", err, n)
		}
	}},
	{"a user moves to another name and path", func(t tHelper, s *subject) {
		name, moved := s.user(t, "before"), s.prefix+"after"
		_, err := s.iam.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: &name, NewUserName: &moved, NewPath: aws.String(acceptancePath + "new/")})
		require.NoError(t, err)
		s.eventuallyCode(t, "NoSuchEntity", func() error {
			_, err := s.iam.GetUser(t.Context(), &iam.GetUserInput{UserName: &name})
			return err
		})
		out, err := s.iam.GetUser(t.Context(), &iam.GetUserInput{UserName: &moved})
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(*out.User.Arn, acceptancePath+"new/"+moved))
	}},
	{"a key's owner is known by its new name", func(t tHelper, s *subject) {
		name, moved := s.user(t, "old"), s.prefix+"new"
		key := s.key(t, name)
		_, err := s.iam.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: &name, NewUserName: &moved})
		require.NoError(t, err)
		s.eventually(t, "the key's owner is known by the new name", func() bool {
			used, err := s.iam.GetAccessKeyLastUsed(t.Context(), &iam.GetAccessKeyLastUsedInput{AccessKeyId: &key.AccessKeyID})
			return err == nil && *used.UserName == moved
		})
	}},
}

// badTagChecks create a user with each kind of bad tag: the whole call fails.
func badTagChecks() []check {
	var checks []check
	one := func(key, value string) []types.Tag { return []types.Tag{{Key: &key, Value: &value}} }
	for _, c := range []struct {
		what, want string
		tags       []types.Tag
	}{
		{"key of 129 characters", "ValidationError", one(strings.Repeat("k", 129), "")},
		{"value of 257 characters", "ValidationError", one("key", strings.Repeat("v", 257))},
		{"empty key", "ValidationError", one("", "v")},
		{"a semicolon", "ValidationError", one("k", "no;semicolon")},
		{"AWS's own prefix", "InvalidInput", one("aws:mine", "v")},
		{"keys differ only by case", "InvalidInput", append(one("a", ""), one("A", "")...)},
		{"51 of them", "ValidationError", manyTags(0, 51)},
	} {
		checks = append(checks, check{"bad tag: " + c.what, func(t tHelper, s *subject) { s.badTags(t, c.want, c.tags...) }})
	}
	return checks
}

// badTags creates a user with tags that AWS refuses and sees that there is no user then.
func (s *subject) badTags(t tHelper, want string, tags ...types.Tag) {
	name := s.prefix + "badtags"
	_, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name, Path: aws.String(acceptancePath), Tags: tags})
	requireCode(t, want, err)
	_, err = s.iam.GetUser(t.Context(), &iam.GetUserInput{UserName: &name})
	requireCode(t, "NoSuchEntity", err)
}

func manyTags(from, to int) []types.Tag {
	var tags []types.Tag
	for i := from; i < to; i++ {
		tags = append(tags, types.Tag{Key: aws.String(strings.Repeat("t", i+1)), Value: aws.String("v")})
	}
	return tags
}
