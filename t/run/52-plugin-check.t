#!/bin/bash
# takes: 40 s
# runner-plugin-check: our plugins pass, a third party's passes where nothing but the installed files is, and of plugins
# with one defect each (t/plugin/wrong/) exactly the point fails that is meant for it.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
kit=$top_builddir/runner-plugin-check
export TMPDIR=$dir

# Answers of the host that is made up, and a fake of each VMM.
plugins=$top_builddir/plugins
qemu=(--answer 'RUN:[--version]=QEMU emulator version 7.2.22' --live --plugin-dir "$plugins" "$plugins/vmm/qemu.so"
    accel=tcg firmware=seabios "binary=$top_builddir/t/fake/fake-qemu")
ch=(--answer 'STAT:/dev/kvm=' --answer 'RUN:[--version]=cloud-hypervisor v53.0' --live --plugin-dir "$plugins"
    "$plugins/vmm/cloud-hypervisor.so" probe=none "binary=$top_builddir/t/fake/cloud-hypervisor")

# passes NAME PLUGIN [ARG...]: no point fails, and there are some.
passes() {
    local name=$1
    shift
    run "$kit" "$@"
    is "$name passes" "$code $(grep '^not ok' <<<"$out")" "0 " || diag "$(grep -A9 '^not ok' <<<"$out")$err"
    like "$name: there are points" "$out" '^1\.\.[3-9][0-9]|^1\.\.[1-9][0-9][0-9]'
}
passes disk/qcow2 "$plugins/disk/qcow2.so"
passes disk/reflink "$plugins/disk/reflink.so"
passes "disk/reflink that may copy" "$plugins/disk/reflink.so" copy=true
passes ipam/static-pool "$plugins/ipam/static-pool.so" range=10.0.0.2-10.0.1.80 gateway=10.0.0.1/23
[ ! -e "$plugins/storage/oci.so" ] || passes storage/oci "$plugins/storage/oci.so"
sum=$(printf '%064d' 7)
passes storage/shelf --answer "RUN:sha256sum=$sum *disk" --answer "READ:/digest=$sum" "$top_builddir/t/plugin/shelf.so" dir=/shelf
like "storage/shelf: what is pushed is there" "$out" 'ok [0-9]+ - push\.succeeds: [^#]*$'
passes network/user "$plugins/network/user.so"
passes network/bridge "$plugins/network/bridge.so" --answer 'RUN:[ip][-j][link]=[]'
passes transport/local "$plugins/transport/local.so"
passes vmm/qemu "${qemu[@]}"
like "vmm/qemu: the machine was there" "$out" '^ok [0-9]+ - live: [^#]*$'
passes vmm/cloud-hypervisor "${ch[@]}"
like "vmm/cloud-hypervisor: the machine was there" "$out" '^ok [0-9]+ - live: [^#]*$'

# ---- options ----

run "$kit" --list --kind disk
is "--list needs no plugin" "$code" 0
like "--list names the points" "$out" '^clone\.undo '
run "$kit" --list "$plugins/ipam/static-pool.so"
like "--list of a plugin" "$out" '^lease\.exhausted '
run "$kit" --only 'clone.*' "$plugins/disk/qcow2.so"
is "--only runs these alone" "$code $(grep -c '^ok.*clone\.' <<<"$out") $(grep -c '^ok.*remove\.' <<<"$out")" "0 9 0"
run "$kit" --help
like "--help" "$out" '^Usage: runner-plugin-check'
run "$kit"
is "no plugin: wrong usage" "$code" 2
run "$kit" "$dir/absent.so"
is "an absent plugin: wrong usage" "$code" 2
run "$kit" "$plugins/network/user.so" nosuch=1
is "an unknown parameter: wrong usage" "$code" 2
like "and it is named" "$err" nosuch
run "$kit" "$plugins/network/user.so" first_port=70000
is "a value out of range: wrong usage" "$code" 2
run "$kit" --kind disk "$plugins/network/user.so"
is "a plugin of another kind fails" "$code" 1
run "$kit" "$kit"
is "no plugin at all fails" "$code" 1

# ---- plugins with one defect each ----

# What a sanitizer says of them is their own affair.
export ASAN_OPTIONS=detect_leaks=0:log_path=$dir/asan
mkdir "$dir/wrong"

# check_wrong KIND NAME [ARG...]: the plugin of that kind with that defect; sets $failed, the points that fail.
# A machine may be busy, so a point has a minute, and less where a plugin hangs.
limit=60s
hanging=5s
is_sanitized=no
only=()
! grep -q __asan_init "$kit" || { hanging=10s && is_sanitized=yes; }
check_wrong() {
    local kind=$1 name=$2
    shift 2
    cp "$top_builddir/t/plugin/wrong/$kind.so" "$dir/wrong/$name.so"
    run "$kit" --limit $limit "${only[@]}" "$dir/wrong/$name.so" "$@"
    failed=$(sed -n 's/^not ok [0-9]* - \([^:]*\):.*/\1/p' <<<"$out" | tr '\n' ' ')
}

# caught POINT KIND NAME [ARG...]: that point fails, and no other. Under a sanitizer, which the plugins without a defect have
# shown all the others, it is the only one that is tried.
caught() {
    local point=$1 kind=$2 name=$3 only=()
    shift
    [ $is_sanitized = no ] || only=(--only "$point")
    check_wrong "$@"
    is "$kind/$name is caught by $point" "$code $failed" "1 $point " || diag "$(grep -A9 '^not ok' <<<"$out")$err"
}

for kind in disk ipam network storage vmm; do
    check_wrong $kind right
    is "$kind without a defect passes" "$code $failed" "0 " || diag "$(grep -A9 '^not ok' <<<"$out")$err"
done
caught docs disk undocumented
caught params.order disk counts-values
caught params.defaults disk refuses-default label=something
caught params.values disk odd-code
caught destroy.null disk destroys-null
caught destroy.half-built disk crashes-half-built
like "and it says how it died" "$out" 'killed by SIGSEGV|ended with exit status' # the latter by a sanitizer
caught clone.nomem disk trusts-alloc
caught clone.undo disk forgets-undo
caught clone.paths disk writes-outside
caught clone.image disk miscounts
caught clone-too-large.refused disk cuts-base
caught remove.faults disk ignores-failure
caught remove.twice disk removes-once
caught parallel disk shares-state
caught errors.code disk no-code
caught errors.message disk no-message
caught errors.message disk two-lines
caught secrets disk tells-secret
caught hands-off disk writes-itself
caught memory disk leaks-memory
caught memory disk leaks-host-memory
caught descriptors disk leaks-descriptor
caught threads disk leaks-thread
for name in shouts-digest counts-beyond names-path; do
    caught answers storage $name
done
caught credentials storage shows-password
caught left storage leaves-process
caught lease.same ipam forgets-prefix
caught lease.exhausted ipam exhausts-oddly
caught adopt.kept ipam forgets-adopted
caught parallel ipam no-lock
limit=$hanging
caught setup.cancel network ignores-cancel
like "and it says that it hung" "$out" "still running after ${hanging%s}000 ms"
limit=60s
caught setup.faults network ignores-host
caught attach.sizes network reads-beyond
like "and it says of what it died" "$out" '^#   it touches what is behind a structure of [0-9]+ bytes, as API 1.0 has it: .*RUNNER_HAS'
caught attach.others network clashes
caught address.form network forgets-end
caught caps network hides-policy
caught policy.taken network leaves-policy
caught policy.taken network takes-domains
caught policy.undo network forgets-policy-undo
caught counters.absent network counts-nobody
limit=$hanging
caught boot.waiting vmm sleeps-on
caught listen.garbage vmm drinks-flood
caught listen.silent vmm awaits-events
limit=60s
caught boot.garbage vmm keeps-hold
like "and it says of what peer" "$out" '^#   each time it leaves a descriptor when the peer hangs up'
caught boot.garbage vmm keeps-words
caught boot.silent vmm keeps-waiting
caught status.garbage vmm sees-life
caught status.absent vmm mistakes-absence
caught describe.bounds vmm describes-on
caught caps vmm hides-pause

# ---- a third party's ----

unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR
if ! command -v cc >/dev/null || ! command -v pkg-config >/dev/null; then
    skip "no C compiler or pkg-config is installed" 5
else
    make -s -C "$top_builddir" install-includeHEADERS install-pkgconfigDATA install-binPROGRAMS DESTDIR="$dir/root" \
        >"$dir/log" 2>&1
    report $? "header, pkg-config file and programs install" || diag "$(tail -n 20 "$dir/log")"
    pc=$(find "$dir/root" -name runner-plugin.pc)
    mkdir "$dir/sample"
    cp "$top_srcdir/t/plugin/sample/rawcopy.c" "$top_srcdir/t/plugin/sample/Makefile" "$dir/sample/"
    PKG_CONFIG_LIBDIR=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$dir/root PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 \
        make -s -C "$dir/sample" CC=cc >"$dir/log" 2>&1 || diag "$(tail -n 20 "$dir/log")"
    kit=$(find "$dir/root" -name runner-plugin-check -type f)
    run env PKG_CONFIG_PATH="${pc%/*}" pkg-config --variable=plugin_check runner-plugin
    is "the pkg-config file says where it is" "$dir/root$out" "$kit"
    cd "$dir/sample" || exit 99
    passes "the sample, with the installed runner-plugin-check," ./rawcopy.so
    ok "make check of the sample" make -s check "plugin_check=$kit" CC=cc
fi
done_testing
