# shellcheck shell=bash
# Read by the scripts beside it. Sets the folder, and for a target its settings.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Survives a clean working tree's build, not `cargo clean`: everything in it can be made again.
prefix=$PWD/target/cross
arm_targets="aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf"

die() {
    echo "$0: $*" >&2
    exit 1
}

# use_target TARGET: the variables of its settings.sh, and the compiler that has its standard library
# (setup.sh says what STD= is).
use_target() {
    target=$1
    [ -f "cross/$target/settings.sh" ] || die "no such target: $target (there are: $(cd cross && echo */ | tr -d /))"
    . "cross/$target/settings.sh"
    if [ "${STD:-auto}" = auto ] && has_std rustc "$target"; then
        unset RUSTC
    else
        export RUSTC=$prefix/bin/rustc
    fi
}

# has_std RUSTC TARGET: whether that compiler finds the target's standard library.
has_std() {
    local libdir
    libdir=$("$1" --print target-libdir --target "$2" 2>/dev/null) && compgen -G "$libdir/libstd-*.rlib" >/dev/null
}
