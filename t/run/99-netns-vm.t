#!/usr/bin/env bash
# tier: vm
# Real guests in network namespaces of their own: two that have the same address and MAC address both answer, reach the host
# and the outside as themselves, do not reach each other; over stop and start, and kill -9 of the runner.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
need curl
need_vm tiny

# ---- the outside: a namespace with one machine, which says whom it sees ----
gateway=10.0.0.1 far=203.0.113.99
outside=$netns-out
ip netns add "$outside"
at_exit ip netns del "$outside"
in_netns ip link add out0 type veth peer name in0 netns "$outside"
in_netns ip addr add 203.0.113.1/24 dev out0
in_netns ip link set out0 up
in_netns ip route add default via $far
beyond() { nsenter --net="/run/netns/$outside" "$@"; }
beyond ip link set in0 up
beyond ip addr add $far/24 dev in0

vm_network="{plugin: bridge, bridge: br0, uplink: out0, netns: true}"
start_vm_runner bridge || die_early "the runner comes up"
a=5e4f9a80-7f42-4c57-9b6c-00000000000a b=5e4f9a80-7f42-4c57-9b6c-00000000000b
nic() { json "nic.$2" "$(cat "$root/sandboxes/$1/runner.json")"; }
exec_in() { "$ctl" exec "$1" -- sh -c "$2"; }
namespaces() { in_netns ip -o link show type veth | grep -c ': tap-'; }
for id in $a $b; do
    ok "a guest" vm_create $id --user root
done
[ $test_failed = 0 ] || done_testing

inside() { exec_in "$1" "ip -o -4 addr show dev eth0 | grep -o '192[0-9./]*' | head -n 1; cat /sys/class/net/eth0/address"; }
pings() { exec_in "$1" "ping -c 1 -W 20 $2 >/dev/null 2>&1"; }
not() { ! "$@"; }

check_both() { # WHEN
    local id
    is "$1: both have the same address inside" "$(inside $a | head -n 1) $(inside $b | head -n 1)" "192.0.0.2/29 192.0.0.2/29"
    is "$1: and the same MAC address" "$(inside $a | tail -n 1) $(inside $b | tail -n 1)" "02:00:c0:00:00:02 02:00:c0:00:00:02"
    is "$1: each answers for itself" "$(exec_in $a 'cat /tmp/who') $(exec_in $b 'cat /tmp/who')" "a b"
    for id in $a $b; do
        ok "$1: it reaches its gateway, the host's bridge and the outside" pings $id 192.0.0.1
        ok "$1: ..." pings $id $gateway
        ok "$1: ..." pings $id $far
    done
    ok "$1: but not the other" not pings $a "$(nic $b address)"
    is "$1: a namespace each" "$(namespaces)" 2
}
mark_them() { exec_in $a 'echo a >/tmp/who' && exec_in $b 'echo b >/tmp/who'; }
ok "marked" mark_them
is_other() { [ "$(nic $a address)" != "$(nic $b address)" ]; }
ok "the host knows them by two addresses" is_other
check_both "made"
big() { exec_in "$1" "head -c 3000000 /dev/zero | tr '\\0' x" | wc -c; }
is "much comes whole through both" "$(big $a) $(big $b)" "3000000 3000000"

runner_restart KILL || die_early "the next runner comes up"
running() { [ "$("$ctl" ls | grep -c started)" = 2 ]; }
ok "killed: both run" await 60 running
check_both "killed"

ok "one is stopped" "$ctl" stop --force $a
one_left() { [ "$(namespaces)" = 1 ]; }
ok "its namespace is gone" await 60 one_left
ok "the other answers" pings $b $far
ok "and started" "$ctl" start $a
ok "marked again" mark_them
check_both "started again"

for id in $a $b; do
    ok "destroyed" "$ctl" rm --force $id
done
none_left() { [ "$(namespaces)" = 0 ]; }
ok "no namespace is left" await 60 none_left
done_testing
