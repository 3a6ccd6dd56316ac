package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/require"
)

// TestProgram: built and run as the demo runs it, it says where it is, serves, logs and ends cleanly.
func TestProgram(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "awsfake")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.CommandContext(t.Context(), binary, "-account", "444455556666", "-latency", "20ms", "-v")
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err)
	var ready struct {
		Endpoint, Account string
		ID                string `json:"access_key_id"`
		Secret            string `json:"secret_access_key"`
	}
	require.NoError(t, json.Unmarshal(line, &ready))
	require.Equal(t, "444455556666", ready.Account)

	client := sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: &ready.Endpoint, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(ready.ID, ready.Secret, "")})
	begin := time.Now()
	id, err := client.GetCallerIdentity(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, "arn:aws:iam::444455556666:root", *id.Arn)
	require.GreaterOrEqual(t, time.Since(begin), 20*time.Millisecond)

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), "ends with status 0: %s", &log)
	require.Contains(t, log.String(), "sts:GetCallerIdentity")
}
