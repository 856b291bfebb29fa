#!/usr/bin/env bash
# tier: vm
# A guest on a disk plugin that was built outside the tree; a guest on QEMU's user network without privilege.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
need cc pkg-config make
need_vm tiny
unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR

ok "the header and pkg-config file install" make -s -C "$top_builddir" install-includeHEADERS install-pkgconfigDATA DESTDIR="$dir/inst"
pc=$(find "$dir/inst" -name runner-plugin.pc)
cp -r "$top_srcdir/t/plugin/sample" "$dir/sample"
mkdir "$dir/plugins"
cp -r "$top_builddir"/plugins/* "$dir/plugins/"
ok "the sample builds against them alone" env PKG_CONFIG_LIBDIR="${pc%/*}" PKG_CONFIG_SYSROOT_DIR="$dir/inst" \
    PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 make -s -C "$dir/sample" install CC=cc plugindir="$dir/plugins"
run "$top_builddir/runner-ch" --plugin-dir "$dir/plugins" --dump-plugin disk/rawcopy
like "--dump-plugin shows it" "$out" '^name=rawcopy$'
plugin_dir=$dir/plugins
start_vm_runner bridge "    disk: {plugin: rawcopy}" || die_early "the runner takes it"
ok "a VM boots on it" vm_create raw-one
run "$ctl" exec raw-one -- uname -s
is "and answers" "$out" Linux
ok "its disk is a raw file" [ -f "$root/sandboxes/raw-one/disk.raw" ]
ok "rm" "$ctl" rm -f raw-one
stop_runner

start_vm_runner user || die_early "the runner with the user network"
ok "a VM boots on the user network" vm_create user-one
run "$ctl" exec user-one -- cat /etc/os-release
like "and answers through a forwarded port" "$out" 'PRETTY_NAME='
ok "rm" "$ctl" rm -f user-one
done_testing
