#!/usr/bin/env bash
# tier: component
# Sandboxes that do not run are changed: recover makes one in error stopped, resize gives it new totals.
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
disk=$(sha256sum <"$root/sandboxes/box/disk.qcow2")
post box/recover
is "gotcha 21: recover answers a string, as JSON" "$code $out" '200 "Sandbox recovered"'
is "it is stopped" "$(state box)" stopped
is "with its disk as it was" "$(sha256sum <"$root/sandboxes/box/disk.qcow2")" "$disk"
post box/recover
is "recover again" $code 200
post box/start
is "it starts" "$code $(state box)" "200 started"
post none/recover
is "what is not there" $code 404

# ---- resize ----
post box/resize '{"cpu": 2}'
like "a running machine keeps its size" "$code $(message)" "^501 .*stop it first"
post box/resize '{"cpu": 1, "memory": 1, "disk": 3}'
is "unless it has that already" "$code $out" '200 "Sandbox resized"'
post box/resize '{"cpu": 0, "memory": null}'
is "nothing asked for" $code 200
like "it runs with one" "$(vm_args box)" "-smp (cpus=)?1\b"
post box/stop
post box/resize '{"cpu": 2, "memory": 2}'
is "a stopped one is resized" "$code $out" '200 "Sandbox resized"'
stop_runner KILL
ok "the runner is killed and comes back" start_runner
post box/start
is "it starts" "$code $(state box)" "200 started"
like "with two CPUs" "$(vm_args box)" "-smp (cpus=)?2\b"
like "and 2 GiB" "$(vm_args box)" "-m (size=)?2048\b|size=2147483648|2048M"
post box/resize '{"disk": 2}'
like "disks do not shrink" "$code $(message)" "^400 .*disk: 2 GiB are less than the 3 GiB it has"
post box/resize '{"disk": 4}'
like "nor grow yet, which is said" "$code $(message)" "^501 .*growing the disk"
for body in '{"cpu": -1}' '{"cpu": "2"}' '{"memory": 1.5}' '{"disk": 99999999999999}' '{"cpu": 4096}'; do
    post box/resize "$body"
    like "$body is refused, by name" "$code $(message)" "^400 .*(cpu|memory|disk): "
done
is "after all that it runs" "$(state box)" started

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
