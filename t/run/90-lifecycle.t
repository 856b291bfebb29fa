#!/usr/bin/env bash
# tier: vm
# The list of lifecycle.sh on real guests: under QEMU here, under Cloud Hypervisor in a hypervisor host (97-host.t).
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
. "$top_srcdir/t/run/lifecycle.sh"
need_vm tiny
start_vm_runner bridge || die_early "the runner comes up"
ok "the VMM is known" await 60 vmm_is_known
diag "$(json vmm)"
before=$(leftovers)
lifecycle life-one
ok "nothing is left: $before" await 60 no_leftovers || diag "$(leftovers)"
stop_runner
is "SIGTERM ends the runner" "$code" 0
done_testing
