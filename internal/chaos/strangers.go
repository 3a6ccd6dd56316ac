package chaos

import (
	"fmt"
	"reflect"
	"sync"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// strangers are users that others have made, beside or in place of the engine's.
// None of them may ever change.
type strangers struct {
	mu   sync.Mutex
	made []stranger
	ids  map[string]bool
}

// stranger is a foreign user as it was made.
type stranger struct {
	account string
	awsfake.UserInfo
}

func newStrangers() *strangers { return &strangers{ids: make(map[string]bool)} }

// add makes a foreign user with a key and a policy. Made past the simulated
// AWS's faults, it is complete when it is first seen.
func (s *strangers) add(account *awsfake.Account, path, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, _ := account.AddUser(path, name, policy(usefulAction))
	s.made = append(s.made, stranger{account.ID(), user})
	s.ids[user.ID] = true
}

func (s *strangers) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[id]
}

func (s *strangers) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.made)
}

// touched says which of the strangers are not as they were made, and how.
func (s *strangers) touched(c *cloud) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var touched []string
	for _, made := range s.made {
		user, found := c.Account(made.account).User(made.Name)
		switch {
		case !found:
			touched = append(touched, fmt.Sprintf("%s: deleted", made.ARN))
		case !reflect.DeepEqual(made.UserInfo, user):
			touched = append(touched, fmt.Sprintf("%s: changed\n  made  %+v\n  found %+v", made.ARN, made.UserInfo, user))
		}
	}
	return touched
}

// settle makes strangers wherever the engine might take them for its own: in
// the very path of its users and beside it, with names like those of its users.
func (s *strangers) settle(c *cloud, issuedPaths map[string]string) {
	for _, r := range roles {
		in := r.of()
		for i, path := range []string{issuedPaths[in.name], in.userPath, in.userPath + "deadbeef/", "/"} {
			s.add(c.Account(in.account), path, fmt.Sprintf("vault-%s-0000000000000000000%d", r.name, i))
		}
	}
}
