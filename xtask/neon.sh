#!/bin/sh
# `cargo xtask test --neon`: builds the CPU kernels and the formats for 64-bit Arm and runs their tests
# under qemu-user. Arguments go to `cargo test`.
#
# Rust's library for Arm comes from rustup. Where rustup does not reach its server, packages of Debian 12
# serve (NEON_RUST=debian asks for them): its security suite has a compiler that is new enough.
set -eu

cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
rust=$PWD/target/neon-rust

tier=neon
. xtask/tier.sh

install_tools() {
    packages=
    command -v qemu-aarch64 >/dev/null || packages=qemu-user
    command -v aarch64-linux-gnu-gcc >/dev/null ||
        packages="$packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    [ -z "$packages" ] && return
    # shellcheck disable=SC2086 # a list of words
    update_and_install $packages
}

rustups_library() {
    [ "${NEON_RUST:-rustup}" = rustup ] && command -v rustup >/dev/null || return 1
    rustup target list --installed | grep -qx $target || timeout 120 rustup target add $target >&2
}

# Unpacks Debian's compiler, and its libraries for this machine and for Arm, into $rust. Installs nothing
# but the compiler's LLVM: the package of the compiler cannot stand beside rustup's.
debians_rust() {
    [ ! -x "$rust/rustc" ] || return 0
    [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || return 1
    install libllvm22 || return 1
    # Package lists of both machines, apart from the system's own.
    apt="-o Dir::State::Lists=$rust/lists -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=root"
    mkdir -p "$rust/lists/partial" "$rust/debs"
    # shellcheck disable=SC2086
    apt-get $apt update >&2 || return 1
    # shellcheck disable=SC2086
    version=$(apt-cache $apt policy rustc-web | sed -n 's/^ *Candidate: //p')
    needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    [ "$(printf '%s\n' "$needed" "$version" | sort -V | head -n 1)" = "$needed" ] || return 1
    driver=libstd-rust-web-$(echo "$version" | cut -d. -f1,2)
    # shellcheck disable=SC2086
    (cd "$rust/debs" && apt-get $apt download "rustc-web=$version" "$driver=$version" \
        "libstd-rust-web-dev:amd64=$version" "libstd-rust-web-dev:arm64=$version" >&2) || return 1
    for package in "$rust"/debs/*.deb; do
        dpkg-deb --extract "$package" "$rust" || return 1
    done
    rm -r "$rust/debs" "$rust/lists"
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s --sysroot %s "$@"\n' \
        "$rust/usr/lib/x86_64-linux-gnu" "$rust/usr/bin/rustc" "$rust/usr" >"$rust/rustc"
    chmod +x "$rust/rustc"
}

install_tools || skip "no qemu-user or no compiler for Arm"
if ! rustups_library; then
    debians_rust || skip "target $target is not installed, and neither rustup nor Debian brings it"
    export RUSTC="$rust/rustc" CARGO_TARGET_DIR="$PWD/target/neon"
fi
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
# Documentation examples stay out: each is a program, and the CPU tier has run them.
exec cargo test --target $target --tests --no-fail-fast \
    --package tritburn-formats --package tritburn-cpu "$@"
