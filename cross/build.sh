#!/bin/bash
# Builds the release binary for a target: target/TARGET/release/tidegate.
#
#   cross/build.sh TARGET [what else cargo build is told]
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# -ge 1 ] || die "usage: cross/build.sh TARGET"
use_target "$1"
shift
command -v "$gnu-gcc" >/dev/null && has_std "${RUSTC:-rustc}" "$target" || die "$target: run cross/setup.sh $target first"
cargo build --locked --release --config "cross/$target/cargo.toml" --target "$target" "$@"
