#!/usr/bin/env bash
# Runs the make targets given as arguments, all of them even when one fails, and
# ends with what ran, for how long and how it went. Fails if one failed. A target
# with a + after its name runs beside the others, and is reported when it ends.
set -uo pipefail
cd "$(dirname "$0")/.."

summary=()
failed=()
report() { # target, outcome, seconds
  summary+=("$(printf '  make %-6s %-6s %4ds' "$1" "$2" "$3")")
  [[ $2 == ok ]] || failed+=("$1")
}
run() { # target
  local start=$SECONDS outcome=ok
  make --no-print-directory "$1" || outcome=FAILED
  echo "$outcome $((SECONDS - start))" >&3
}

output=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$output"' EXIT
beside=()
for target in "$@"; do
  if [[ $target == *+ ]]; then
    target=${target%+}
    printf '\n==> make %s, beside the others\n' "$target"
    run "$target" >"$output/$target" 2>&1 3>"$output/$target.outcome" &
    beside+=("$target")
    continue
  fi
  printf '\n==> make %s\n' "$target"
  run "$target" 3>"$output/$target.outcome"
  read -r outcome seconds <"$output/$target.outcome"
  report "$target" "$outcome" "$seconds"
done
wait
for target in "${beside[@]}"; do
  printf '\n==> what make %s wrote\n' "$target"
  cat "$output/$target"
  read -r outcome seconds <"$output/$target.outcome"
  report "$target" "$outcome" "$seconds"
done

printf '\n==> what ran\n'
printf '%s\n' "${summary[@]}"
if ((${#failed[@]})); then
  echo "FAILED: ${failed[*]} (${SECONDS}s in all)"
  exit 1
fi
echo "All passed in ${SECONDS}s"
