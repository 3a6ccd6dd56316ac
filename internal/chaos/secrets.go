package chaos

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"sync"
)

// secretBook knows every secret access key of the run. It takes them down where
// they come into being, in AWS's own answers, so that none is missed, not even
// that of a creation that was undone.
type secretBook struct {
	mu      sync.Mutex
	secrets map[string]bool
}

func newSecretBook() *secretBook { return &secretBook{secrets: make(map[string]bool)} }

func (b *secretBook) add(secret string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.secrets[secret] = true
}

var secretElement = regexp.MustCompile(`<SecretAccessKey>([^<]+)</SecretAccessKey>`)

// watch passes requests on and takes down the secrets in the answers. Those of
// answers that are lost are nowhere else.
func (b *secretBook) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&reader{w, b}, r)
	})
}

// reader reads along what is written in one go, as the simulated AWS does.
type reader struct {
	http.ResponseWriter
	book *secretBook
}

// Write implements io.Writer.
func (r *reader) Write(answer []byte) (int, error) {
	if secret := secretElement.FindSubmatch(answer); secret != nil {
		r.book.add(string(secret[1]))
	}
	return r.ResponseWriter.Write(answer)
}

// needleLength is how much of a secret the search looks up at each place of a
// text.
const needleLength = 16

// find returns how many secrets stand in the text, in any of the forms in which
// a program might print them. It reads the text once, however many there are.
func (b *secretBook) find(text []byte) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	forms := make(map[[needleLength]byte][]string, 4*len(b.secrets))
	for secret := range b.secrets {
		for _, form := range []string{
			secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret)),
		} {
			begin := [needleLength]byte([]byte(form))
			forms[begin] = append(forms[begin], form) // two forms of one secret may begin alike
		}
	}
	found := make(map[string]bool)
	for i := 0; i+needleLength <= len(text); i++ {
		for _, form := range forms[[needleLength]byte(text[i:i+needleLength])] {
			if bytes.HasPrefix(text[i:], []byte(form)) {
				found[form] = true
				break
			}
		}
	}
	return len(found)
}
