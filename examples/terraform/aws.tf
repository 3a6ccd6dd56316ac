# What the key is for.

provider "aws" {
  region     = "us-east-1"
  access_key = ephemeral.vault_generic_secret.aws.data["access_key_id"]
  secret_key = ephemeral.vault_generic_secret.aws.data["secret_access_key"]
}

data "aws_caller_identity" "app" {}

output "arn" {
  value = data.aws_caller_identity.app.arn
}
