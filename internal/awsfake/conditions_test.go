package awsfake_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestConditions: the user /ops/caller%d gets itself, which is allowed only under a condition. AWS's
// clock is a day ahead of the machine's.
func TestConditions(t *testing.T) {
	w := newWorld(t)
	w.Advance(24 * time.Hour)
	at := func(d time.Duration) string { return w.Now().Add(d).UTC().Format(time.RFC3339) }
	soon, past := at(time.Hour), at(-time.Hour)
	for i, c := range []struct {
		condition string
		allowed   bool
	}{
		{`{"StringEquals":{"aws:username":"caller%d"}}`, true},
		{`{"StringEquals":{"AWS:UserName":["x","caller%d"]}}`, true},
		{`{"StringEquals":{"aws:username":"Caller%d"}}`, false},
		{`{"StringEquals":{"aws:username":"call*"}}`, false},
		{`{"StringEquals":{"aws:nothing":"x"}}`, false},
		{`{"StringEqualsIfExists":{"aws:nothing":"x"}}`, true},
		{`{"StringEqualsIfExists":{"aws:username":"x"}}`, false},
		{`{"StringEqualsIgnoreCase":{"aws:username":"CALLER%d"}}`, true},
		{`{"StringNotEqualsIgnoreCase":{"aws:username":"CALLER%d"}}`, false},
		{`{"StringNotEquals":{"aws:username":"x"}}`, true},
		{`{"StringNotEquals":{"aws:username":["x","caller%d"]}}`, false},
		{`{"StringNotEquals":{"aws:nothing":"x"}}`, true},
		{`{"StringLike":{"aws:username":"c?ll*"}}`, true},
		{`{"StringNotLike":{"aws:username":"c?ll*"}}`, false},
		{`{"StringLike":{"aws:userid":"AIDA*"}}`, true},
		{`{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/ops/*"}}`, true},
		{`{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::*:user/ops/caller%d"}}`, true},
		{`{"ArnLike":{"aws:PrincipalArn":"arn:aws:*/ops/*"}}`, false},
		{`{"ArnEquals":{"aws:PrincipalArn":"arn:aws:*/ops/*"}}`, false},
		{`{"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/ops/*"}}`, false},
		{`{"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}}`, true},
		{`{"StringEquals":{"aws:PrincipalAccount":"111122223333"}}`, true},
		{`{"Bool":{"aws:SecureTransport":true}}`, true},
		{`{"Bool":{"aws:SecureTransport":"false"}}`, false},
		{`{"Null":{"aws:nothing":"true"}}`, true},
		{`{"Null":{"aws:username":true}}`, false},
		{`{"Null":{"aws:username":"false"}}`, true},
		{`{"DateLessThan":{"aws:CurrentTime":"` + soon + `"}}`, true},
		{`{"DateLessThan":{"aws:CurrentTime":"` + past + `"}}`, false},
		{`{"DateLessThanEquals":{"aws:CurrentTime":"` + soon + `"}}`, true},
		{`{"DateGreaterThan":{"aws:CurrentTime":"` + past + `"}}`, true},
		{`{"DateGreaterThan":{"aws:CurrentTime":"` + soon + `"}}`, false},
		{`{"DateGreaterThanEquals":{"aws:CurrentTime":"2020-01-01"}}`, true},
		{`{"DateEquals":{"aws:CurrentTime":"2020-01-01T00:00Z"}}`, false},
		{`{"DateNotEquals":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}`, true},
		{`{"DateLessThan":{"aws:CurrentTime":"tomorrow"}}`, false},
		{fmt.Sprintf(`{"DateLessThan":{"aws:CurrentTime":"%d"}}`, w.Now().Add(time.Hour).Unix()), true},
		{fmt.Sprintf(`{"DateLessThan":{"aws:EpochTime":"%d"}}`, w.Now().Add(time.Hour).Unix()), true},
		{fmt.Sprintf(`{"NumericLessThan":{"aws:EpochTime":%d}}`, w.Now().Add(time.Hour).Unix()), true},
		{fmt.Sprintf(`{"NumericGreaterThanEquals":{"aws:EpochTime":"%d"}}`, w.Now().Add(time.Hour).Unix()), false},
		{`{"NumericNotEquals":{"aws:EpochTime":"1"}}`, true},
		{`{"NumericEquals":{"aws:EpochTime":"one"}}`, false},
		{`{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","127.0.0.0/8"]}}`, true},
		{`{"IpAddress":{"aws:SourceIp":"127.0.0.1"}}`, true},
		{`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, false},
		{`{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, true},
		{`{"IpAddress":{"aws:SourceIp":"somewhere"}}`, false},
		{`{"StringEquals":{"aws:username":"${aws:username}"}}`, true},
		{`{"StringLike":{"aws:PrincipalArn":"arn:*:user/ops/${aws:username}"}}`, true},
		{`{"StringEquals":{"aws:username":"caller%d"},"Bool":{"aws:SecureTransport":"false"}}`, false},
		{`{"StringEquals":{"aws:username":"caller%d","aws:PrincipalAccount":"1"}}`, false},
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":"x"}}`, true},
		{`{"ForAnyValue:StringEquals":{"aws:TagKeys":"x"}}`, false},
	} {
		name := fmt.Sprintf("caller%d", i)
		condition := strings.ReplaceAll(c.condition, "%d", strconv.Itoa(i))
		t.Run(condition, func(t *testing.T) {
			_, key := w.Account(testAccount).AddUser("/ops/", name, statement("Allow", "iam:GetUser", "*", condition))
			err := get(name)(t.Context(), w.iam(key))
			require.Equal(t, c.allowed, err == nil, "%v", err)
		})
	}
}
