#!/bin/sh
# `cargo xtask setup`: brings the LLVM that the features `cpu` and `cuda` build against.
#
#   setup.sh [--dry-run] [--llvm auto|github|debian]
#   setup.sh [--dry-run] --data
#
# Burn's build script (`tracel-llvm-bundler`) downloads LLVM from GitHub, unless a prefix in the user's
# data folder holds a sentinel file; then it asks the prefix's `llvm-config` for everything. Where GitHub
# is out of reach, a prefix with the sentinel and a script that answers for Debian's LLVM serves as well.
# Running this again changes nothing; broken off, it can be run again. With --data it installs Fashion-MNIST
# instead, which `vision-transformer` trains on.
set -eu

say() { echo "==> setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

dry_run=false source=auto data_only=false
while [ $# -gt 0 ]; do
    case $1 in
        --dry-run) dry_run=true ;;
        --llvm) source=$2; shift ;;
        --data) data_only=true ;;
        *) fail "unknown argument $1" ;;
    esac
    shift
done

root=$(cd "$(dirname "$0")/.." && pwd)
# The version in `Cargo.lock` names the prefix and the download: 23.1.0-4 bundles LLVM 23.1.0.
bundle=$(sed -n '/^name = "tracel-llvm-bundler"$/{n;s/^version = "\(.*\)"$/\1/p;}' "$root/Cargo.lock")
version=${bundle%-*}
case $(uname -s) in
    Darwin) system=macos data="$HOME/Library/Application Support" ;;
    *) system=linux data=${XDG_DATA_HOME:-$HOME/.local/share} ;;
esac
case $(uname -m) in aarch64 | arm64) machine=AArch64 ;; *) machine=x64 ;; esac
url="https://github.com/tracel-ai/tracel-llvm/releases/download/v$bundle/$system-$machine.checksums.json"
prefix=$data/tracel/tracel-llvm-$bundle
sentinel=.tracel-llvm-installed
# shellcheck disable=SC2016 # no command
marker='# Written by `cargo xtask setup`.'

# Why the prefix $1 cannot serve, in words; nothing if it can.
defect() {
    config=$1/bin/llvm-config
    [ -f "$1/$sentinel" ] || { echo "the file $sentinel is missing"; return; }
    found=$("$config" --link-static --version 2>&1) || { echo "asking LLVM failed: $found"; return; }
    [ "$found" = "$version" ] || { echo "it says version $found, not $version"; return; }
    [ -n "$("$config" --link-static --libs 2>/dev/null)" ] || { echo "it names no libraries"; return; }
    [ -d "$("$config" --link-static --libdir)" ] || echo "its library folder does not exist"
}

# Whether the build script's download would get through.
can_download() {
    if has curl; then
        curl --silent --head --location --fail --connect-timeout 3 --max-time 10 "$url" >/dev/null
    elif has wget; then
        wget --quiet --spider --timeout=3 --tries=1 "$url"
    else
        has bash && timeout 6 bash -c 'exec 3<>/dev/tcp/github.com/443' 2>/dev/null
    fi
}

is_debian() { has apt-get && grep -qsE '^ID(_LIKE)?=.*(debian|ubuntu)' "${OS_RELEASE:-/etc/os-release}"; }
is_installed() { dpkg-query --show --showformat='${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^ii'; }
is_offered() { LC_ALL=C apt-cache policy "$1" | grep Candidate: | grep -qv '(none)'; }

# What to do where a package is missing.
advice="Either let the build download LLVM itself (it needs to reach github.com), or add a package source that has
it (Debian 12: the security suite; other releases: https://apt.llvm.org), then run this again.
Only the features \`cpu\` and \`cuda\` need LLVM: \`cargo xtask demo\` and \`cargo test\` run without."

install_packages() {
    sudo=
    if [ "$(id -u)" != 0 ]; then
        has sudo || fail "installing packages needs root, and there is no sudo. Run as root:
  apt-get update
  apt-get install -y --no-install-recommends $*"
        sudo=sudo
    fi
    # One bad source of several is no reason to stop: the next command decides.
    $sudo apt-get update || say "going on with the package lists that are there"
    for package in "$@"; do
        is_offered "$package" || fail "this system has no package $package.
$advice"
    done
    # `env` and not the environment: sudo drops variables.
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# Makes a prefix around `llvm-config-22`, whole or not at all, in place of what is there.
make_prefix() {
    real=$(command -v llvm-config-22 || echo /usr/lib/llvm-22/bin/llvm-config)
    staging=$prefix.new.$$
    trap 'rm -rf "$staging"' EXIT
    mkdir -p "$staging/bin"
    # The components that the backends link, and what those need of the system. Debian's LLVM lists
    # libraries (z3, libxml2) for parts that are not linked here.
    cat >"$staging/bin/llvm-config" <<END
#!/bin/sh
$marker
# Answers as LLVM $version for the LLVM that the distribution installed.
for argument in "\$@"; do
    case "\$argument" in
        --version) echo $version; exit 0 ;;
        --system-libs) echo -lrt -ldl -lm -lz -lzstd; exit 0 ;;
        --libs) exec "$real" --link-static --libs core support passes orcjit native nvptx amdgpu \\
            bitreader bitwriter irreader linker target mc mcjit executionengine analysis \\
            transformutils ipo object debuginfodwarf ;;
    esac
done
exec "$real" "\$@"
END
    chmod +x "$staging/bin/llvm-config"
    touch "$staging/$sentinel"
    reason=$(defect "$staging")
    [ -z "$reason" ] || fail "the new LLVM prefix does not answer: $reason"
    rm -rf "$prefix"
    mv "$staging" "$prefix"
    say "made $prefix around $real"
}

# Does $2.. after saying $1, or only says it in a dry run.
step() {
    if $dry_run; then say "would $1"; else shift; "$@"; fi
}

if $data_only; then
    package=dataset-fashion-mnist
    advice="Put the four idx files of Fashion-MNIST in a folder, plain or gzipped, and name it with --data."
    is_debian || fail "no way to get Fashion-MNIST: $package is a package of Debian, and apt-get was not found.
$advice"
    if is_installed $package; then
        say "Fashion-MNIST is in place: /usr/share/datasets/fashion-mnist"
    else
        step "install $package" install_packages $package
    fi
    exit 0
fi

plan=nothing reason="it is absent"
[ ! -e "$prefix" ] || reason=$(defect "$prefix")
if [ -n "$reason" ]; then
    say "$prefix cannot serve: $reason"
    # It is ours if this script wrote it or nobody finished it.
    if [ -f "$prefix/$sentinel" ] && ! grep -qsF "$marker" "$prefix/bin/llvm-config"; then
        fail "the installed LLVM does not work ($reason). It was not made by this program: remove
$prefix yourself, then run this again"
    fi
    if [ "$source" = github ] || { [ "$source" = auto ] && can_download; }; then
        plan=download
    elif is_debian; then
        plan=debian
    else
        fail "no way to get LLVM. The features \`cpu\` and \`cuda\` need it; the build downloads it where
github.com can be reached, and on Debian and Ubuntu apt can install it. Tried $url and looked for apt-get"
    fi
fi

packages=
if ! has c++; then
    is_debian || fail "no C++ compiler: \`c++\` is not in PATH, and LLVM's parts need one"
    packages=g++
fi
if [ $plan = debian ]; then
    for package in llvm-22-dev libzstd-dev zlib1g-dev; do
        is_installed $package || packages="$packages $package"
    done
fi
# shellcheck disable=SC2086 # a list of words
[ -z "$packages" ] || step "install $packages" install_packages $packages

case $plan in
    nothing) say "LLVM is in place: $prefix" ;;
    debian) step "make $prefix around llvm-config-22" make_prefix ;;
    download)
        [ ! -e "$prefix" ] || step "remove $prefix" rm -rf "$prefix"
        say "the next build with \`cpu\` or \`cuda\` downloads LLVM from GitHub"
        ;;
esac
