#!/bin/bash
# The runner with a Cloud Hypervisor that fails, stalls, crashes and loses answers, at each call, and a guest that ends.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
need curl
use_cloud_hypervisor
ok "the runner starts" start_runner || exit 1

create() { # ID
    http POST /sandboxes -d "{\"id\": \"$1\", \"userId\": \"u\", \"snapshot\": \"tiny\", \"osUser\": \"daytona\"}"
}

state() {
    http GET "/sandboxes/$1"
    json state
}

is_state() {
    [ "$(state "$1")" = "$2" ]
}

# A create that fails says why and leaves nothing. WISH... | REGEX of the message
fails() {
    local name=$1 message=$2
    shift 2
    vm_wish bad "$@"
    create bad
    is "$name: status" "$code" 500
    like "$name: message" "$(message)" "$message"
    is "$name: the sandbox is gone" "$(state bad)" destroyed
    is "$name: no process" "$(vms)" 0
    is "$name: no files" "$(find "$root/sandboxes" "$dir/run" -name '*bad*')" ""
    vm_wish bad
}

for call in vm.create vm.boot; do
    fails "$call is refused" "something is broken" "fail $call something is broken"
    fails "$call kills it" "signal 9|ended|closed" "crash $call"
    fails "$call kills it when done" "signal 6|ended|closed" "crash-after $call 6"
    fails "$call is answered without end" "." "big $call"
done
fails "vm.create is answered with garbage" "." "garbage vm.create"
fails "it ends at once" "no KVM here" "exit 1 no KVM here"
fails "it crashes at once" "signal 11|Segmentation|ended" "signal 11"

# What was done and only not told is found to be done.
for call in vm.create vm.boot; do
    vm_wish lost "lose $call"
    create lost
    like "the answer to $call is lost: the create says so, or runs" "$code" '^(201|500)$'
    [ "$code" = 500 ] || is "... and then it runs" "$(state lost)" started
    http POST /sandboxes/lost/destroy
    is "... and is removed" "$(vms)" 0
    vm_wish lost
done

vm_wish slow "stall vm.boot 300" "boot-ms 100"
create slow
is "a slow boot is waited for" "$code" 201
http POST /sandboxes/slow/destroy

# Whether a machine runs or stands still it says itself, when the answer to what was asked of it is none.
for wish in "garbage vm.pause" "lose vm.pause" "garbage vm.boot"; do
    vm_wish odd "$wish"
    create odd
    is "$wish: it runs" "$code $(state odd)" "201 started"
    http POST /sandboxes/odd/pause
    is "$wish: it is paused, and said to be" "$code $(state odd)" "200 paused"
    vm_wish odd
    http POST /sandboxes/odd/resume
    ok "$wish: and it goes on" "$ctl" exec odd -- true
    http POST /sandboxes/odd/destroy
done
vm_wish odd "fail vm.pause something is broken"
create odd
http POST /sandboxes/odd/pause
like "a pause that is refused is no fault of who asked" "$code $(message)" "^500 .*vm.pause"
is "it is what it was" "$(state odd)" started
vm_wish odd
http POST /sandboxes/odd/destroy

# Later: when the create has been answered, on a busy machine too.
vm_wish panics "guest panic 3000"
create panics
is "a guest that panics later is created" "$code" 201
ok "... and becomes an error" await 60 is_state panics error
http POST /sandboxes/panics/destroy

# What a VMM that a guest has taken over may do.
vm_wish often "guest panic 1" "panics 100"
create often
ok "a panic that is said over and over is an error" await 60 is_state often error
http POST /sandboxes/often/destroy
is "... and is dealt with once" "$(grep -c 'op=panicked id=often' "$runner_log")" 1

create twisted
rm -rf "$root/sandboxes/twisted/vmm/vsock.sock"
mkdir -p "$root/sandboxes/twisted/vmm/vsock.sock/deep"
http POST /sandboxes/twisted/destroy
is "what a VMM makes of its own directory keeps no sandbox from being destroyed" "$code $(state twisted)" "200 destroyed"

vm_wish dies "guest crash 3000"
create dies
is "a VMM that crashes later is created" "$code" 201
ok "... and becomes an error" await 60 is_state dies error
http POST /sandboxes/dies/destroy

vm_wish leaves "guest poweroff 3000"
create leaves
is "a guest that powers off later is created" "$code" 201
ok "... and is stopped" await 60 is_state leaves stopped
http POST /sandboxes/leaves/destroy

vm_wish again "guest reboot 50"
create again
is "a guest that reboots is created" "$code" 201
ok "... and goes on" await 60 "$ctl" exec again -- true
is "... as started" "$(state again)" started
http POST /sandboxes/again/destroy
is "nothing is left" "$(vms)" 0

if command -v python3 >/dev/null; then
    stop_runner
    ok "a runner with little time to stop" start_runner "timeouts: {stop: 6s, stop_grace: 1s}"
    create wedged
    ok "a VMM that takes no connection" wedge_vm wedged
    http POST /sandboxes/wedged/stop
    is "... is ended within the deadline of the stop" "$code $(state wedged) $(vms)" "200 stopped 0"
    like "... and it is said that its guest was not asked" "$(cat "$runner_log")" \
        'warn *event=vm.no_button id=wedged error=".*(in time|timed out)'
    http POST /sandboxes/wedged/destroy
else
    skip "python3 is not installed" 4
fi
is "nothing was asked that Cloud Hypervisor does not know" "$(cat "$vmm.faults")" ""
done_testing
