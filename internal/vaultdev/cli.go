package vaultdev

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
)

// Result is what a run of the vault CLI left.
type Result struct {
	Stdout   string
	Stderr   string
	ExitCode int // 0 success, 1 wrong usage, 2 the server or the network refused
}

// Command prepares the vault CLI against this server with the given token. It
// knows nothing of the caller's environment but PATH; the caller may set
// standard input, or run a Vault Agent with it.
func (s *Server) Command(ctx context.Context, token string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.config.Bin, args...)
	cmd.Env = s.environment("VAULT_ADDR="+s.Addr, "VAULT_TOKEN="+token)
	return cmd
}

// Run runs the vault CLI to its end. A command that ran and failed is a Result
// with its exit code, not an error.
func (s *Server) Run(ctx context.Context, token string, args ...string) (Result, error) {
	cmd := s.Command(ctx, token, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()

	result := Result{Stdout: stdout.String(), Stderr: stderr.String(), ExitCode: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return result, nil
	}
	return result, err
}

// environment is what every process around this server sees: a home folder
// without the caller's AWS profiles and Vault token, and a temporary folder
// that Stop removes with all sockets that a killed plugin left in it.
func (s *Server) environment(extra ...string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.path("home"), "TMPDIR=" + s.path("tmp")}
	return append(env, extra...)
}
