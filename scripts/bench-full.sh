#!/usr/bin/env bash
# The whole measuring run: parts one after the other, each once, each with its results in a folder of its own.
# `./dev bench full` builds the programs and calls it; --help says what it takes.
#
# A part is done when its folder holds the file `done`; then it is not measured again. A part that was measured
# in another size or with other options is. Whatever ends this script (Ctrl-C, SIGTERM, SIGHUP) ends the
# running part first, and that ends its guardians.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'TEXT'
usage: ./dev bench full [--short | --try] [--no-reference | --reference PROGRAM] [--again NAME].. [--list] [PART..]

Measures all parts, or those named, and writes docs/performance/figures.md and latency.svg from what is there.
  --short            about 110 minutes in all, in place of some five hours
  --try              seconds per part, to try the run itself; its figures say nothing and go to target/bench/try
  --no-reference     leave out the parts of the reference
  --again NAME       measure this part although it is done
  --list             the parts with their minutes, and which are done
TEXT
}

die() {
  printf 'bench-full: %s\n' "$*" >&2
  exit 2
}

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

# Set by ./dev: where programs and results lie, and what they were built from.
: "${FULL_FOLDER:?run it as ./dev bench full}" "${FULL_PROGRAMS:?}" "${FULL_FIGURES:?}" "${FULL_GROWTH:?}"
: "${MONETA_BENCH_COMMIT:?}" "${MONETA_BENCH_PROFILE:?}"

size=thorough reference=${FULL_REFERENCE:-} list=false again=() wanted=()
while [[ $# -gt 0 ]]; do
  case $1 in
  --short) size=short ;;
  --try) size=try ;;
  --no-reference) reference= ;;
  --reference) reference=${2:?--reference needs a program} && shift ;;
  --again) again+=("${2:?--again needs the name of a part}") && shift ;;
  --list) list=true ;;
  -h | --help) usage && exit 0 ;;
  -*) die "no option $1; --help lists them" ;;
  *) wanted+=("$1") ;;
  esac
  shift
done
[[ -z $reference || -x $reference ]] || die "no program $reference; ./dev interop installs it"

# by_size THOROUGH SHORT TRY: the value for this run.
by_size() {
  case $size in thorough) echo "$1" ;; short) echo "$2" ;; try) echo "$3" ;; esac
}

# Parts in the order in which they are measured. `OUT` in a command is the part's folder.
names=()
declare -A minutes commands

# define NAME MINUTES COMMAND..
define() {
  names+=("$1")
  minutes[$1]=$2
  commands[$1]=$(printf '%q ' "${@:3}")
}

# define_both NAME MINUTES MINUTES_OF_REFERENCE PROGRAM OPTION.. [-- OPTION_OF_OURS.. -- OPTION_OF_REFERENCE..]
define_both() {
  local name=$1 ours_take=$2 theirs_take=$3 program=$FULL_PROGRAMS/$4 both=() ours=() theirs=()
  shift 4
  while [[ $# -gt 0 && $1 != -- ]]; do both+=("$1") && shift; done
  [[ $# -eq 0 ]] || shift
  while [[ $# -gt 0 && $1 != -- ]]; do ours+=("$1") && shift; done
  [[ $# -eq 0 ]] || { shift && theirs=("$@"); }
  define "$name" "$ours_take" "$program" "${both[@]}" "${ours[@]}" --out OUT
  [[ -n $reference ]] || return 0
  [[ $program != */moneta-load ]] || theirs+=(--only-reference)
  define "$name-reference" "$theirs_take" "$program" "${both[@]}" --reference "$reference" "${theirs[@]}" --out OUT
}

# Payments between wallets, one after the other: the times, the ends of sessions, memory and disk after 20
# minutes of load. In the short form the reference has ten, which is enough for the times and in favour of its memory.
define_both wallet "$(by_size 22 22 1)" "$(by_size 23 12 2)" moneta-bench --idle-secs 0 \
  -- --minutes "$(by_size 20 20 0.1)" -- --minutes "$(by_size 20 10 0.1)"

# Prepared payments on one federation: a healthy figure, one guardian down, throughput, the curve, waiters.
define_both load "$(by_size 28 19 1)" "$(by_size 34 21 3)" moneta-load \
  --modes latency,one-down,throughput,load,waiters --shapes 5x5 \
  --seconds "$(by_size 40 15 2)" --waiters "$(by_size 1000 1000 20)" --waiters-seconds "$(by_size 60 60 2)" \
  --rates "$(by_size 1,2,5,10,20,50,100,200,400 1,2,5,20,50,100 2,8)" \
  -- --in-flight "$(by_size 64,16,128 64,16 8)" -- --in-flight 4,8

define_both links "$(by_size 4 2 1)" "$(by_size 6 3 2)" moneta-load \
  --modes links --shapes 5x5 --seconds "$(by_size 60 25 2)" --delays "$(by_size 10,50,150 50 50)"

# Idling costs so little that federations of ours and of the reference idle side by side; see `together`.
define_both idle "$(by_size 12 12 1)" "$(by_size 12 12 1)" moneta-load \
  --modes idle --idle-seconds "$(by_size 600 600 5)"

# Coming back.
define recovery "$(by_size 12 4 1)" "$FULL_PROGRAMS/moneta-load" --modes recovery \
  --recovery-items "$(by_size 20000 5000 300)" --recovery-fill "$(by_size 1000000 1000000 2000)" --out OUT
# The same rate and number of sessions at both, or their sessions would not be alike.
define_both sync "$(by_size 8 3 1)" "$(by_size 10 4 3)" moneta-load --modes sync --sync-rate 1 \
  --sync-sessions "$(by_size 20 8 1)"

# How cost grows, with state and with guardians.
sizes=$(by_size 10000,100000,1000000,5000000 10000,100000,500000 5000,10000)
define growth "$(by_size 25 3 1)" "$FULL_PROGRAMS/moneta-growth" --dir "$FULL_GROWTH" --sizes "$sizes" \
  --payments "$(by_size 500 500 20)" --out OUT
define guardians "$(by_size 25 7 2)" "$FULL_PROGRAMS/moneta-load" --modes latency,throughput --shapes 5x5 \
  --guardians "$(by_size 4,7,10,13,16 4,7,10,13,16 4,7)" --seconds "$(by_size 30 8 2)" --out OUT
# No goal asks for these of the reference.
if [[ -n $reference && $size == thorough ]]; then
  define recovery-reference 8 "$FULL_PROGRAMS/moneta-load" --modes recovery --recovery-items 20000 \
    --reference "$reference" --only-reference --out OUT
  define guardians-reference 25 "$FULL_PROGRAMS/moneta-load" --modes latency,throughput --shapes 5x5 \
    --guardians 4,7 --seconds 30 --in-flight 4 --reference "$reference" --only-reference --out OUT
fi

# Long load at fixed rates: one that both keep up with, and one that the reference does not reach.
if [[ $size == thorough ]]; then
  define_both long 25 30 moneta-load --modes long --shapes 5x5 --minutes 20 --long-rate 1
  define long-10 25 "$FULL_PROGRAMS/moneta-load" --modes long --shapes 5x5 --minutes 20 --long-rate 10 --out OUT
  # Sessions so full that replaying them should be work.
  define sync-20 8 "$FULL_PROGRAMS/moneta-load" --modes sync --sync-sessions 20 --sync-rate 20 --out OUT
  define shapes 4 "$FULL_PROGRAMS/moneta-load" --modes latency,throughput --shapes 1x1,20x20 --seconds 30 --out OUT
fi

define gate 1 scripts/bench-gate.sh "$FULL_PROGRAMS/moneta-hot"

# Measured at the same time: what is counted there (processor time, bytes) does not depend on the other.
together=("idle idle-reference")

is_done() {
  [[ -e $FULL_FOLDER/$1/done ]] || return 1
  # A thorough result is also good enough where a short one was asked for.
  [[ $size == short && $(<"$FULL_FOLDER/$1/size") == thorough ]] ||
    [[ $(<"$FULL_FOLDER/$1/command") == "${commands[$1]}" ]]
}

if $list; then
  for name in "${names[@]}"; do
    printf '%-20s %3d min%s\n' "$name" "${minutes[$name]}" "$(is_done "$name" && echo ', done' || true)"
  done
  exit 0
fi

for name in "${wanted[@]}" "${again[@]}"; do
  [[ -n ${commands[$name]:-} ]] || die "no part $name; there are: ${names[*]}"
done
mkdir -p "$FULL_FOLDER"
exec 9>"$FULL_FOLDER/lock"
flock -n 9 || die "another run measures into $FULL_FOLDER"

is_wanted() {
  [[ " ${again[*]} " != *" $1 "* ]] || return 0
  [[ ${#wanted[@]} -gt 0 || ${#again[@]} -eq 0 ]] || return 1
  [[ ${#wanted[@]} -eq 0 || " ${wanted[*]} " == *" $1 "* ]]
}

# to_json NAME VALUE..: an object of strings.
to_json() {
  local separator='{' value
  while [[ $# -gt 1 ]]; do
    value=${2//\\/\\\\}
    value=${value//\"/\\\"}
    printf '%s\n  "%s": "%s"' "$separator" "$1" "${value//$'\n'/ }"
    separator=,
    shift 2
  done
  printf '\n}\n'
}

write_facts() {
  local version=none processor
  [[ $1 != *-reference ]] || version=$("$reference" --version 2>/dev/null | head -n 1) || version=unknown
  processor=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
  to_json part "$1" size "$size" began "$(date -u '+%Y-%m-%d %H:%M UTC')" commit "$MONETA_BENCH_COMMIT" \
    profile "$MONETA_BENCH_PROFILE" rustc "$(rustc --version)" reference "${version:-unknown}" \
    kernel "$(uname -sr)" processor "${processor:-unknown}" cores "$(nproc)" \
    memory "$(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1e6 }' /proc/meminfo)" \
    load_average "$(cut -d' ' -f1 /proc/loadavg)" >"$FULL_FOLDER/$1/facts.json"
}

# Every part runs in a process group of its own, so that whatever it starts can be ended with it.
set -m
running=() failed=()

end_running() {
  local group
  for group in "${running[@]}"; do kill -TERM -- "-$group" 2>/dev/null || true; done
  for group in "${running[@]}"; do wait "$group" 2>/dev/null || true; done
  # What outlived its part after all, say after a crash of the measuring program.
  for group in "${running[@]}"; do kill -KILL -- "-$group" 2>/dev/null || true; done
  running=()
}

write_figures() {
  "$FULL_PROGRAMS/moneta-figures" --parts "$FULL_FOLDER" --out "$FULL_FIGURES" || failed+=(figures)
}

interrupted() {
  trap '' INT TERM HUP
  say "asked to end: ending what runs"
  end_running
  write_figures
  say "what is done stays; the same command goes on from here"
  exit 130
}
trap interrupted INT TERM HUP

# measure NAME..: these parts at the same time.
measure() {
  local name folder began index status
  local parts=("$@")
  for name in "${parts[@]}"; do
    folder=$FULL_FOLDER/$name
    rm -rf "$folder"
    mkdir -p "$folder"
    write_facts "$name"
    printf '%s' "${commands[$name]}" >"$folder/command"
    printf '%s' "$size" >"$folder/size"
    say "$name: about ${minutes[$name]} minutes"
    eval "set -- ${commands[$name]}"
    "${@/#OUT/$folder}" >"$folder/out.txt" 2>"$folder/log.txt" </dev/null 9>&- &
    running+=("$!")
  done
  began=$SECONDS
  for index in "${!parts[@]}"; do
    name=${parts[$index]} status=0
    wait "${running[$index]}" || status=$?
    if [[ $status -eq 0 ]]; then
      echo $((SECONDS - began)) >"$FULL_FOLDER/$name/done"
      say "$name: done in $(((SECONDS - began + 30) / 60)) minutes"
    else
      failed+=("$name")
      say "$name: FAILED ($status), see $FULL_FOLDER/$name/log.txt"
    fi
  done
  end_running
}

# group_of NAME: the parts that are measured at the same time as this one, itself included.
group_of() {
  local group
  for group in "${together[@]}"; do
    [[ " $group " != *" $1 "* ]] || { echo "$group" && return; }
  done
  echo "$1"
}

[[ -n $reference ]] || say "without the reference: its figures will be missing"
handled=" "
for name in "${names[@]}"; do
  [[ $handled != *" $name "* ]] || continue
  now=()
  for part in $(group_of "$name"); do
    handled+="$part "
    [[ -n ${commands[$part]:-} ]] && is_wanted "$part" || continue
    if [[ " ${again[*]} " != *" $part "* ]] && is_done "$part"; then
      say "$part: done before, not measured again (--again $part repeats it)"
    else
      now+=("$part")
    fi
  done
  [[ ${#now[@]} -eq 0 ]] || measure "${now[@]}"
done
write_figures
[[ ${#failed[@]} -eq 0 ]] || { say "failed: ${failed[*]}" && exit 1; }
say "figures: $FULL_FIGURES/figures.md"
