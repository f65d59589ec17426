# What the scripts of test tiers share. The script that reads this sets `tier` to its name.

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Tests that cannot run are skipped and not passed: one, since nobody counted them.
skip() {
    echo "==> $tier: skipped: $*"
    echo "test result: ok. 0 passed; 0 failed; 1 ignored"
    exit 0
}

# Debian's packages.
install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >&2
}

# The same, with fresh lists of them.
update_and_install() {
    command -v apt-get >/dev/null || return 1
    as_root apt-get update >&2
    install "$@"
}
