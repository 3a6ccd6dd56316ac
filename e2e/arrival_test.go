package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// arrival is a credential as it came out of creds/, and its first use.
type arrival struct {
	credential
	asked, came time.Time
	use         firstUse
}

// warned says that the credential came with a warning.
func (a arrival) warned() bool { return len(a.lease.Warnings) > 0 }

// arrive asks for so many leases of the role at once. Each is used as soon as it has
// come, whatever becomes of the others.
func (m *mount) arrive(s *awsServers, role string, n int) []arrival {
	m.t.Helper()
	arrivals := make([]arrival, n)
	var asking sync.WaitGroup
	for i := range n {
		asking.Go(func() {
			a := &arrivals[i]
			var err error
			a.asked = time.Now()
			if a.credential, err = m.tryIssue(m.server.RootToken, role); err != nil {
				m.t.Errorf("a lease: %s", err)
				return
			}
			a.came = time.Now()
			a.use = s.use(m.t.Context(), a.credential)
		})
	}
	asking.Wait()
	if m.t.Failed() {
		m.t.FailNow()
	}
	return arrivals
}

// proofs is how many calls in a row, as AWS saw them, had let the key in by a time
// before it came.
func (a arrival) proofs(calls []awsfake.Call, by time.Time) (inRow int) {
	for _, call := range calls {
		switch {
		case call.AccessKeyID != a.AccessKeyID || call.Service != "sts" || call.Start.After(by):
		case call.Code == "" && !call.Lost && !call.End.After(by):
			inRow++
		default:
			inRow = 0
		}
	}
	return inRow
}

// awsServers are all servers behind AWS's endpoints, each by itself.
type awsServers struct {
	urls   []string
	client *http.Client
}

func newAWSServers(t *testing.T, sim simulation) *awsServers {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	s := &awsServers{client: &http.Client{Transport: transport}}
	for n := range awsfake.Servers {
		server := httptest.NewServer(sim.Server(n))
		t.Cleanup(server.Close)
		s.urls = append(s.urls, server.URL)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return s
}

// firstUse is what each server answered when a key was first used there: AWS's error
// codes, empty for success.
type firstUse struct {
	sts []string // to GetCallerIdentity, which takes no permission
	iam []string // to ListGroups, which the role allows
}

// use uses the key once at each server of each endpoint, at all of them at once.
func (s *awsServers) use(ctx context.Context, c credential) firstUse {
	answers := firstUse{make([]string, len(s.urls)), make([]string, len(s.urls))}
	key := credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, "")
	var using sync.WaitGroup
	for n, url := range s.urls {
		using.Go(func() {
			_, err := sts.New(sts.Options{
				Region: "us-east-1", BaseEndpoint: &url, Credentials: key, HTTPClient: s.client, Retryer: aws.NopRetryer{},
			}).GetCallerIdentity(ctx, nil)
			answers.sts[n] = codeOf(err)
		})
		using.Go(func() {
			_, err := iam.New(iam.Options{
				Region: "us-east-1", BaseEndpoint: &url, Credentials: key, HTTPClient: s.client, Retryer: aws.NopRetryer{},
			}).ListGroups(ctx, nil)
			answers.iam[n] = codeOf(err)
		})
	}
	using.Wait()
	return answers
}

// authenticated says that all servers knew the key. What it may do is another matter.
func (u firstUse) authenticated() bool {
	return !slices.ContainsFunc(u.sts, refuses) &&
		!slices.ContainsFunc(u.iam, func(code string) bool { return refuses(code) && code != "AccessDenied" })
}

// denied says that all servers knew the key, and none what it may do.
func (u firstUse) denied() bool {
	return u.authenticated() && !slices.ContainsFunc(u.iam, func(code string) bool { return code != "AccessDenied" })
}

// allowed says that all servers knew the key and what it may do.
func (u firstUse) allowed() bool {
	return !slices.ContainsFunc(slices.Concat(u.sts, u.iam), refuses)
}

func refuses(code string) bool { return code != "" }
