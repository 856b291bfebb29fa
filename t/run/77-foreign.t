#!/usr/bin/env bash
# tier: component
# takes: 20 s
# A host that an older runner filled: its sandboxes are taken over, and their machines notice nothing.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-foreign.sh"
need curl qemu-img sha256sum
[ "${RUNNER_TEST_VMM:-}" = cloud-hypervisor ] || use_cloud_hypervisor

state() { json state "$("$ctl" info --json "$1")"; }
pid_of() { json pid "$("$ctl" info --json "$1")"; }
is_state() { [ "$(state "$1")" = "$2" ]; }
error_of() { json error "$("$ctl" info --json "$1")"; }
has_ended() { [ ! -d "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"; }
record() { json "$2" "$(cat "$root/sandboxes/$1/runner.json")"; }
sum() { sha256sum "$root/sandboxes/$1/$2" | cut -c1-64; }
taken() { grep -c "event=reconcile.taken_over id=$1 " "$runner_log"; }
settled() { ! "$ctl" ls --json | grep -Eq '"state": *"unknown"'; }

ok "a runner, for its directories" start_runner "timeouts: {stop_grace: 1s}" || done_testing
stop_runner

# ---- what the older runner left ----
A=11111111-aaaa-4aaa-8aaa-000000000001 # runs, a VMM's configuration
B=22222222-bbbb-4bbb-8bbb-000000000002 # runs, a record
C=33333333-cccc-4ccc-8ccc-000000000003 # paused
D=44444444-dddd-4ddd-8ddd-000000000004 # stopped, a VMM's configuration
E=55555555-eeee-4eee-8eee-000000000005 # stopped, a record
F=66666666-ffff-4fff-8fff-000000000006 # runs, without config.json
G=77777777-aaaa-4aaa-8aaa-000000000007 # a VMM without a machine
S=slow-1                               # runs; its VMM is slow to answer
for id in $A $C $D $F $G $S; do foreign $id vm; done
for id in $B $E; do foreign $id record; done
rm "$root/sandboxes/$F/config.json"
echo "$(foreign_address $B)/8" >"$root/sandboxes/$B/ip"
vm_wish $S "stall vmm.ping 1500"
mkdir "$root/sandboxes/notes" && echo hello >"$root/sandboxes/notes/README"
foreign_start $D && kill -KILL $foreign_pid # its socket stays
declare -A pids
for id in $A $B $C $F $S; do
    ok "the older runner starts $id" foreign_start $id
    pids[$id]=$foreign_pid
done
vm_call $C PUT vm.pause
"$vmm" --api-socket "$dir/run/$G.sock" >"$dir/g.log" 2>&1 </dev/null &
pids[$G]=$!
disown ${pids[$G]}
at_exit kill -KILL ${pids[$G]}
await 60 vm_call $G GET vmm.ping
vm_call $A GET vm.info
info=$out
before=$(sum $A config.json)$(sum $B config.json)$(sum $A cloud-init.iso)

run "$top_builddir/runner-ch" doctor --config "$dir/runner.yaml" --plugin-dir "$runner_plugins"
like "doctor counts them" "$out" '^warn +sandboxes-foreign +8 of another runner'

# ---- killed in the middle ----
kill -STOP ${pids[$S]} # slower than the test
start_runner "timeouts: {stop_grace: 1s}"
ok "the slow one's process is being taken over" await 60 test -s "$root/sandboxes/$S/vmm.pid"
stop_runner KILL
kill -CONT ${pids[$S]}
not_ok "there is no record of it yet" test -e "$root/sandboxes/$S/runner.json"
ok "its VMM goes on" kill -0 ${pids[$S]}

# ---- taken over ----
start_runner "timeouts: {stop_grace: 1s}"
ok "all are looked at" await 60 settled
is "a running one" "$(state $A) $(pid_of $A)" "started ${pids[$A]}"
is "one with a record" "$(state $B) $(pid_of $B)" "started ${pids[$B]}"
is "one without a word" "$(state $F) $(pid_of $F)" "started ${pids[$F]}"
is "the slow one" "$(state $S) $(pid_of $S)" "started ${pids[$S]}"
is "a paused one" "$(state $C) $(pid_of $C)" "paused ${pids[$C]}"
is "stopped ones" "$(state $D) $(state $E)" "stopped stopped"
is "a VMM without a machine goes" "$(state $G)" stopped
ok "its process too" await 60 has_ended ${pids[$G]}
vm_call $A GET vm.info
is "its machine has not changed" "$out" "$info"
is "nor its files" "$(sum $A config.json)$(sum $B config.json)$(sum $A cloud-init.iso)" "$before"
is "size of the machine, by its configuration" "$(record $A cpus) $(record $A memoryBytes)" "3 1610612736"
is "by its VMM, which the record does not contradict" "$(record $B cpus) $(record $B memoryBytes)" "3 1610612736"
is "by the record" "$(record $E cpus) $(record $E memoryBytes) $(record $E snapshot)" "2 2147483648 tiny"
is "when it was made" "$(record $E createdMs)" 1768990272000
is "its interface" "$(record $A nic.name) $(record $A nic.mac)" "$(foreign_tap $A) $(foreign_mac $A)"
is "its address, less the prefix" "$(record $B nic.address)" "$(foreign_address $B)"
is "its disk" "$(record $A disk.format) $(record $A disk.sizeBytes) $(record $A disk.backingPath)" \
    "qcow2 1073741824 $root/snapshots/tiny/disk.raw"
is "the snapshot, by the image below its disk" "$(record $A snapshot)" tiny
# Those that the first runner had taken over when it was killed may have none.
is "one line each at most" "$(for id in $A $B $C $D $E $F $G; do taken $id; done | grep -vc '^[01]$') $(taken $S)" "0 1"
is "what is no sandbox is left alone" "$(cat "$root/sandboxes/notes/README") $("$ctl" ls --json | grep -c notes)" \
    "hello 0"
run "$ctl" exec $A -- anything
is "its daemon is reached" "$code $out" "0 fake guest"
run "$top_builddir/runner-ch" doctor --config "$dir/runner.yaml" --plugin-dir "$runner_plugins"
like "doctor" "$out" '^ok +sandboxes +8, of which 8 were taken over'

# ---- and again ----
stop_runner KILL
start_runner "timeouts: {stop_grace: 1s}"
ok "the next start finds them its own" await 60 is_state $A started
is "the same process, not taken over again" "$(pid_of $S) $(taken $S)" "${pids[$S]} 1"
ok "the paused one" await 60 is_state $C paused

# ---- what can be done with them ----
run "$ctl" pause $A
is "pause" "$code $(state $A)" "0 paused"
run "$ctl" resume $A
is "resume" "$code $(state $A) $(pid_of $A)" "0 started ${pids[$A]}"
run "$ctl" resume $C
is "resume of what was paused before" "$code $(state $C) $(pid_of $C)" "0 started ${pids[$C]}"
run "$ctl" start $A
is "start of what runs" "$code $(pid_of $A)" "0 ${pids[$A]}"
run "$ctl" stop $A
is "stop" "$code $(state $A)" "0 stopped"
ok "its process is gone" await 60 has_ended ${pids[$A]}
is "its socket, and the lock beside it" "$(find "$dir/run" -name "$A*")" ""
run "$ctl" start $A
is "start" "$code $(state $A)" "0 started"
pid=$(pid_of $A)
not_ok "a new process" test "$pid" = "${pids[$A]}"
if [ "$(id -u)" = 0 ]; then
    like "of a user of its own" "$(stat -c %u "/proc/$pid")" '^19000'
    is "who has the disk" "$(stat -c %u "$root/sandboxes/$A/disk.qcow2")" "$(stat -c %u "/proc/$pid")"
else
    skip "users need root" 2
fi
vm_call $A GET vm.info
is "the disk, and a seed of ours" "$(json config.disks.0.path) $(json config.disks.1.path)" \
    "$root/sandboxes/$A/disk.qcow2 $root/sandboxes/$A/cloud-init.iso"
is "the kernel that it had" "$(json config.payload.kernel) $(json config.payload.cmdline)" \
    "$root/snapshots/tiny/vmlinux console=ttyS0 root=LABEL=cloudimg-rootfs rw"
run "$ctl" exec $A -- anything
is "its daemon is reached again" "$code $out" "0 fake guest"
for id in $D $E $G; do
    run "$ctl" start $id
    is "start of $id, found stopped" "$code $(state $id)" "0 started"
done

# ---- its end ----
kill -KILL ${pids[$B]}
ok "the end of its process is noticed" await 60 is_state $B stopped
run "$ctl" start $B
is "start after that" "$code $(state $B)" "0 started"
run "$ctl" rm -f $F
is "destroy of a running one" "$code" 0
ok "ends its process" await 60 has_ended ${pids[$F]}
is "and leaves nothing" "$(ls -d "$root/sandboxes/$F" "$dir/run/$F"* 2>/dev/null)" ""

# ---- what cannot be understood ----
kernel="\"payload\": {\"kernel\": \"$root/snapshots/tiny/vmlinux\"}"
size='"memory": {"size": 1073741824}'
stop_runner

# bad ID WORDS [CONFIG]: a sandbox with that config.json is an error whose text has the words.
declare -A wanted
bad() {
    wanted[$1]=$2
    foreign "$1" vm
    [ $# -lt 3 ] || printf '%s' "$3" >"$root/sandboxes/$1/config.json"
}
disk_at() { # PATH
    printf '{"cpus": {"boot_vcpus": 1}, %s, %s, "disks": [{"path": "%s"}]}' "$size" "$kernel" "$1"
}
bad cut "config.json: .*JSON|config.json: " "$(foreign_text cut vm | head -c 300)"
bad empty "config.json: " ""
bad array "config.json: top level" "[1]"
bad cpus-text "config.json: cpus: expected a number" '{"cpus": "2", "memoryMB": 1024}'
bad cpus-many "config.json: cpus: expected 1 to 254" '{"cpus": 100000, "memoryMB": 1024}'
bad cpus-huge "config.json: " '{"cpus": 99999999999999999999999, "memoryMB": 1024}'
bad vcpus-none "config.json: cpus.boot_vcpus" "{\"cpus\": {}, $size}"
bad memory-none "config.json: memoryMB" '{"cpus": 1}'
bad memory-less "config.json: memoryMB" '{"cpus": 1, "memoryMB": -1}'
bad memory-huge "config.json: memoryMB" '{"cpus": 1, "memoryMB": 9223372036854775807}'
bad memory-text "config.json: memory.size" '{"cpus": {"boot_vcpus": 1}, "memory": {"size": "1G"}}'
bad other-id "config.json: sandboxId" '{"sandboxId": "another", "cpus": 1, "memoryMB": 1024}'
bad snapshot "config.json: snapshot" '{"cpus": 1, "memoryMB": 1024, "snapshot": "../../etc"}'
bad disks-text "config.json: disks: expected an array" "{\"cpus\": {\"boot_vcpus\": 1}, $size, \"disks\": \"x\"}"
bad up "config.json: its disk: .*no plain absolute path" "$(disk_at "$root/sandboxes/up/../$A/disk.qcow2")"
bad away "config.json: its disk: '/etc/passwd' is not in" "$(disk_at /etc/passwd)"
bad another "config.json: its disk: .* is not in" "$(disk_at "$root/sandboxes/$A/disk.qcow2")"
bad relative "config.json: its disk: .*no plain" "$(disk_at disk.qcow2)"
bad gone "'$root/sandboxes/gone/other.qcow2'" "$(disk_at "$root/sandboxes/gone/other.qcow2")"
bad control "config.json: payload.kernel: .*control" \
    '{"cpus": {"boot_vcpus": 1}, '"$size"', "payload": {"kernel": "/a\nb"}}'
bad kernel-away "config.json: its kernel: '/boot/vmlinuz' is not in" \
    "$(foreign_text kernel-away vm | sed "s|\"kernel\": .*|\"kernel\": \"/boot/vmlinuz\",|")"
bad kernel-gone "config.json: its kernel: .*vmlinux-7' is missing" \
    "$(foreign_text kernel-gone vm | sed 's|tiny/vmlinux"|tiny/vmlinux-7"|')"
bad data-disk "config.json: disks\[2\]: a sandbox has no place" \
    "$(foreign_text data-disk vm | sed 's|"readonly": true}|"readonly": true}, {"path": "/dev/sdb"}|')"
bad vfio "config.json: devices: a sandbox has no place" \
    "$(foreign_text vfio vm | sed '1s|{|{"devices": [{"path": "/sys/x"}],|')"
bad ip-text "^ip: expected an IPv4 address"
echo "10.0.0.300" >"$root/sandboxes/ip-text/ip"
bad no-boot "nothing is known that it boots" '{"cpus": 1, "memoryMB": 1024, "snapshot": "gone"}'
bad two-disks "disk.qcow2 and disk.raw" "$(foreign_text two-disks record)"
truncate -s 1M "$root/sandboxes/two-disks/disk.raw"
bad not-qcow2 "begins like a raw image"
rm "$root/sandboxes/not-qcow2/disk.qcow2" && truncate -s 1M "$root/sandboxes/not-qcow2/disk.qcow2"
bad not-raw "begins like a qcow2 image" "$(foreign_text not-raw record)"
mv "$root/sandboxes/not-raw/disk.qcow2" "$root/sandboxes/not-raw/disk.raw"
bad below-away "the image below its disk: '/etc/hostname'"
qemu-img create -q -u -f qcow2 -F raw -b /etc/hostname "$root/sandboxes/below-away/disk.qcow2" 1M
bad below-another "the image below its disk: .* is another sandbox's"
qemu-img create -q -u -f qcow2 -F qcow2 -b "$root/sandboxes/$A/disk.qcow2" "$root/sandboxes/below-another/disk.qcow2" 1M
bad below-gone "the image below its disk: .* is missing"
qemu-img create -q -u -f qcow2 -F raw -b "$root/snapshots/gone/disk.raw" "$root/sandboxes/below-gone/disk.qcow2" 1M
bad no-disk "neither disk.qcow2 nor disk.raw" "$(foreign_text no-disk record)"
rm "$root/sandboxes/no-disk/disk.qcow2"
bad no-size "config.json: missing"
rm "$root/sandboxes/no-size/config.json"
bad large "config.json: larger than"
head -c 300000 /dev/zero | tr '\0' ' ' >>"$root/sandboxes/large/config.json"

foreign loose vm # runs, and its disk is not its own
foreign_start loose
pids[loose]=$foreign_pid
disk_at "/etc/passwd" >"$root/sandboxes/loose/config.json"
wanted[loose]="begins like a raw image"
mv "$root/sandboxes/loose/disk.qcow2" "$dir/loose" && truncate -s 1M "$root/sandboxes/loose/disk.qcow2"

foreign wild vm # runs, and what it is cannot be read
foreign_start wild
pids[wild]=$foreign_pid
echo '{"cpus": true}' >"$root/sandboxes/wild/config.json"
wanted[wild]="config.json: cpus"
files=$(cd "$root/sandboxes" && find "${!wanted[@]}" -type f -exec sha256sum {} + | sort)

start_runner "timeouts: {stop_grace: 1s}"
ok "all are looked at" await 60 settled
for id in "${!wanted[@]}"; do
    is "$id is an error" "$(state "$id")" error
    like "$id: whose text says what" "$(error_of "$id")" "${wanted[$id]}"
done
is "nothing of them has changed" \
    "$(cd "$root/sandboxes" && find "${!wanted[@]}" -type f -exec sha256sum {} + | sort)" "$files"
for verb in start stop pause resume; do
    run "$ctl" $verb kernel-away
    is "$verb of one is refused" "$((code != 0)) $(state kernel-away)" "1 error"
done
ok "the running ones run" kill -0 ${pids[wild]} ${pids[loose]}
foreign_text snapshot record >"$root/sandboxes/snapshot/config.json"
http POST /sandboxes/snapshot/recover -d '{}'
is "put right, it is taken over by recover" "$code $(state snapshot)" "200 stopped"
http POST /sandboxes/gone/recover -d '{}'
is "recover of another says what is still wrong" "$((code >= 400)) $(state gone)" "1 error"
like "by its text" "$(message)" "other.qcow2"
foreign_text kernel-away vm >"$root/sandboxes/kernel-away/config.json"
stop_runner KILL
start_runner "timeouts: {stop_grace: 1s}"
ok "or by the next start" await 60 is_state kernel-away stopped
mv "$dir/loose" "$root/sandboxes/loose/disk.qcow2"
is_let_in() { http POST /sandboxes/loose/recover -d '{}' && [ "$code" != 409 ]; } # not while that start looks at it
await 60 is_let_in
is "recover of a running one" "$code $(state loose) $(pid_of loose)" "200 started ${pids[loose]}"
run "$ctl" rm -f wild
is "destroy of a running one that is not understood" "$code" 0
ok "ends its process" await 60 has_ended ${pids[wild]}
is "and leaves nothing" "$(ls -d "$root/sandboxes/wild" "$dir/run/wild"* 2>/dev/null)" ""

ok "all of it can be destroyed" "$ctl" rm -f --all
is "no files are left but what is no sandbox" "$(cd "$root/sandboxes" && find . -mindepth 1 | sort | tr '\n' ' ')" \
    "./notes ./notes/README "
is "nor sockets" "$(find "$dir/run" -mindepth 1)" ""
is "nor processes" "$(vms)" 0
is "the VMMs were asked for nothing that they do not know" "$(cat "$vmm.faults" 2>/dev/null)" ""
stop_runner
is "it ends well" $code 0
done_testing
