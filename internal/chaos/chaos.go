// Package chaos shakes a cluster of real Vault servers with the plugin, in
// front of a simulated AWS, and judges what is left: a seeded run in which
// processes are killed, networks cut and AWS's answers lost, while clients
// issue, renew and revoke and people interfere in AWS by hand.
//
// # What is judged
//
// A lease counts as live for the client that holds it, from Vault's answer until
// it asks for its revocation, a hand in AWS destroys its user, or the last end
// that Vault has promised. Such a lease must never lose anything that its user
// was issued with; that is looked at with every destructive call at AWS, all the
// time, and once more with the credential itself when all is healed. Then all
// leases are ended, and within ten minutes of the last fault no user, no access
// key and no record may be left, and every foreign user must be as it was made.
//
// # What a seed reproduces
//
// The seed decides the schedule: which faults, in which order, after which
// pauses, for how long and how badly; what each client does with its leases;
// what hands do in AWS, and to how many. It does not decide what depends on the
// machine: which call meets which fault, who is the leader, how long a failover
// takes, and so how far a client gets in the time. Two runs of one seed meet the
// same faults in the same order, but not at the same instants.
package chaos

import (
	"errors"
	"fmt"
	"io"
	"time"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// drainTime is within how long of the last fault nothing may be left.
const drainTime = 10 * time.Minute

// Options say what a run does.
type Options struct {
	Seed     uint64
	Duration time.Duration // how long faults go on, at least
	Nodes    int           // Vault servers: 1, or at least 3, since two do not survive the loss of one

	// Goals: faults go on until both are met too.
	Kills  int // processes killed with SIGKILL
	Faults int // calls to AWS that a fault was injected into

	Vault    vaultdev.Config // which binary, and the folder that Plugin is in
	Plugin   vaultdev.Plugin
	Progress io.Writer // told of each fault on Vault, and how far the run is
	KeepLogs string    // folder for the servers' logs of a run that went wrong; "" keeps none
}

func (o Options) validate() error {
	switch {
	case o.Duration <= 0:
		return errors.New("the duration must be more than nothing")
	case o.Nodes != 1 && o.Nodes < 3:
		return fmt.Errorf("%d nodes: one, or three and more, since two do not survive the loss of one", o.Nodes)
	case o.Kills < 0 || o.Faults < 0:
		return errors.New("a goal cannot be negative")
	}
	return nil
}
