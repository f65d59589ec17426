#!/bin/sh
# `cargo xtask test --wgpu`: runs the portable kernels' tests through WebGPU, on the first device that a Vulkan
# driver offers. Where there is no driver, Debian's Mesa brings one that computes on the CPU. Arguments go to
# `cargo test`.
set -eu

cd "$(dirname "$0")/.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Tests that cannot run are skipped and not passed: one, since nobody counted them.
skip() {
    echo "==> wgpu: skipped: $*"
    echo "test result: ok. 0 passed; 0 failed; 1 ignored"
    exit 0
}

has_driver() {
    for file in /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json; do
        [ -e "$file" ] && return
    done
    return 1
}

install_driver() {
    command -v apt-get >/dev/null || return 1
    as_root apt-get update >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        mesa-vulkan-drivers >&2
}

has_driver || install_driver || skip "no Vulkan driver"
# Nothing is shown on a screen, but Mesa asks where to.
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}"
exec cargo test --test portable --package tritburn-kernels --features tritburn-kernels/wgpu "$@"
