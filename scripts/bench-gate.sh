#!/usr/bin/env bash
# Counts the instructions of the hot paths under callgrind and compares them with the recorded baseline.
#
#   scripts/bench-gate.sh PROGRAM [--record]     PROGRAM is a built moneta-hot
#
# Exits 1 if a path needs more instructions than the baseline allows, and where it cannot count although
# everything is as it was for the baseline.
#
# Counts hardly depend on what else the machine does, but they do depend on the compiler, on valgrind, and on
# the processor, for which libraries choose their code at run time. The baseline names all three. Where one of
# them differs, and where there is no valgrind at all, that is reported and nothing fails: such a run says
# nothing about the code. With --record it is a failure not to be able to count.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Hash maps with random seeds make a count differ by some per mille from run to run.
tolerance_percent=3
baseline=bench/hot/baseline.txt

program=$(realpath "${1:?usage: scripts/bench-gate.sh PROGRAM [--record]}")
record=${2:-}

# What the curve and hash libraries look for; more of /proc/cpuinfo would differ without any effect.
features='adx|aes|avx|avx2|avx512f|avx512ifma|bmi1|bmi2|pclmulqdq|sha_ni|sse4_1|ssse3|asimd|sha2|pmull'

fact_compiler() { rustc --version; }
fact_valgrind() { valgrind --version 2>/dev/null || echo missing; }
fact_processor() {
  local found
  found=$(sed -n 's/^\(flags\|Features\)[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1 | tr ' ' '\n' |
    grep -xE "$features" | sort -u | tr '\n' ' ') || true
  printf '%s: %s\n' "$(uname -m)" "${found% }"
}
facts=(compiler valgrind processor)

# Names the facts that are not as the baseline has them; prints nothing if all are.
differences() {
  local fact known now
  for fact in "${facts[@]}"; do
    known=$(sed -n "s/^# $fact: //p" "$baseline")
    now=$("fact_$fact")
    [[ $known == "$now" ]] || printf 'the baseline has %s "%s", here is "%s"; ' "$fact" "$known" "$now"
  done
}

# Ends without a verdict, which fails only where a baseline should be written.
without_verdict() {
  printf 'bench-gate: %s\n' "${1%; }" >&2
  [[ $record == --record ]] && exit 1
  printf 'bench-gate: no verdict; nothing fails\n' >&2
  exit 0
}

[[ $(fact_valgrind) != missing ]] || without_verdict "there is no valgrind"
differing=$(differences)
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

# count NAME CALLS: instructions of the whole program. On one processor, so that batches are not spread
# over as many threads as the machine happens to have.
count() {
  local output pin=()
  if taskset -c "${SLOT:-0}" true 2>/dev/null; then pin=(taskset -c "${SLOT:-0}"); fi
  output=$("${pin[@]}" valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1) || {
    printf '%s\n' "$output" >&2
    return 1
  }
  sed -n 's/^==[0-9]*== Collected : \([0-9]*\)$/\1/p' <<<"$output" >"$results/$1.$2"
  [[ -s $results/$1.$2 ]]
}
export -f count
export program results

# One call more than so many, and one alone: the difference is free of what preparation costs.
mapfile -t paths < <("$program")
for path in "${paths[@]}"; do
  read -r name calls <<<"$path"
  printf '%s %s\n' "$name" 1 "$name" $((calls + 1))
done | xargs -P "$(nproc)" --process-slot-var=SLOT -L 1 bash -c 'count "$0" "$1"' || {
  # Another valgrind may not know an instruction that another processor made a library use.
  [[ -z $differing ]] || without_verdict "a path could not be counted; $differing"
  printf 'bench-gate: a path could not be counted\n' >&2
  exit 1
}

measured=$results/measured
for path in "${paths[@]}"; do
  read -r name calls <<<"$path"
  printf '%s %s\n' "$name" $((($(<"$results/$name.$((calls + 1))") - $(<"$results/$name.1")) / calls))
done >"$measured"

if [[ $record == --record ]]; then
  {
    printf '# Instructions per call of each hot path. Written by `./dev bench gate --record`.\n'
    for fact in "${facts[@]}"; do printf '# %s: %s\n' "$fact" "$("fact_$fact")"; done
    cat "$measured"
  } >"$baseline"
  cat "$baseline"
  exit 0
fi

awk -v tolerance="$tolerance_percent" '
  NR == FNR { if ($1 != "#") before[$1] = $2; next }
  FNR == 1 { printf "%-20s %14s %14s %8s\n", "path", "baseline", "now", "change" }
  !($1 in before) { printf "%-20s %14s %14d %8s\n", $1, "-", $2, "new: record it"; next }
  {
    change = ($2 - before[$1]) / before[$1] * 100
    verdict = change > tolerance ? "  MORE" : change < -tolerance ? "  less: record it" : ""
    printf "%-20s %14d %14d %7.1f%%%s\n", $1, before[$1], $2, change, verdict
    if (change > tolerance) worse = 1
  }
  END { exit worse }
' "$baseline" "$measured" && verdict=0 || verdict=$?

[[ -z $differing ]] || without_verdict "$differing"
[[ $verdict -eq 0 ]] || printf 'bench-gate: a path needs more than %s %% above the baseline; if it must, record it: ./dev bench gate --record\n' "$tolerance_percent" >&2
exit "$verdict"
