// Command demo tells the whole story of the engine, from registering the
// plugin to a deleted IAM user, with a real Vault server and the real vault
// CLI. It is a proof rather than a show: each step checks what it claims, and
// the first claim that does not hold ends it with an error.
//
// AWS is simulated (internal/awsfake) unless AWS=real is in the environment:
// then it is the account of the AWS SDK's default credentials, after a
// question. HOLD=1 stays up once credentials are issued, for a second shell.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// cleanUpTimeout bounds all cleaning up together. Revoking a lease takes at
// most 75 s, a Vault that does not stop by itself 30 s.
const cleanUpTimeout = 4 * time.Minute

// logLines is how much of Vault's log a failure shows; all of it is kept.
const logLines = 10

// demo is one run.
type demo struct {
	options
	out     *printer
	stdin   *os.File
	cloud   *cloud
	vault   *vaultdev.Server
	bin     string // the vault binary
	plugin  vaultdev.Plugin
	checks  int
	cleanUp []func(context.Context) error // in order of making; run backwards

	integration *integrationUser
	issued      issuedUsers
	leases      map[string]lease // by role
}

// options is what the environment asks for.
type options struct {
	hold    bool
	realAWS bool
}

func optionsFrom(getenv func(string) string) (options, error) {
	o := options{hold: getenv("HOLD") != "" && getenv("HOLD") != "0"}
	switch getenv("AWS") {
	case "", "fake":
	case "real":
		o.realAWS = true
	default:
		return o, fmt.Errorf("AWS=%q: leave it out for a simulated AWS, or say AWS=real for your account", getenv("AWS"))
	}
	return o, nil
}

func main() { os.Exit(run()) }

func run() (exitCode int) {
	// SIGPIPE and SIGHUP too: whoever closes the terminal or the pager must
	// not leave users in an AWS account.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()

	options, err := optionsFrom(os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	d := &demo{options: options, out: newPrinter(os.Stdout, colourful(os.Stdout)), stdin: os.Stdin, leases: map[string]lease{}}
	if !d.run(ctx) {
		return 1
	}
	return 0
}

// run tells the story, cleans up whatever came of it and reports.
func (d *demo) run(ctx context.Context) bool {
	started := time.Now()
	err := d.tell(ctx)
	if errors.Is(err, errDeclined) {
		d.out.failure("Nothing was created", "")
		return false
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = errors.New("interrupted")
		d.out.failure("Interrupted"+d.out.where(), "")
	default:
		d.out.failure("FAILED"+d.out.where(), err.Error())
		d.showLog()
	}

	// The interruption that ended the story must not end the cleaning up.
	cleanCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	left := d.cleanAll(cleanCtx)
	if left != nil {
		d.out.failure("Cleaning up met errors", left.Error())
	}
	if err != nil || left != nil {
		return false
	}
	d.summary(time.Since(started))
	return true
}

// tell is everything but cleaning up.
func (d *demo) tell(ctx context.Context) error {
	d.legend()
	if err := d.prepare(ctx); err != nil {
		return err
	}
	if err := d.each(ctx, d.mountPlugin, d.makeIntegrationUser, d.connectAccount, d.defineRoles, d.readCredentials, d.useCredentials); err != nil {
		return err
	}
	if d.hold {
		d.holdUntilInterrupted(ctx)
		return nil
	}
	return d.each(ctx, d.renewLease, d.revokeLease, d.disableMount)
}

func (d *demo) each(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// atEnd registers what undoes the thing just made.
func (d *demo) atEnd(f func(context.Context) error) { d.cleanUp = append(d.cleanUp, f) }

// cleanAll undoes everything, last made first, and goes on when something fails.
func (d *demo) cleanAll(ctx context.Context) error {
	if len(d.cleanUp) == 0 {
		return nil
	}
	d.out.heading("Cleaning up")
	var errs []error
	for _, f := range slices.Backward(d.cleanUp) {
		errs = append(errs, f(ctx))
	}
	return errors.Join(errs...)
}

// showLog prints the end of Vault's log and keeps the log: stopping Vault
// removes it.
func (d *demo) showLog() {
	if d.vault == nil {
		return
	}
	log, err := os.ReadFile(d.vault.LogPath)
	if err != nil {
		d.out.line("Vault's log cannot be read: " + err.Error())
		return
	}
	d.out.heading("Vault's log ends with")
	d.out.block(lastLines(string(log), logLines))
	if kept, err := keepLog(log); err != nil {
		d.out.line("The log could not be kept: " + err.Error())
	} else {
		d.out.line("The whole log: " + kept)
	}
}

func keepLog(log []byte) (string, error) {
	file, err := os.CreateTemp("", "aws-iam-demo-vault-*.log")
	if err != nil {
		return "", err
	}
	_, err = file.Write(log)
	return file.Name(), errors.Join(err, file.Close())
}

// summary closes a run that went well.
func (d *demo) summary(elapsed time.Duration) {
	d.out.heading("What was shown")
	shown := []string{
		"One AWS account connected with a key of eight permissions, beneath one path.",
		"Two roles, and a new IAM user with its own key for each read.",
		"Each key did what its role allows, and AWS refused it everything else tried.",
	}
	if d.hold {
		shown = append(shown, "Unmounting deleted every user that was left.")
	} else {
		shown = append(shown,
			"A lease was renewed, then revoked: its user is gone, its key refused.",
			"Unmounting deleted the user that was left. Nothing remains in AWS.")
	}
	for _, line := range shown {
		d.out.item(line)
	}
	_, _ = io.WriteString(d.out, "\n")
	d.out.success(fmt.Sprintf("%d checks passed in %s.", d.checks, elapsed.Round(time.Second)))
	if !d.hold {
		d.out.line("Try it yourself, in a second shell: make demo HOLD=1")
	}
}
