# An AWS provider that works with a key of the role "app". The key is in neither the
# state nor the plan, because the resource is ephemeral.

terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
    vault = {
      source  = "hashicorp/vault"
      version = ">= 5.8"
    }
  }
}

# Address and token are taken from VAULT_ADDR and VAULT_TOKEN.
provider "vault" {
  # For how long the token lives that the provider makes itself for each run, and the
  # lease with it at most.
  max_lease_ttl_seconds = 1200
}

ephemeral "vault_generic_secret" "aws" {
  path = "aws-iam/creds/app"
}
