package awsiam

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Answers of success that are not AWS's: a proxy's.

// answered has the actions answered with the body and 200 instead of by AWS, until that is
// healed.
func (e *env) answered(body string, actions ...string) (heal func()) {
	e.t.Helper()
	var healed atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(sent))
		if err == nil && !healed.Load() && r.ParseForm() == nil && slices.Contains(actions, r.PostForm.Get("Action")) {
			w.Header().Set("x-amzn-RequestId", "a gateway's")
			_, _ = w.Write([]byte(body))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(sent))
		e.aws.ServeHTTP(w, r)
	}))
	e.t.Cleanup(proxy.Close)
	config := e.connection(e.key)
	config["iam_endpoint"], config["sts_endpoint"] = proxy.URL, proxy.URL
	e.write("config", config)
	return func() { healed.Store(true) } // by the same connection
}

// noKeys is AWS's, of a user without an access key.
const noKeys = "<ListAccessKeysResponse><ListAccessKeysResult><IsTruncated>false</IsTruncated><AccessKeyMetadata/></ListAccessKeysResult></ListAccessKeysResponse>"

// emptyList is AWS's, of an account without users.
const emptyList = "<ListUsersResponse><ListUsersResult><IsTruncated>false</IsTruncated><Users/></ListUsersResult></ListUsersResponse>"

// strangeAnswers are what is not AWS's.
var strangeAnswers = map[string]string{"empty": "", "a page": "<html>please log in</html>"}

// Break it by leaving addContentCheck out of the client.
func TestAnAnswerThatIsNotOfAWSEndsNobody(t *testing.T) {
	t.Parallel()
	for name, body := range strangeAnswers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, corePolicy)
			l := e.issue("app", nil)
			e.advance(10 * time.Minute)
			heal := e.answered(body, "DeleteAccessKey", "DeleteUserPolicy", "DeleteUser")
			require.ErrorContains(t, e.revoke(l), errNoContent.Error())
			heal()
			require.Len(t, e.issuedUsers(), 1)
			require.NoError(t, e.revoke(l))
			e.requireNothingLeft()
		})
	}
}

// Break it likewise.
func TestAnAnswerThatIsNotOfAWSProvesNothing(t *testing.T) {
	t.Parallel()
	for name, body := range strangeAnswers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, widePolicy)
			l := e.issue("app", nil)
			e.deleteByHand(l.username())
			e.strangerNamed(l.username())
			untouched := e.untouched(l.username())
			e.advance(10 * time.Minute)
			e.answered(body, "DeleteAccessKey")
			require.NoError(t, e.revoke(l), "the ids differ, so ours is gone")
			untouched()
		})
	}
}

// A list that does not have a user who is there says nothing of another. Break it by
// not looking at taken in deletion.unlisted, and by leaving out addContentCheck.
func TestAnIncompleteListForgetsNobody(t *testing.T) {
	t.Parallel()
	answers := map[string]string{"nobody": emptyList}
	maps.Copy(answers, strangeAnswers)
	for name, body := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, listedPolicy)
			l := e.emptied(e.issue("app", nil))
			require.NoError(t, dependentsByHand["login profile"](t.Context(), e.byHand(), e.acct, l.username()))
			e.advance(10 * time.Minute)
			e.answered(body, "ListUsers")
			require.Error(t, e.revoke(l))
			require.NotEmpty(t, e.records(), "a user of ours is there and on no record")
		})
	}
}

// Nor does an answer about a user that leaves out who it is. Break it by leaving
// complete out of deletion.checkOwnership.
func TestAUserWithoutAnIDIsNoStranger(t *testing.T) {
	t.Parallel()
	e := newEnv(t, followedPolicy)
	l := e.emptied(e.issue("app", nil))
	e.advance(10 * time.Minute)
	e.answered("<GetUserResponse><GetUserResult><User><UserName>"+l.username()+"</UserName></User></GetUserResult></GetUserResponse>", "GetUser")
	require.ErrorContains(t, e.revoke(l), errNoContent.Error())
	require.NotEmpty(t, e.records())
}

// Nor does a list with one show that AWS lists users: its denial is believed later. Break it
// by setting listsUsers before complete is asked, in deletion.find.
func TestAListThatIsNotOfAWSShowsNoPermission(t *testing.T) {
	t.Parallel()
	e := newEnv(t, corePolicy)
	l := e.emptied(e.issue("app", nil))
	e.advance(10 * time.Minute)
	heal := e.answered("<ListUsersResponse><ListUsersResult><IsTruncated>false</IsTruncated><Users><member><UserName>"+l.username()+
		"</UserName></member></Users></ListUsersResult></ListUsersResponse>", "ListUsers")
	require.ErrorContains(t, e.revoke(l), errNoContent.Error())
	heal()
	require.ErrorContains(t, e.revoke(l), "not settled yet")
	e.advance(settlingTime)
	require.NoError(t, e.revoke(l))
	e.requireNothingLeft()
}
