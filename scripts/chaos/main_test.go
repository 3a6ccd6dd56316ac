package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-aws-iam/internal/chaos"
)

func TestOptionsFrom(t *testing.T) {
	from := func(env map[string]string) (chaos.Options, error) {
		return optionsFrom(func(name string) string { return env[name] })
	}
	options, err := from(nil)
	require.NoError(t, err)
	require.Equal(t, chaos.Options{Seed: 1, Duration: 5 * time.Minute, Nodes: 3}, options)

	options, err = from(map[string]string{"SEED": "7", "DURATION": "90s", "NODES": "5", "KILLS": "300", "FAULTS": "2000"})
	require.NoError(t, err)
	require.Equal(t, chaos.Options{Seed: 7, Duration: 90 * time.Second, Nodes: 5, Kills: 300, Faults: 2000}, options)

	for name, value := range map[string]string{"SEED": "-1", "DURATION": "90", "NODES": "three", "KILLS": "many", "FAULTS": "2k"} {
		_, err := from(map[string]string{name: value})
		require.ErrorContains(t, err, name)
	}
}
