package awsfake_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

const lag = 10 * time.Second

func TestKeyLag(t *testing.T) {
	w := newWorld(t)
	w.SetLag(awsfake.Lag{Key: lag})
	_, ready := w.Account(testAccount).AddUser("/", "bob")
	require.NoError(t, w.who(t.Context(), ready), "set-up does not lag")
	key := newKey(t, w.root(), "bob")
	requireCode(t, "InvalidClientTokenId", w.who(t.Context(), key))
	w.Advance(lag / 2)
	requireCode(t, "InvalidClientTokenId", w.who(t.Context(), key))
	w.Advance(lag / 2)
	require.NoError(t, w.who(t.Context(), key))
}

// TestKeySpread: the servers behind the endpoint learn of a key one after another.
func TestKeySpread(t *testing.T) {
	w := newWorld(t)
	w.SetLag(awsfake.Lag{Key: lag, KeySpread: lag})
	w.Account(testAccount).AddUser("/", "bob")
	client := w.sts(newKey(t, w.root(), "bob"))
	letIn := func() (n int) {
		for range 8 {
			fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			_, err := client.GetCallerIdentity(t.Context(), nil, func(o *sts.Options) { o.HTTPClient = fresh })
			if err == nil {
				n++
			}
		}
		return n
	}
	require.Zero(t, letIn())
	w.Advance(lag)
	require.Equal(t, 2, letIn(), "one server of four")
	w.Advance(lag - time.Second)
	require.Equal(t, 6, letIn())
	w.Advance(time.Second)
	require.Equal(t, 8, letIn())
	_, ready := w.Account(testAccount).AddUser("/", "ready")
	for range awsfake.Servers {
		require.NoError(t, w.who(t.Context(), ready), "set-up does not lag")
	}
}

// TestServer: each of the servers can be asked, by whatever connection.
func TestServer(t *testing.T) {
	w := newWorld(t)
	w.SetLag(awsfake.Lag{Key: lag, KeySpread: 3 * time.Second})
	w.Account(testAccount).AddUser("/", "bob")
	client := w.sts(newKey(t, w.root(), "bob"))
	var urls []string
	for n := range awsfake.Servers {
		server := httptest.NewServer(w.Server(n))
		t.Cleanup(server.Close)
		urls = append(urls, server.URL)
	}
	w.Advance(lag)
	for known := range awsfake.Servers {
		for n, url := range urls {
			_, err := client.GetCallerIdentity(t.Context(), nil, func(o *sts.Options) { o.BaseEndpoint = &url })
			require.Equal(t, n <= known, err == nil, "server %d after %d s: %v", n, known, err)
		}
		w.Advance(time.Second)
	}
}

func TestKeyDeletionLag(t *testing.T) {
	w := newWorld(t)
	w.SetLag(awsfake.Lag{KeyDeletion: lag})
	_, key := w.Account(testAccount).AddUser("/", "bob", allowAll)
	drop := &iam.DeleteAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: &key.AccessKeyID}
	_, err := w.root().DeleteAccessKey(t.Context(), drop)
	require.NoError(t, err)
	require.NoError(t, get("bob")(t.Context(), w.iam(key)), "it goes on working")
	info, _ := w.Account(testAccount).User("bob")
	require.Empty(t, info.AccessKeys, "but is not listed")
	_, err = w.root().DeleteAccessKey(t.Context(), drop)
	requireCode(t, "NoSuchEntity", err)
	w.Advance(lag)
	requireCode(t, "InvalidClientTokenId", w.who(t.Context(), key))
}

func TestPolicyLag(t *testing.T) {
	w := newWorld(t)
	ctx, root, acct := t.Context(), w.root(), w.Account(testAccount)
	_, key := acct.AddUser("/", "bob")
	acct.AddGroup("readers", statement("Allow", "iam:GetUser", "*"))
	w.SetLag(awsfake.Lag{Policy: lag})
	may := func() string { return codeOf(get("bob")(ctx, w.iam(key))) }
	for _, c := range []struct {
		name string
		do   func() error
		then string
	}{
		{"put", func() error {
			doc := statement("Allow", "iam:GetUser", "*")
			_, err := root.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("p"), PolicyDocument: &doc})
			return err
		}, ""},
		{"deleted", func() error {
			_, err := root.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("p")})
			return err
		}, "AccessDenied"},
		{"attached", func() error { return attach("bob", readOnly)(ctx, root) }, ""},
		{"detached", func() error {
			_, err := root.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: aws.String("bob"), PolicyArn: aws.String(readOnly)})
			return err
		}, "AccessDenied"},
		{"joined", func() error { return join("bob", "readers")(ctx, root) }, ""},
		{"left", func() error { return leave("bob", "readers")(ctx, root) }, "AccessDenied"},
	} {
		before := may()
		require.NoError(t, c.do(), c.name)
		require.Equal(t, before, may(), c.name)
		w.Advance(lag - time.Second)
		require.Equal(t, before, may(), c.name)
		w.Advance(time.Second)
		require.Equal(t, c.then, may(), c.name)
	}
}

func TestUserLag(t *testing.T) {
	w := newWorld(t)
	ctx, root, acct := t.Context(), w.root(), w.Account(testAccount)
	_, scoped := acct.AddUser("/", "scoped", statement("Allow", "iam:*", onVault))
	w.SetLag(awsfake.Lag{User: lag})
	require.NoError(t, create("/vault/", "bob", withTag("team", "blue"))(ctx, root))
	requireCode(t, "EntityAlreadyExists", create("/vault/", "bob")(ctx, root), "names are taken at once")
	remove := func(c *iam.Client) error {
		_, err := c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String("bob")})
		return err
	}
	requireCode(t, "NoSuchEntity", get("bob")(ctx, root))
	requireCode(t, "NoSuchEntity", attach("bob", readOnly)(ctx, root))
	requireCode(t, "NoSuchEntity", remove(root))
	requireCode(t, "AccessDenied", remove(w.iam(scoped)), "a user not yet there has no path")
	_, tagged := acct.AddUser("/", "tagged", statement("Allow", "iam:*", "*", `{"StringEquals":{"aws:ResourceTag/team":"blue"}}`))
	requireCode(t, "AccessDenied", get("bob")(ctx, w.iam(tagged)), "nor tags")
	_, err := root.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("bob")})
	requireCode(t, "NoSuchEntity", err)
	listed, err := root.ListUsers(ctx, &iam.ListUsersInput{PathPrefix: aws.String("/vault/")})
	require.NoError(t, err)
	require.Empty(t, listed.Users)
	_, exists := acct.User("bob")
	require.True(t, exists, "tests see what is")
	w.Advance(lag)
	require.NoError(t, get("bob")(ctx, root))
	require.NoError(t, get("bob")(ctx, w.iam(tagged)))
	require.NoError(t, remove(w.iam(scoped)))
}
