# Vault Agent starts a program with AWS credentials in its environment, and
# starts it again with new ones when they change.
#
#   export VAULT_ADDR=https://vault.example.com:8200
#   vault agent -config=exec.hcl
#
# Nothing is written to disk. AWS_USER stands for the role: a program that needs
# two roles has a second set of variables with another beginning. For AWS's own
# SDKs and tools call the first two AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
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

exec {
  command = ["./app"]

  # "never" leaves a running program alone; its credentials then end with the
  # lease, at the role's max_ttl.
  restart_on_secret_changes = "always"
  restart_stop_signal       = "SIGTERM"
}

# All of these name the same path without arguments, so Agent reads it once:
# they are of one lease and one IAM user. An argument, as in
# secret "aws-iam/creds/app" "ttl=2h", has to be the same in each of them.

env_template "AWS_USER_ACCESS_KEY_ID" {
  contents             = "{{ with secret \"aws-iam/creds/app\" }}{{ .Data.access_key_id }}{{ end }}"
  error_on_missing_key = true
}

env_template "AWS_USER_SECRET_ACCESS_KEY" {
  contents             = "{{ with secret \"aws-iam/creds/app\" }}{{ .Data.secret_access_key }}{{ end }}"
  error_on_missing_key = true
}

env_template "AWS_USER_ARN" {
  contents             = "{{ with secret \"aws-iam/creds/app\" }}{{ .Data.arn }}{{ end }}"
  error_on_missing_key = true
}

env_template "AWS_USER_USERNAME" {
  contents             = "{{ with secret \"aws-iam/creds/app\" }}{{ .Data.username }}{{ end }}"
  error_on_missing_key = true
}

env_template "AWS_USER_USER_ID" {
  contents             = "{{ with secret \"aws-iam/creds/app\" }}{{ .Data.user_id }}{{ end }}"
  error_on_missing_key = true
}

env_template "AWS_USER_POLICY_NAME" {
  contents             = "{{ with secret \"aws-iam/creds/app\" }}{{ .Data.policy_name }}{{ end }}"
  error_on_missing_key = true
}

env_template "AWS_USER_LEASE_ID" {
  contents             = "{{ with secret \"aws-iam/creds/app\" }}{{ .LeaseID }}{{ end }}"
  error_on_missing_key = true
}

# As of issue: renewals move the end of the lease, at most to the role's max_ttl,
# but not what a running program has in its environment.
env_template "AWS_USER_LEASE_EXPIRATION" {
  contents             = "{{ with secret \"aws-iam/creds/app\" }}{{ .Data.lease_expiration }}{{ end }}"
  error_on_missing_key = true
}
