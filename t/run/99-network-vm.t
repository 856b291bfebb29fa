#!/usr/bin/env bash
# tier: vm
# Who may speak to whom, by the packets of real guests: as themselves and as others, to the outside, the host and each other;
# what a policy does to a connection that is open, by REST and by job; the same after stop and start, pause and resume, and
# after kill -9 of the runner. At the end without the rules, where all of it gets somewhere.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
. "$top_srcdir/t/run/lib-daytona.sh"
need curl python3 bridge
dns=$top_builddir/plugins/network/bridge/runner-dns
[ -x "$dns" ] || skip_all "runner-dns was not built: a library is missing"
[ -x "$top_builddir/t/run/guest-packets" ] || skip_all "the guest's program was not built: no static C library"
need_vm tiny

# ---- the outside: a namespace that has every address that is asked for ----
gateway=10.0.0.1 far=203.0.113.99 elsewhere=198.51.100.9
outside=$netns-out
ip netns add "$outside"
at_exit ip netns del "$outside"
in_netns ip link add out0 type veth peer name in0 netns "$outside"
in_netns ip addr add 203.0.113.1/24 dev out0
in_netns ip link set out0 up
in_netns ip route add default via $far
beyond() { nsenter --net="/run/netns/$outside" "$@"; }
beyond ip link set in0 up
beyond ip link set lo up
for address in $elsewhere 192.168.7.7 172.16.7.7 169.254.169.254; do
    beyond ip addr add $address/32 dev lo
done
beyond ip addr add $far/24 dev in0
beyond ip route add 10.0.0.0/24 via 203.0.113.1 # without the rules nothing is masqueraded

listen() { # WHERE LOG [NAME=ADDRESS...]
    local where=$1
    shift
    PYTHONPATH=$top_srcdir/t/run:$top_srcdir/t/rig nsenter --net="/run/netns/$where" \
        python3 -B "$top_srcdir/t/run/listener.py" "$@" >>"$dir/listener.log" 2>&1 &
    at_exit kill $!
}
listen "$outside" "$dir/out.log"
listen "$netns" "$dir/host.log" allowed.example=$far other.example=$elsewhere
both_listen() { [ "$(grep -c '^ready$' "$dir/listener.log")" = 2 ]; }
await 60 both_listen || die_early "the outside is there, and services of the host: $(cat "$dir/listener.log")"

# ---- the runner, two guests ----
start_daytona nsenter --net="/run/netns/$netns" || die_early "the API is there"
(umask 077 && printf '%s\n' "$token" >"$dir/runner.token")
vm_network="{plugin: bridge, bridge: br0, uplink: out0, dns: true, dns_program: $dns, dns_upstream: [127.0.0.1:5300],
              restricted: [$elsewhere/32]}"
vm_listen=127.0.0.1:0
vm_top="domain: 127.0.0.1
state_dir: $dir/state
check_interval: 24h # or the runner puts right what is taken away below
api: {version: 2, url: \"$daytona_url\", token_file: $dir/runner.token, healthcheck_interval: 1s}"
at_exit eval 'kill -KILL "$(sed -n 1p "$root/network/br0.pid")"'
start_vm_runner bridge || die_early "the runner comes up"
daytona POST /wait '{"runner": "ready", "timeout": 60}'
no_trial() { # that tells which accelerator works: a machine that is no sandbox's
    before=$(leftovers)
    [[ $before == *" vms=0 "* ]]
}
ok "no machine runs" await 120 no_trial
a=5e4f9a80-7f42-4c57-9b6c-00000000000a b=5e4f9a80-7f42-4c57-9b6c-00000000000b
nic() { json "nic.$2" "$(cat "$root/sandboxes/$1/runner.json")"; }
in_a() { "$ctl" exec $a -- sh -c "$1"; }
in_b() { "$ctl" exec $b -- sh -c "$1"; }
for id in $a $b; do
    ok "a guest" vm_create $id --user root
    ok "which has a program that sends what it likes" "$ctl" put -m 0755 $id "$top_builddir/t/run/guest-packets" /bin/packets
done
[ $test_failed = 0 ] || done_testing
learn() { # who they are now
    a_ip=$(nic $a address) a_mac=$(nic $a mac) b_ip=$(nic $b address) b_mac=$(nic $b mac)
    bridge_mac=$(in_netns ip -j link show br0 | sed 's/.*"address":"\([^"]*\)".*/\1/')
}
learn
b_listens() { in_b "packets listen /tmp/log"; }
ok "one listens" b_listens

# ---- what is said, and where it is heard ----
# Each round's texts begin with its number. A mark follows them to each place, so that what has not come before it does not
# come: who asks has been answered by the guest, behind what the guest sent.
round=0
mark_of_b() {
    in_netns bash -c "echo '$round.mark' >/dev/udp/$b_ip/5000"
    in_b "cat /tmp/log" >"$dir/b.log" && grep -qx "$round.mark" "$dir/b.log"
}
mark() {
    in_netns bash -c "echo '$round.mark' >/dev/udp/$far/5000; echo '$round.mark' >/dev/udp/127.0.0.1/5000"
    await 60 grep -qx "$round.mark" "$dir/out.log" && await 60 grep -qx "$round.mark" "$dir/host.log" && await 60 mark_of_b
}
heard() { # TEXT: where, in a line
    local place places=
    for place in out host b; do
        ! grep -qx "$round\\.$1" "$dir/$place.log" || places+="${places:+ }$place"
    done
    echo "$places"
}
# What must come is waited for: behind the mark, too, since another processor may still have it then.
is_heard() { [ -n "$(heard "$1")" ] || { in_b "cat /tmp/log" >"$dir/b.log" && [ -n "$(heard "$1")" ]; }; }
comes() { await 60 is_heard "$1"; } # TEXT

# What guest a must not do: a name and a command for its shell each; TEXT is what is sent. Neighbours are told to it, so that
# it need not ask for them. What is for b is first: a bridge that learns takes b for where its MAC was last seen.
udp_as() { echo "packets udp $1 3000 $2 5000 TEXT"; }
cases() {
    cat <<SH
guest to guest|arp -s $b_ip $b_mac; $(udp_as "$a_ip" "$b_ip"); arp -d $b_ip
guest to guest, by the host|arp -s $b_ip $bridge_mac; $(udp_as "$a_ip" "$b_ip"); arp -d $b_ip
guest to all|$(udp_as "$a_ip" 10.0.0.255)
another's address|ip addr add $b_ip/32 dev eth0; $(udp_as "$b_ip" $far); ip addr del $b_ip/32 dev eth0
an address of nowhere|$(udp_as 192.0.2.77 $far)
another's MAC|ip link set eth0 address $b_mac; arp -s $gateway $bridge_mac; $(udp_as "$a_ip" $far); ip link set eth0 address $a_mac
another's MAC and address|ip link set eth0 address $b_mac; arp -s $gateway $bridge_mac; $(udp_as "$b_ip" $far); ip link set eth0 address $a_mac
a DHCP server's answer|packets udp $a_ip 67 255.255.255.255 5000 TEXT
a DHCP server's answer, outside|packets udp $a_ip 67 $far 5000 TEXT
IPv6|packets udp6 TEXT
IPv6: a router's advertisement|packets advertise TEXT
a service of the host|$(udp_as "$a_ip" $gateway)
a service of the host, at the uplink|$(udp_as "$a_ip" 203.0.113.1)
metadata|$(udp_as "$a_ip" 169.254.169.254)
a private network|$(udp_as "$a_ip" 192.168.7.7)
another private network|$(udp_as "$a_ip" 172.16.7.7)
SH
}
# Sets $got to the names of those that were heard anywhere, and $to to where its own packet was.
try_cases() { # [all]: they are to be heard
    local line script= name number=0
    round=$((round + 1)) got=
    while read -r line; do
        script+="${line#*|}"$'\n'
        script=${script//TEXT/$round.$((++number))}
    done < <(cases)
    script+="packets udp $a_ip 3000 $far 5000 $round.own"
    in_a "$script" >"$dir/cases.log" 2>&1 || diag "$(cat "$dir/cases.log")"
    mark || diag "round $round: its mark did not come"
    comes own
    to=$(heard own) number=0
    while read -r line; do
        number=$((number + 1))
        [ "${1-}" != all ] || comes $number
        [ -z "$(heard $number)" ] || got+="${got:+; }${line%%|*}"
    done < <(cases)
}
holds() { # WHEN
    try_cases
    is "$1: a guest's own packet goes out" "$to" out
    is "$1: nothing else gets anywhere" "$got" ""
}

# Sets $got to where guest a gets as itself, in a line.
reach() { # WHERE IT MUST GET...
    local place
    round=$((round + 1)) got=
    in_a "packets udp $a_ip 3000 $far 5000 $round.far; packets udp $a_ip 3000 $elsewhere 5000 $round.elsewhere" >"$dir/reach.log" 2>&1
    mark || got="(no mark) "
    for place in "$@"; do
        comes "$place"
    done
    [ -z "$(heard far)" ] || got+="far "
    [ -z "$(heard elsewhere)" ] || got+="elsewhere "
}
reaches() { # NAME WANTED
    # shellcheck disable=SC2086
    reach $2
    is "$1" "$got" "${2:+$2 }"
}
is_open() {
    reach
    [ "$got" = "far elsewhere " ]
}
ok "a guest reaches the outside" await 60 is_open
holds "running"

# ---- policies, and a connection that is open ----
by_rest() { # JSON
    http POST /sandboxes/$a/network-settings -d "$1"
    [ "$code" = 200 ]
}
by_job() { # JSON
    daytona POST /jobs "{\"type\": \"UPDATE_SANDBOX_NETWORK_SETTINGS\", \"resourceId\": \"$a\", \"payload\": $1}"
    daytona_result "$(json id)" 600
    [ "$(json status)" = COMPLETED ]
}
connect() { # what is written to the pipe goes by TCP
    in_a "rm -f /tmp/flow; mkfifo /tmp/flow; (nc $far 5001 </tmp/flow >/dev/null 2>&1 &); (sleep 3600 >/tmp/flow 2>/dev/null </dev/null &)"
}
arrives() { # NAME
    round=$((round + 1))
    in_a "echo $round.$1 >/tmp/flow"
    await 60 grep -qx "$round\\.$1" "$dir/out.log"
}
# It is sent and not acknowledged: the queue of what waits for that is not empty. Then it is not there.
is_cut() {
    round=$((round + 1))
    in_a "echo $round.cut >/tmp/flow; n=0; until awk '\$3 ~ /:1389\$/ && \$5 !~ /^00000000:/ { f = 1 } END { exit !f }' /proc/net/tcp; do
        n=\$((n + 1)); [ \$n -lt 600 ] || exit 1; sleep 0.1; done" && mark && [ -z "$(heard cut)" ]
}

ok "a connection" connect
ok "is open" arrives flow
ok "by REST: all is blocked" by_rest '{"networkBlockAll": true}'
ok "which cuts it" is_cut
reaches "and all else" ""
ok "by REST: a list in the block's place" by_rest "{\"networkBlockAll\": false, \"networkAllowList\": \"$far/32\"}"
ok "a new connection" connect
ok "to what is listed is open" arrives flow
reaches "and nothing else" "far"
ok "by job: another list, with the same in it" by_job "{\"networkAllowList\": \"$far/32,192.0.2.0/24\"}"
ok "the connection goes on" arrives flow
ok "by job: a list of something else" by_job "{\"networkAllowList\": \"$elsewhere/32\"}"
ok "which cuts it" is_cut
reaches "what is listed is reached" "elsewhere"
ok "by job: all is blocked" by_job '{"networkBlockAll": true}'
reaches "nothing is reached" ""
ok "by REST: what a limited organization may" by_rest '{"networkBlockAll": false, "networkAllowList": "", "networkLimitEgress": true}'
reaches "is where the setting says" "elsewhere"
ok "by REST: names" by_rest '{"networkLimitEgress": false, "domainAllowList": "allowed.example"}'
reaches "of which none has been asked for" ""
like "one is resolved" "$(in_a 'nslookup allowed.example' 2>&1)" "$far"
reaches "and then reached" "far"
unlike "another is not" "$(in_a 'nslookup other.example' 2>&1)" "$elsewhere"
reaches "nor reached" "far"
ok "by job: all is open" by_job '{"networkBlockAll": false}'
reaches "all is reached" "far elsewhere"
ok "by a new connection, too" connect
ok "which is open" arrives flow

# ---- the same afterwards ----
ok "stop" "$ctl" stop $a
ok "start" "$ctl" start $a
learn
ok "after stop and start" await 60 is_open
holds "after stop and start"
ok "pause" "$ctl" pause $a
ok "resume" "$ctl" resume $a
holds "after pause and resume"
ok "by REST: a list" by_rest "{\"networkBlockAll\": false, \"networkAllowList\": \"$far/32\"}"
ok "a connection" connect
ok "is open" arrives flow
stop_runner KILL
ok "the runner is killed, another one comes" start_vm_runner bridge
ok "the connection goes on" arrives flow
reaches "the list holds" "far"
holds "after kill -9 of the runner"
stop_runner KILL
ok "killed again" start_vm_runner bridge
ok "and told at once: all is blocked" by_rest '{"networkBlockAll": true}'
ok "which cuts it" is_cut
reaches "and all else" ""
ok "all is open" by_rest '{"networkBlockAll": false}'

# ---- limits of bandwidth, as a setting ----
within_limit() { # WAY MBIT: the last one was
    awk -v way="$1" -v asked="$2" '$1 == way { got = $2 } END { exit !(got >= 0.9 * asked && got <= 1.05 * asked) }' "$dir/out.log"
}
vm_network="${vm_network%\}}, tx_mbit: 5, rx_mbit: 8}"
ok "the next runner has limits" runner_restart KILL
rates() { grep -c "^$1 " "$dir/out.log"; }
is_told() { [ "$(rates "$1")" -gt "$2" ]; }
keeps_to() { # WAY MBIT COMMAND: on a machine that has other things to do, in one of several tries
    local try before
    for try in {1..10}; do
        before=$(rates "$1")
        in_a "$3" >/dev/null 2>&1
        await 60 is_told "$1" "$before" && within_limit "$1" "$2" && return
    done
    return 1
}
ok "what a guest sends keeps to it" keeps_to sent 5 "head -c 3000000 /dev/zero | nc $far 5002"
ok "what it receives, too" keeps_to received 8 "nc $far 5003 </dev/null | cat >/dev/null"
diag "$(grep -E '^(sent|received) ' "$dir/out.log")"

# ---- without the rules ----
for family in bridge inet; do
    in_netns nft delete table $family runner_br0
done
for id in $a $b; do
    in_netns bridge link set dev "$(nic $id name)" isolated off locked off learning on flood on mcast_flood on bcast_flood on
done
try_cases all
is "(control: a guest's own packet goes out)" "$to" out
is "(control: so does all else)" "$got" "$(cases | sed 's/|.*//' | paste -s -d ';' | sed 's/;/; /g')"
ok "the next runner has its rules again" runner_restart KILL
ok "rm" "$ctl" rm -f $a $b
nothing_is_left() { # of the machine's; what another runner has open is its own affair
    local now
    now=$(leftovers)
    [ "${now%% fds=*}" = "${before%% fds=*}" ]
}
ok "nothing is left" await 60 nothing_is_left
ok "nor of limits" await 60 eval '[ -z "$(in_netns ip -o link show type ifb)" ]'
daytona GET /violations
is "the API was asked as it wants to be" "$out" "[]"
done_testing
