# Vault Agent under systemd, for app.service. Goes to /etc/app/agent.hcl.

auto_auth {
  method "approle" {
    config = {
      # Where systemd puts what the unit's LoadCredential names.
      role_id_file_path                   = "/run/credentials/app.service/role_id"
      secret_id_file_path                 = "/run/credentials/app.service/secret_id"
      remove_secret_id_file_after_reading = false
    }
  }
}

template_config {
  # Rather end, and be started again by systemd, than go on with credentials that have
  # run out.
  exit_on_retry_failure = true
}

exec {
  command                   = ["/usr/local/bin/app"]
  restart_on_secret_changes = "always"
  restart_stop_signal       = "SIGTERM"
}

# Both name the same path without arguments, so Agent reads it once: they are of one
# lease. These are the names that AWS's SDKs and tools look for.

env_template "AWS_ACCESS_KEY_ID" {
  contents             = "{{ with secret \"aws-iam/creds/app\" }}{{ .Data.access_key_id }}{{ end }}"
  error_on_missing_key = true
}

env_template "AWS_SECRET_ACCESS_KEY" {
  contents             = "{{ with secret \"aws-iam/creds/app\" }}{{ .Data.secret_access_key }}{{ end }}"
  error_on_missing_key = true
}
