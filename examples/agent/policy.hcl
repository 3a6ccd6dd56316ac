path "aws-iam/creds/app" {
  capabilities = ["read"]
}
