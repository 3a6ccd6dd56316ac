package vaultdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// stopTimeout is how long a server may take to end by itself. It stops its
	// plugins, each within a few seconds, and leaves its cluster.
	stopTimeout = 30 * time.Second

	// failureLines is how much of the log an error quotes.
	failureLines = 20
)

// process is one life of a server: a process group, so that no plugin of a
// killed server stays behind.
type process struct {
	cmd       *exec.Cmd
	logOffset int64         // where this life begins in the log
	done      chan struct{} // closed once the process is gone
}

func (s *Server) startProcess(ctx context.Context) (*process, error) {
	log, err := os.OpenFile(s.LogPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has its own
	info, err := log.Stat()
	if err != nil {
		return nil, err
	}

	// The server outlives the call that starts it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.config.Bin, "server", "-config="+s.path("vault.hcl"))
	cmd.Env = s.environment(s.config.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = processGroup()
	if err := cmd.Start(); err != nil {
		return nil, err
	}

	p := &process{cmd: cmd, logOffset: info.Size(), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
	}()
	return p, nil
}

// exited says whether the process is gone.
func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// state describes how the process ended. Only valid once it is gone.
func (p *process) state() string { return p.cmd.ProcessState.String() }

// signalGroup signals the server and its plugins. That nothing is left to
// signal is no error.
func (p *process) signalGroup(signal syscall.Signal) error {
	err := syscall.Kill(-p.cmd.Process.Pid, signal)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// Stop ends the server, in order if it obeys and by force if it does not, and
// removes all of its files, the log too. It may be called more than once.
func (s *Server) Stop() error {
	return errors.Join(s.shutDown(), os.RemoveAll(s.dir))
}

// shutDown ends the process and keeps the files.
func (s *Server) shutDown() error {
	p := s.process.Load()
	if p == nil || p.exited() {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	// A paused process does not see the signal before it goes on.
	if err := s.Resume(); err != nil {
		return err
	}
	select {
	case <-p.done:
		// Vault has stopped its plugins, unless one did not obey.
		return p.signalGroup(syscall.SIGKILL)
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("vault did not stop within %s", stopTimeout), s.Kill())
	}
}

// Kill ends the server and its plugins at once, as a crash of the machine
// would. Its data stays for [Server.Restart].
func (s *Server) Kill() error {
	p := s.process.Load()
	if err := p.signalGroup(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// KillPlugins ends the plugin processes of this server at once, as their own
// crash would. The server stays, and starts them again when it needs them.
func (s *Server) KillPlugins() error {
	var errs []error
	for _, pid := range s.PluginPIDs() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Pause suspends the server until [Server.Resume]: a machine that sleeps or is
// moved, from which a deposed leader wakes up with work in hand. Its plugins are
// suspended with it. Left running, they would finish against AWS what Vault
// cannot know of, and only wait for Vault to store something: that is no more
// than a slow disk. Suspended, an answer of AWS's waits in their sockets and is
// acted upon after another node took over. Clocks go on meanwhile.
//
// Clients of a paused server get no answer, and connections to it stay open.
func (s *Server) Pause() error { return s.process.Load().signalGroup(syscall.SIGSTOP) }

// Resume lets a paused server and its plugins go on. It does nothing to one that
// is not paused.
func (s *Server) Resume() error { return s.process.Load().signalGroup(syscall.SIGCONT) }

// Restart starts the server again on its data and addresses, after stopping it
// in order if it still runs, and returns when it is unsealed and serves: as the
// active node, or as a standby of a cluster, which needs a leader for that. Where
// so many nodes are down that there is none, restart them at the same time; heal
// the network before.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.shutDown(); err != nil {
		return err
	}
	// The address is part of what the cluster has stored: no other port would
	// do. A socket of somebody else's that took it in between is short-lived.
	var err error
	for range startAttempts {
		if err = s.run(ctx); !errors.Is(err, errPortTaken) {
			break
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err == nil {
		err = s.unseal(ctx)
	}
	return s.failure(err)
}

// failure adds the end of the log to an error of starting.
func (s *Server) failure(err error) error {
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(s.lastRun()), "\n")
	if len(lines) > failureLines {
		lines = lines[len(lines)-failureLines:]
	}
	return fmt.Errorf("%w\nvault's log ends with:\n%s", err, strings.Join(lines, "\n"))
}

// lastRun returns what the log holds of the current life of the server.
func (s *Server) lastRun() string {
	content, err := os.ReadFile(s.LogPath)
	p := s.process.Load()
	if err != nil || p == nil || int64(len(content)) < p.logOffset {
		return ""
	}
	return string(content[p.logOffset:])
}

// PID is the process id of the server as it runs now, or ran last.
func (s *Server) PID() int { return s.process.Load().cmd.Process.Pid }

var pluginStarted = regexp.MustCompile(`plugin started: .*\bpid=(\d+)`)

// PluginPIDs returns the process ids of the plugins that this server runs now,
// for a test that kills one. It takes them from the log, which names them at
// level debug and trace only.
func (s *Server) PluginPIDs() []int {
	var pids []int
	server := s.PID()
	for _, match := range pluginStarted.FindAllStringSubmatch(s.lastRun(), -1) {
		pid, err := strconv.Atoi(match[1])
		if err != nil {
			continue
		}
		// An id of the past may belong to a stranger by now: the group tells.
		if group, err := syscall.Getpgid(pid); err == nil && group == server {
			pids = append(pids, pid)
		}
	}
	return pids
}
