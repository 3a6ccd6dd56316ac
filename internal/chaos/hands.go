package chaos

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// handKind is something that people do in AWS by hand.
type handKind string

const (
	hangOn     handKind = "dependent hung on an issued user"
	deleteKey  handKind = "issued user's key deleted by hand"
	deleteUser handKind = "issued user deleted by hand"
	replace    handKind = "issued user replaced by a stranger"
	rename     handKind = "issued user renamed by hand"
	newcomer   handKind = "stranger made"
)

// hands interfere in AWS as the owner of the accounts does.
type hands struct {
	cloud     *cloud
	ledger    *ledger
	strangers *strangers
	tally     *tally
	paths     map[string]string // of issued users, by integration
	random    *rand.Rand
	kinds     bag[handKind]
	made      int
}

func newHands(seed uint64, c *cloud, l *ledger, s *strangers, t *tally, paths map[string]string) *hands {
	h := &hands{cloud: c, ledger: l, strangers: s, tally: t, paths: paths, random: stream(seed, handStream)}
	h.kinds.add(6, hangOn)
	h.kinds.add(1, deleteKey)
	h.kinds.add(2, deleteUser)
	h.kinds.add(1, replace)
	h.kinds.add(1, rename)
	h.kinds.add(1, newcomer)
	return h
}

// run interferes until the context ends.
func (h *hands) run(ctx context.Context) {
	for pause(ctx, between(h.random, 500*time.Millisecond, 3*time.Second)) {
		kind, die := h.kinds.draw(h.random), h.random.Uint64()
		if h.do(ctx, kind, die) {
			h.tally.add(string(kind))
		}
	}
}

// do says whether it was done: there may be nobody to do it to, or AWS may
// refuse its owner too.
func (h *hands) do(ctx context.Context, kind handKind, die uint64) bool {
	if kind == newcomer {
		in := integrations[die%uint64(len(integrations))]
		h.strangers.add(h.cloud.Account(in.account), h.paths[in.name], "vault-stranger-"+strconv.Itoa(h.made))
		h.made++
		return true
	}
	held, ok := h.choose(die, kind == replace || kind == rename)
	if !ok {
		return false
	}
	client := h.cloud.as(h.cloud.Account(held.account).Root())
	switch kind {
	case hangOn:
		return h.hang(ctx, client, held, die)
	case deleteKey:
		h.ledger.end(held.username, string(kind))
		_, err := client.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &held.username, AccessKeyId: &held.key.AccessKeyID})
		return err == nil
	case rename:
		h.ledger.end(held.username, string(kind))
		_, err := client.UpdateUser(ctx, &iam.UpdateUserInput{UserName: &held.username, NewUserName: aws.String("by-hand-" + held.username), NewPath: aws.String("/by-hand/")})
		return err == nil
	}
	h.ledger.end(held.username, string(kind))
	if !h.delete(ctx, client, held) {
		return false
	}
	if kind == replace {
		h.strangers.add(h.cloud.Account(held.account), held.had.Path, held.username)
	}
	return true
}

// choose returns one of the live leases. That a user was renamed, or that a
// stranger took its place, can be told only where the integration may ask whose
// a key is and what the user's id is; elsewhere the engine rightly leaves its
// record standing.
func (h *hands) choose(die uint64, wide bool) (lease, bool) {
	live := slices.DeleteFunc(h.ledger.allLive(time.Now().Add(5*time.Second)), func(held lease) bool {
		return wide && held.account != wideAccount
	})
	if len(live) == 0 {
		return lease{}, false
	}
	slices.SortFunc(live, func(a, b lease) int { return a.issued.Compare(b.issued) })
	return live[die%uint64(len(live))], true
}

// delete deletes a user with what it was issued with. Where somebody has hung
// more on it AWS refuses, and the engine finds a user without a key.
func (h *hands) delete(ctx context.Context, client *iam.Client, held lease) bool {
	user, found := h.cloud.Account(held.account).User(held.username)
	if !found {
		return false
	}
	name := &held.username
	for _, key := range user.AccessKeys {
		_, _ = client.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: aws.String(key.ID)})
	}
	for inline := range user.Policies {
		_, _ = client.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: name, PolicyName: &inline})
	}
	for _, arn := range user.AttachedPolicies {
		_, _ = client.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: name, PolicyArn: &arn})
	}
	for _, group := range user.Groups {
		_, _ = client.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: name, GroupName: &group})
	}
	_, _ = client.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
	_, found = h.cloud.Account(held.account).User(held.username)
	return !found
}

// hang adds something to an issued user that AWS requires gone before the user,
// of the kinds that the integration can remove.
func (h *hands) hang(ctx context.Context, client *iam.Client, held lease, die uint64) bool {
	kinds := dependents
	switch held.account {
	case coreAccount:
		kinds = dependents[:removableByEight]
	case toldAccount:
		kinds = dependents[:removableByTold]
	}
	before, found := h.cloud.Account(held.account).User(held.username)
	if !found {
		return false
	}
	name := &held.username
	kinds[die%uint64(len(kinds))](ctx, client, name)
	after, found := h.cloud.Account(held.account).User(held.username)
	return found && countDependents(after) > countDependents(before)
}

func countDependents(u awsfake.UserInfo) int {
	count := len(u.AccessKeys) + len(u.Policies) + len(u.AttachedPolicies) + len(u.Groups) +
		len(u.SSHKeys) + len(u.SigningCertificates) + len(u.ServiceCredentials) + len(u.MFADevices)
	if u.LoginProfile {
		count++
	}
	return count
}
