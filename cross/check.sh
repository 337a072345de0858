#!/bin/bash
# Builds both ARM binaries and tries them under qemu: what they are, their size, and whether they accept the shipped configuration.
#
#   cross/check.sh [CONFIG]
set -euo pipefail
. "$(dirname "$0")/lib.sh"
config=${1:-config/tidegate.toml}
failed=0
for target in $arm_targets; do
    cross/build.sh "$target" --quiet
    use_target "$target"
    binary=target/$target/release/tidegate
    echo "$target"
    echo "  file   $(file -b "$binary")"
    echo "  size   $(stat -c %s "$binary") bytes"
    echo "  glibc  $("$gnu-objdump" -T "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1 | tr _ ' ') or later"
    code=0
    said=$($qemu "$binary" check "$config" 2>&1) || code=$?
    echo "$said" | sed 's/^/         /'
    echo "  check  $config: exit $code"
    [ "$code" = 0 ] || failed=1
done
exit "$failed"
