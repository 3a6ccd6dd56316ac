package awsfake_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	smithyauth "github.com/aws/smithy-go/auth"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// partitions are AWS's, each with a region that is not (except in the smallest) IAM's own.
var partitions = map[string]string{
	"aws": "eu-west-1", "aws-cn": "cn-northwest-1", "aws-us-gov": "us-gov-east-1", "aws-eusc": "eusc-de-east-1",
	"aws-iso": "us-iso-west-1", "aws-iso-b": "us-isob-west-1", "aws-iso-e": "eu-isoe-west-1", "aws-iso-f": "us-isof-east-1",
}

// iamRegion is the region that the SDK's own endpoint rules sign IAM calls for.
func iamRegion(t *testing.T, region string) string {
	t.Helper()
	endpoint, err := iam.NewDefaultEndpointResolverV2().ResolveEndpoint(t.Context(), iam.EndpointParameters{
		Region: &region, UseDualStack: aws.Bool(false), UseFIPS: aws.Bool(false),
	})
	require.NoError(t, err)
	options, _ := smithyauth.GetAuthOptions(&endpoint.Properties)
	for _, option := range options {
		if signing, ok := smithyhttp.GetSigV4SigningRegion(&option.SignerProperties); ok {
			return signing
		}
	}
	return region
}

// TestPartitions: ARNs, AWS's own policies and signing regions are the partition's.
func TestPartitions(t *testing.T) {
	for partition, region := range partitions {
		t.Run(partition, func(t *testing.T) {
			w := newWorld(t)
			ctx, acct := t.Context(), w.AccountIn(partition, testAccount)
			info, key := acct.AddUser("/vault/", "bob", allowAll)
			require.Equal(t, "arn:"+partition+":iam::"+testAccount+":user/vault/bob", info.ARN)
			signing := iamRegion(t, region)
			require.NoError(t, get("bob")(ctx, w.iamIn(signing, key)))
			if signing != region {
				requireCode(t, "SignatureDoesNotMatch", get("bob")(ctx, w.iamIn(region, key)), "IAM is in one region")
			}
			_, err := w.stsIn(region, key).GetCallerIdentity(ctx, nil)
			require.NoError(t, err, "STS is in all regions")
			elsewhere := "us-east-1"
			if partition == "aws" {
				elsewhere = "cn-north-1"
			}
			_, err = w.stsIn(elsewhere, key).GetCallerIdentity(ctx, nil)
			requireCode(t, "InvalidClientTokenId", err, "other partitions do not know the key")
			require.NoError(t, attach("bob", "arn:"+partition+":iam::aws:policy/IAMReadOnlyAccess")(ctx, w.iamIn(signing, key)))
			doc := statement("Allow", "*", "arn:"+partition+":s3:::b")
			_, err = w.iamIn(signing, key).PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("own"), PolicyDocument: &doc})
			require.NoError(t, err)
			_, err = w.iamIn(signing, key).ListSSHPublicKeys(ctx, &iam.ListSSHPublicKeysInput{UserName: aws.String("bob")})
			if partition == "aws-cn" {
				requireCode(t, "InvalidAction", err, "does not exist in China")
			} else {
				require.NoError(t, err)
			}
		})
	}
}

// TestSignatures: what is signed wrongly is refused, with the code AWS has for it.
func TestSignatures(t *testing.T) {
	const body = "Action=GetUser&Version=2010-05-08"
	for name, c := range map[string]struct {
		service, region string
		date            time.Time
		tamper          func(*http.Request)
		status          int
		code            string
	}{
		"right":           {},
		"signed long ago": {date: time.Now().Add(-48 * time.Hour)}, // see the package comment: AWS's clock is ours to move
		"another service": {service: "sts", status: 403, code: "SignatureDoesNotMatch"},
		"another region":  {region: "eu-west-1", status: 403, code: "SignatureDoesNotMatch"},
		"not a region":    {region: "nowhere", status: 403, code: "SignatureDoesNotMatch"},
		"another body": {tamper: func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(body, "Get", "Got", 1)))
		}, status: 403, code: "SignatureDoesNotMatch"},
		"another query":             {tamper: func(r *http.Request) { r.URL.RawQuery = "UserName=eve" }, status: 403, code: "SignatureDoesNotMatch"},
		"another method":            {tamper: func(r *http.Request) { r.Method = http.MethodPut }, status: 403, code: "SignatureDoesNotMatch"},
		"another path":              {tamper: func(r *http.Request) { r.URL.Path = "/x" }, status: 403, code: "SignatureDoesNotMatch"},
		"another host":              {tamper: func(r *http.Request) { r.Host = "example.com" }, status: 403, code: "SignatureDoesNotMatch"},
		"another date":              {tamper: func(r *http.Request) { r.Header.Set("X-Amz-Date", "20200101T000000Z") }, status: 403, code: "SignatureDoesNotMatch"},
		"a signed header changed":   {tamper: func(r *http.Request) { r.Header.Set("X-Amz-Extra", "b") }, status: 403, code: "SignatureDoesNotMatch"},
		"an unsigned header added":  {tamper: func(r *http.Request) { r.Header.Set("X-Other", "b") }},
		"no signature":              {tamper: func(r *http.Request) { r.Header.Del("Authorization") }, status: 403, code: "MissingAuthenticationToken"},
		"an incomplete signature":   {tamper: func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x") }, status: 400, code: "IncompleteSignature"},
		"a scheme of another kind":  {tamper: func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, status: 400, code: "IncompleteSignature"},
		"parameters in the address": {tamper: nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			root := w.Account(testAccount).Root()
			url, sent := w.url, body
			if name == "parameters in the address" {
				url, sent = w.url+"/?"+body+"&Note=a+b%2Fc", ""
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(sent))
			require.NoError(t, err)
			req.Header.Set("X-Amz-Extra", "a  b")
			sum := sha256.Sum256([]byte(sent))
			creds := aws.Credentials{AccessKeyID: root.AccessKeyID, SecretAccessKey: root.SecretAccessKey}
			if c.date.IsZero() {
				c.date = time.Now()
			}
			require.NoError(t, v4.NewSigner().SignHTTP(t.Context(), creds, req, hex.EncodeToString(sum[:]), cmp.Or(c.service, "iam"), cmp.Or(c.region, "us-east-1"), c.date))
			if c.tamper != nil {
				c.tamper(req)
			}
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer res.Body.Close()
			answer, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			if c.status == 0 {
				require.Equal(t, http.StatusOK, res.StatusCode, string(answer))
				return
			}
			require.Equal(t, c.status, res.StatusCode, string(answer))
			require.Contains(t, string(answer), "<Code>"+c.code+"</Code>")
		})
	}
}

// TestKeyIDsNameTheirAccount: faults and the call log find the account even of deleted keys.
func TestKeyIDsNameTheirAccount(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{testAccount, "000000000001", "999999999999"} {
		_, key := w.Account(id).AddUser("/", "bob")
		gone := awsfake.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: "x"}
		require.Error(t, w.who(t.Context(), gone))
		calls := w.Calls()
		require.Equal(t, id, calls[len(calls)-1].Account)
	}
}
