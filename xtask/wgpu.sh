#!/bin/sh
# `cargo xtask test --wgpu`: runs the portable kernels' tests through WebGPU, on the first device that a Vulkan
# driver offers. Where there is no driver, Debian's Mesa brings one that computes on the CPU. Arguments, which
# xtask gives, go to `cargo test`: which packages and features.
set -eu

cd "$(dirname "$0")/.."

tier=wgpu
. xtask/tier.sh

has_driver() {
    for file in /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json; do
        [ -e "$file" ] && return
    done
    return 1
}

has_driver || update_and_install mesa-vulkan-drivers || skip "no Vulkan driver"
# Nothing is shown on a screen, but Mesa asks where to.
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}"
exec cargo test --test portable "$@"
