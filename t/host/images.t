#!/usr/bin/env bash
# tier: host
# Run in a hypervisor host by 97-host.t: a container image as a machine of Cloud Hypervisor.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
need_vm tiny
start_vm_runner bridge || die_early "the runner comes up"
snapshot=app:1
ok "create" vm_create img --env GREETING=hello
run "$ctl" exec img -- cat /etc/os-release
is "it is the image" "$code $out" "0 ID=busybox-image"
run "$ctl" exec img -- sh -c 'id -un; id -gn; pwd; echo $COLOUR $GREETING'
is "as its user, where and with what it wants" "$(tr '\n' ' ' <<<"$out")" "app staff /work/deep blue hello "
entrypoint_log() {
    http GET /sandboxes/img/toolbox/process/session/entrypoint/command/entrypoint_command/logs
    [ "$out" = "I am app in /work/deep, blue" ]
}
ok "what it is to run runs" await 60 entrypoint_log
ok "stop" "$ctl" stop img
ok "start" "$ctl" start img
run "$ctl" exec img -- cat /etc/os-release
is "it is there again" "$code $out" "0 ID=busybox-image"
ok "rm" "$ctl" rm -f img
stop_runner
is "SIGTERM ends the runner" "$code" 0
done_testing
