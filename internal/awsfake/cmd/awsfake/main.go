// Command awsfake serves a simulated AWS (IAM and STS) on a port of this machine until it is told to
// end. When ready it prints one line of JSON with the endpoint, the account and its root key.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"vault-plugin-secrets-aws-iam/internal/awsfake"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "awsfake:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:0", "address to serve on; port 0 takes a free one")
	latency := flag.Duration("latency", 0, "time each call takes before it is performed")
	account := flag.String("account", "111122223333", "account to create")
	verbose := flag.Bool("v", false, "log each call on stderr")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	aws := awsfake.New()
	aws.SetLatency(*latency)
	root := aws.Account(*account).Root()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: aws, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if *verbose {
		aws.Watch(logCall)
	}
	ready := map[string]string{
		"endpoint": "http://" + listener.Addr().String(), "account": *account,
		"access_key_id": root.AccessKeyID, "secret_access_key": root.SecretAccessKey,
	}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// Whoever still waits for an answer is cut off: a simulation has nothing to finish.
	if err := server.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// logCall prints a call on a line of its own.
func logCall(c awsfake.Call) {
	outcome := fmt.Sprint(c.Status)
	if c.Lost {
		outcome = "no answer"
	}
	fmt.Fprintf(os.Stderr, "%s %s:%s %s %s %s %s by %s\n", c.Start.Format("15:04:05.000"), c.Service, c.Action, c.User,
		outcome, c.Code, c.End.Sub(c.Start).Round(time.Microsecond), c.CallerARN)
}
