#!/usr/bin/env bash
# tier: component
# takes: 40 s
# VMMs, guests and hosts that fail: what the error says, and that everything is undone.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
need curl

ok "the runner starts" start_runner "timeouts: {stop_grace: 1s}" || done_testing
make_snapshot huge 1073741824

create() { # ID [MEMBERS]
    http POST /sandboxes -d "{\"id\": \"$1\", \"userId\": \"u\", \"snapshot\": \"tiny\", \"osUser\": \"daytona\"${2:+, $2}}"
}
nothing_left() { # NAME ID
    http GET "/sandboxes/$2"
    is "$1: the sandbox is gone" "$(json state)" destroyed
    is "d14: $1: no files" "$(find "$root/sandboxes" "$dir/run" -mindepth 1)" ""
    is "d14: $1: no process" "$(vms)" 0
}
fails() { # NAME ID STATUS REGEX [MEMBERS]
    create "$2" "${5-}"
    is "$1: status" $code "$3"
    like "$1: message" "$(message)" "$4"
    nothing_left "$1" "$2"
}

# ---- the VMM ----
vm_wish bad "exit 1 Could not allocate the guest's memory"
fails "exits at once" bad 500 "Could not allocate the guest's memory"
vm_wish bad "exit 0"
fails "exits at once without a word" bad 500 .
vm_wish bad "signal 11"
fails "crashes" bad 500 "signal 11|[Ss]egmentation|SEGV"
vm_wish bad "signal 31"
fails "does a forbidden call" bad 500 "signal 31|SIGSYS|[Bb]ad system call"
vm_wish bad "late-exit 1 device is broken"
fails "exits after its greeting" bad 500 "device is broken"
vm_wish bad "cut query-status"
fails "breaks the connection" bad 500 "QMP|vmm|boot"
vm_wish bad "garbage query-status"
fails "answers garbage" bad 500 "QMP|JSON"
vm_wish bad "refuse query-status Machine is on fire"
fails "refuses" bad 500 "Machine is on fire"
vm_wish bad "state io-error"
create bad
like "a machine in error" "$code" '^(500|201)$'
run "$ctl" rm -f bad
vm_wish bad "noise"
create bad
is "events between answers do not matter" $code 201
run "$ctl" rm -f bad
nothing_left "after that" bad

# ---- the guest ----
stop_runner
ok "a runner with little patience" start_runner "timeouts: {ready: 1s}"
vm_wish mute "no-guest" "serial Kernel panic - not syncing: no root"
fails "a guest without a daemon" mute 408 "timeout waiting for daemon to start.*last serial output: Kernel panic - not syncing: no root"
vm_wish late "no-guest"
create late '"skipStart": true'
run "$ctl" start late
is "d11: a start that fails: code" $code 1
like "a start that fails: message" "$err" "^runnerctl: start: .*timeout waiting for daemon to start"
http GET /sandboxes/late
is "d11: it is stopped again" "$(json state)" stopped
is "no VM is left of it" "$(vms)" 0
stop_runner
ok "a runner with patience" start_runner "timeouts: {stop_grace: 1s}"
vm_wish late "guest-ms 500"
run "$ctl" start late
is "a guest that comes up late" $code 0
run "$ctl" rm -f late
nothing_left "after that" late

# ---- shutting down ----
vm_wish deaf "ignore-powerdown"
create deaf
before=$(date +%s%N)
run "$ctl" stop deaf
elapsed=$((($(date +%s%N) - before) / 1000000))
is "a guest that ignores the button is ended" "$code $(vms)" "0 0"
ok "after its time of grace ($elapsed ms)" test $elapsed -ge 1000
run "$ctl" rm deaf
vm_wish slow "powerdown-ms 300"
create slow
run "$ctl" stop slow
is "a guest that takes its time" "$code $(vms)" "0 0"
run "$ctl" rm slow

# ---- dead guests behind the toolbox ----
vm_wish dead ""
create dead
pid=$(json pid "$("$ctl" info --json dead)")
kill -STOP "$pid"
http GET /sandboxes/dead/toolbox/version --max-time 2
like "a guest that hangs holds nobody else up" "$("$ctl" ls -q)" dead
kill -CONT "$pid"
http GET /sandboxes/dead/toolbox/version
is "and answers again" $code 200
run "$ctl" rm -f dead

# ---- the host ----
mv "$vmm" "$vmm.away"
fails "the VMM's binary is missing" away 500 "qemu-system-x86_64.*No such file"
mv "$vmm.away" "$vmm"
mv "$root/snapshots/tiny/disk.raw" "$root/snapshots/tiny/away"
fails "the base is missing" nobase 500 .
mv "$root/snapshots/tiny/away" "$root/snapshots/tiny/disk.raw"
mkdir "$root/sandboxes/taken"
touch "$root/sandboxes/taken/precious"
create taken
is "a directory that is not ours" $code 409
is "is left alone" "$(find "$root/sandboxes" -type f)" "$root/sandboxes/taken/precious"
rm -r "$root/sandboxes/taken"
stop_runner
is "it ends well" $code 0

# ---- a guest that fills its serial log, and a VMM its own ----
ok "a runner" start_runner
create noisy
noisy=$root/sandboxes/noisy/serial.log
{ head -c 40M /dev/zero | tr '\0' x; echo; echo last; } >>"$noisy"
head -c 40M /dev/zero >>"$root/sandboxes/noisy/vmm.log"
ok "its beginning is given back" await 60 eval '[ $(($(stat -c %b "$noisy") / 2)) -lt 16384 ]'
ok "that of the VMM's log too" await 60 eval '[ $(($(stat -c %b "$root/sandboxes/noisy/vmm.log") / 2)) -lt 16384 ]'
http GET "/sandboxes/noisy/log?tail=6"
is "its end is there" "$out" "
last"
like "and what is before it" "$(tail -c 4000000 "$noisy" | head -c 1)" x
run "$ctl" rm -f noisy
stop_runner

# ---- deadlines ----
ok "a runner with little time to stop" start_runner "timeouts: {stop: 6s, stop_grace: 1m}"
vm_wish deaf "ignore-powerdown"
create deaf
run "$ctl" stop deaf
is "a grace beyond the deadline: it is ended all the same" "$code $(vms)" "0 0"
run "$ctl" rm deaf
if command -v python3 >/dev/null; then
    create wedged
    ok "a VMM that takes no connection" wedge_vm wedged
    run "$ctl" stop wedged
    is "... is ended within the deadline of the stop" "$code $(vms)" "0 0"
    like "... and it is said that its guest was not asked" "$(cat "$runner_log")" \
        'warn *event=vm.no_button id=wedged error=".*(in time|timed out)'
    run "$ctl" rm wedged
else
    skip "python3 is not installed" 3
fi
vm_wish late "guest-ms 6500"
create late >"$dir/x" &
create=$!
ok "a create that takes longer" await 60 test -s "$root/sandboxes/late/vmm.pid"
run "$ctl" rm -f late
is "a removal waits for it, and then has its time" "$code $(find "$root/sandboxes" "$dir/run" -mindepth 1) $(vms)" "0  0"
wait $create
stop_runner

# A disk with less and less in its way: whatever does not fit any more (the record, the disk, the seed, the VMM's files), the
# error says it and nothing stays.
disk_full() { # KIB free
    local avail
    rm -f "$root/fill"
    avail=$(df --output=avail -k "$root" | tail -n 1)
    head -c $(((avail - $1) * 1024)) /dev/zero >"$root/fill"
    create full
}
if [ "$(id -u)" = 0 ] && mkdir "$dir/small" && mount -t tmpfs -o size=1m tmpfs "$dir/small" 2>/dev/null; then
    at_exit umount -l "$dir/small"
    cp -r --sparse=always "$root/snapshots" "$dir/small/"
    root_before=$root
    root=$dir/small
    ok "a runner on a small disk" start_runner
    points=0
    kinds=
    problems=
    for ((free = 0; free < 512; free += 4)); do
        disk_full $free
        [ "$code" != 201 ] || break
        points=$((points + 1))
        [[ $code = 400 && $(message) == '{"errorReason":"'*'No space left on device'*'"recoverable":true}' ]] ||
            problems+="with $free KiB: $code $(message)"$'\n'
        kinds+=$(grep -Eo '(runner\.json|disk\.qcow2|cloud-init\.iso|pid)' <<<"$(message)" | tail -n 1)$'\n'
        http GET /sandboxes/full
        [ "$(json state) $(find "$root/sandboxes" "$dir/run" -mindepth 1) $(vms)" = "destroyed  0" ] ||
            problems+="with $free KiB: $(json state) $(find "$root/sandboxes" "$dir/run" -mindepth 1) $(vms) VMs"$'\n'
    done
    is "disk full: at each point an error that says so, and nothing is left" "$problems" ""
    ok "disk full: there were $points points" test $points -ge 5
    like "disk full: the seed, the disk, the record" "$(sort -u <<<"$kinds" | tr '\n' ' ')" "cloud-init.iso disk.qcow2 .*runner.json"
    is "with enough space it is created" $code 201
    head -c 1M /dev/zero >>"$root/fill" 2>"$dir/x"
    run "$ctl" rm -f full
    is "disk full: what is there can be removed" "$code $(find "$root/sandboxes" "$dir/run" -mindepth 1) $(vms)" "0  0"
    disk_full 0
    is "disk full: status" "$code $(json code)" "400 BAD_REQUEST"
    like "disk full: recoverable, as the contract says" "$(message)" \
        '^\{"errorReason":"[^"]*[Nn]o space left on device[^"]* - you may attempt a recovery action","recoverable":true\}$'
    run "$ctl" create full
    like "disk full: what people read" "$err" "^runnerctl: create: .*No space left on device"
    stop_runner
    root=$root_before
else
    skip "mounting a small file system needs root" 9
fi

ok "a runner with a limit" start_runner "limits: {sandboxes: 2}"
create one
create two
create three
is "d26: the limit of sandboxes: status" $code 409
like "the limit of sandboxes: message" "$(message)" "limit of 2 sandboxes"
run "$ctl" rm -f one
create three
is "one more after one less" $code 201
run "$ctl" rm -f --all
stop_runner

# ---- what is handed out ----
runner_network="{plugin: user, first_port: $first_port, last_port: $((first_port + 1))}"
ok "a runner with two ports" start_runner
create one
create two
create three
like "d26: no port is left: message" "$code $(message)" "^409 .*ports from $first_port to $((first_port + 1))( |\$)"
run "$ctl" rm -f one
create three
is "one more after one less" $code 201
run "$ctl" rm -f --all
nothing_left "with no port left" three
stop_runner

runner_network="{plugin: bridge, bridge: br-t}
    ipam: {plugin: static-pool, range: 10.9.0.2-10.9.0.3, gateway: 10.9.0.1/24}"
runner_prefix=(unshare --net --)
if [ "$(id -u)" = 0 ] && unshare --net -- true 2>/dev/null && [ -e "$top_builddir/plugins/network/bridge.so" ]; then
    ok "a runner with two addresses" start_runner
    create one '"skipStart": true'
    create two '"skipStart": true'
    is "addresses are handed out" "$("$ctl" ls --json | grep -Eo '"address":"[^"]*"' | sort)" \
        $'"address":"10.9.0.2"\n"address":"10.9.0.3"'
    create three '"skipStart": true'
    like "d26: no address is left" "$code $(message)" "^409 conflict: address: address pool exhausted: 2 of 2"
    http GET /metrics
    like "addresses are counted" "$out" '^runner_allocated_addresses\{host="local"\} 2$'
    like "so is their limit" "$out" '^runner_capacity_addresses\{host="local"\} 2$'
    like "and what was refused" "$out" '^runner_refused_total\{host="local",resource="addresses"\} 1$'
    run "$ctl" rm -f two
    create three '"skipStart": true'
    is "one more after one less" "$code $(json address "$("$ctl" info --json three)")" "201 10.9.0.3"
    run "$ctl" rm -f --all
    nothing_left "with no address left" three
    stop_runner
else
    skip "a bridge needs root, network namespaces and the plugin" 10
fi
done_testing
