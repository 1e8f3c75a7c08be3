#!/usr/bin/env bash
# Makes sure that a real bitcoind and bitcoin-cli exist and prints the folder that holds both.
#
#   scripts/install-bitcoind.sh [PREFIX]      default PREFIX: ~/.cache/moneta/bitcoind
#
# A bitcoind in PATH is taken as it is. Otherwise one is unpacked under PREFIX from Debian's own
# packages (bitcoin-knots, whose RPC is that of Bitcoin Core) together with the libraries it was
# built against, and started through their own dynamic loader. Nothing outside PREFIX is written, no
# root is needed. About 15 MB to download and 50 MB on disk; a second call does nothing.
set -euo pipefail

release=trixie
# The libraries are those the program links, loader included, so that an older Debian or another
# distribution with apt can run it too.
libraries=(
  libc6 libgcc-s1 libstdc++6 zlib1g libzstd1 liblzma5 libsqlite3-0 libxml2 libmd0 libbsd0
  libevent-core-2.1-7t64 libevent-extra-2.1-7t64 libevent-pthreads-2.1-7t64
  libzmq5 libsodium23 libpgm-5.3-0t64 libnorm1t64
  libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libcom-err2 libkeyutils1 libssl3t64
)
packages=("bitcoin-knots/$release-backports" "${libraries[@]/%//$release}")
prefix=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/moneta/bitcoind}

die() {
  echo "install-bitcoind: $*" >&2
  exit 1
}

if found=$(command -v bitcoind) && command -v bitcoin-cli >/dev/null; then
  dirname "$found"
  exit 0
fi
if [[ -x $prefix/bin/bitcoind && -x $prefix/bin/bitcoin-cli ]]; then
  echo "$prefix/bin"
  exit 0
fi

# The prefix is replaced whole below, so it must be ours or not exist.
[[ ! -e $prefix || -d $prefix/root/usr ]] || die "$prefix exists and was not made by this script; give another folder"
[[ $(uname -sm) == 'Linux x86_64' ]] ||
  die "no bitcoind in PATH, and this script knows only Linux on x86_64; install Bitcoin Core 27 or newer"
for tool in apt-get dpkg; do
  command -v $tool >/dev/null || die "no bitcoind in PATH and no $tool to fetch one; install Bitcoin Core 27 or newer"
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[[ -f $keyring ]] || die "no $keyring to check packages with; install Bitcoin Core 27 or newer"
# The mirror this machine's apt already uses: the reachable one, behind whatever proxy it needs.
mirror=$(
  { grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null || true; } |
    sed -n '1s/ *$//p'
)
[[ -n $mirror ]] || die "apt has no Debian mirror here; install Bitcoin Core 27 or newer"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/debs"
# apt downloads as its own user, which must be able to write here.
chmod 777 "$work" "$work/debs"
for suite in $release $release-backports; do
  echo "deb [signed-by=$keyring] $mirror $suite main"
done >"$work/sources.list"
apt=(
  apt-get -qq
  -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
  -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache"
)
echo "install-bitcoind: fetching bitcoind from Debian $release-backports into $prefix" >&2
"${apt[@]}" update >&2 || die "apt could not read the package lists"
(cd "$work/debs" && "${apt[@]}" download "${packages[@]}" >"$work/apt.log" 2>&1) ||
  die "apt could not download the packages: $(tail -n 3 "$work/apt.log")"

# Unpacked beside the target and moved in one step: an interrupted run leaves no half prefix.
fresh=$prefix.new.$$
rm -rf "$fresh"
mkdir -p "$fresh/root" "$fresh/bin"
for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$fresh/root"; done
for program in bitcoind bitcoin-cli; do
  cat >"$fresh/bin/$program" <<SCRIPT
#!/bin/sh
root="$prefix/root/usr"
exec "\$root/lib64/ld-linux-x86-64.so.2" --library-path "\$root/lib/x86_64-linux-gnu" "\$root/bin/$program" "\$@"
SCRIPT
  chmod +x "$fresh/bin/$program"
done
rm -rf "$prefix"
mv "$fresh" "$prefix"
"$prefix/bin/bitcoind" --version >/dev/null || die "the unpacked bitcoind does not start"
echo "$prefix/bin"
