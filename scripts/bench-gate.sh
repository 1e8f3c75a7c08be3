#!/usr/bin/env bash
# Counts the instructions of the hot paths under callgrind and compares them with the recorded baseline.
#
#   scripts/bench-gate.sh PROGRAM [--record]     PROGRAM is a built moneta-hot
#
# Exits 1 if a path needs more instructions than the baseline allows. Counts hardly depend on what else the
# machine does, but they do depend on compiler and valgrind: with others than those of the baseline the
# figures are shown and nothing fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Hash maps with random seeds make a count differ by some per mille from run to run.
tolerance_percent=3
baseline=bench/hot/baseline.txt

program=$(realpath "${1:?usage: scripts/bench-gate.sh PROGRAM [--record]}")
record=${2:-}
tools="$(rustc --version), $(valgrind --version), $(uname -m)"
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

# count NAME CALLS: instructions of the whole program. On one processor, so that batches are not spread
# over as many threads as the machine happens to have.
count() {
  local output
  output=$(taskset -c "${SLOT:-0}" valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1) || {
    printf '%s\n' "$output" >&2
    return 1
  }
  sed -n 's/^==[0-9]*== Collected : \([0-9]*\)$/\1/p' <<<"$output" >"$results/$1.$2"
}
export -f count
export program results

# One call more than so many, and one alone: the difference is free of what preparation costs.
mapfile -t paths < <("$program")
for path in "${paths[@]}"; do
  read -r name calls <<<"$path"
  printf '%s %s\n' "$name" 1 "$name" $((calls + 1))
done | xargs -P "$(nproc)" --process-slot-var=SLOT -L 1 bash -c 'count "$0" "$1"'

measured=$results/measured
for path in "${paths[@]}"; do
  read -r name calls <<<"$path"
  printf '%s %s\n' "$name" $((($(<"$results/$name.$((calls + 1))") - $(<"$results/$name.1")) / calls))
done >"$measured"

if [[ $record == --record ]]; then
  {
    printf '# Instructions per call of each hot path. Written by `./dev bench gate --record`.\n'
    printf '# Tools: %s\n' "$tools"
    cat "$measured"
  } >"$baseline"
  cat "$baseline"
  exit 0
fi

known_tools=$(sed -n 's/^# Tools: //p' "$baseline")
awk -v tolerance="$tolerance_percent" '
  NR == FNR { if ($1 != "#") before[$1] = $2; next }
  FNR == 1 { printf "%-20s %14s %14s %8s\n", "path", "baseline", "now", "change" }
  !($1 in before) { printf "%-20s %14s %14d %8s\n", $1, "-", $2, "new"; next }
  {
    change = ($2 - before[$1]) / before[$1] * 100
    verdict = change > tolerance ? "  MORE" : change < -tolerance ? "  less: record it" : ""
    printf "%-20s %14d %14d %7.1f%%%s\n", $1, before[$1], $2, change, verdict
    if (change > tolerance) worse = 1
  }
  END { exit worse }
' "$baseline" "$measured" && verdict=0 || verdict=$?

if [[ $tools != "$known_tools" ]]; then
  printf 'bench-gate: the baseline is of other tools (%s), these are %s: nothing fails\n' "$known_tools" "$tools" >&2
  exit 0
fi
[[ $verdict -eq 0 ]] || printf 'bench-gate: a path needs more than %s %% above the baseline; if it must, record it: ./dev bench gate --record\n' "$tolerance_percent" >&2
exit "$verdict"
