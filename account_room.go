package awsiam

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"golang.org/x/sync/singleflight"
)

const (
	// askTimeout bounds how long a look at the state of things waits for AWS.
	askTimeout = 3 * time.Second
	// roomKept is how long an answer is, so that dashboards cost an account nothing.
	// A failure is asked about again sooner: somebody may be mending it.
	roomKept   = time.Minute
	unknownFor = 10 * time.Second
)

// room is how many users an account has, and may have.
type room struct {
	users, quota int
	err          error // why that is not known
}

// accountRoom has what AWS has last said about that of an integration's account.
// iam:GetAccountSummary takes no resource and has to be granted on "*", so that many
// an integration may not ask.
type accountRoom struct {
	asking singleflight.Group

	mu    sync.Mutex
	last  room
	until time.Time
}

// ask returns an answer that is not old, and asks AWS for it if need be. Who asks at
// once shares one call, which ends with none of them.
func (c *connection) ask(ctx context.Context, now func() time.Time) room {
	a := &c.room
	a.mu.Lock()
	last, fresh := a.last, now().Before(a.until)
	a.mu.Unlock()
	if fresh {
		return last
	}
	answered := a.asking.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		found := c.askNow(ctx)
		kept := roomKept
		if found.err != nil && !hasCode(found.err, codeAccessDenied) {
			kept = unknownFor
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.last, a.until = found, now().Add(kept)
		return found, nil
	})
	select {
	case <-ctx.Done():
		return room{err: errSilent}
	case answer := <-answered:
		return answer.Val.(room) //nolint:errcheck // it is nothing else
	}
}

// errSilent says that AWS has not answered in time.
var errSilent = fmt.Errorf("there was no answer within %s", askTimeout)

func (c *connection) askNow(ctx context.Context) room {
	out, err := c.iam.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{})
	switch {
	case err != nil && ctx.Err() != nil:
		return room{err: errors.Join(errSilent, err)}
	case err != nil:
		return room{err: err}
	}
	users, ok := out.SummaryMap["Users"]
	if !ok {
		return room{err: errors.New("the answer to iam:GetAccountSummary has no number of users")}
	}
	quota, ok := out.SummaryMap["UsersQuota"]
	if !ok {
		quota = accountUsers
	}
	return room{users: int(users), quota: int(quota)}
}
