#!/usr/bin/env bash
# Holds the rules of ARCHITECTURE.md that a script can see: who may depend on whom, and what the pure
# parts must not touch. Prints every breach and exits 1 if there was one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

breaches=$(mktemp)
trap 'rm -f "$breaches"' EXIT

# Package, then everything of ours it may depend on with all its features on. A package that is not
# listed here is a breach too: whoever adds a crate says where it stands.
allowed() {
  cat <<'TABLE'
moneta-core-derive
moneta-crypto
moneta-consensus
moneta-core         crypto core-derive
moneta-store        core crypto
moneta-net          core crypto
moneta-module       store core crypto
moneta-mint         module store core crypto
moneta-wallet       module store core crypto
moneta-meta         module store core crypto
moneta-client       module store core crypto net
moneta-guardian     consensus module store core crypto net
moneta-sim          guardian client consensus module mint wallet meta store core crypto
moneta              guardian client consensus module mint wallet meta store core crypto net
moneta-interop      moneta
moneta-bench        moneta load hot client module mint wallet meta core
moneta-load         moneta client module mint wallet meta core crypto net
moneta-hot          guardian module mint store core crypto
TABLE
}

check_dependencies() {
  allowed | awk '
    NR == FNR {
      known[$1] = 1
      for (i = 2; i <= NF; i++) may[$1, $i == "moneta" ? $i : "moneta-" $i] = 1
      next
    }
    /^0/ { package = substr($1, 2); if (!(package in known)) print "dependencies: " package " has no line in scripts/check-layers.sh" }
    /^1moneta/ {
      dependency = substr($1, 2)
      if (!((package, dependency) in may)) print "dependencies: " package " must not depend on " dependency
    }
  ' - <(cargo tree --locked --workspace --all-features --edges normal,build --depth 1 --no-dedupe --prefix depth)
}

# never PACKAGE PATTERN: without features, nothing in the whole tree below PACKAGE is called that.
never() {
  cargo tree --locked -p "$1" --no-default-features --edges normal --prefix none |
    awk -v package="$1" -v pattern="^($2)\$" '$1 ~ pattern && !seen[$1]++ { print "dependencies: " package " without features pulls in " $1 }'
}

# test_files FOLDER..: prints the path of every file that is declared `#[cfg(test)] mod name;`.
test_files() {
  # shellcheck disable=SC2016 # the dollar signs are awk's
  find "$@" -name '*.rs' -print0 | xargs -0 -r awk '
    FNR == 1 {
      folder = FILENAME
      sub(/(\/(lib|mod|main)\.rs|\.rs)$/, "", folder)
    }
    test_only && /^mod [a-z_0-9]+;/ {
      name = $2
      sub(/;.*/, "", name)
      print folder "/" name ".rs"
      print folder "/" name "/mod.rs"
    }
    { test_only = /^#\[cfg\((all\()?test/ || (test_only && /^#/) }'
}

# rust FOLDER..: prints `file:line: code` of what is compiled into a release: no comments, no inline
# test modules (they close a file), no test files.
rust() {
  local folder present=()
  for folder in "$@"; do
    [[ ! -e $folder ]] || present+=("$folder")
  done
  [[ ${#present[@]} -gt 0 ]] || return 0
  find "${present[@]}" -name '*.rs' ! -path '*/tests/*' ! -path '*/benches/*' |
    { grep -vxF -f <(test_files "${present[@]}") || true; } | sort | tr '\n' '\0' |
    xargs -0 -r awk -f <(cat <<'AWK'
FNR == 1 { in_tests = 0; test_only = 0 }
/^#\[cfg\((all\()?test/ { test_only = 1; next }
test_only && /^mod .*\{/ { in_tests = 1 }
test_only && !/^#/ { test_only = 0; next }
!in_tests {
  line = $0
  sub(/(^|[[:space:]])\/\/.*/, "", line)
  if (line ~ /[^[:space:]]/) print FILENAME ":" FNR ": " line
}
AWK
    )
}

# except PATTERN: filters lines, and is content when none is left.
except() { grep -vE "$1" || true; }

# forbid RULE PATTERN < rust output: every line that matches is a breach of RULE.
forbid() {
  local found
  found=$(grep -E "$2" || true)
  [[ -z $found ]] || awk -v rule="$1" '{ print rule ": " $0 }' <<<"$found"
}

check_sources() {
  # Decisions are functions of state and input. Time, seeds and answers are arguments.
  local pure=(crates/core/src crates/crypto/src crates/module/src crates/guardian/src/engine)
  mapfile -t -O "${#pure[@]}" pure < <(compgen -G 'modules/*/src/server*'; compgen -G 'modules/*/src/client*')
  rust "${pure[@]}" | forbid 'pure code does no I/O and never waits' '\<tokio\>|std::(fs|net|process)\>|\<(File|TcpStream|UdpSocket)::|\.await\>|\<async (fn|move)'
  rust "${pure[@]}" | forbid 'pure code reads no clock' '\<(SystemTime|Instant)::now|\.elapsed\(\)'
  rust "${pure[@]}" | forbid 'pure code draws no randomness' '\<(thread_rng|OsRng|getrandom|from_entropy|from_os_rng)\>|rand::random'

  # Sockets, threads and files stand in net, the store backends and the apps.
  rust crates/client/src | except '^crates/client/src/online' | forbid 'client opens nothing outside [online]' 'std::(fs|net)\>|\<(SystemTime|Instant)::now'

  # A feature switches whole files on and off, in one place per module.
  local file
  for file in modules/*/src; do
    rust "$file" | except "^$file/lib.rs:" | forbid 'features belong in lib.rs' 'feature[[:space:]]*='
    rust "$file/lib.rs" | awk '
      / *#\[cfg\(.*feature/ { cfg = $0; next }
      cfg != "" && !/: *(pub(\([a-z]+\))? )?(mod|use) / { print "features switch whole files: " cfg }
      { cfg = "" }'
  done

  # Consensus can be replaced because nobody else knows what it is made of.
  rust crates modules apps testing | except '^crates/consensus/' | forbid 'only crates/consensus knows its library' '[Aa]leph'
  grep -HnE '^[^#]*aleph' {crates,modules,apps,testing}/*/Cargo.toml | except '^crates/consensus/' |
    forbid 'only crates/consensus depends on its library' .

  rust crates modules apps testing | forbid 'unfinished code' '\<(todo|unimplemented|dbg)!'
}

check_tree() {
  local listed
  listed=$(git ls-files --cached --others --exclude-standard)
  # Names that say nothing about what a file holds.
  forbid 'files are named for the noun they hold' '(^|/)(types|misc|common|utils?|helpers?)\.rs$' <<<"$listed"
  # A reader must be able to build this anywhere.
  local here
  here=$(printf %s "$PWD/" | sed 's/[.[\*^$]/\\&/g')
  { tr '\n' '\0' <<<"$listed" | xargs -0 grep -sInE "(^|[^A-Za-z0-9_.])/(home|root|Users)/[a-z]|$here" || true; } |
    except '^scripts/check-layers.sh:' | forbid 'paths of one machine do not belong here' .
}

{
  check_dependencies
  never moneta-client 'moneta-net|tokio|redb'
  never moneta-guardian 'moneta-net|redb'
  never moneta-sim 'moneta-net'
  check_sources
  check_tree
} >"$breaches"

if [[ -s $breaches ]]; then
  cat "$breaches" >&2
  echo "check-layers: $(wc -l <"$breaches") breaches; the rules and their reasons are in ARCHITECTURE.md" >&2
  exit 1
fi
echo "check-layers: the layers hold"
