#!/usr/bin/env bash
# tier: vm
# One real guest on a bridge, through its life.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
need_vm tiny
start_vm_runner bridge || die_early "the runner comes up"
ok "the accelerator is chosen" await 60 vmm_is_known
before=$(leftovers)

ok "create answers" vm_create vm-one --user root --env "GREETING=hello there"
run "$ctl" exec vm-one -- uname -s
is "a command runs in it" "$out" Linux
run "$ctl" exec vm-one -- sh -c 'echo "$GREETING"; exit 7'
is "with the sandbox's environment" "$out" "hello there"
is "and its exit status comes back" "$code" 7
run "$ctl" exec vm-one -- hostname
is "host name from the id" "$out" vm-one
run "$ctl" exec vm-one -- ip -4 addr show dev eth0
like "address from the pool" "$out" 'inet 10\.0\.0\.[0-9]+/24'
run "$ctl" exec vm-one -- df -k /
like "the file system fills its 3 GiB" "$out" ' (2[5-9]|3[01])[0-9]{5} '
head -c 3000000 /dev/urandom >"$dir/up"
ok "a file goes in" "$ctl" put vm-one "$dir/up" /root/file
ok "and comes out" "$ctl" get vm-one /root/file "$dir/down"
ok "the same" cmp "$dir/up" "$dir/down"

ok "pause" "$ctl" pause vm-one
http GET /sandboxes/vm-one
is "is paused" "$(json state)" paused
ok "resume" "$ctl" resume vm-one
run "$ctl" exec vm-one -- sh -c 'sync; cat /proc/sys/kernel/random/boot_id'
boot=$out
# The guest's clock is what is measured here: time has to pass, there is no event for that.
run "$ctl" exec vm-one -- sh -c 'read a _ </proc/uptime; sleep 3; read b _ </proc/uptime; echo "$a $b"'
like "its clock keeps time" "$(awk '{print ($2 - $1 > 2.8 && $2 - $1 < 6) ? "yes" : "no: " $0}' <<<"$out")" '^yes'
ok "stop, by the power button" "$ctl" stop vm-one
http GET /sandboxes/vm-one
is "is stopped" "$(json state)" stopped
like "the guest powered itself off" "$(grep 'op=stop' "$runner_log")" 'op.done op=stop'
http GET /sandboxes/vm-one/toolbox/version
is "toolbox of a stopped sandbox" "$code" 400
ok "start" "$ctl" start vm-one
run "$ctl" exec vm-one -- cat /proc/sys/kernel/random/boot_id
ok "it is a new boot" [ "$out" != "$boot" ]
ok "of the same disk" "$ctl" get vm-one /root/file "$dir/again"
ok "with the same file" cmp "$dir/up" "$dir/again"
ok "qemu-img agrees with the disk" qemu-img check -U "$root/sandboxes/vm-one/disk.qcow2"
http GET "/sandboxes/vm-one/log?tail=100000"
is "the serial log is there" "$code" 200

# The answer of this very command leaves the guest before it goes down.
run "$ctl" exec vm-one -- sh -c '(sleep 0.2; poweroff -f) >/dev/null 2>&1 &'
is_stopped() { http GET /sandboxes/vm-one && [ "$(json state)" = stopped ]; }
ok "a guest that powers itself off is stopped" await 60 is_stopped
ok "and starts again" "$ctl" start vm-one
kill -KILL "$(cat "$root/sandboxes/vm-one/vmm.pid")"
is_error() { http GET /sandboxes/vm-one && [ "$(json state)" = error ]; }
ok "a VMM that is killed is an error" await 60 is_error
like "that says how" "$(json error)" 'killed by signal 9'
ok "rm" "$ctl" rm -f vm-one
ok "nothing is left: $before" await 60 no_leftovers || diag "$(leftovers)"
stop_runner
is "SIGTERM ends the runner" "$code" 0
done_testing
