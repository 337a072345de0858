#!/bin/bash
# Makes this machine able to build for a target: a C compiler, the target's standard library, qemu to try the result.
#
#   cross/setup.sh [TARGET ...]      default: both ARM targets; can be run again
#
# The standard library comes from the first of these that works:
#   1. what `rustc` already has
#   2. `rustup target add`
#   3. Debian: its compiler, and its library for the target unpacked into target/cross (STD=debian goes there at once)
#   4. the library's source in Debian, compiled here (STD=source goes there at once)
#
# C compilers and qemu are installed by apt, which wants root.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
mode=${STD:-auto}

main() {
    mkdir -p "$prefix"
    local targets=${*:-$arm_targets}
    for target in $targets; do
        use_target "$target"
        c_compiler
        standard_library
        echo "$target: ready"
    done
}

c_compiler() {
    local missing=""
    command -v "$gnu-gcc" >/dev/null || missing=$gcc_packages
    [ -z "$qemu" ] || command -v "${qemu%% *}" >/dev/null || missing+=" qemu-user-static"
    [ -z "$missing" ] || install $missing
}

standard_library() {
    if [ "$mode" = auto ]; then
        if has_std rustc "$target" || has_std "$prefix/bin/rustc" "$target"; then
            return
        fi
        if command -v rustup >/dev/null && rustup target add "$target"; then
            return
        fi
        echo "$target: rustup does not give the standard library, taking Debian's"
    fi
    debian_compiler
    [ "$mode" != source ] && debian_std || source_std
    has_std "$prefix/bin/rustc" "$target" || die "$target: still no standard library"
}

# Debian's newest compiler, told to look for libraries in a folder of ours, which holds links to the host's.
debian_compiler() {
    local rustlib=$prefix/sysroot/lib/rustlib
    dpkg-query -W rustc-web rust-web-src >/dev/null 2>&1 || install rustc-web rust-web-src
    mkdir -p "$rustlib" "$prefix/bin"
    for part in "$(host)" etc src; do
        ln -sfn "/usr/lib/rustlib/$part" "$rustlib/$part"
    done
    printf '#!/bin/sh\nexec /usr/bin/rustc --sysroot %q "$@"\n' "$prefix/sysroot" >"$prefix/bin/rustc"
    chmod +x "$prefix/bin/rustc"
}

# The library that Debian compiled for the target. An apt of its own, for one foreign architecture: the machine's package
# lists and architectures stay as they are.
debian_std() {
    local version state=$prefix/apt/$debian_arch out=$prefix/std/$target
    version=$(dpkg-query -W -f '${Version}' rustc-web)
    rm -rf "$state" "$out"
    mkdir -p "$state"/{lists/partial,archives/partial,sources,dpkg} "$out"
    : >"$state/dpkg/status"
    if [ -f /etc/apt/sources.list.d/debian.sources ]; then
        ln -s /etc/apt/sources.list.d/debian.sources "$state/sources/"
    fi
    cat >"$state/apt.conf" <<CONF
APT::Architecture "$debian_arch";
APT::Architectures { "$debian_arch"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
Dir::State::lists "$state/lists";
Dir::State::status "$state/dpkg/status";
Dir::Cache::archives "$state/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourceparts "$state/sources";
CONF
    (
        export APT_CONFIG=$state/apt.conf
        apt-get update -q || true # a mirror in mid-sync: what is missing shows in the next line
        cd "$state" && apt-get download -q "libstd-rust-web-dev:$debian_arch=$version"
    ) || return 1
    dpkg-deb -x "$state"/libstd-rust-web-dev_*.deb "$out"
    rm -rf "$prefix/sysroot/lib/rustlib/$target"
    ln -s "$out/usr/lib/rustlib/$target" "$prefix/sysroot/lib/rustlib/$target"
}

# The same library from its source, in about a minute. Nightly features, but of the compiler that the source belongs to.
source_std() {
    local work=$prefix/build-std/$target lib=$prefix/sysroot/lib/rustlib/$target/lib
    rm -rf "$work"
    mkdir -p "$work/src"
    echo '#![no_std]' >"$work/src/lib.rs"
    cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "nothing"
version = "0.0.0"
edition = "2024"

[workspace]

[profile.release]
codegen-units = 1
TOML
    # panic_abort has to be compiled with the strategy that it is for, else a build with panic = "abort" refuses it.
    cat >"$work/rustc" <<RUSTC
#!/bin/sh
case " \$* " in
*" --crate-name panic_abort "*) exec "$prefix/bin/rustc" "\$@" -C panic=abort ;;
*) exec "$prefix/bin/rustc" "\$@" ;;
esac
RUSTC
    chmod +x "$work/rustc"
    # Bitcode is what link-time optimisation works on.
    (
        cd "$work"
        RUSTC=$work/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Cembed-bitcode=yes CARGO_TARGET_DIR=$work/target \
            cargo build --release --quiet --target "$target" -Z build-std=std,panic_abort,proc_macro,test
    )
    rm -rf "$prefix/sysroot/lib/rustlib/$target"
    mkdir -p "$lib"
    cp "$work/target/$target"/release/deps/*.rlib "$lib/"
    rm -rf "$lib"/libnothing-* "$work"
}

host() {
    rustc -vV | sed -n 's/^host: //p'
}

install() {
    echo "installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null ||
        { apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null; }
}

main "$@"
