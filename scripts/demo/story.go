package main

import (
	"context"
	"fmt"
	"strings"
)

const (
	mountName   = "aws-iam"
	mount       = mountName + "/"
	account     = "sandbox" // the integration
	userRole    = "user-audit"
	summaryRole = "account-report"
)

func (d *demo) mountPlugin(ctx context.Context) error {
	d.out.step("Register the plugin and mount it",
		"Vault runs a plugin only if the binary has the checksum that an operator registered.")
	_, err := d.vaultCLI(ctx, "plugin", "register",
		"-sha256="+d.plugin.SHA256, "-command="+d.plugin.Command, "-version="+d.plugin.Version,
		"secret", d.plugin.Name)
	if err != nil {
		return err
	}
	_, err = d.vaultCLI(ctx, "secrets", "enable", "-path="+mountName, d.plugin.Name)
	return err
}

func (d *demo) makeIntegrationUser(ctx context.Context) error {
	u := d.integration
	d.out.step("Give Vault an IAM user of its own",
		"Its eight permissions reach only users beneath "+userPath+". It lives beneath "+integrationPath+
			" itself, so that it cannot give itself more. You do this once, as an administrator of the account.")
	for _, c := range []call{u.createUser(), u.putPolicy(integrationPolicy(d.cloud.partition)), u.createKey()} {
		if err := d.administer(ctx, c); err != nil {
			return err
		}
	}
	if d.realAWS {
		d.out.hide(u.secret)
		fmt.Fprintln(d.out)
		d.out.line("Waiting until all of AWS knows the new key.")
	}
	return d.keyWorks(ctx)
}

func (d *demo) connectAccount(ctx context.Context) error {
	d.out.step("Connect the account to Vault",
		"A connection is called an integration, here \""+account+"\"; any number of roles can share it. "+
			"Vault asks AWS whose key it is before storing it, and never shows the secret again.")
	args := []string{"write", mount + "config/" + account, "access_key=" + d.integration.keyID}
	secret, stdin := d.integration.secret, ""
	if d.realAWS {
		// Other users of the machine see arguments; "-" reads standard input.
		d.out.line("The secret key goes in by standard input (\"-\"): arguments show in the list of processes.")
		secret, stdin = "-", d.integration.secret
		args = append(args, "region="+d.cloud.config.Region)
	}
	args = append(args, "secret_key="+secret)
	if d.cloud.iamEndpoint != "" {
		args = append(args, "iam_endpoint="+d.cloud.iamEndpoint)
	}
	if d.cloud.stsEndpoint != "" {
		args = append(args, "sts_endpoint="+d.cloud.stsEndpoint)
	}
	d.issued.mounted = true
	d.atEnd(d.unmount)
	if _, err := d.vaultCLIWithInput(ctx, stdin, args...); err != nil {
		return err
	}

	output, err := d.vaultCLI(ctx, "read", mount+"config/"+account)
	if err != nil {
		return err
	}
	fields := tableFields(output)
	d.issued.path = fields["issued_user_path"]
	if !strings.HasPrefix(d.issued.path, userPath) || d.issued.path == userPath {
		return fmt.Errorf("issued_user_path is %q, wanted is a folder of the mount's own beneath %s", d.issued.path, userPath)
	}
	return d.expect(
		claim{"caller_arn is the integration user's", fields["caller_arn"] == d.integration.arn},
		claim{"account_id is the account's", fields["account_id"] == d.cloud.account},
		claim{"the secret key is not shown", !strings.Contains(output, d.integration.secret)},
	)
}

func (d *demo) defineRoles(ctx context.Context) error {
	d.out.step("Define two roles with different permissions",
		"A role says what the users made for it may do. \""+userRole+"\" may list IAM users, \""+summaryRole+"\" may read the account's figures, for 8 hours at most.")
	for _, role := range []struct{ name, action, maxTTL string }{
		{userRole, "iam:ListUsers", ""},
		{summaryRole, "iam:GetAccountSummary", "8h"},
	} {
		args := []string{"write", mount + "roles/" + role.name, "integration=" + account, "policy_document=" + allow(role.action)}
		if role.maxTTL != "" {
			args = append(args, "max_ttl="+role.maxTTL)
		}
		if _, err := d.vaultCLI(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// allow is a policy that allows one action, on whatever it can be asked of. It
// is set in as commands are printed.
func allow(action string) string {
	return `{
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": "` + action + `", "Resource": "*" }]
      }`
}

func (d *demo) readCredentials(ctx context.Context) error {
	d.out.step("Read credentials",
		"Each read makes a new IAM user, so that what is done with a key can be traced to who asked for it. The lease lasts 30 minutes unless the role or the reader says otherwise.")
	first, err := d.readCreds(ctx, userRole)
	if err != nil {
		return err
	}
	second, err := d.readCreds(ctx, summaryRole, "ttl=3h")
	if err != nil {
		return err
	}
	return d.expect(
		claim{"a lease lasts 30 minutes by default", first["lease_duration"] == "30m"},
		claim{"ttl=3h makes a lease of 3 hours", second["lease_duration"] == "3h"},
		claim{"the users differ", first["username"] != second["username"]},
		claim{"the users are beneath the mount's path", strings.Contains(first["arn"], ":user"+d.issued.path) && strings.Contains(second["arn"], ":user"+d.issued.path)},
	)
}

func (d *demo) useCredentials(ctx context.Context) error {
	d.out.step("Use the keys: AWS allows what the role says, and nothing else",
		"Vault only hands out keys; it is AWS that enforces their permissions.")
	for _, role := range []struct {
		name              string
		permitted, denied call
	}{
		{userRole, listUsers(d.issued.path), getAccountSummary()},
		{summaryRole, getAccountSummary(), listUsers(d.issued.path)},
	} {
		l := d.leases[role.name]
		who := d.cloud.as(l.keyID, l.secret)
		fmt.Fprintln(d.out)
		d.out.line(fmt.Sprintf("With the key of %q, %s:", role.name, l.keyID))
		// First who it is and what it may do: once AWS knows key and policy, a
		// refusal means what it says.
		if err := d.allows(ctx, who, getCallerIdentity()); err != nil {
			return err
		}
		if err := d.allows(ctx, who, role.permitted); err != nil {
			return err
		}
		if err := d.refuses(ctx, who, role.denied); err != nil {
			return err
		}
	}

	l := d.leases[userRole]
	fmt.Fprintln(d.out)
	d.out.line(fmt.Sprintf("Nor can %q make itself a second key, to outlive its lease:", userRole))
	return d.refuses(ctx, d.cloud.as(l.keyID, l.secret), createAccessKey(l.username))
}

func (d *demo) renewLease(ctx context.Context) error {
	d.out.step("Renew a lease",
		"Whoever still needs a key keeps it by renewing, up to the role's maximum; whoever stops renewing loses it.")
	output, err := d.vaultCLI(ctx, "lease", "renew", "-increment=1h", d.leases[userRole].id)
	if err != nil {
		return err
	}
	return d.expect(claim{"the lease lasts an hour from now", tableFields(output)["lease_duration"] == "1h"})
}

func (d *demo) revokeLease(ctx context.Context) error {
	l := d.leases[userRole]
	d.out.step("Revoke a lease",
		"A key that may have leaked dies now, not at the end of its lease. Vault deletes the user, and the lease with it.")
	if _, err := d.vaultCLI(ctx, "lease", "revoke", l.id); err != nil {
		return err
	}
	fmt.Fprintln(d.out)
	d.out.line("The user is gone, says AWS to the administrator:")
	if err := d.comesToRefuse(ctx, d.cloud.admin, getUser(l.username), noSuchEntity); err != nil {
		return err
	}
	fmt.Fprintln(d.out)
	d.out.line("Its key opens nothing any more:")
	if err := d.comesToRefuse(ctx, d.cloud.as(l.keyID, l.secret), getCallerIdentity(), invalidKey); err != nil {
		return err
	}

	other := d.leases[summaryRole]
	fmt.Fprintln(d.out)
	d.out.line(fmt.Sprintf("The key of %q, %s, goes on working:", summaryRole, other.keyID))
	return d.allows(ctx, d.cloud.as(other.keyID, other.secret), getAccountSummary())
}

func (d *demo) disableMount(ctx context.Context) error {
	d.out.step("Unmount the engine",
		"Even turning the engine off leaves nothing behind: Vault revokes the leases that are left, and forgets the mount only when their users are gone.")
	if _, err := d.vaultCLI(ctx, "secrets", "disable", mountName); err != nil {
		return err
	}
	d.issued.mounted = false

	look := listUsers(d.issued.path)
	answer, waited, err := d.await(ctx, d.cloud.admin, look, func(answer string, err error) bool { return err != nil || answer == noUsers })
	switch {
	case err != nil:
		return err
	case answer != noUsers:
		return fmt.Errorf("no user may be left beneath %s, but AWS answers: %s", d.issued.path, answer)
	}
	d.out.verdict(green, "allowed", answer+waited)
	d.checks++
	return nil
}

// claim is something that must be so.
type claim struct {
	what  string
	holds bool
}

func (d *demo) expect(claims ...claim) error {
	for _, c := range claims {
		if !c.holds {
			return fmt.Errorf("this does not hold: %s", c.what)
		}
		d.checks++
	}
	return nil
}
