// Package e2e tests the plugin as its users meet it: in a real Vault server,
// through the vault CLI, Vault Agent, Vault's Go client and plain HTTP. Only
// AWS is simulated, by internal/awsfake.
//
// Everything is in the tests. They need a Vault binary, which internal/vaultdev
// finds or builds; they fail, and never skip, where something is missing.
package e2e
