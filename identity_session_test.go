package awsiam

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

// While STS fails, refuses or is silent, a session serves to its end, which is what
// replacing it ahead is for, and no longer. Nor is STS asked by each call then. Break it
// by having sessions.HandleFailToRefresh return the failure always, or never, or leave
// no pause; or by leaving the time-out out of sessions.Retrieve.
func TestASessionServesToItsEnd(t *testing.T) {
	for name, fault := range map[string]awsfake.Fault{
		"fails":     {Action: "AssumeRole", Code: "ServiceFailure", Status: http.StatusInternalServerError},
		"refuses":   {Action: "AssumeRole", Code: "AccessDenied"},
		"is silent": {Action: "AssumeRole", Code: "ServiceFailure", Delay: attemptTimeout},
	} {
		for left, serves := range map[time.Duration]bool{sessionRenewedAhead - time.Minute: true, -time.Second: false} {
			if !serves && fault.Delay > 0 {
				continue // what is waited for then is as long as ever
			}
			t.Run(name+", with "+left.String()+" left", func(t *testing.T) {
				e := newEnv(t, corePolicy)
				role := e.aws.Account(otherAccount).AddRole("vault", "arn:aws:iam::"+testAccount+":root", corePolicy)
				e.aws.Advance(-time.Hour) // its policy counts whatever the clock is set to below
				key := e.anotherKey(mayAssume(corePolicy, role))
				// AWS's clock is behind: what it makes ends sooner by ours.
				e.aws.Advance(time.Hour + left - sessionLength["AssumeRole"])
				e.write("config/far", changed(e.connection(key), map[string]any{"role_arn": role, "max_retries": 0}))
				e.write("roles/far", map[string]any{"integration": "far", "policy_document": testPolicy})
				require.NoError(t, e.leaseCycle("far"))
				e.aws.ResetCalls()
				defer e.aws.Inject(fault)()
				began := time.Now()
				for range 3 {
					err := e.leaseCycle("far")
					if serves {
						require.NoError(t, err)
					} else {
						require.ErrorContains(t, err, "AssumeRole: "+fault.Code)
					}
				}
				if serves {
					require.Equal(t, 1, e.aws.Count("AssumeRole"))
					require.Less(t, time.Since(began), attemptTimeout)
				}
			})
		}
	}
}
