package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	awsiam "vault-plugin-secrets-aws-iam"
	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

// errDeclined ends the demo before anything was made.
var errDeclined = errors.New("declined")

func (d *demo) legend() {
	d.out.heading("Short-lived AWS IAM users from Vault: the whole story")
	d.out.line("Whoever reads a credential from Vault gets an IAM user of its own, which is deleted when its lease ends.")
	fmt.Fprint(d.out, `
  $  a command that this demo runs, as you would type it, and its output
  ~  the AWS CLI's command for a call to AWS. You need no AWS CLI: the demo
     makes that call with AWS's SDK, and prints what AWS answers
`)
}

// prepare starts everything that the story needs.
func (d *demo) prepare(ctx context.Context) error {
	d.integration = newIntegrationUser()
	if err := d.connectCloud(ctx); err != nil {
		return err
	}

	d.out.heading("Preparing")
	dir, err := os.MkdirTemp("", "aws-iam-demo-")
	if err != nil {
		return err
	}
	d.atEnd(func(context.Context) error { return os.RemoveAll(dir) })

	d.out.line("Building the plugin. The first time this takes a minute or two.")
	start := time.Now()
	if d.plugin, err = vaultdev.BuildPlugin(ctx, dir, awsiam.Version); err != nil {
		return err
	}
	d.out.line(fmt.Sprintf("Built %s %s in %s.", d.plugin.Name, d.plugin.Version, time.Since(start).Round(100*time.Millisecond)))

	bin, err := vaultdev.FindVault(ctx, &progress{d.out})
	if err != nil {
		return err
	}
	return d.startVault(ctx, bin, dir)
}

func (d *demo) startVault(ctx context.Context, bin, pluginDir string) error {
	config := vaultdev.Config{Bin: bin, PluginDir: pluginDir, LogLevel: "info"}
	if d.realAWS {
		config.Env = proxySettings()
	}
	server, err := vaultdev.Start(ctx, config)
	if err != nil {
		return fmt.Errorf("starting Vault: %w", err)
	}
	d.vault, d.bin = server, bin
	d.atEnd(func(context.Context) error {
		err := server.Stop()
		if err == nil {
			d.out.line("Stopped Vault and the plugin.")
		}
		return err
	})
	d.out.line("Vault serves at " + server.Addr + ", with storage of its own that goes away with it.")
	return nil
}

// proxySettings is what the plugin needs to reach AWS from behind a proxy. The
// server is given nothing else of the caller's environment.
func proxySettings() []string {
	var env []string
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// connectCloud starts the simulated AWS, or asks for leave to use a real one.
func (d *demo) connectCloud(ctx context.Context) error {
	if d.realAWS {
		cloud, err := realAWS(ctx)
		if err != nil {
			return err
		}
		d.cloud = cloud
		if err := d.askLeave(ctx); err != nil {
			return err
		}
		d.atEnd(d.removeFromAWS)
		return nil
	}

	cloud, stop, err := simulatedAWS(ctx)
	if stop != nil {
		d.atEnd(func(ctx context.Context) error {
			err := stop(ctx)
			if err == nil {
				d.out.line("Stopped the simulated AWS.")
			}
			return err
		})
	}
	if err != nil {
		return err
	}
	d.cloud = cloud
	d.atEnd(d.removeFromAWS)
	d.out.heading("AWS")
	d.out.line(fmt.Sprintf("This run uses a simulated AWS at %s, account %s. It checks signatures and policies as AWS does. To use your own account: make demo AWS=real", cloud.iamEndpoint, cloud.account))
	return nil
}

// askLeave says what will be made in a real account, and asks. A pipeline
// cannot answer: it must not touch an account by accident.
func (d *demo) askLeave(ctx context.Context) error {
	d.out.heading("Your AWS account")
	d.out.line(fmt.Sprintf("This run uses AWS account %s, as %s. It will create there:", d.cloud.account, d.cloud.callerARN))
	fmt.Fprintln(d.out)
	d.out.item(fmt.Sprintf("the IAM user %s%s with an access key and this inline policy:", integrationPath, d.integration.name))
	d.out.block(strings.ReplaceAll(integrationPolicy(d.cloud.partition), "\n      ", "\n"))
	d.out.item("through Vault, two or more IAM users beneath " + userPath + "<id of the Vault mount>/, each with an access key and an inline policy that allows either iam:ListUsers or iam:GetAccountSummary.")
	fmt.Fprintln(d.out)
	d.out.line("Everything is removed at the end, also after an error or Ctrl-C. IAM users cost nothing. Secret keys are masked in what is printed.")
	if !isTerminal(d.stdin) {
		return errors.New("standard input is not a terminal, so that nobody can agree to this: run it in one")
	}
	fmt.Fprint(d.out, "\n  Go on? [y/N] ")

	answers := make(chan string, 1)
	go func() {
		answer, _ := bufio.NewReader(d.stdin).ReadString('\n') // the end of input is a no
		answers <- answer
	}()
	select {
	case answer := <-answers:
		if answer = strings.ToLower(strings.TrimSpace(answer)); answer == "y" || answer == "yes" {
			return nil
		}
		return errDeclined
	case <-ctx.Done():
		fmt.Fprintln(d.out)
		return ctx.Err()
	}
}

// progress sets in what the search for a Vault server reports, by lines.
type progress struct{ out *printer }

// Write implements io.Writer.
func (p *progress) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		p.out.line(line)
	}
	return len(text), nil
}
