#!/usr/bin/env bash
# tier: native
# The real Cloud Hypervisor, with a guest of a few KiB: a life through the runner, its confinement, crashes of both sides.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
. "$top_srcdir/t/run/lib-native.sh"
need_native
toy_snapshot toy ""
toy_snapshot toy-panic "panic=300" # after 3 s: it is created by then
toy_snapshot toy-off "poweroff=300"
toy_snapshot toy-firmware ""
sed -i 's/"kernel": "vmlinux", "cmdline": "",/"firmware": "vmlinux",/' "$root/snapshots/toy-firmware/manifest.json"
start_native_runner || die_early "the runner comes up"

state() { json state "$("$ctl" info --json "$1")"; }
pid_of() { json pid "$("$ctl" info --json "$1")"; }
is_state() { [ "$(state "$1")" = "$2" ]; }
has_ended() { [ ! -d "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"; }
create() { "$ctl" create "$1" --snapshot "$2"; }

# ---- create ----
run create one toy
is "create: ready with the guest's first line" "$code" 0
[ "$code" = 0 ] || die_early "no machine: $err"
is "its state" "$(state one)" started
pid=$(pid_of one)
is "its process" "$(basename "$(readlink "/proc/$pid/exe")")" "$(basename "$(readlink -f "$(command -v "$ch")")")"
ok "it ticks" await 60 has_ticked one 2
http GET /info
like "the VMM says who it is" "$(json vmm)" '^cloud-hypervisor v[0-9]'

# ---- what it may do ----
status() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status"; }
like "s05: a user of its own" "$(status Uid)" '^19000[0-9]{5}'
is "s05: no capability" "$(status CapEff) $(status CapPrm) $(status CapBnd)" "0000000000000000 0000000000000000 0000000000000000"
is "it gets no privilege any more" "$(status NoNewPrivs)" 1
unfiltered() { awk '/^Seccomp_filters:/ && $2 < 2 { n++ } END { print n + 0 }' "/proc/$pid"/task/*/status; }
await 60 eval '[ "$(unfiltered)" = 1 ]' # a thread takes its filter when it first runs
is "s05: all threads but the first are under seccomp, beside the one that they were started with" "$(unfiltered)" 1
vm_api one GET vm.info
is "s05: landlock is on" "$(json config.landlock_enable)" true
is "its TAP came as a descriptor" "$(json config.net.0.tap)" ""
like "which it holds" "$(cat /proc/"$pid"/fdinfo/* 2>/dev/null)" '^iff:[[:space:]]*tap-one'
is "no core of it is written" "$(awk '/^Max core file size/ { print $5 }' "/proc/$pid/limits")" 0
cgroup=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
like "s05: a cgroup of its own" "$cgroup" "/$cgroup_parent/[0-9a-f]+/one-[0-9a-f]{8}\$"
is "its files of the sandbox" "$(cd "$root/sandboxes/one" && find . -uid "$(stat -c %u "/proc/$pid")" -type f | sort | tr '\n' ' ')" \
    "./cloud-init.iso ./disk.qcow2 ./serial.log "

# ---- pause, resume ----
run "$ctl" pause one
is "pause" "$code $(state one)" "0 paused"
vm_api one GET vm.info
is "the VMM says so" "$(json state)" Paused
at=$(ticks one)
# Time that a running guest would use: ten periods of it.
ok "another guest's ticks pass" create clock toy
ok "ten of them" await 60 has_ticked clock 12
is "the paused guest has not moved" "$(ticks one)" "$at"
run "$ctl" pause one
is "pause of a paused one" $code 0
run "$ctl" resume one
is "resume" "$code $(state one)" "0 started"
ok "it goes on" await 60 has_ticked one "$at"
http GET "/sandboxes/one?stats=true"
like "the VMM's counters" "$(json counters.diskReads)" '^[0-9]+$'

# ---- resize, while it runs ----
toy_snapshot toy-grows nobutton
http POST /sandboxes -d '{"id": "grows", "userId": "u", "osUser": "root", "snapshot": "toy-grows", "cpuQuota": 1, "memoryQuota": 1, "storageQuota": 1}'
is "one that is to grow" $code 201
ok "it ticks" await 60 has_ticked grows 1
in_cgroup() { # FILE
    local at
    at=$(sed -n 's/^0:://p' "/proc/$(pid_of grows)/cgroup")
    cat "/sys/fs/cgroup$at/$1" 2>/dev/null || cat "/sys/fs/cgroup/unified$at/$1"
}
size() { vm_api grows GET vm.info && echo "$(json config.cpus.boot_vcpus) $(json config.memory.size) $(in_cgroup memory.max)"; }
of() { # CPUS GIB
    echo "$1 $(($2 << 30)) ${limited:+$((($2 << 30) + ($2 << 24) + (128 << 20)))}"
}
limited=$(in_cgroup memory.max) # empty where cgroups have no limit of memory
[ -n "$limited" ] || skip "cgroups have no limit of memory here: that it follows is not looked at" 1
is "what it has, and its limit of memory" "$(size)" "$(of 1 1)"
http POST /sandboxes/grows/resize -d '{"cpu": 2, "memory": 3}'
like "more memory than it was started with room for" "$code $(message)" "^501 .*memory of 3072 MiB.*stop it first"
http POST /sandboxes/grows/resize -d '{"cpu": 3, "memory": 2}'
like "more processors" "$code $(message)" "^501 .*room for 2 processors.*stop it first"
is "nothing of either is done" "$(size)" "$(of 1 1)"
at=$(ticks grows)
http POST /sandboxes/grows/resize -d '{"cpu": 2, "memory": 2}'
is "d13: both within the room" "$code $out" '200 "Sandbox resized"'
is "the VMM has them, and the limit follows" "$(size)" "$(of 2 2)"
ok "it runs on" await 60 has_ticked grows "$at"
http POST /sandboxes/grows/resize -d '{"cpu": 2, "memory": 2}'
is "again" "$code $(size)" "200 $(of 2 2)"
http POST /sandboxes/grows/resize -d '{"cpu": 1}'
like "less is for a stopped one" "$code $(message)" "^400 .*stop it first"
run "$ctl" stop -f grows
run "$ctl" start grows
is "started again it has as much" "$code $(size)" "0 $(of 2 2)"
run "$ctl" rm -f grows

# ---- stop, start ----
run "$ctl" stop one
is "stop" "$code $(state one)" "0 stopped"
like "by the power button, which the guest heard" "$(cat "$root/sandboxes/one/serial.log")" "toy: button"
ok "the process is gone" has_ended "$pid"
ok "its cgroup too" test ! -d "/sys/fs/cgroup$cgroup" -a ! -d "/sys/fs/cgroup/unified$cgroup"
run "$ctl" start one
is "start" "$code $(state one)" "0 started"
like "what the last run wrote is kept" "$(cat "$root/sandboxes/one/serial.log.1")" "toy: button"
run "$ctl" stop -f one
is "stop by force" "$code $(state one)" "0 stopped"
run "$ctl" start one
is "start again" "$code $(state one)" "0 started"

# ---- the guest ends ----
run create off toy-off
ok "a guest that powers off is stopped" await 60 is_state off stopped
run create broken toy-panic
ok "one whose kernel panics is an error" await 60 is_state broken error
like "with its last words" "$("$ctl" info --json broken)" "kernel panicked.*toy: panic"
run "$ctl" start broken
is "which starts again" "$code" 0

# ---- firmware: entered as a kernel is, so the toy can stand for one ----
run create fw toy-firmware
is "firmware boots" "$code" 0
vm_api fw GET vm.info
like "as firmware" "$(json config.payload.firmware)$(json config.payload.kernel)" '/snapshots/toy-firmware/vmlinux$'

# ---- crashes ----
pid=$(pid_of one)
at=$(ticks one)
stop_runner KILL
ok "the runner dies, the guest goes on" await 60 has_ticked one "$at"
ok "a new runner" start_native_runner
ok "adopts it" await 60 is_state one started
is "the same process" "$(pid_of one)" "$pid"
run "$ctl" pause one
is "and commands it" "$code $(state one)" "0 paused"
run "$ctl" resume one
is "both ways" "$code $(state one)" "0 started"
failures() { grep -c "event=vm.failed id=one" "$runner_log"; }
has_failed() { [ "$(failures)" -gt "$1" ]; }
for try in {1..20}; do # a machine that is busy with something else is given more of them
    count=$(failures)
    pid=$(pid_of one)
    began=$(date +%s%3N)
    kill -KILL "$pid"
    await 60 has_failed "$count"
    noticed=$(sed -n 's/^\([^ ]*\) .*event=vm.failed id=one.*/\1/p' "$runner_log" | tail -n 1)
    took=$(($(date -d "$noticed" +%s%3N) - began))
    diag "the death of a VMM is noticed, torn down and told after $took ms"
    [ "$took" -ge 100 ] && [ $try -lt 20 ] || break
    await 60 is_state one error
    "$ctl" start one >"$dir/x"
done
ok "d24: the death of a VMM is noticed within 100 ms" test "$took" -lt 100
ok "it is an error" await 60 is_state one error
run "$ctl" start one
is "and starts again" "$code $(state one)" "0 started"

# ---- many ----
began=$(date +%s%3N)
for ((i = 0; i < 100; i++)); do
    "$ctl" stop -f one >"$dir/x" 2>&1 && "$ctl" start one >"$dir/x" 2>&1 || break
done
diag "100 stops and starts: $((($(date +%s%3N) - began) / 100)) ms each"
is "100 stops and starts" "$i" 100

ok "all of it goes" "$ctl" rm -f --all
is "no files are left" "$(find "$root/sandboxes" "$dir/run" -mindepth 1)" ""
is "no process" "$(ip netns pids "$netns" | grep -vcx "$runner_pid")" 0
is "no TAP in use" "$(in_netns ip -o link show type tun | grep -vc 'state DOWN')" 0
stop_runner
is "it ends well" $code 0
done_testing
