#!/usr/bin/env bash
# tier: vm
# The guest daemon in a real guest: Daytona's client through the runner; the boots that must end by themselves.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
. "$top_srcdir/t/run/lib-client.sh"
need_vm tiny

# boot WORDS [QEMU ARG...]: $code of QEMU, $out: the serial console
boot() {
    local words=$1 snapshot=$cache/snapshots/tiny
    shift
    code=0
    timeout 120 qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -M q35 -accel tcg -cpu max -m 256 \
        -kernel "$snapshot/vmlinux" -initrd "$snapshot/initramfs.img" -append "console=ttyS0 quiet reboot=t panic=-1 $words" \
        -serial "file:$dir/serial" "$@" >"$dir/qemu.log" 2>&1 </dev/null || code=$?
    out=$(tr -d '\r\0' <"$dir/serial")
}

boot runner.probe
is "runner.probe ends at once" "$code" 0
like "and says so" "$out" '^runner-probe-ok$'
truncate -s 64M "$dir/empty"
boot "" -drive "file=$dir/empty,format=raw,if=virtio"
is "a root disk without a file system: the guest powers off" "$code" 0
like "and says why" "$out" "boot failed: mount '/dev/vda' \\(ext4\\)"
boot ""
is "no root disk: the guest powers off" "$code" 0
like "and says why" "$out" "boot failed: no '/dev/vda'"

start_vm_runner bridge || die_early "the runner comes up"
ok "a sandbox" vm_create guest-one --user root
run_client "unix:$RUNNER_SOCKET:/sandboxes/guest-one/toolbox"
in_guest() { http POST /sandboxes/guest-one/toolbox/process/execute -d "{\"command\": \"$1\"}"; }
in_guest 'echo $PPID' # the server runs the shell
server=$(json result)
like "the server's pid" "$server" '^[1-9][0-9]*$'
in_guest 'kill -9 $PPID'
is "a server that is killed while it works: 502" "$code" 502
server_is_new() { in_guest 'echo $PPID' && [ "$code" = 200 ] && [ "$(json result)" != "$server" ]; }
ok "it is started again" await 60 server_is_new
ok "rm" "$ctl" rm -f guest-one
done_testing
