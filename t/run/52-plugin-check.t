#!/bin/bash
# runner-plugin-check: our plugins pass, a third party's passes where nothing but the installed files is.
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
passes ipam/static-pool "$plugins/ipam/static-pool.so" range=10.0.0.2-10.0.1.80 gateway=10.0.0.1/23
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

# ---- a third party's ----

unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR
if ! command -v cc >/dev/null || ! command -v pkg-config >/dev/null; then
    skip "no C compiler or pkg-config is installed" 2
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
    cd "$dir/sample" || exit 99
    passes "the sample, with the installed runner-plugin-check," ./rawcopy.so
fi
done_testing
