package e2e

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"sync"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// ledger knows every secret access key of the run, taken down where it comes
// into being: in AWS's own answers. So no secret is missed, whoever asked for
// it, and that of a creation that was undone is in it too.
type ledger struct {
	mu          sync.Mutex
	issued      []string // of users that the plugin made
	integration []string // of the integrations' own users
}

// handedOut is the ledger of the whole run.
var handedOut ledger

// policyMarker stands in a policy document that the tests write to Vault, so
// that a log with request bodies in it would have it too.
const policyMarker = "MarkOfARequestBody"

var secretElement = regexp.MustCompile(`<SecretAccessKey>([^<]+)</SecretAccessKey>`)

// watch passes requests on and takes down the secrets in the answers.
func (l *ledger) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		if secret := secretElement.FindSubmatch(answer.Body.Bytes()); secret != nil {
			l.mu.Lock()
			l.issued = append(l.issued, string(secret[1]))
			l.mu.Unlock()
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()) // a client that is gone needs no answer
	})
}

func (l *ledger) addIntegration(secret string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.integration = append(l.integration, secret)
}

// find says how many secrets of the run stand in the text, in any of the forms
// in which a program might print them. Those of integrations can be left out,
// for the one place where they belong.
func (l *ledger) find(text []byte, withIntegrations bool) (found int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	secrets := l.issued
	if withIntegrations {
		secrets = append(slices.Clip(secrets), l.integration...)
	}
	for _, secret := range secrets {
		for _, form := range []string{
			secret,
			url.QueryEscape(secret),
			base64.StdEncoding.EncodeToString([]byte(secret)),
			fmt.Sprintf("%x", secret),
		} {
			if bytes.Contains(text, []byte(form)) {
				found++
				break
			}
		}
	}
	return found
}

// size is how many secrets the ledger has.
func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.issued) + len(l.integration)
}

// checkLog looks through all that a server and its plugins have written, at
// level trace, for secrets and for request bodies.
func checkLog(server *vaultdev.Server) error {
	log, err := os.ReadFile(server.LogPath)
	if err != nil {
		return err
	}
	if !bytes.Contains(log, []byte("[TRACE]")) {
		err = errors.Join(err, errors.New("the server's log is not at level trace: the search for secrets proves nothing"))
	}
	if found := handedOut.find(log, true); found > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d secret access keys are in the server's log", found, handedOut.size()))
	}
	if bytes.Contains(log, []byte(policyMarker)) {
		err = errors.Join(err, errors.New("a request's body is in the server's log"))
	}
	if at := crashRegexp.FindIndex(log); at != nil {
		err = errors.Join(err, fmt.Errorf("Vault or a plugin crashed:\n%s", log[at[0]:min(len(log), at[0]+8000)]))
	}
	return err
}

// crashRegexp finds what the Go runtime writes when a process ends by itself. A
// plugin's lines arrive in Vault's log, each behind a prefix.
var crashRegexp = regexp.MustCompile(`(?m)(panic: |fatal error: |SIGSEGV).*$`)
