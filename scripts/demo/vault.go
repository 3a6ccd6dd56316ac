package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// lease is what reading credentials returned.
type lease struct {
	id, keyID, secret, username, arn string
}

// vaultCLI prints a command, runs it with the real vault CLI, prints what it
// answered, and returns its standard output.
func (d *demo) vaultCLI(ctx context.Context, args ...string) (string, error) {
	return d.vaultCLIWithInput(ctx, "", args...)
}

func (d *demo) vaultCLIWithInput(ctx context.Context, stdin string, args ...string) (string, error) {
	d.out.command("$", shellCommand(append([]string{"vault"}, args...)...))
	stdout, stderr, err := d.runVault(ctx, stdin, args...)
	d.hideSecrets(stdout)
	d.out.block(strings.TrimSpace(strings.TrimSpace(stdout) + "\n\n" + strings.TrimSpace(stderr)))
	if err != nil {
		return stdout, fmt.Errorf("vault %s %s: %w", args[0], args[1], err)
	}
	return stdout, nil
}

func (d *demo) runVault(ctx context.Context, stdin string, args ...string) (stdout, stderr string, err error) {
	cmd := d.vault.Command(ctx, d.vault.RootToken, args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		err = fmt.Errorf("exit code %d, but it must succeed", exit.ExitCode())
	}
	return out.String(), errOut.String(), err
}

// hideSecrets masks the keys of a real account before they are printed.
func (d *demo) hideSecrets(output string) {
	if d.realAWS {
		fields := tableFields(output)
		d.out.hide(fields["secret_access_key"])
		d.out.hide(fields["secret_key"])
	}
}

// readCreds reads credentials with the given arguments. In AWS, the policy of
// the integration user takes seconds to arrive everywhere, and until then the
// user may be refused; the engine has undone the attempt then.
func (d *demo) readCreds(ctx context.Context, role string, args ...string) (map[string]string, error) {
	args = append([]string{"read", mount + "creds/" + role}, args...)
	deadline := time.Now().Add(d.cloud.patience)
	for {
		output, err := d.vaultCLI(ctx, args...)
		if err == nil {
			return tableFields(output), d.keepLease(role, tableFields(output))
		}
		if !d.realAWS || ctx.Err() != nil || time.Now().After(deadline) {
			return nil, err
		}
		d.out.line("AWS may not know the integration user everywhere yet: trying again.")
		if !pause(ctx, d.cloud.interval) {
			return nil, ctx.Err()
		}
	}
}

func (d *demo) keepLease(role string, fields map[string]string) error {
	l := lease{fields["lease_id"], fields["access_key_id"], fields["secret_access_key"], fields["username"], fields["arn"]}
	if l.id == "" || l.keyID == "" || l.secret == "" || l.username == "" || l.arn == "" {
		return fmt.Errorf("credentials of %s are not complete: a field is missing", role)
	}
	d.leases[role] = l
	return nil
}

// tableFields takes the vault CLI's table of keys and values apart.
func tableFields(output string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(output) {
		key, value, _ := strings.Cut(line, " ")
		fields[key] = strings.TrimSpace(value)
	}
	return fields
}

// pause waits, and says whether the wait was not interrupted.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
