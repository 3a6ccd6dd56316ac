package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// holdUntilInterrupted leaves everything up, with live credentials, and says
// how to get at it from a second shell.
func (d *demo) holdUntilInterrupted(ctx context.Context) {
	d.out.heading("Your turn")
	d.out.line("Everything stays up. Paste this into a second shell:")
	fmt.Fprintln(d.out)
	for _, line := range d.exports() {
		fmt.Fprintf(d.out, "    %s\n", line)
	}
	fmt.Fprintln(d.out)
	administrator := "with your own AWS credentials"
	if !d.realAWS {
		administrator = "as these lines make you the account's administrator"
	}
	d.out.line("Then the commands above work there; those with ~ if you have the AWS CLI, " + administrator + ". For example:")
	l := d.leases[userRole]
	d.out.command("$", shellCommand("vault", "read", mount+"creds/"+summaryRole, "ttl=10m"))
	d.out.command("$", shellCommand("vault", "lease", "renew", "-increment=1h", l.id))
	d.out.command("$", shellCommand("vault", "lease", "revoke", l.id))
	if !d.realAWS {
		d.out.command("~", "AWS_ACCESS_KEY_ID="+l.keyID+" AWS_SECRET_ACCESS_KEY="+quote(l.secret)+continuation+
			shellCommand(listUsers(d.issued.path).typed...))
	}
	fmt.Fprintln(d.out)
	d.out.line("Vault's log: " + d.vault.LogPath)
	d.out.line("Press Ctrl-C here to delete all users, stop everything and end.")
	<-ctx.Done()
}

// exports is what makes a shell's vault, and its AWS CLI, speak to the demo.
func (d *demo) exports() []string {
	lines := []string{
		"export VAULT_ADDR=" + d.vault.Addr,
		"export VAULT_TOKEN=" + d.vault.RootToken,
	}
	// Asked for by what the second shell would find, which this PATH stands for.
	if onPath, err := exec.LookPath("vault"); err != nil || onPath != d.bin {
		lines = append(lines, vaultOnPath(d.bin))
	}
	if d.realAWS {
		return lines // that shell has the caller's own AWS credentials
	}
	return append(lines,
		"export AWS_ENDPOINT_URL="+d.cloud.iamEndpoint,
		// Version 1 of the AWS CLI knows only the second.
		"export AWS_REGION="+defaultRegion+" AWS_DEFAULT_REGION="+defaultRegion,
		"export AWS_ACCESS_KEY_ID="+d.cloud.root.AccessKeyID,
		"export AWS_SECRET_ACCESS_KEY="+quote(d.cloud.root.SecretAccessKey),
		"unset AWS_PROFILE AWS_SESSION_TOKEN")
}

func vaultOnPath(bin string) string {
	if filepath.Base(bin) != "vault" {
		return "alias vault=" + quote(bin)
	}
	return "export PATH=" + quote(filepath.Dir(bin)) + `:"$PATH"`
}
