#!/usr/bin/env bash
# Prints the bin folder of a Rust toolchain that can build for wasm32-unknown-unknown.
#
# That is the installed one if it can (`rustup target add wasm32-unknown-unknown`). Otherwise a copy of it
# in PREFIX, for which the standard library is built once from Debian's rust-src package of the same
# version, with the crates its own lock file names. About 80 s on two cores, 45 MB to download, 660 MB on
# disk. The copy is used like any toolchain, by putting the folder first in PATH.
#
#   install-wasm-std.sh [PREFIX]        default PREFIX: ~/.cache/moneta/rust-wasm
set -euo pipefail

target=wasm32-unknown-unknown
prefix=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/moneta/rust-wasm}

fail() {
  echo "install-wasm-std: $*" >&2
  exit 1
}

# has SYSROOT: whether the toolchain there has the standard library of the target.
has() { [[ -d $1/lib/rustlib/$target/lib ]]; }

system=$(rustc --print sysroot)
for root in "$system" "$prefix"; do
  if has "$root" && [[ $("$root/bin/rustc" --version) == "$("$system/bin/rustc" --version)" ]]; then
    echo "$root/bin"
    exit 0
  fi
done

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1 | tr -d ' ' || true)
[[ -n $mirror && -f $keyring ]] || fail "no Debian package source here; use: rustup target add $target"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# fetch_sources: unpacks the sources of the installed version's standard library into $work/library. The
# package lists are our own, so the system's stay as they are.
fetch_sources() {
  local suite version package apt
  version=$("$system/bin/rustc" --version | cut -d' ' -f2)
  mkdir -p "$work"/lists/partial "$work"/cache/archives/partial
  for suite in trixie trixie-backports forky sid; do
    echo "deb [signed-by=$keyring] $mirror $suite main"
  done >"$work/sources.list"
  apt=(-qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
  apt-get "${apt[@]}" update
  package=$(apt-cache "${apt[@]}" madison rust-src | awk -F' *[|] *' -v v="$version" 'index($2, v "+") == 1 { print $2; exit }')
  [[ -n $package ]] || fail "Debian has no sources of Rust $version any more; use: rustup target add $target"
  (cd "$work" && apt-get "${apt[@]}" download "rust-src=$package" >/dev/null)
  dpkg-deb --fsys-tarfile "$work"/rust-src_*.deb |
    tar x -C "$work" --strip-components=4 "./usr/src/rustc-$version/library"
}

# build_library: the standard library for the target, as rustc's own build makes it.
build_library() (
  cd "$work/library"
  unset RUSTFLAGS CARGO_BUILD_TARGET
  export RUSTC="$system/bin/rustc" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/target"
  export CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_PANIC=abort
  export RUSTFLAGS="-Cembed-bitcode=yes -Zforce-unstable-if-unmarked --remap-path-prefix=$work/library=/rustc/std"
  "$system/bin/cargo" build -q --locked --release --target "$target" \
    --manifest-path sysroot/Cargo.toml --features panic-unwind,compiler-builtins-mem
)

echo "install-wasm-std: building the standard library for $target into $prefix" >&2
fetch_sources >&2
build_library >&2
# One of an earlier version goes; anything else that may lie there does not.
if has "$prefix"; then rm -rf -- "$prefix"; fi
mkdir -p "$prefix"
cp -a "$system/." "$prefix/"
rm -rf "$prefix/share/doc"
libraries=$prefix/lib/rustlib/$target/lib
mkdir -p "$libraries"
cp "$work/target/$target"/release/deps/*.rlib "$libraries"
rm "$libraries"/libsysroot-*
"$prefix/bin/rustc" --version >/dev/null
echo "$prefix/bin"
