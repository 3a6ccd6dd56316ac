package awsiam

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// scarce is the share of an account's users below which what is left is little.
const scarce = 10 // percent

// action is how errors write what somebody is to grant: AWS in its refusals, and the
// engine in what it says about them. Calls that were made are "IAM:DeleteUser" there.
var action = regexp.MustCompile(`\b(?:iam|sts):[A-Z][A-Za-z]+`)

// missingActions are those that the errors name.
func (f *figures) missingActions() []string {
	missing := []string{}
	for _, reason := range f.reasons {
		missing = append(missing, action.FindAllString(reason, -1)...)
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// advise says what somebody should look at, and what to do about it.
func (st *integrationStatus) advise(now time.Time, mount string) {
	say := func(format string, args ...any) {
		st.attention = append(st.attention, fmt.Sprintf("integration %q: ", st.integration)+fmt.Sprintf(format, args...))
	}
	config := fmt.Sprintf("vault write -f %s%s%s", mount, integrationPrefix, st.integration)
	switch {
	case st.damage != nil:
		say("%s", st.damage)
	case st.in == nil:
		say("there are records of its users, but it is not there: write it again, and they are deleted in time")
	case st.reach != nil:
		say("AWS cannot be reached, or does not let it in: %s", describe(st.reach))
	case !st.in.verified():
		say("it is not verified: %q asks AWS who it is", config)
	}
	if st.failing > 0 {
		say("%s", st.failingDeletions(now, mount))
	}
	if st.overdue > 0 {
		say("the end of %d user(s) has been due for more than %s: AWS answers slowly, or refuses calls for their rate (%d wait for their turn)",
			st.overdue, overdueAfter, st.waiting)
	}
	if st.roomKnown && 100*st.room.left() < scarce*st.room.quota {
		say("its account %s has %d users, of all kinds, and IAM allows it %d: delete users, or use another account", st.account, st.room.users, st.room.quota)
	}
	if st.in == nil {
		return
	}
	if st.in.MaxUsers > 0 && st.users >= st.in.MaxUsers {
		say("it has %d users, and %s=%d: readers are refused until leases end", st.users, fieldMaxUsers, st.in.MaxUsers)
	}
	if failure := st.in.Rotation.lastError(); failure != "" {
		say("the rotation of its key failed, and is tried again: %s", failure)
	}
}

// failingDeletions tells of the user whose deletion began to fail last, which is what
// somebody has just seen, and of the first if its reason is another.
func (st *integrationStatus) failingDeletions(now time.Time, mount string) string {
	var text strings.Builder
	tell := func(which string, failed datedUser) {
		// What has several parts begins with what AWS said.
		reason, _, _ := strings.Cut(cmp.Or(st.reasons[failed.username], "it is gone by now"), "; ")
		fmt.Fprintf(&text, "%s, %q, has been failing for %s: %s. ", which, failed.username, age(failed.at, now), strings.TrimSuffix(reason, "."))
	}
	fmt.Fprintf(&text, "%d user(s) could not be deleted yet. ", st.failing)
	tell("The last", st.last)
	if st.firstReason() != "" {
		tell("The first", st.first)
	}
	fmt.Fprintf(&text, "The next attempt is at %s", timestamp(st.next))
	missing := st.missingActions()
	if len(missing) == 0 {
		return text.String()
	}
	who := "it"
	if st.in != nil && st.in.CallerARN != "" {
		who = st.in.CallerARN
	}
	fmt.Fprintf(&text, ". To do: grant %s to %s; %q shows the policies to paste", strings.Join(missing, ", "), who, "vault read "+mount+"policy/"+st.integration)
	if strings.Contains(st.reasons[st.first.username]+st.reasons[st.last.username], "explicit deny") {
		text.WriteString("; and lift the explicit deny that AWS speaks of, which no grant outweighs")
	}
	return text.String()
}

// firstReason is why the first user could not be deleted, empty if that is why the
// last could not, too.
func (f *figures) firstReason() string {
	first, last := f.reasons[f.first.username], f.reasons[f.last.username]
	if sameReason(first, f.first.username, last, f.last.username) {
		return ""
	}
	return first
}

// requestID is what no two answers of AWS share.
var requestID = regexp.MustCompile(`request id [^)]*`)

// sameReason says whether two users fail for the same reason, but for who they are.
func sameReason(one, oneName, other, otherName string) bool {
	bare := func(reason, username string) string {
		return requestID.ReplaceAllString(strings.ReplaceAll(reason, username, ""), "")
	}
	return bare(one, oneName) == bare(other, otherName)
}

// roomUnknown says why it is not known how many users the account has.
func (st *integrationStatus) roomUnknown() string {
	switch {
	case st.reach != nil:
		return "AWS could not be asked: see " + fieldConnection
	case hasCode(st.room.err, codeAccessDenied):
		return "not allowed: grant iam:" + summaryOperation + ` on "*" for this, which is optional`
	}
	return describe(st.room.err) // AWS's rate has no room for the question
}
