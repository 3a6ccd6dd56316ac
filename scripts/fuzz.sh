#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other (go test takes only
# one at a time), for the duration given. Fails at the first finding, and if
# there is no target at all.
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:?usage: fuzz.sh DURATION}

found=0
packages=$(go list ./...)
for package in $packages; do
  listing=$(go test -list '^Fuzz' "$package")
  for target in $listing; do
    # After the targets comes a line with "ok" or "?" and the package.
    [[ $target == Fuzz* ]] || continue
    printf '==> %s in %s, %s\n' "$target" "$package" "$duration"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" "$package"
    found=$((found + 1))
  done
done

if ((found == 0)); then
  echo "no fuzz target found" >&2
  exit 1
fi
echo "Fuzzed $found targets for $duration each: no finding"
