# TAP for shell tests (bash). A test begins with: . "${top_srcdir:-.}/t/run/lib.sh" || exit 99, and ends with: done_testing
#
# Tests run in a private folder $dir, which is gone afterwards whatever happens; so are processes told to at_exit.
#   ok NAME COMMAND [ARG...]         the command succeeds
#   not_ok NAME COMMAND [ARG...]     the command fails
#   is NAME GOT WANTED               equal texts
#   like NAME TEXT REGEX             grep -E finds it (unlike: does not)
#   run COMMAND [ARG...]             sets $code, $out, $err; standard input is empty
#   await SECONDS COMMAND [ARG...]   retries until it succeeds; the time is for the slowest machine, a minute as a rule
#   at_exit COMMAND [ARG...]         run at the end, the last one first
#   need PROGRAM...                  skips the whole test unless all are there
#   skip_all REASON    skip REASON N    diag TEXT
#
# The real runner with the fake QEMU, see start_runner:
#   start_runner [YAML]              YAML: more top-level lines of runner.yaml
#   use_cloud_hypervisor             before it: the fake Cloud Hypervisor in place of the fake QEMU
#   stop_runner [SIGNAL]             waits for its end; $code is its exit status
#   use_shelf                        before it: images come from $dir/shelf; put_on_shelf, make_boot_kit
#   vms                              how many VMs run
#   vm_wish ID|"" LINE...            what the VMs of one sandbox, or all of them, do wrong (t/fake/fake-qemu.h, fake-ch.h)
#   wedge_vm ID                      its VMM hangs, and takes no connection any more
#   http METHOD PATH [CURL ARG...]   sets $code (HTTP status), $out (body), $err (head), over the unix socket
#   json KEY [TEXT]                  the member of $out or TEXT; a.b.0 goes into depth; nothing when there is none
#   message                          the member "message" of $out
set -u
LC_ALL=C.UTF-8
export LC_ALL
top_srcdir=${top_srcdir:-.}
top_builddir=${top_builddir:-.}
top_srcdir=$(cd "$top_srcdir" && pwd)
top_builddir=$(cd "$top_builddir" && pwd)
test_number=0
test_failed=0
test_is_done=no
exit_commands=()

code=
out=
err=
dir=$(mktemp -d "${TMPDIR:-/tmp}/runner-t.XXXXXX") || exit 99

# Those of the VMs, which outlive a runner that is killed; what is in them is killed too.
cgroup_parent=runner-t-$$
remove_cgroups() {
    local at
    at=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)/$cgroup_parent
    [ -d "$at" ] || return 0
    echo 1 >"$at/cgroup.kill"
    await 10 eval 'find "$at" -depth -type d -exec rmdir {} +; [ ! -d "$at" ]'
}

tell_guests() {
    local file
    for file in "$root"/sandboxes/*/{serial,vmm}.log; do
        [ ! -s "$file" ] || { echo "# the end of $file:" && tail -c 2000 "$file" | tr -d '\0\r' | sed 's/^/#   /'; }
    done
}

lib_quit() {
    local status=$? i
    trap - EXIT
    set +eu
    for ((i = ${#exit_commands[@]} - 1; i >= 0; i--)); do
        eval "${exit_commands[i]}" >/dev/null 2>&1
    done
    remove_cgroups >/dev/null 2>&1
    if [ -s "$dir/runner.log" ] && { [ $test_is_done = no ] || [ $test_failed -gt 0 ]; }; then
        echo "# the end of the runner's log:"
        tail -n 40 "$dir/runner.log" | sed 's/^/#   /'
        tell_guests
    fi
    await 10 rm -rf "$dir" # who was just killed may still have been making a file
    if [ $test_is_done = no ]; then
        echo "Bail out! the test ended early (exit status $status)"
        exit 99
    fi
    exit $status
}
trap lib_quit EXIT
trap 'exit 99' HUP INT TERM

at_exit() {
    local words
    printf -v words '%q ' "$@"
    exit_commands+=("$words")
}

diag() {
    printf '%s\n' "$*" | sed 's/^/# /'
}

report() { # STATUS NAME
    test_number=$((test_number + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $test_number - $2"
    else
        test_failed=$((test_failed + 1))
        echo "not ok $test_number - $2"
    fi
    return "$1"
}

ok() {
    local name=$1 status=0
    shift
    "$@" >"$dir/.ok" 2>&1 || status=$?
    report $status "$name" || diag "exit status $status of: $*"$'\n'"$(tail -c 2000 "$dir/.ok" | tr -d '\0')"
}

not_ok() {
    local name=$1 status=0
    shift
    "$@" >"$dir/.ok" 2>&1 && status=1
    report $status "$name" || diag "succeeded: $*"
}

is() {
    local status=0
    [ "$2" = "$3" ] || status=1
    report $status "$1" || diag "got:    $2"$'\n'"wanted: $3"
}

like() {
    local status=0
    grep -Eq -- "$3" <<<"$2" || status=1
    report $status "$1" || diag "got:    $2"$'\n'"wanted: $3"
}

unlike() {
    local status=0
    grep -Eq -- "$3" <<<"$2" && status=1
    report $status "$1" || diag "got:      $2"$'\n'"unwanted: $3"
}

# Bytes: text is taken without its last newlines, NULs are dropped.
run() {
    code=0
    "$@" >"$dir/.out" 2>"$dir/.err" </dev/null || code=$?
    read_both
}

# Sets $out and $err. bash drops NULs, and says so each time.
read_both() {
    { out=$(<"$dir/.out"); err=$(<"$dir/.err"); } 2>/dev/null
}

# For what has no event to wait for; a test that waits for a condition, never for a time.
await() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.05
    done
}

skip() {
    local i
    for ((i = 0; i < $2; i++)); do
        test_number=$((test_number + 1))
        echo "ok $test_number # SKIP $1"
    done
}

skip_all() {
    echo "1..0 # SKIP $1"
    test_is_done=yes
    exit 0
}

need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || skip_all "$program is not installed"
    done
}

done_testing() {
    echo "1..$test_number"
    test_is_done=yes
    [ $test_failed -eq 0 ]
    exit
}

# ---- the runner ----

# Where things are; all below $dir. The unix socket's path is exported for runnerctl.
root=$dir/root                  # of the host: snapshots/, sandboxes/
vmm=$dir/bin/qemu-system-x86_64 # the fake QEMU, under a name of its own so that its wishes are private
runner_log=$dir/runner.log
ctl=$top_builddir/runnerctl
runner_pid=
runner_prefix=()                # words before the runner's own: unshare --net --
runner_network=                 # YAML in place of the user network, and what follows it
runner_capacity="{cpu_overcommit: 0, memory_overcommit: 0, disk_overcommit: 0}" # what VMs are promised here, they do not use
runner_vmm="{plugin: qemu, binary: $vmm, accel: tcg}"
runner_plugins=$top_builddir/plugins
runner_storage=none
runner_disk="{plugin: qcow2}"
vm_program=$top_builddir/t/fake/fake-qemu
vm_word=-name                   # on the command line of every machine, and not of the program asked for its version
first_port=                     # of a hundred on 127.0.0.1 for guests, see own_ports
token=component-test-token

make_snapshot() { # REF [BYTES]: a base that the fake QEMU takes
    local at=$root/snapshots/$1 bytes=${2:-67108864}
    mkdir -p "$at"
    truncate -s "$bytes" "$at/disk.raw"
    printf '\177ELF kernel' >"$at/vmlinux"
    echo initramfs >"$at/initramfs.img"
    cat >"$at/manifest.json" <<JSON
{"schema": 1, "name": "$1", "version": "1", "arch": "x86_64", "kernel": "vmlinux", "initramfs": "initramfs.img",
 "disk": {"file": "disk.raw", "format": "raw", "sizeBytes": $bytes}, "cmdline": "console=ttyS0 quiet", "daemon": true}
JSON
}

# Ports that no other test on this machine is given while this one runs, whichever build it is of: each hundred has a
# file whose lock this shell holds.
own_ports() {
    local i n fd
    [ -z "$first_port" ] || return 0
    for ((i = 0; i < 90; i++)); do
        n=$((($$ + i) % 90))
        { exec {fd}>>"/tmp/runner-t.ports.$n"; } 2>/dev/null || continue # another user's
        flock -n "$fd" && first_port=$((20000 + n * 100)) && return
        exec {fd}>&-
    done
    echo "Bail out! no ports are free: /tmp/runner-t.ports.* are all locked"
    exit 99
}

write_config() { # [YAML]
    own_ports
    local network="{plugin: user, first_port: $first_port, last_port: $((first_port + 99))}"
    cat >"$dir/runner.yaml" <<YAML
listen: ["unix:$RUNNER_SOCKET", "127.0.0.1:0"]
api: {token: $token, version: 0}
hosts:
  - name: local
    root: $root
    run_dir: $dir/run
    capacity: $runner_capacity
    transport: {plugin: local, cgroup: $cgroup_parent}
    vmm: $runner_vmm
    disk: $runner_disk
    storage: $runner_storage
    network: ${runner_network:-$network}
${1-}
YAML
    chmod 600 "$dir/runner.yaml"
}

# VMs outlive the runner; those of a test do not outlive the test.
kill_vms() {
    local pid
    for pid in $(vm_pids); do
        kill -KILL "$pid"
    done
}

vm_wish() {
    local file=$vmm.conf${1:+.$1}
    shift
    if [ $# -eq 0 ]; then
        rm -f "$file"
    else
        printf '%s\n' "$@" >"$file"
    fi
}

# The VMM of a sandbox hangs: it runs no more, and whoever calls its control socket waits for ever. Needs python3.
wedge_vm() { # ID
    kill -STOP "$(json pid "$("$ctl" info --json "$1")")"
    python3 -c '
import os, socket, sys, time
calls = []
os.chdir(os.path.dirname(sys.argv[1]))
while True:
    calls.append(socket.socket(socket.AF_UNIX))
    calls[-1].setblocking(False)
    try:
        calls[-1].connect(os.path.basename(sys.argv[1]))
    except BlockingIOError:
        break
print(len(calls), flush=True)
time.sleep(600)' "$dir/run/$1.sock" >"$dir/wedge.$1" &
    at_exit kill "$!"
    await 60 test -s "$dir/wedge.$1"
}

# Its guests are met on loopback, at addresses of t/fake/loopback.h, by a network plugin for tests.
use_cloud_hypervisor() {
    vmm=$dir/bin/cloud-hypervisor
    vm_program=$top_builddir/t/fake/cloud-hypervisor
    vm_word=--api-socket
    runner_vmm="{plugin: cloud-hypervisor, binary: $vmm}"
    own_ports
    runner_network=${runner_network:-"{plugin: loopback, port: $first_port}"}
    mkdir -p "$dir/bin"
    echo "$first_port" >"$vmm.port"
    : >"$vmm.faults"
    chmod 666 "$vmm.faults" # of VMMs that run as users of their own
    own_plugins
    ln -s "$top_builddir/t/plugin/loopback-net.so" "$dir/plugins/network/loopback.so"
}

# A folder of plugins of the test's own, with links to all that were built, to which it can add.
own_plugins() {
    local plugin
    [ "$runner_plugins" != "$dir/plugins" ] || return 0
    runner_plugins=$dir/plugins
    mkdir -p "$dir/plugins/storage"
    for plugin in "$top_builddir"/plugins/*/*.so; do
        mkdir -p "$dir/plugins/$(basename "$(dirname "$plugin")")"
        ln -s "$plugin" "$dir/plugins/$(basename "$(dirname "$plugin")")/"
    done
}

# Images come from a shelf in $dir/shelf (t/plugin/shelf.c).
use_shelf() {
    own_plugins
    ln -s "$top_builddir/t/plugin/shelf.so" "$dir/plugins/storage/shelf.so"
    runner_storage="{plugin: shelf, dir: $dir/shelf}"
}

put_on_shelf() { # REF TEXT [IMAGE JSON]: an object whose digest follows from the text
    local at=$dir/shelf/$1
    mkdir -p "$at"
    printf '%s' "$2" | sha256sum | cut -c 1-64 | tr -d '\n' >"$at/digest"
    truncate -s 67108864 "$at/disk.raw"
    printf '%s' "$2" | dd of="$at/disk.raw" conv=notrunc status=none
    [ $# -lt 3 ] || printf '%s' "$3" >"$at/image.json"
}

make_boot_kit() { # what images of the storage boot
    mkdir -p "$root/boot"
    printf '\177ELF kernel' >"$root/boot/vmlinux"
    echo initramfs >"$root/boot/initramfs.img"
    echo '{"schema": 1, "kernel": "vmlinux", "initramfs": "initramfs.img", "cmdline": "console=ttyS0"}' \
        >"$root/boot/manifest.json"
}

[ "${RUNNER_TEST_VMM:-qemu}" = qemu ] || use_cloud_hypervisor

start_runner() {
    export RUNNER_SOCKET=$dir/api.sock
    if [ ! -e "$vmm" ]; then
        chmod 711 "$dir" # the VMMs run as users of their own
        mkdir -p "$dir/bin" "$dir/run" "$root"
        cp "$vm_program" "$vmm" # from where they may not reach
        make_snapshot tiny
        at_exit kill_vms
        at_exit eval 'kill -KILL $runner_pid'
    fi
    write_config "${1-}"
    env -i PATH="$PATH" HOME="$HOME" LC_ALL=C.UTF-8 ${ASAN_OPTIONS:+ASAN_OPTIONS="$ASAN_OPTIONS"} \
        ${UBSAN_OPTIONS:+UBSAN_OPTIONS="$UBSAN_OPTIONS"} ${TSAN_OPTIONS:+TSAN_OPTIONS="$TSAN_OPTIONS"} \
        "${runner_prefix[@]}" "$top_builddir/runner-ch" --config "$dir/runner.yaml" \
        --plugin-dir "$runner_plugins" >>"$runner_log" 2>&1 </dev/null &
    runner_pid=$!
    await 60 runner_is_up && kill -0 "$runner_pid" 2>/dev/null && return
    diag "the runner did not come up"$'\n'"$(tail -n 20 "$runner_log")"
    return 1
}

# The processes of the fake VMM of this test that are machines: a new runner asks it for its version, too.
vm_pids() {
    local file pid words
    for file in /proc/[0-9]*/cmdline; do
        pid=${file#/proc/}
        { mapfile -d '' -t words <"$file"; } 2>/dev/null || continue
        [ "${words[0]-}" = "$vmm" ] && [[ " ${words[*]} " = *" $vm_word "* ]] && echo "${pid%/cmdline}"
    done
}

vms() {
    vm_pids | wc -l
}

# Ready, or ended: both end the wait; which of them is looked at then.
runner_is_up() {
    ! kill -0 "$runner_pid" 2>/dev/null || "$ctl" version
}

stop_runner() {
    code=0
    kill -"${1:-TERM}" "$runner_pid"
    wait "$runner_pid" 2>/dev/null || code=$?
    runner_pid=
}

# The port that the runner listens at on 127.0.0.1.
runner_port() {
    sed -n 's/.*event=listen .*address=127[^ ]* .*port=\([0-9]*\).*/\1/p' "$runner_log" | tail -n 1
}

http() {
    local method=$1 path=$2
    shift 2
    : >"$dir/.err"
    code=$(curl -sS --max-time 60 --path-as-is --unix-socket "$RUNNER_SOCKET" -X "$method" -o "$dir/.out" \
        -D "$dir/.err" -w '%{http_code}' "$@" "http://runner$path" 2>>"$dir/.err") || true
    read_both
    err=${err//$'\r'/}
}

json() {
    "$top_builddir/t/run/json-get" "$1" <<<"${2-$out}" || true
}

message() {
    json message
}
