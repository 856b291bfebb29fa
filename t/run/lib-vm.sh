# For tests with real guests, on top of lib.sh: . lib-vm.sh after it. The runner, its bridge and its guests live in a
# network namespace of the test's own; images are made once and kept in $RUNNER_TEST_CACHE.
#   need_vm IMAGE...          skips the whole test unless this machine can boot them
#   start_vm_runner NETWORK [HOST LINES]    bridge or user; more lines of the host section (two blanks deep). $vm_listen is
#                             an address of TCP to listen at, $vm_top more lines of runner.yaml, $vm_network another bridge
#   in_netns COMMAND...       within the test's namespace
#   vm_create ID [OPTION...]  with runnerctl; 256 MiB guests of one CPU
#   guest_write, guest_read, guest_boot, ticker_start, ticks, runner_restart    see lifecycle.sh
# RUNNER_TEST_VMM says what runs the guests, qemu or cloud-hypervisor; RUNNER_TEST_IMAGES=made that the images need not be
# made: the cache has them; RUNNER_TEST_NOTICED_MS what "at once" means of a VMM's death, 100 unless all is emulated.
cache=${RUNNER_TEST_CACHE:-/var/cache/runner-ch-test}
netns=rt-${dir##*.}
case ${RUNNER_TEST_VMM:=qemu} in
qemu) vmm_program=qemu-system-x86_64 vmm_options= ;;
# Its trial of KVM has a deadline for real processors, and here each guest counts; doctor tries it, in a test of its own.
*) vmm_program=$RUNNER_TEST_VMM vmm_options=", probe: none" ;;
esac

need_vm() {
    local image
    [ "$(id -u)" = 0 ] || skip_all "needs root"
    [ -c /dev/net/tun ] || skip_all "needs /dev/net/tun"
    need "$vmm_program" ip nft nsenter
    ip netns add "$netns" 2>/dev/null || skip_all "needs network namespaces"
    at_exit ip netns del "$netns"
    in_netns ip link set lo up
    [ "${RUNNER_TEST_IMAGES:-}" != made ] || return 0
    for image in "$@"; do
        # Always called: it sees for itself whether there is something to do.
        "$top_builddir/runner-image" build "$image" --root "$cache" --guestd "$top_builddir/guest/runner-guestd" \
            >"$dir/image.log" 2>&1 || { diag "$(tail -n 20 "$dir/image.log")"; die_early "image $image was not made"; }
    done
}

die_early() {
    report 1 "$1"
    done_testing
}

# Not "ip netns exec" or "ip -n": they remount /, which a chroot does not let them.
in_netns() { nsenter --net="/run/netns/$netns" "$@"; }

write_vm_config() { # NETWORK [HOST LINES]
    local network="{plugin: user}"
    [ "$1" = user ] || network=${vm_network:-"{plugin: bridge, bridge: br0, uplink: none}"}
    cat >"$dir/runner.yaml" <<YAML
listen: ["unix:$RUNNER_SOCKET"${vm_listen:+, "$vm_listen"}]
${vm_top:-}
timeouts: {create: 10m, start: 10m, ready: 9m, stop: 10m, stop_grace: 60s} # guests end by themselves
hosts:
  - name: local
    root: $root
    run_dir: $dir/run
    capacity: $runner_capacity
    defaults: {cpus: 1, memory_mb: 256, min_memory_mb: 256, disk_gb: 3}
    transport: {plugin: local, cgroup: $cgroup_parent}
    vmm: {plugin: $RUNNER_TEST_VMM$vmm_options}
    network: $network
YAML
    [ "$1" = user ] || echo "    ipam: {plugin: static-pool, range: 10.0.0.2-10.0.0.254, gateway: 10.0.0.1/24}" >>"$dir/runner.yaml"
    printf '%s\n' "${2:-    disk: {plugin: qcow2\}}" >>"$dir/runner.yaml"
}

kill_all_vms() {
    local file pid
    for file in "$root"/sandboxes/*/vmm.pid; do
        pid=$(grep -Eo '^[0-9]+' "$file" 2>/dev/null) || continue
        case $(readlink "/proc/$pid/exe") in */"$vmm_program") kill -KILL "$pid" ;; esac
    done
}

start_vm_runner() {
    export RUNNER_SOCKET=$dir/api.sock
    if [ ! -d "$root" ]; then
        chmod 711 "$dir" # the VMMs run as users of their own
        mkdir -p "$dir/run" "$root"
        ln -s "$cache/snapshots" "$root/snapshots"
        [ ! -d "$cache/bases" ] || ln -s "$cache/bases" "$cache/boot" "$root/" # of images that were pulled elsewhere
        [ ! -f "$cache/accel-qemu.json" ] || cp "$cache/accel-qemu.json" "$root/"
        at_exit kill_all_vms
        at_exit eval 'kill -KILL $runner_pid'
    fi
    runner_arguments=("$@")
    write_vm_config "$@"
    nsenter --net="/run/netns/$netns" env -i PATH="$PATH" "$top_builddir/runner-ch" --config "$dir/runner.yaml" \
        --plugin-dir "${plugin_dir:-$top_builddir/plugins}" >>"$runner_log" 2>&1 </dev/null &
    runner_pid=$!
    await 60 runner_is_up && kill -0 "$runner_pid" 2>/dev/null && return
    diag "the runner did not come up"$'\n'"$(tail -n 20 "$runner_log")"
    return 1
}

runner_restart() { # SIGNAL
    stop_runner "$1"
    start_vm_runner "${runner_arguments[@]}"
}

# check() tries the accelerator in the background; afterwards the runner's figures are its own.
vmm_is_known() {
    http GET /info
    [ -n "$(json vmm)" ]
}

vm_create() {
    local id=$1
    shift
    "$ctl" create "$id" --snapshot "${snapshot:-tiny}" "$@"
}

# ---- what lifecycle.sh asks of a guest ----

guest_write() { "$ctl" exec "$1" -- sh -c "echo '$2' >/root/written"; }
guest_read() { "$ctl" exec "$1" -- cat /root/written; }
guest_boot() { "$ctl" exec "$1" -- cat /proc/sys/kernel/random/boot_id; }

# It counts on its console, which is a file here whether the guest can be asked or not.
ticker_start() {
    "$ctl" exec "$1" -- sh -c '(n=0; while :; do n=$((n + 1)); echo "tick $n" >/dev/console; sleep 0.1; done) \
        >/dev/null 2>&1 &'
}

ticks() {
    tail -c 4096 "$root/sandboxes/$1/serial.log" | tr -d '\0\r' | sed -n 's/^tick \([0-9]*\)$/\1/p' | tail -n 1 | grep . ||
        echo 0
}

noticed_within_ms() { echo "${RUNNER_TEST_NOTICED_MS:-100}"; }

# ---- what is left ----

# Descriptors of the runner that come and go with sandboxes: folders of cgroups and its way to netlink it keeps once it
# has needed them.
descriptors() {
    local fd
    for fd in "/proc/$runner_pid"/fd/*; do
        readlink "$fd"
    done | grep -v '^/sys/fs/cgroup' | grep -vxF -f <(awk 'NR > 1 { print "socket:[" $NF "]" }' "/proc/$runner_pid/net/netlink") |
        wc -l
}

# What the machine holds because of us, as one line that can be compared: TAPs, files, processes; the runner's fds, threads.
leftovers() {
    printf 'taps=%s files=%s vms=%s fds=%s threads=%s\n' \
        "$(in_netns ip -o link show type tun | grep -c -v 'state DOWN' || true)" \
        "$(find "$root/sandboxes" "$dir/run" -mindepth 1 | wc -l)" \
        "$(ip netns pids "$netns" | while read -r p; do readlink "/proc/$p/exe"; done | grep -c "$vmm_program" || true)" \
        "$(descriptors)" "$(find "/proc/$runner_pid/task" -maxdepth 1 -mindepth 1 | wc -l)"
}
# As before, or fewer descriptors and threads: pooled connections within the runner and threads without work come and go.
no_leftovers() {
    local now was of
    now=$(leftovers)
    [ "${now%% fds=*}" = "${before%% fds=*}" ] || return
    for of in fds threads; do
        was=${before##* "$of"=}
        [ "$(sed "s/.* $of=\([0-9]*\).*/\1/" <<<"$now")" -le "${was%% *}" ] || return
    done
}
