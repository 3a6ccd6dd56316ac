package vaultdev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	// readyTimeout bounds each wait for a server: to answer, to become active.
	// A healthy one needs seconds; a loaded machine with two cores more.
	readyTimeout = 90 * time.Second

	// pollInterval is the pause between two looks at a server's state.
	pollInterval = 100 * time.Millisecond

	// startAttempts bounds how often a server is started on new ports, because
	// another process took a port between its choice and its use.
	startAttempts = 5
)

// Config says how to run a server.
type Config struct {
	Bin       string   // Vault binary, from [FindVault]
	PluginDir string   // folder of plugin binaries; must exist
	LogLevel  string   // default "trace"
	Env       []string // KEY=value, for the server and through it the plugins
}

// Server is one running Vault node.
type Server struct {
	Client    *api.Client // with the root token
	RootToken string
	Addr      string // API address, http://127.0.0.1:port
	LogPath   string // all that the server and its plugins wrote, over all starts

	config      Config
	dir         string // everything of this node: configuration, data, log
	clusterAddr string // host:port where it listens for the other nodes
	unsealKey   string
	network     *network // between the nodes of a [Cluster]; nil outside of one
	process     atomic.Pointer[process]
}

// Start runs a new Vault server on free loopback ports, with its data in a new
// temporary folder, and initialises and unseals it. When it returns, the
// server is active. The caller ends it with [Server.Stop].
//
// The server gets neither the caller's VAULT_* and AWS_* variables nor its home
// folder: a test must never reach a real Vault or AWS account by accident.
func Start(ctx context.Context, config Config) (*Server, error) {
	return start(ctx, config, nil)
}

func start(ctx context.Context, config Config, cable *network) (*Server, error) {
	s, err := launch(ctx, config, cable)
	if err != nil {
		return nil, err
	}
	if err := s.initialise(ctx); err != nil {
		return nil, errors.Join(s.failure(err), s.Stop())
	}
	return s, nil
}

// launch starts the process of a new node and waits until it answers.
func launch(ctx context.Context, config Config, cable *network) (*Server, error) {
	if config.LogLevel == "" {
		config.LogLevel = "trace"
	}
	dir, err := os.MkdirTemp("", "vaultdev-")
	if err != nil {
		return nil, err
	}
	// Vault refuses a plugin folder behind a symbolic link, as macOS's
	// temporary folder is.
	if config.PluginDir, err = filepath.EvalSymlinks(config.PluginDir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &Server{config: config, dir: dir, LogPath: filepath.Join(dir, "vault.log"), network: cable}

	for range startAttempts {
		if err = s.configure(ctx); err == nil {
			err = s.run(ctx)
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(s.failure(err), s.Stop())
	}
	return s, nil
}

// configure chooses ports and writes the configuration file for them.
func (s *Server) configure(ctx context.Context) error {
	ports, err := freePorts(ctx, 2)
	if err != nil {
		return err
	}
	s.Addr, s.clusterAddr = "http://"+ports[0], ports[1]
	advertised := s.clusterAddr
	if s.network != nil {
		if advertised, err = s.network.front(ctx, s, s.clusterAddr); err != nil {
			return err
		}
	}

	for _, sub := range []string{"data", "home", "tmp"} {
		if err := os.MkdirAll(filepath.Join(s.dir, sub), 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(s.path("vault.hcl"), []byte(s.hcl(ports[0], advertised)), 0o600); err != nil {
		return err
	}

	clientConfig := api.DefaultConfig()
	clientConfig.Address, clientConfig.AgentAddress = s.Addr, ""
	if s.Client, err = api.NewClient(clientConfig); err != nil {
		return err
	}
	// NewClient takes these from the environment.
	s.Client.ClearToken()
	s.Client.ClearNamespace()
	return nil
}

// hcl renders the configuration: where the API listens, and which address of
// the cluster port the other nodes are told. raw_storage_endpoint lets tests look at what
// is stored; performance_multiplier 1 makes raft elect a leader in a second
// instead of five.
func (s *Server) hcl(listen, advertised string) string {
	return fmt.Sprintf(`storage "raft" {
  path                   = %q
  node_id                = %q
  performance_multiplier = 1
}

listener "tcp" {
  address         = %q
  cluster_address = %q
  tls_disable     = true
}

api_addr             = %q
cluster_addr         = %q
plugin_directory     = %q
log_level            = %q
raw_storage_endpoint = true
disable_mlock        = true
`, s.path("data"), s.nodeID(), listen, s.clusterAddr,
		s.Addr, "https://"+advertised, s.config.PluginDir, s.config.LogLevel)
}

// run starts the process and waits until it answers. It returns errPortTaken,
// with the process gone, if one of the ports was not free any more.
func (s *Server) run(ctx context.Context) error {
	p, err := s.startProcess(ctx)
	if err != nil {
		return err
	}
	s.process.Store(p)
	err = s.await(ctx, "to answer", func(ctx context.Context, client *api.Client) (bool, error) {
		_, err := client.Sys().HealthWithContext(ctx)
		return err == nil, err
	})
	if err != nil && p.exited() && strings.Contains(s.lastRun(), "address already in use") {
		return errPortTaken
	}
	return err
}

var errPortTaken = errors.New("another process took the port")

func (s *Server) initialise(ctx context.Context) error {
	response, err := s.Client.Sys().InitWithContext(ctx, &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	s.unsealKey = response.KeysB64[0]
	s.setRootToken(response.RootToken)
	return s.unseal(ctx)
}

// Unseal unseals the server with its only key, and returns when it serves.
func (s *Server) Unseal(ctx context.Context) error { return s.failure(s.unseal(ctx)) }

// unseal waits until the node can serve: as the active one itself, as a standby
// by knowing another node to forward to.
func (s *Server) unseal(ctx context.Context) error {
	if _, err := s.Client.Sys().UnsealWithContext(ctx, s.unsealKey); err != nil {
		return fmt.Errorf("unseal: %w", err)
	}
	return s.await(ctx, "to become active or a standby", func(ctx context.Context, client *api.Client) (bool, error) {
		health, err := client.Sys().HealthWithContext(ctx)
		if err != nil || health.Sealed || !health.Initialized {
			return false, err
		}
		if !health.Standby {
			return true, nil
		}
		// The node's own address means that it has won the election but does
		// not serve yet, or is a leftover of its last life.
		leader, err := client.Sys().LeaderWithContext(ctx)
		return err == nil && leader.LeaderAddress != "" && leader.LeaderAddress != s.Addr, err
	})
}

// await polls until condition holds, the process ends or readyTimeout is over.
func (s *Server) await(ctx context.Context, what string, condition func(context.Context, *api.Client) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	// The client's own retries would only make the polling coarser.
	client, err := s.Client.Clone()
	if err != nil {
		return err
	}
	client.SetMaxRetries(0)

	p := s.process.Load()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		met, err := condition(ctx, client)
		if met {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("waiting for Vault %s: it ended: %s", what, p.state())
		case <-ctx.Done():
			return fmt.Errorf("waiting for Vault %s: %w", what, errors.Join(ctx.Err(), err))
		}
	}
}

func (s *Server) setRootToken(token string) {
	s.RootToken = token
	s.Client.SetToken(token)
}

func (s *Server) nodeID() string { return filepath.Base(s.dir) }

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// freePorts returns n loopback addresses, host:port, that were free just now.
func freePorts(ctx context.Context, n int) ([]string, error) {
	var listeners []net.Listener
	// Held until all are chosen, so that no port is chosen twice.
	defer func() {
		for _, listener := range listeners {
			listener.Close()
		}
	}()

	addrs := make([]string, n)
	for i := range addrs {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, listener)
		addrs[i] = listener.Addr().String()
	}
	return addrs, nil
}
