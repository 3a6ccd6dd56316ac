path "aws-iam/creds/app" {
  capabilities = ["read"]
}

# Vault Secrets Operator revokes leases for objects that are deleted.
path "sys/leases/revoke" {
  capabilities = ["update"]
}
