#!/bin/bash
# Makes target/packages/tidegate-VERSION-TARGET.tar.gz: the binary, systemd/, config/, docs/, licences and install.sh.
#
#   cross/package.sh TARGET            builds the binary first
#   cross/package.sh TARGET BINARY     takes one that is built (for tests)
#
# The same commit and compiler give the same bytes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# = 1 ] || [ $# = 2 ] || die "usage: cross/package.sh TARGET [BINARY]"
use_target "$1"
binary=${2-}
if [ -z "$binary" ]; then
    cross/build.sh "$target"
    binary=target/$target/release/tidegate
fi

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
name=tidegate-$version-$target
out=${PACKAGE_DIR:-target/packages}
mkdir -p "$out"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
root=$stage/$name
mkdir "$root"

install -m 755 "$binary" "$root/tidegate"
install -m 755 cross/install.sh "$root/install.sh"
cp -r systemd config docs "$root/"
cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE THIRD-PARTY.md "$root/"

# Each crate's own licence texts, as its package has them. Where one has none, THIRD-PARTY.md names its licence and its source.
tests/licenses --crates | while IFS='|' read -r crate crate_version _; do
    for text in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$crate-$crate_version"/{LICENSE,LICENCE,COPYING,COPYRIGHT,NOTICE,UNLICENSE,license}*; do
        [ -f "$text" ] || continue
        install -D -m 644 "$text" "$root/licenses/$crate-$crate_version/$(basename "$text")"
    done
done

when=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w --mtime="@$when" -cf - "$name" |
    gzip -n >"$out/$name.tar.gz"
echo "$out/$name.tar.gz"
