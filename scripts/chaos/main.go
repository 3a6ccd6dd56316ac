// Command chaos shakes a cluster of real Vault servers with the plugin, in front
// of a simulated AWS, for as long as it is told, and prints what it did and what
// was left. It fails on any leftover.
//
// From the environment: SEED (1), DURATION (5m), NODES (3), and the goals KILLS
// and FAULTS (0): faults go on until the duration is over and so many processes
// were killed and so many calls to AWS met a fault.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	awsiam "vault-plugin-secrets-aws-iam"
	"vault-plugin-secrets-aws-iam/internal/chaos"
	"vault-plugin-secrets-aws-iam/internal/vaultdev"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	options, err := optionsFrom(os.Getenv)
	if err != nil {
		return err
	}
	options.Progress = os.Stdout
	dir, err := os.MkdirTemp("", "aws-iam-chaos-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bin, err := vaultdev.FindVault(ctx, os.Stdout)
	if err != nil {
		return err
	}
	if options.Plugin, err = vaultdev.BuildPlugin(ctx, dir, awsiam.Version); err != nil {
		return err
	}
	// Vault names the plugins' processes from level debug on.
	options.Vault = vaultdev.Config{Bin: bin, PluginDir: dir, LogLevel: "debug"}
	if options.KeepLogs, err = os.MkdirTemp("", "aws-iam-chaos-logs-"); err != nil {
		return err
	}
	report, err := chaos.Run(ctx, options)
	if err == nil {
		err = report.Write(os.Stdout)
	}
	if err == nil && len(report.Failures()) > 0 {
		err = errors.New("the run has failed")
	}
	if err != nil {
		return fmt.Errorf("%w\nall that the servers wrote is in %s", err, options.KeepLogs)
	}
	return os.RemoveAll(options.KeepLogs)
}

// optionsFrom reads the options from the environment.
func optionsFrom(getenv func(string) string) (chaos.Options, error) {
	o := chaos.Options{Seed: 1, Duration: 5 * time.Minute, Nodes: 3}
	var errs []error
	number := func(name string, value *int) {
		if text := getenv(name); text != "" {
			var err error
			if *value, err = strconv.Atoi(text); err != nil {
				errs = append(errs, fmt.Errorf("%s=%q is not a number", name, text))
			}
		}
	}
	number("NODES", &o.Nodes)
	number("KILLS", &o.Kills)
	number("FAULTS", &o.Faults)
	if text := getenv("SEED"); text != "" {
		var err error
		if o.Seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			errs = append(errs, fmt.Errorf("SEED=%q is not a number from 0", text))
		}
	}
	if text := getenv("DURATION"); text != "" {
		var err error
		if o.Duration, err = time.ParseDuration(text); err != nil {
			errs = append(errs, fmt.Errorf("DURATION=%q is not a duration such as 90s or 30m", text))
		}
	}
	return o, errors.Join(errs...)
}
