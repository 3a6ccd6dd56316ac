package awsfake_test

import (
	"bufio"
	"io"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// motoDeviations are the checks that moto_server 5.2.1 fails, and why.
var motoDeviations = func() map[string]string {
	all := map[string]string{
		"user ids begin with AIDA":                            "ids are random lower-case text",
		"names are taken ignoring case":                       "names are compared exactly",
		"lists are cut at MaxItems and go on at the marker":   "ListUsers ignores MaxItems",
		"a page has at most 1000 items":                       "ListUsers ignores MaxItems",
		"a key's owner is known by its new name":              "GetAccessKeyLastUsed keeps the old name",
		"the owner of an unknown key is not told":             "answers NoSuchEntity",
		"policies of AWS's own are attached":                  "has them only when told to load them",
		"signing certificates: none twice":                    "are accepted twice",
		"a policy in use is not deleted":                      "deletes it",
		"a group with members is not deleted":                 "deletes it",
		"a device in use is not deleted":                      "deletes it",
		"a key makes sessions without any permission":         "session keys are not ASIA…",
		"a missing user is judged without its path":           "authorization is off",
		"a user without policies may do nothing in IAM":       "authorization is off",
		"unknown actions are invalid":                         "answers 500 without an envelope",
		"session lengths have bounds":                         "are not checked",
		"create user sets the boundary":                       "PermissionsBoundary is dropped",
		"a boundary must exist":                               "PermissionsBoundary is dropped",
		"a boundary is put, guards its policy and is removed": "PutUserPermissionsBoundary is not implemented",
		"a boundary and tags do not keep a user":              "PutUserPermissionsBoundary is not implemented",
		"service-specific credentials: two to a service":      "are not implemented",
		"no deletion with service-specific credential":        "are not implemented",
		"malformed policy: odd sid":                           "is accepted",
		"malformed policy: an Id":                             "is accepted",
		"malformed policy: a principal":                       "is accepted",
		"malformed policy: another partition":                 "is accepted",
	}
	for reason, checks := range map[string][]string{
		"DeleteUser conflicts on policies alone": {
			"no deletion with access key", "no deletion with group membership", "no deletion with login profile",
			"no deletion with signing certificate", "no deletion with SSH public key", "no deletion with MFA device",
		},
		"names, paths and tags are not validated": {
			"names have 64 characters at most", "names have certain characters",
			"paths begin and end with a slash", "paths have certain characters",
			"bad tag: empty key", "bad tag: a semicolon", "bad tag: AWS's own prefix", "bad tag: keys differ only by case",
			"bad tag: 51 of them", "bad tag: key of 129 characters", "bad tag: value of 257 characters",
		},
		"no quota but two keys and two certificates to a user": {
			"a user has at most 50 tags", "inline policies together have 2048 characters at most",
			"a user has at most 10 managed policies", "a user is in at most 10 groups", "SSH keys: five to a user, none twice",
		},
		"any key and any signature is accepted": {
			"a wrong secret does not sign", "unknown keys are invalid", "deleted keys stop working", "inactive keys do not work",
		},
	} {
		for _, c := range checks {
			all[c] = reason
		}
	}
	return all
}()

// TestFidelityOfMoto asserts the same of another simulation, written by others from AWS's answers:
// where the two agree, a misreading of the wire format is unlikely.
func TestFidelityOfMoto(t *testing.T) {
	if _, err := exec.LookPath("moto_server"); err != nil {
		t.Skip("NOT CHECKED: whether moto_server, where it is faithful to AWS, agrees with this simulation: it is not on the PATH")
	}
	w := world{url: startMoto(t)}
	root := awsfake.Credentials{AccessKeyID: "testing", SecretAccessKey: "testing"}
	runFidelity(t, backend{iam: w.iam(root), iamAs: w.iam, stsAs: w.sts}, motoDeviations)
}

// startMoto runs a moto_server on a free port for the length of the test.
func startMoto(t *testing.T) (url string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "moto_server", "-H", "127.0.0.1", "-p", "0")
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // killed, since the test's context has ended
	})
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() { // to the end, or moto would block on its log
			if m := regexp.MustCompile(`Running on (http://127\.0\.0\.1:[0-9]+)`).FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
	}()
	select {
	case url = <-found:
	case <-time.After(time.Minute):
		require.Fail(t, "moto_server does not say where it runs")
	}
	return url
}
