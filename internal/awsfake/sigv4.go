package awsfake

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// signature is what a request's Authorization header says: AWS Signature Version 4, as in the IAM
// user guide, "reference_sigv-create-signed-request".
type signature struct {
	keyID, date, region, service string
	headers                      []string
	value                        string
}

var authorization = regexp.MustCompile(
	`^AWS4-HMAC-SHA256 Credential=([^/, ]+)/([0-9]{8})/([^/, ]+)/([^/, ]+)/aws4_request, *SignedHeaders=([^, ]+), *Signature=([0-9a-f]{64})$`)

func parseAuthorization(h http.Header) (signature, error) {
	header := h.Get("Authorization")
	if header == "" {
		return signature{}, fail("MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	m := authorization.FindStringSubmatch(header)
	if m == nil {
		return signature{}, fail("IncompleteSignature", "The Authorization header is not a complete AWS4-HMAC-SHA256 signature.")
	}
	return signature{keyID: m[1], date: m[2], region: m[3], service: m[4], headers: strings.Split(m[5], ";"), value: m[6]}, nil
}

// verify recomputes the signature with the secret.
func (s signature) verify(r *http.Request, body []byte, secret string) bool {
	signedAt := r.Header.Get("X-Amz-Date")
	if !strings.HasPrefix(signedAt, s.date) || !slices.Contains(s.headers, "host") {
		return false
	}
	var headers strings.Builder
	for _, name := range s.headers {
		headers.WriteString(name + ":" + headerValue(r, name) + "\n")
	}
	canonical := strings.Join([]string{
		r.Method,
		cmp.Or(r.URL.EscapedPath(), "/"),
		strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20"),
		headers.String(),
		strings.Join(s.headers, ";"),
		digest(body),
	}, "\n")
	scope := strings.Join([]string{s.date, s.region, s.service, "aws4_request"}, "/")
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", signedAt, scope, digest([]byte(canonical))}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.date, s.region, s.service, "aws4_request", toSign} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hmac.Equal([]byte(hex.EncodeToString(key)), []byte(s.value))
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// headerValue is a header as it is signed. Two headers do not stay in the map on a server.
func headerValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10)
	}
	values := r.Header.Values(name)
	trimmed := make([]string, len(values))
	for i, v := range values {
		trimmed[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(trimmed, ",")
}

// iamRegions are the regions that IAM's control plane is in, by partition: what IAM calls must be
// signed for (the SDK's endpoint rules for IAM say the same).
var iamRegions = map[string]string{
	"aws":        "us-east-1",
	"aws-cn":     "cn-north-1",
	"aws-us-gov": "us-gov-west-1",
	"aws-eusc":   "eusc-de-east-1",
	"aws-iso":    "us-iso-east-1",
	"aws-iso-b":  "us-isob-east-1",
	"aws-iso-e":  "eu-isoe-west-1",
	"aws-iso-f":  "us-isof-south-1",
}

var regionName = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]+$`)

// partitionOf is the partition a region belongs to, "" for what is not a region's name.
func partitionOf(region string) string {
	prefixes := []struct{ prefix, partition string }{
		{"cn-", "aws-cn"}, {"us-gov-", "aws-us-gov"}, {"eusc-", "aws-eusc"},
		{"us-iso-", "aws-iso"}, {"us-isob-", "aws-iso-b"}, {"eu-isoe-", "aws-iso-e"}, {"us-isof-", "aws-iso-f"},
	}
	if !regionName.MatchString(region) {
		return ""
	}
	for _, p := range prefixes {
		if strings.HasPrefix(region, p.prefix) {
			return p.partition
		}
	}
	return "aws"
}
