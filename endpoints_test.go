package awsiam

import (
	"errors"
	"net/http"
	"regexp"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"
)

// recorder is an HTTP client that reaches nobody and remembers what was asked of
// whom: the host, and the scope that the request is signed for.
type recorder struct{ asked []string }

var scopeRegexp = regexp.MustCompile(`Credential=[^/]+/[0-9]+/([^/]+)/([^/]+)/aws4_request`)

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	scope := scopeRegexp.FindStringSubmatch(req.Header.Get("Authorization"))
	if scope == nil {
		return nil, errors.New("the request is not signed")
	}
	r.asked = append(r.asked, req.URL.Scheme+"://"+req.URL.Host+" "+scope[2]+" "+scope[1])
	return nil, errors.New("nobody is there")
}

// whereCallsGo has an integration make a call of IAM and one of STS, and returns
// whom they asked.
func whereCallsGo(t *testing.T, change func(*integration)) (iamCall, stsCall string) {
	t.Helper()
	in := newIntegration("a")
	in.AccessKey, in.SecretKey, in.AccountID, in.MaxRetries = "AKIAIOSFODNN7EXAMPLE", long(40), testAccount, 0
	change(in)
	r := new(recorder)
	conn, err := newConnection(t.Context(), in, r, origin{}, new(calls).of(in.Name))
	require.NoError(t, err)
	require.Empty(t, r.asked, "the account is known")
	_, err = conn.iam.ListUsers(t.Context(), &iam.ListUsersInput{})
	require.ErrorContains(t, err, "nobody is there")
	_, err = identify(t.Context(), in, r, origin{})
	require.ErrorContains(t, err, "nobody is there")
	require.Len(t, r.asked, 2)
	return r.asked[0], r.asked[1]
}

// IAM has one control plane in each partition, which its calls are signed for;
// STS is in every region. One that the SDK does not know yet is taken for its
// partition's by the form of its name, or for commercial AWS's.
var partitionEndpoints = map[string]struct{ iam, sts string }{
	"":                 {"https://iam.amazonaws.com iam us-east-1", "https://sts.us-east-1.amazonaws.com sts us-east-1"},
	"us-east-1":        {"https://iam.amazonaws.com iam us-east-1", "https://sts.us-east-1.amazonaws.com sts us-east-1"},
	"eu-central-1":     {"https://iam.amazonaws.com iam us-east-1", "https://sts.eu-central-1.amazonaws.com sts eu-central-1"},
	"xx-yonder-9":      {"https://iam.amazonaws.com iam us-east-1", "https://sts.xx-yonder-9.amazonaws.com sts xx-yonder-9"},
	"eusc-de-yonder-9": {"https://iam.eusc-de-east-1.amazonaws.eu iam eusc-de-east-1", "https://sts.eusc-de-yonder-9.amazonaws.eu sts eusc-de-yonder-9"},
	"cn-north-1":       {"https://iam.cn-north-1.amazonaws.com.cn iam cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn sts cn-north-1"},
	"cn-northwest-1":   {"https://iam.cn-north-1.amazonaws.com.cn iam cn-north-1", "https://sts.cn-northwest-1.amazonaws.com.cn sts cn-northwest-1"},
	"us-gov-west-1":    {"https://iam.us-gov.amazonaws.com iam us-gov-west-1", "https://sts.us-gov-west-1.amazonaws.com sts us-gov-west-1"},
	"us-gov-east-1":    {"https://iam.us-gov.amazonaws.com iam us-gov-west-1", "https://sts.us-gov-east-1.amazonaws.com sts us-gov-east-1"},
	"us-iso-east-1":    {"https://iam.us-iso-east-1.c2s.ic.gov iam us-iso-east-1", "https://sts.us-iso-east-1.c2s.ic.gov sts us-iso-east-1"},
	"us-iso-west-1":    {"https://iam.us-iso-east-1.c2s.ic.gov iam us-iso-east-1", "https://sts.us-iso-west-1.c2s.ic.gov sts us-iso-west-1"},
	"us-isob-east-1":   {"https://iam.us-isob-east-1.sc2s.sgov.gov iam us-isob-east-1", "https://sts.us-isob-east-1.sc2s.sgov.gov sts us-isob-east-1"},
	"us-isof-south-1":  {"https://iam.us-isof-south-1.csp.hci.ic.gov iam us-isof-south-1", "https://sts.us-isof-south-1.csp.hci.ic.gov sts us-isof-south-1"},
	"eu-isoe-west-1":   {"https://iam.eu-isoe-west-1.cloud.adc-e.uk iam eu-isoe-west-1", "https://sts.eu-isoe-west-1.cloud.adc-e.uk sts eu-isoe-west-1"},
	"eusc-de-east-1":   {"https://iam.eusc-de-east-1.amazonaws.eu iam eusc-de-east-1", "https://sts.eusc-de-east-1.amazonaws.eu sts eusc-de-east-1"},
}

// Break it by leaving in.Region out of awsConfig.
func TestPartitionEndpoints(t *testing.T) {
	for region, want := range partitionEndpoints {
		t.Run(region, func(t *testing.T) {
			iamCall, stsCall := whereCallsGo(t, func(in *integration) { in.Region = region })
			require.Equal(t, want.iam, iamCall)
			require.Equal(t, want.sts, stsCall)
		})
	}
}

// An endpoint of one's own changes where calls go and nothing else: what they are
// signed for stays the partition's. Break it by using BaseEndpoint in iamOptions.
func TestCustomEndpointsAreSignedForThePartition(t *testing.T) {
	for region, want := range partitionEndpoints {
		t.Run(region, func(t *testing.T) {
			iamCall, stsCall := whereCallsGo(t, func(in *integration) {
				in.Region, in.IAMEndpoint, in.STSEndpoint = region, "https://iam.example.com:8443", "https://sts.example.com"
			})
			require.Equal(t, "https://iam.example.com:8443"+afterHost(want.iam), iamCall)
			require.Equal(t, "https://sts.example.com"+afterHost(want.sts), stsCall)
		})
	}
}

func afterHost(asked string) string { return regexp.MustCompile(` .*`).FindString(asked) }
