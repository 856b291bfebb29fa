#!/bin/sh
# A stock cloud-init takes a seed's documents: its schema accepts them, and its renderers make of the network what was meant.
# CLOUD_INIT: the program, when it is not the one on PATH.
dir=$(mktemp -d "${TMPDIR:-/tmp}/rct.XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
trap 'exit 99' HUP INT TERM
cloud_init=${CLOUD_INIT:-cloud-init}
n=0

ok() {
    status=$?
    n=$((n + 1))
    if [ $status -eq 0 ]; then
        echo "ok $n - $1"
    else
        echo "not ok $n - $1"
        sed 's/^/# /' "$dir/log"
        failed=1
    fi
}

$cloud_init --version >/dev/null 2>&1 || { echo "1..0 # SKIP cloud-init is not installed"; exit 0; }
"${top_builddir:-.}/t/run/check-seed" "$dir" || { echo "Bail out! check-seed"; exit 1; }

for file in user-data user-data-root; do
    $cloud_init schema --annotate -c "$dir/$file" >"$dir/log" 2>&1 && grep -q '^Valid' "$dir/log"
    ok "cloud-init's schema accepts $file"
done

for renderer in networkd eni; do
    $cloud_init devel net-convert -p "$dir/network-config" -k yaml -d "$dir/$renderer" -D debian -O $renderer \
        >"$dir/log" 2>&1
    ok "cloud-init renders the network for $renderer"
    cat "$dir/$renderer"/etc/systemd/network/* "$dir/$renderer"/etc/network/interfaces.d/* \
        "$dir/$renderer"/etc/udev/rules.d/* >"$dir/log" 2>/dev/null
    for text in 192.0.2.5/24 '[Gg]ateway[= ]192.0.2.1' '192.0.2.1 192.0.2.2' 02:ba:78:16:bf:8f eth0 1400; do
        grep -q "$text" "$dir/log"
        ok "$renderer has $text"
    done
done
echo "1..$n"
exit ${failed:-0}
