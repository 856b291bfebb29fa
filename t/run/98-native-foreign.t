#!/usr/bin/env bash
# tier: native
# A machine of the real Cloud Hypervisor that another program started is taken over: process, address, TAP.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
. "$top_srcdir/t/run/lib-native.sh"
. "$top_srcdir/t/run/lib-foreign.sh"
need_native
need curl qemu-img sha256sum
foreign_binary=$(command -v "$ch")
foreign_prefix=(nsenter "--net=/run/netns/$netns")
toy_snapshot toy ""
toy_snapshot tiny ""

state() { json state "$("$ctl" info --json "$1")"; }
pid_of() { json pid "$("$ctl" info --json "$1")"; }
is_state() { [ "$(state "$1")" = "$2" ]; }
error_of() { json error "$("$ctl" info --json "$1")"; }
has_ended() { [ ! -d "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"; }
record() { json "$2" "$(cat "$root/sandboxes/$1/runner.json")"; }
settled() { ! "$ctl" ls --json | grep -Eq '"state": *"unknown"'; }

# As the older runner leaves it, with the toy for a kernel, which takes no initramfs.
foreign_text() {
    sed "s|@ROOT@|$root|g; s|@DIR@|$root/sandboxes/$1|g; s|@ID@|$1|g; s|@TAP@|$(foreign_tap "$1")|g
        s|@MAC@|$(foreign_mac "$1")|g" "$top_srcdir/t/run/foreign/$2.json" |
        sed '/"initramfs"/d; s|rw",$|rw"|; s|1610612736|134217728|g
            s|"boot_vcpus": 3, "max_vcpus": 6|"boot_vcpus": 1, "max_vcpus": 2|'
}
toy() { # ID ADDRESS [FORM]
    foreign "$1" "${3-vm}"
    echo "$2" >"$root/sandboxes/$1/ip"
}
start_toy() { # ID
    in_netns ip tuntap add "$(foreign_tap "$1")" mode tap &&
        in_netns ip link set "$(foreign_tap "$1")" master br0 up && foreign_start "$1"
}

start_native_runner || die_early "the runner makes its bridge"
stop_runner
A=aaaaaaaa-1111-4aaa-8aaa-000000000001
B=bbbbbbbb-2222-4bbb-8bbb-000000000002
C=cccccccc-3333-4ccc-8ccc-000000000003
toy $A 10.0.0.2
toy $B 10.0.0.9 record
toy $C 10.0.0.77
toy twin 10.0.0.2
toy apart 192.168.0.2
sed -i 's|"tap": "[^"]*"|"tap": "tap0"|' "$root/sandboxes/apart/config.json"
toy tap 10.0.0.5
sed -i 's|"tap": "[^"]*"|"tap": "tap0"|' "$root/sandboxes/tap/config.json"
declare -A pids
for id in $A $B; do
    start_toy $id || die_early "the older runner starts $id"
    pids[$id]=$foreign_pid
    ok "$id ticks" await 60 has_ticked $id 2
done
vm_call $B PUT vm.pause
paused_at=$(ticks $B)
vm_call $A GET vm.info
info=$(json config)
at=$(ticks $A)

# ---- taken over ----
ok "the runner" start_native_runner
ok "looks at all" await 60 settled
is "a running one" "$(state $A) $(pid_of $A)" "started ${pids[$A]}"
is "a paused one" "$(state $B) $(pid_of $B)" "paused ${pids[$B]}"
is "a stopped one" "$(state $C)" stopped
ok "the guest goes on" await 60 has_ticked $A "$at"
vm_call $A GET vm.info
is "its machine has not changed" "$(json state) $(json config)" "Running $info"
is "address and what belongs to it" "$(record $A nic.address) $(record $A nic.gateway) $(record $A nic.prefix)" \
    "10.0.0.2 10.0.0.1 24"
is "its TAP" "$(record $A nic.name)" "$(foreign_tap $A)"
ok "which stays on the bridge" in_netns ip link show "$(foreign_tap $A)" master br0
is "by the VMM, where the record does not say it" "$(record $B nic.name) $(record $B memoryBytes)" \
    "$(foreign_tap $B) 134217728"
is "the address of another is refused" "$(state twin)" error
like "with its reason" "$(error_of twin)" '^address: .*10\.0\.0\.2'
is "so is one outside the pool" "$(state apart)" error
like "with its reason, too" "$(error_of apart)" '^address: .*192\.168\.0\.2'
is "and an interface in a namespace" "$(state tap)" error
like "with the name" "$(error_of tap)" "'tap0' is no interface name of ours"
for i in 1 2; do
    "$ctl" create "new-$i" --snapshot toy >"$dir/x" 2>&1
done
is "new ones get other addresses" "$(record new-1 nic.address) $(record new-2 nic.address)" "10.0.0.3 10.0.0.4"
is "the paused guest has not moved" "$(ticks $B)" "$paused_at"

# ---- killed, and again ----
stop_runner KILL
at=$(ticks $A)
ok "the runner dies, the guest goes on" await 60 has_ticked $A "$at"
ok "a new runner" start_native_runner
ok "finds its own" await 60 is_state $A started
is "the same process" "$(pid_of $A)" "${pids[$A]}"
run "$ctl" resume $B
is "resume" "$code $(state $B)" "0 started"
at=$(ticks $B)
ok "it goes on" await 60 has_ticked $B "$at"

# ---- stop, start ----
run "$ctl" stop $A
is "stop" "$code $(state $A)" "0 stopped"
like "by the power button, which the guest heard" "$(cat "$root/sandboxes/$A/serial.log")" "toy: button"
ok "its process is gone" await 60 has_ended "${pids[$A]}"
no_tap() { ! in_netns ip link show "$(foreign_tap "$1")"; }
ok "its TAP too" await 60 no_tap $A
run "$ctl" start $A
is "start" "$code $(state $A)" "0 started" || diag "$err"
like "as a user of its own" "$(stat -c %u "/proc/$(pid_of $A)")" '^19000'
ok "it ticks" await 60 has_ticked $A 2
is "at the address that it had" "$(record $A nic.address)" 10.0.0.2
like "with an interface of this runner's, which is that user's" \
    "$(in_netns ip -d link show dev "$(record $A nic.name)")" 'user 19000'
run "$ctl" start $C
is "start of the stopped one" "$code $(state $C)" "0 started" || diag "$err"
ok "it ticks, too" await 60 has_ticked $C 2

# ---- its end ----
kill -KILL "${pids[$B]}"
ok "the end of an adopted process is noticed" await 60 is_state $B stopped

ok "all of it goes" "$ctl" rm -f --all
is "no files are left" "$(find "$root/sandboxes" "$dir/run" -mindepth 1)" ""
is "no process" "$(ip netns pids "$netns" | grep -vcx "$runner_pid")" 0
is "no TAP in use" "$(in_netns ip -o link show type tun | grep -vc 'state DOWN')" 0
stop_runner
is "it ends well" $code 0
done_testing
