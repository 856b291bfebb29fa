#!/usr/bin/env bash
# tier: component
# disk/reflink: on file systems that share blocks, and on one that does not; sandboxes with such disks.
if [ -z "${RUNNER_TEST_MOUNTS:-}" ] && unshare --mount true 2>/dev/null; then
    RUNNER_TEST_MOUNTS=own exec unshare --mount --propagation private bash "$0"
fi
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
need curl

# checks NAME DIR [PARAMETER]: all that a disk plugin promises, with files in that directory.
checks() {
    local name=$1 at=$2
    shift 2
    mkdir "$at"
    TMPDIR=$at run "$top_builddir/t/run/check-disk" "$top_builddir/plugins" reflink "$@"
    is "$name" "$code $(grep -c '^not ok' <<<"$out")" "0 0" || diag "$(grep -A3 '^not ok' <<<"$out")$err"
}
# mounted TYPE BYTES: a new file system of that kind at $dir/TYPE.
mounted() {
    command -v "mkfs.$1" >/dev/null || { err="mkfs.$1 is not installed" && return 1; }
    truncate -s "$2" "$dir/$1.image"
    mkdir "$dir/$1"
    run "mkfs.$1" -q "$dir/$1.image"
    [ "$code" = 0 ] || return 1
    run mount -o loop "$dir/$1.image" "$dir/$1"
    rm -f "$dir/$1.image"
    [ "$code" = 0 ] && at_exit umount -l "$dir/$1"
}
used_kib() { # PATH: of the file system that it is on
    sync -f "$1"
    df --output=used -k "$1" | tail -n 1
}

checks "where blocks cannot be shared, a disk is copied when that is wanted" "$dir/copied" copy
shared=
for type in btrfs xfs; do
    if mounted $type 400M; then
        checks "$type: a disk that shares blocks" "$dir/$type/check"
        shared=$dir/$type
    else
        skip "no $type here: $err" 1
    fi
done

# ---- sandboxes ----

create() { # ID [SNAPSHOT]
    http POST /sandboxes -d "{\"id\": \"$1\", \"userId\": \"u\", \"snapshot\": \"${2:-tiny}\", \"osUser\": \"root\",
        \"cpuQuota\": 1, \"memoryQuota\": 1, \"storageQuota\": 1}"
}
post() { # PATH [BODY]
    http POST "/$1" -d "${2:-{\}}"
}
disk() { # ID
    echo "$root/sandboxes/$1/disk.raw"
}
bases() {
    ls -A "$root/bases" 2>/dev/null | wc -l
}
doctor() { # the line about the disk
    "$top_builddir/runner-ch" doctor --config "$dir/runner.yaml" --plugin-dir "$runner_plugins" 2>&1 | grep ' disk '
}

runner_disk="{plugin: reflink}"
use_shelf
ok "the runner starts" start_runner || done_testing
if cp --reflink=always "$vmm" "$dir/copy" 2>/dev/null; then
    skip "blocks can be shared in $dir" 3
else
    create refused
    is "where blocks cannot be shared a create is refused" "$code" 501
    like "says why" "$(message)" "cannot share blocks"
    like "and doctor says what allows it" "$(doctor)" "FAIL.*copy: true"
fi
kill -TERM "$runner_pid"
wait "$runner_pid"
if [ -n "$shared" ]; then
    root=$shared/root
    make_snapshot tiny
else
    runner_disk="{plugin: reflink, copy: true}"
fi
ok "one starts whose disks are made" start_runner || done_testing
like "doctor has tried that" "$(doctor)" "ok.*shared|warn.*copies a whole image"
dd if=/dev/urandom of="$root/snapshots/tiny/disk.raw" bs=1M count=48 conv=notrunc status=none
before=$(used_kib "$root")
create one
is "a create" "$code" 201
is "its disk is as large as its quota" "$(stat -c %s "$(disk one)")" $((1 << 30))
ok "with the image in it" cmp -n $((64 << 20)) "$root/snapshots/tiny/disk.raw" "$(disk one)"
if [ -n "$shared" ]; then
    took=$(($(used_kib "$root") - before))
    ok "it took no space for it ($took KiB of 48 MiB)" test "$took" -lt 8192
else
    skip "the image was copied" 1
fi
like "its VMM has it as a raw image" "$(tr '\0' ' ' <"/proc/$(head -n 1 "$root/sandboxes/one/vmm.pid")/cmdline")" \
    '"driver":"raw"[^ ]*disk.raw|disk.raw[^ ]*"driver":"raw"'
image=$(sha256sum <"$root/snapshots/tiny/disk.raw")
printf 'of the guest' | dd of="$(disk one)" conv=notrunc status=none
is "what is written to it stays out of the image" "$(sha256sum <"$root/snapshots/tiny/disk.raw")" "$image"
post sandboxes/one/stop
post sandboxes/one/start
is "stopped and started, its disk is as it was" "$code $(head -c 12 "$(disk one)")" "200 of the guest"
post sandboxes/one/stop
post sandboxes/one/resize '{"disk": 2}'
is "resized, the disk is larger, and otherwise as it was" \
    "$code $(stat -c %s "$(disk one)") $(head -c 12 "$(disk one)")" "200 $((2 << 30)) of the guest"

if [ -n "$shared" ]; then
    mount -t tmpfs none "$root/snapshots"
    make_snapshot apart
    create three apart
    like "an image on another file system is refused" "$code $(message)" "^501 .*on two file systems"
    umount "$root/snapshots"
else
    skip "an image on another file system is copied as well" 1
fi

# What a sandbox needs is not only below its disk.
post "snapshots/remove?snapshot=tiny"
ok "the kernel that it boots from stays, when its snapshot is removed" test -s "$root/snapshots/tiny/vmlinux"
post sandboxes/one/start
is "so that it starts again" "$code" 200
put_on_shelf mine/app:1 app
make_boot_kit
create two mine/app:1
is "a create of an image of the storage" "$code $(bases)" "201 1"
post "snapshots/remove?snapshot=mine/app:1"
is "which nothing needs any more" "$(bases)" 0
post sandboxes/two/stop
post sandboxes/two/start
is "the sandbox goes on without it" "$code" 200
post sandboxes/two/destroy
vm_wish three no-guest
put_on_shelf mine/app:1 app
(create three mine/app:1) >/dev/null 2>&1 &
making=$!
has_vmm() { [ -s "$root/sandboxes/three/vmm.pid" ]; }
ok "one is on its way" await 60 has_vmm
post "snapshots/remove?snapshot=mine/app:1"
is "its image stays until it is over" "$(bases)" 1
kill -KILL "$(head -n 1 "$root/sandboxes/three/vmm.pid")"
wait $making
post "snapshots/remove?snapshot=mine/app:1"
is "be it that it fails" "$(bases)" 0
post sandboxes/one/destroy
ok "destroyed, nothing is left" test ! -e "$root/sandboxes/one" -a ! -e "$root/sandboxes/two"
post "snapshots/remove?snapshot=tiny"
ok "and the snapshot can be removed" test ! -e "$root/snapshots/tiny"
done_testing
