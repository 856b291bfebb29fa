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
    timeout 600 qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -M q35 -accel tcg -cpu max -m 256 \
        -kernel "$snapshot/vmlinux" -initrd "$snapshot/initramfs.img" \
        -append "console=ttyS0 quiet reboot=t panic=-1 no_timer_check $words" \
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
cp "$root/sandboxes/guest-one/cloud-init.iso" "$dir/seed.iso"
ok "rm" "$ctl" rm -f guest-one

# ---- what comes while it runs: a machine by hand, since the runner's QEMU is given nothing then ----
# qmp COMMAND...: each {"execute": ...}, in this order; fails when one does
qmp() {
    python3 - "$dir/qmp" "$@" <<'PY'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
f = s.makefile("rw")
f.readline()
for command in ['{"execute": "qmp_capabilities"}'] + sys.argv[2:]:
    f.write(command + "\n")
    f.flush()
    while "event" in (reply := json.loads(f.readline())):
        pass
    if "return" not in reply:
        sys.exit(f"{command}: {reply}")
PY
}
snapshot=$cache/snapshots/tiny
qemu-img create -q -f qcow2 -F raw -b "$snapshot/disk.raw" "$dir/plug.qcow2"
nsenter --net="/run/netns/$netns" qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -M q35 -accel tcg -cpu max \
    -smp 1,maxcpus=2,sockets=2,cores=1,threads=1 -m 256,slots=2,maxmem=1G -qmp "unix:$dir/qmp,server=on,wait=off" \
    -kernel "$snapshot/vmlinux" -initrd "$snapshot/initramfs.img" \
    -append "$(sed -n 's/.*"cmdline": "\(.*\)".*/\1/p' "$snapshot/manifest.json") tsc=unstable" -serial "file:$dir/serial" \
    -drive "file=$dir/plug.qcow2,format=qcow2,if=virtio" -drive "file=$dir/seed.iso,format=raw,if=virtio,readonly=on" \
    -netdev user,id=n,restrict=on,net=10.0.0.0/24,host=10.0.0.1,hostfwd=tcp:127.0.0.1:2280-10.0.0.2:2280 \
    -device virtio-net-pci,netdev=n,mac=02:00:00:00:00:01 >"$dir/qemu.log" 2>&1 &
plugged=$!
at_exit kill -KILL "$plugged"
says() { # COMMAND: sets $out to what the guest says
    out=$(in_netns curl -sS --max-time 10 -H 'Content-Type: application/json' -d "{\"command\": \"$1\"}" \
        http://127.0.0.1:2280/process/execute 2>"$dir/curl.log") && out=$(json result "$out")
}
has_cpus() { says nproc && [ "$out" = "$1" ]; }
has_memory() { says 'grep MemTotal /proc/meminfo' && [ "$(tr -cd 0-9 <<<"$out")" = "$1" ]; } # KIB
ok "a machine with one processor comes up" await 120 has_cpus 1
ok "which says what memory it has" await 60 says 'grep MemTotal /proc/meminfo'
memory=$(tr -cd 0-9 <<<"$out")
ok "it gets another" qmp '{"execute": "device_add", "arguments": {"driver": "max-x86_64-cpu", "id": "c1", "socket-id": 1, "core-id": 0, "thread-id": 0}}'
ok "which its processes can use" await 60 has_cpus 2
ok "as its first process says" await 60 grep -q 'runner-guestd: processor 1 is online' "$dir/serial"
ok "it gets memory" qmp '{"execute": "object-add", "arguments": {"qom-type": "memory-backend-ram", "id": "m1", "size": 268435456}}' \
    '{"execute": "device_add", "arguments": {"driver": "pc-dimm", "id": "d1", "memdev": "m1"}}'
ok "all of which is there" await 60 has_memory $((memory + (256 << 10)))
done_testing
