package awsiam

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// expiryStatement denies everything from a date on, by AWS's clock. The key
// aws:CurrentTime is in every request (IAM user guide, global condition keys).
// It has no Sid, which would have to differ from those of the role's policy.
const expiryStatement = `{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThanEquals":{"aws:CurrentTime":"%s"}}}`

// withExpiry returns the policy document, minified, with the expiry statement
// for the deadline added to its own; of an empty document, a policy of that
// statement alone. The length does not depend on the deadline.
//
// Nothing else of the document is changed, least of all its Version: without
// one, or with that of 2008, "${…}" is literal (IAM user guide,
// reference_policies_elements_version).
func withExpiry(document string, deadline time.Time) (string, error) {
	statement := fmt.Sprintf(expiryStatement, timestamp(deadline))
	if document == "" {
		return `{"Version":"2012-10-17","Statement":[` + statement + `]}`, nil
	}
	minified, err := minifyPolicy(document)
	if err != nil {
		return "", err
	}
	var policy struct {
		Version, Statement json.RawMessage
	}
	if err := json.Unmarshal([]byte(minified), &policy); err != nil {
		return "", err
	}
	var version string
	if policy.Version != nil {
		version = `"Version":` + string(policy.Version) + `,`
	}
	// A single statement may stand without a list.
	own := strings.TrimSuffix(strings.TrimPrefix(string(policy.Statement), "["), "]")
	return `{` + version + `"Statement":[` + own + `,` + statement + `]}`, nil
}
