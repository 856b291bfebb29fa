#!/usr/bin/env bash
# tier: component
# Sandboxes are changed: recover makes one in error stopped, and gives one whose disk is full a larger one; resize gives
# one that does not run new totals.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
need curl

ok "the runner starts" start_runner || done_testing

state() { # ID
    http GET "/sandboxes/$1"
    json state
}
in_state() { # ID STATE
    [ "$(state "$1")" = "$2" ]
}
vm_args() { # ID: the command line of its VM
    tr '\0' ' ' <"/proc/$(head -n 1 "$root/sandboxes/$1/vmm.pid")/cmdline"
}
post() { # PATH [BODY]
    http POST "/sandboxes/$1" -d "${2:-{\}}"
}

http POST /sandboxes -d '{"id": "box", "userId": "u", "snapshot": "tiny", "osUser": "daytona", "cpuQuota": 1, "memoryQuota": 1, "storageQuota": 3}'
is "a sandbox" $code 201

# ---- recover ----
post box/recover
is "what runs is not recovered" "$code $(message)" "409 conflict: cannot recover sandbox 'box': it is started"
kill -KILL "$(head -n 1 "$root/sandboxes/box/vmm.pid")"
ok "its VMM dies" await 60 in_state box error
http GET /sandboxes/box
is "it can be recovered" "$(json recoverable)" true
disk=$(sha256sum <"$root/sandboxes/box/disk.qcow2")
post box/recover
is "gotcha 21: recover answers a string, as JSON" "$code $out" '200 "Sandbox recovered"'
is "it is stopped" "$(state box)" stopped
http GET /sandboxes/box
is "and nothing is to be recovered" "$(json recoverable)" false
is "with its disk as it was" "$(sha256sum <"$root/sandboxes/box/disk.qcow2")" "$disk"
post box/recover
is "recover again" $code 200
post box/start
is "it starts" "$code $(state box)" "200 started"
post none/recover
is "what is not there" $code 404

# ---- recover of one whose disk is full: a twentieth more each time, a tenth in all ----
size() { # ID: bytes of its disk, as its image has them
    echo $((16#$(od -An -tx1 -j24 -N8 "$root/sandboxes/$1/disk.qcow2" | tr -d ' ')))
}
mib() { echo $(($1 << 20)); }
full='{"userId": "u", "osUser": "daytona", "errorReason": "write: No space left on device"}'
vm=$(head -n 1 "$root/sandboxes/box/vmm.pid")
is "it has what it was made with" "$(size box)" "$(mib 3072)"
post box/recover "$full"
is "one that runs, and is full" "$code $out" '200 "Sandbox recovered"'
is "is stopped" "$(state box) $(kill -0 "$vm" 2>&1 | grep -c 'No such process')" "stopped 1"
is "with a twentieth more" "$(size box)" "$(mib $((3072 + 153)))"
http GET /sandboxes/box
is "of which its quota says nothing" "$(json diskGiB)" 3
http GET /info
is "but the host does, whose disk it is" "$(awk "BEGIN { print $(json metrics.currentAllocatedDiskGiB) * 1024 }")" $((3072 + 153))
post box/recover
is "for another reason" "$code $(size box)" "200 $(mib $((3072 + 153)))"
stop_runner KILL
ok "the runner is killed and comes back" start_runner
post box/recover '{"errorReason": "", "backupErrorReason": "Disk quota exceeded"}'
is "its backup was full, too: a tenth" "$code $(size box)" "200 $(mib $((3072 + 306)))"
post box/start
is "it starts" "$code $(state box)" "200 started"
post box/recover "$full"
like "it had all" "$code $(message)" "^403 forbidden: .*storage cannot be further expanded"
is "and runs on" "$(state box)" started
post box/stop
post box/resize '{"disk": 4}'
is "a resize keeps what it was given" "$code $(size box)" "200 $(mib $((4096 + 306)))"
post box/recover "$full"
like "which is more than a tenth with another twentieth" "$code" "^403"
post box/resize '{"disk": 10}'
post box/recover "$full"
is "but not of ten GiB" "$code $(size box)" "200 $(mib $((10240 + 306 + 512)))"
post box/recover '{"errorReason": 7}'
like "a reason that is no text" "$code $(message)" "^400 .*errorReason: expected a string"
http DELETE /sandboxes/box
http POST /sandboxes -d '{"id": "box", "userId": "u", "snapshot": "tiny", "osUser": "daytona", "cpuQuota": 1, "memoryQuota": 1, "storageQuota": 3}'
is "a new one" $code 201
http GET /info
is "with nothing of all that" "$(json metrics.currentAllocatedDiskGiB) $(size box)" "3 $(mib 3072)"

# ---- resize ----
post box/resize '{"cpu": 2}'
like "a machine on QEMU keeps its size while it runs" "$code $(message)" "^501 .*vmm 'qemu' cannot resize .* stop it first"
post box/resize '{"cpu": 1, "memory": 1, "disk": 3}'
is "unless it has that already" "$code $out" '200 "Sandbox resized"'
post box/resize '{"cpu": 0, "memory": null}'
is "nothing asked for" $code 200
like "it runs with one" "$(vm_args box)" "-smp (cpus=)?1\b"
post box/stop
post box/resize '{"cpu": 2, "memory": 2}'
is "d13: a stopped one is resized" "$code $out" '200 "Sandbox resized"'
stop_runner KILL
ok "the runner is killed and comes back" start_runner
post box/start
is "it starts" "$code $(state box)" "200 started"
like "with two CPUs" "$(vm_args box)" "-smp (cpus=)?2\b"
like "and 2 GiB" "$(vm_args box)" "-m (size=)?2048\b|size=2147483648|2048M"
post box/resize '{"disk": 2}'
like "disks do not shrink" "$code $(message)" "^400 .*disk: 2 GiB are less than the 3 GiB it has"
post box/resize '{"disk": 4}'
like "nor grow while their machine runs" "$code $(message)" "^400 .*disk: it cannot grow while sandbox 'box' runs, stop it first"
post box/resize '{"memory": 1}'
like "nor gets it less" "$code $(message)" "^400 .*memory: they cannot become less"
for body in '{"cpu": -1}' '{"cpu": "2"}' '{"memory": 1.5}' '{"disk": 99999999999999}' '{"cpu": 4096}'; do
    post box/resize "$body"
    like "$body is refused, by name" "$code $(message)" "^400 .*(cpu|memory|disk): "
done
is "after all that it runs" "$(state box)" started

# ---- the disk of a stopped one ----
disk=$root/sandboxes/box/disk.qcow2
post box/stop
if command -v qemu-io >"$dir/ignored"; then
    ok "something is on the disk" qemu-io -f qcow2 -c "write -P 7 1G 64k" "$disk"
    post box/resize '{"disk": 700}'
    is "it grows" "$code $out" '200 "Sandbox resized"'
    is "as qemu-img says" "$(qemu-img info --output=json "$disk" | sed -n 's/.*"virtual-size": *\([0-9]*\).*/\1/p' | tail -n 1)" $((700 << 30))
    ok "to a whole image" qemu-img check -f qcow2 "$disk"
    like "with what was on it" "$(qemu-io -f qcow2 -c "read -P 7 1G 64k" "$disk")" "^read 65536/65536"
    ok "that is used to its end" qemu-io -f qcow2 -c "write -P 8 699G 64k" "$disk"
    ok "and is whole then" qemu-img check -f qcow2 "$disk"
else
    skip "there is no qemu-io" 7
    post box/resize '{"disk": 700}'
fi
post box/resize '{"disk": 700}'
is "again" $code 200
post box/resize '{"disk": 699}'
like "less is refused" "$code $(message)" "^400 .*disks only grow"
post box/start
is "it starts" "$code $(state box)" "200 started"

# ---- is-recoverable: a check of the text ----
post x/is-recoverable '{"errorReason": "write: No space left on device"}'
is "a full disk" "$code $out" '200 {"recoverable":true}'
post x/is-recoverable '{"errorReason": "the guest panicked"}'
is "a panic" "$code $out" '200 {"recoverable":false}'
post x/is-recoverable
like "no text" "$code $(message)" "^400 .*errorReason"

http DELETE /sandboxes/box
is "nothing is left" "$(find "$root/sandboxes" "$dir/run" -mindepth 1)$(vms)" 0
done_testing
