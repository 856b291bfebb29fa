# For tests with the real Cloud Hypervisor and the toy guest (t/guest/toy.c), on top of lib.sh and lib-vm.sh. Any KVM will
# do: the guest keeps to what the worst can run.
#   need_native                skips the whole test unless this machine can do it
#   toy_snapshot REF CMDLINE   a snapshot of the toy, ready with its first line of serial output
#   start_native_runner        bridge network in a namespace of its own, users of their own for the VMMs
#   vm_api ID METHOD CALL [BODY]    asks the VMM itself; sets $code, $out
#   ticks ID                   the last tick that the guest has written, -1 before the first
#   has_ticked ID N            it has written one beyond N
ch=${CLOUD_HYPERVISOR:-cloud-hypervisor}

need_native() {
    [ "$(id -u)" = 0 ] || skip_all "needs root"
    command -v "$ch" >/dev/null || skip_all "no cloud-hypervisor in PATH, and CLOUD_HYPERVISOR does not name one"
    [ -c /dev/kvm ] || skip_all "needs /dev/kvm"
    [ -c /dev/net/tun ] || skip_all "needs /dev/net/tun"
    need ip nft nsenter unshare
    ip netns add "$netns" 2>/dev/null || skip_all "needs network namespaces"
    at_exit ip netns del "$netns"
    in_netns ip link set lo up
}

toy_snapshot() {
    local at=$root/snapshots/$1
    mkdir -p "$at"
    cp "$top_builddir/t/guest/toy" "$at/vmlinux"
    truncate -s 16M "$at/disk.raw"
    cat >"$at/manifest.json" <<JSON
{"schema": 1, "name": "$1", "kernel": "vmlinux", "cmdline": "$2", "ready": "serial",
 "disk": {"file": "disk.raw", "format": "raw", "sizeBytes": 16777216}}
JSON
    chmod -R go+rX "$root/snapshots"
}

write_native_config() {
    cat >"$dir/runner.yaml" <<YAML
listen: ["unix:$RUNNER_SOCKET"]
log: {level: debug}
timeouts: {stop: 5m, stop_grace: 2m}
hosts:
  - name: local
    root: $root
    run_dir: $dir/run
    capacity: $runner_capacity
    defaults: {cpus: 1, memory_mb: 128, min_memory_mb: 128, disk_gb: 1}
    transport: {plugin: local, cgroup: $cgroup_parent}
    vmm: {plugin: cloud-hypervisor, binary: $(command -v "$ch"), probe: none}
    network: {plugin: bridge, bridge: br0, uplink: none}
    ipam: {plugin: static-pool, range: 10.0.0.2-10.0.0.254, gateway: 10.0.0.1/24}
    disk: $runner_disk
YAML
}

kill_native_vms() {
    local file
    for file in "$root"/sandboxes/*/vmm.pid; do
        kill -KILL "$(grep -Eo '^[0-9]+' "$file")"
    done
}

# A device node of one's own: the machine's may be root's alone, and is not ours to change.
start_native_runner() {
    export RUNNER_SOCKET=$dir/api.sock
    if [ ! -d "$dir/run" ]; then
        chmod 711 "$dir"
        mkdir -p "$dir/run" "$root"
        mknod -m 0666 "$dir/kvm" c 10 232
        at_exit kill_native_vms
        at_exit eval 'kill -KILL $runner_pid'
    fi
    write_native_config
    # exec: the runner is to be the process that is waited for and killed
    nsenter --net="/run/netns/$netns" unshare -m sh -c 'mount --bind "$1" /dev/kvm && shift && exec "$@"' sh "$dir/kvm" \
        env -i PATH="$PATH" "$top_builddir/runner-ch" --config "$dir/runner.yaml" --plugin-dir "$top_builddir/plugins" \
        >>"$runner_log" 2>&1 </dev/null &
    runner_pid=$!
    await 60 runner_is_up && kill -0 "$runner_pid" 2>/dev/null && return
    diag "the runner did not come up"$'\n'"$(tail -n 20 "$runner_log")"
    return 1
}

vm_api() {
    local id=$1 method=$2 call=$3 body=${4-}
    code=$(curl -sS --max-time 60 --unix-socket "$dir/run/$id.sock" -X "$method" -o "$dir/.out" -w '%{http_code}' \
        ${body:+-d "$body"} "http://vmm/api/v1/$call" 2>"$dir/.err") || true
    out=$(cat "$dir/.out")
}

ticks() {
    local last
    last=$(grep -ao '^tick [0-9][0-9]*' "$root/sandboxes/$1/serial.log" | tail -n 1)
    last=${last#tick }
    echo "${last:--1}"
}

has_ticked() {
    [ "$(ticks "$1")" -gt "$2" ]
}
