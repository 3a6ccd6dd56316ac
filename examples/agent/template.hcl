# Vault Agent keeps a file of AWS credentials up to date.
#
#   export VAULT_ADDR=https://vault.example.com:8200
#   vault agent -config=template.hcl
#
# Agent logs in, reads credentials of the role "app", writes the file, renews
# the lease for as long as that is possible, and then reads new credentials and
# writes the file again. The IAM user of the old ones is deleted when its lease
# ends, so a program has to read the file again: AWS's SDKs do when they are
# started, and a template's "exec" can signal or restart a program.
#
# File names without a leading slash are relative to where Agent is started.

auto_auth {
  # Any method of auto-auth will do: kubernetes, aws, cert, jwt, …
  #
  # A lease ends with the token that read it. Give the method's role a token
  # that Agent can renew for ever (token_period) or that outlives the leases.
  method "approle" {
    config = {
      role_id_file_path                   = "role_id"
      secret_id_file_path                 = "secret_id"
      remove_secret_id_file_after_reading = false
    }
  }
}

template_config {
  # Rather end, and be started again by whatever runs Agent, than go on with
  # credentials that have run out.
  exit_on_retry_failure = true
}

template {
  destination = "credentials"
  perms       = "0600"

  # The format of ~/.aws/credentials. The path is <mount>/creds/<role>. A lease
  # of another length is asked for by an argument after the path, "ttl=2h".
  # Where templates name the same path with the same arguments, they share one
  # lease and one IAM user.
  contents = <<-EOT
    {{- with secret "aws-iam/creds/app" -}}
    # {{ .Data.username }}, until {{ .Data.lease_expiration }} unless renewed
    [default]
    aws_access_key_id = {{ .Data.access_key_id }}
    aws_secret_access_key = {{ .Data.secret_access_key }}
    {{ end -}}
  EOT
}
