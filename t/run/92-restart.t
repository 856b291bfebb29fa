#!/usr/bin/env bash
# tier: vm
# VMs outlive the runner (D8), stopped ones stay stopped (D2).
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
need_vm tiny
start_vm_runner bridge || die_early "the runner comes up"

for i in 1 2 3 4; do
    vm_create "keep-$i" >"$dir/create.$i" 2>&1 &
    pids[i]=$!
done
for i in 1 2 3 4; do
    wait "${pids[i]}"
    is "create $i" $? 0
done
ok "one is stopped" "$ctl" stop keep-4
list() { http GET /sandboxes && python3 -c '
import json, sys
for s in json.loads(sys.argv[1])["sandboxes"]:
    print(s["id"], s["state"], s.get("pid", "-"), s["address"])' "$out"; }
before=$(list)
is "three run" "$(grep -c ' started ' <<<"$before")" 3
stop_runner KILL
start_vm_runner bridge || die_early "a new runner comes up"
settled() { [ "$(list)" = "$before" ]; }
await 60 settled
is "the new one lists the same: ids, states, pids, addresses" "$(list)" "$before"
for i in 1 2 3; do
    run "$ctl" exec "keep-$i" -- hostname
    is "keep-$i still answers" "$out" "keep-$i"
done
ok "d02: the stopped one, which was left so, starts" "$ctl" start keep-4
ok "a new one gets an address of its own" vm_create keep-5
is "no address twice" "$(list | cut -d' ' -f4 | sort | uniq -d)" ""
stop_runner TERM
is "SIGTERM: exit 0" "$code" 0
is "d08: all five go on" "$(ip netns pids "$netns" | wc -l)" 5
start_vm_runner bridge || die_early "and again"
ok "rm all" "$ctl" rm -f --all
is "no VM is left" "$(ip netns pids "$netns" | xargs -r -I{} readlink /proc/{}/exe | grep -c qemu-system)" 0
done_testing
