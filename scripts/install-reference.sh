#!/usr/bin/env bash
# Makes sure that the released programs of the reference exist and prints the folder that holds them.
#
#   scripts/install-reference.sh [PREFIX]      default PREFIX: ~/.cache/moneta/reference
#
# They are test peers and nothing else: `./dev interop` drives them from outside, nothing of ours links or
# contains them. cargo builds fedimintd and fedimint-cli from the registry: about half an hour on two
# cores and 4 GB on disk, once; a second call does nothing.
set -euo pipefail

version=0.13.0
prefix=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/moneta/reference}

say() { printf 'install-reference: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# RocksDB is C++ and generates its bindings with libclang.
need_debian() {
  local missing=()
  command -v clang >/dev/null || missing+=(clang)
  command -v cmake >/dev/null || missing+=(cmake)
  command -v pkg-config >/dev/null || missing+=(pkg-config)
  compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || missing+=(libclang-dev)
  [[ ${#missing[@]} -gt 0 ]] || return 0
  command -v apt-get >/dev/null || die "please install: ${missing[*]}"
  local as_root=()
  if [[ $(id -u) -ne 0 ]]; then
    command -v sudo >/dev/null || die "please install: ${missing[*]} (neither root nor sudo here)"
    as_root=(sudo)
  fi
  say "installing Debian packages: ${missing[*]}"
  "${as_root[@]}" apt-get -qq update >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2
}

has_version() {
  [[ -x $prefix/bin/$1 ]] && grep -qs "^\"$1 $version " "$prefix/.crates.toml"
}

for program in fedimintd fedimint-cli; do
  if has_version "$program"; then continue; fi
  need_debian
  say "building $program $version; the log is $prefix/$program.log"
  mkdir -p "$prefix"
  # The build folder stays, so that a build that was interrupted goes on where it was.
  install=(env CARGO_TARGET_DIR="$prefix/target" cargo install --root "$prefix" --version "$version"
    --no-default-features "$program")
  # The lock file of a release names what was tested together, but may name a crate withdrawn since.
  "${install[@]}" --locked >"$prefix/$program.log" 2>&1 ||
    "${install[@]}" >>"$prefix/$program.log" 2>&1 ||
    die "cargo could not build $program; see $prefix/$program.log"
done
echo "$prefix/bin"
