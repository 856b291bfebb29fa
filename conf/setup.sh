# What quickstart and check share: sourced by them, runs nothing by itself. $top is the top of the source tree.
# shellcheck shell=bash

start_ns=$(date +%s%N)
elapsed_ms() { echo $((($(date +%s%N) - start_ns) / 1000000)); }
elapsed() {
    local ms
    ms=$(elapsed_ms)
    printf '%d.%d' $((ms / 1000)) $((ms % 1000 / 100))
}
step() { printf '==> [%6s s] %s\n' "$(elapsed)" "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# packages PURPOSE...: the names in conf/debian-packages.
packages() {
    local purpose
    for purpose in "$@"; do
        sed -n "s/^$purpose: //p" "$top/conf/debian-packages"
    done | tr '\n' ' '
}

# A program of that name will do: npm comes with nodejs where that is not Debian's.
missing_packages() {
    local name missing=()
    for name in $(packages "$@"); do
        ! command -v "$name" >/dev/null || continue
        dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null | grep -q '^ii' || missing+=("$name")
    done
    echo "${missing[*]}"
}

# install_packages PURPOSE...: what is missing of them, when root; else says what is.
install_packages() {
    local missing log
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || die "these packages are missing, and only root can install them: $missing"
    step "installing $(wc -w <<<"$missing") Debian packages"
    log=$(mktemp)
    # shellcheck disable=SC2086
    if ! { DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt-get could not install: $missing"
    fi
    rm -f "$log"
}

# build DIR [CONFIGURE OPTION...] -- [MAKE TARGET...]: configured once, made incrementally, errors shown.
build() {
    local dir=$1 log options=()
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    [ "${1:-}" != -- ] || shift
    mkdir -p "$dir"
    log=$dir/build.log
    if ! {
        { [ -f "$top/Makefile.in" ] || (cd "$top" && autoreconf -fi); } &&
            cd "$dir" &&
            { [ -f Makefile ] || "$top/configure" -q "${options[@]}"; } &&
            make -s -j"$(nproc)" "$@"
    } >"$log" 2>&1; then
        grep -aE 'error:|undefined reference|\*\*\*' "$log" >&2 || tail -n 40 "$log" >&2
        die "the build failed; the whole of it is in $log"
    fi
    cd "$top" || exit 1
}
