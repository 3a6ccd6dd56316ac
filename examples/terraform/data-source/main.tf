# The same for Terraform before 1.10, which has no ephemeral resources. The key is in
# the state until the next run.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
    vault = {
      source  = "hashicorp/vault"
      version = ">= 3.0"
    }
  }
}

provider "vault" {
  max_lease_ttl_seconds = 1200
}

data "vault_generic_secret" "aws" {
  path = "aws-iam/creds/app"
}

provider "aws" {
  region     = "us-east-1"
  access_key = data.vault_generic_secret.aws.data["access_key_id"]
  secret_key = data.vault_generic_secret.aws.data["secret_access_key"]
}

data "aws_caller_identity" "app" {}

output "arn" {
  value = data.aws_caller_identity.app.arn
}
