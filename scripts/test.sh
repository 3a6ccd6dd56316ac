#!/usr/bin/env bash
# Runs the make targets given as arguments, all of them even when one fails, and
# ends with what ran, for how long and how it went. Fails if one failed.
set -uo pipefail
cd "$(dirname "$0")/.."

summary=()
failed=()
for target in "$@"; do
  printf '\n==> make %s\n' "$target"
  start=$SECONDS
  outcome=ok
  make --no-print-directory "$target" || { outcome=FAILED; failed+=("$target"); }
  summary+=("$(printf '  make %-6s %-6s %4ds' "$target" "$outcome" $((SECONDS - start)))")
done

printf '\n==> what ran\n'
printf '%s\n' "${summary[@]}"
if ((${#failed[@]})); then
  echo "FAILED: ${failed[*]} (${SECONDS}s in all)"
  exit 1
fi
echo "All passed in ${SECONDS}s"
