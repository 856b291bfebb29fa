#!/usr/bin/env bash
# tier: native
# The real Cloud Hypervisor on disks of disk/reflink, beside one that disk/qcow2 made before.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
. "$top_srcdir/t/run/lib-native.sh"
need_native
toy_snapshot toy ""
start_native_runner || die_early "the runner comes up"
disk_of() { # ID: as the VMM has it
    vm_api "$1" GET vm.info
    echo "$(json config.disks.0.image_type) $(json config.disks.0.path)"
}

run "$ctl" create before --snapshot toy
is "a sandbox of disk/qcow2" "$code" 0
is "the VMM has an overlay" "$(disk_of before)" "Qcow2 $root/sandboxes/before/disk.qcow2"
run "$ctl" stop before
kill -TERM "$runner_pid"
wait "$runner_pid"

runner_disk="{plugin: reflink, copy: true}"
ok "the runner comes up with another disk plugin" start_native_runner || done_testing
run "$ctl" create one --snapshot toy
is "a sandbox of disk/reflink" "$code" 0 || diag "$err"
is "the VMM has a raw image" "$(disk_of one)" "Raw $root/sandboxes/one/disk.raw"
vm_api one GET vm.info
is "which landlock lets it open" "$(json config.landlock_enable)" true
ok "it ticks" await 60 has_ticked one 1
run "$ctl" start before
is "that of disk/qcow2 starts too" "$code $(disk_of before)" "0 Qcow2 $root/sandboxes/before/disk.qcow2"
run "$ctl" stop before
run "$ctl" resize --disk 3 before
is "and its disk grows" "$code" 0 || diag "$err"
run "$ctl" stop one
run "$ctl" resize --disk 2 one
is "a raw one too" "$code $(stat -c %s "$root/sandboxes/one/disk.raw")" "0 $((2 << 30))"
run "$ctl" start one
is "and it starts" "$code" 0
ok "it ticks again" await 60 has_ticked one 1
run "$ctl" rm -f one before
is "destroyed, nothing is left" "$code $(ls "$root/sandboxes")" "0 "
done_testing
