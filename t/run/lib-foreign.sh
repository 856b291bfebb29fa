# For tests of hosts that an older runner filled, on top of lib.sh. The files are t/run/foreign/*.json.
#   foreign ID FORM             a sandbox of that runner, not running: disk, cloud-init.iso, ip, config.json of the form
#                               (vm, record)
#   foreign_text ID FORM        such a config.json
#   foreign_start ID            its Cloud Hypervisor, started by hand as that runner does it; sets $foreign_pid
#   vm_call ID METHOD CALL [BODY]   asks the VMM itself; sets $code, $out
#   foreign_mac ID    foreign_tap ID    foreign_address ID
foreign_binary=        # the Cloud Hypervisor; default: $vmm
foreign_prefix=()      # words before it
foreign_pid=

foreign_mac() {
    printf 02
    printf %s "$1" | sha256sum | cut -c1-10 | sed 's/../:&/g'
}

foreign_tap() {
    printf 'tap-%.11s' "$1"
}

# Of t/fake/loopback.h.
foreign_address() {
    local mac
    mac=$(foreign_mac "$1")
    echo "127.$((1 + 0x${mac:9:2} % 254)).$((0x${mac:12:2})).$((1 + 0x${mac:15:2} % 254))"
}

foreign_text() {
    sed "s|@ROOT@|$root|g; s|@DIR@|$root/sandboxes/$1|g; s|@ID@|$1|g; s|@TAP@|$(foreign_tap "$1")|g
        s|@MAC@|$(foreign_mac "$1")|g" "$top_srcdir/t/run/foreign/$2.json"
}

foreign() {
    local at=$root/sandboxes/$1
    mkdir -p "$at"
    qemu-img create -q -f qcow2 -F raw -b "$root/snapshots/tiny/disk.raw" "$at/disk.qcow2" 1G
    printf 'older seed' >"$at/cloud-init.iso"
    truncate -s 4096 "$at/cloud-init.iso"
    foreign_address "$1" >"$at/ip"
    foreign_text "$1" "$2" >"$at/config.json"
}

vm_call() {
    code=$(curl -sS --max-time 60 --unix-socket "$dir/run/$1.sock" -X "$2" -o "$dir/.out" -w '%{http_code}' \
        ${4:+-d "$4"} "http://localhost/api/v1/$3" 2>"$dir/.err") || true
    out=$(cat "$dir/.out")
}

foreign_start() {
    "${foreign_prefix[@]}" "${foreign_binary:-$vmm}" --api-socket "$dir/run/$1.sock" \
        >"$root/sandboxes/$1/cloud-hypervisor.log" 2>&1 </dev/null &
    foreign_pid=$!
    disown $foreign_pid
    at_exit kill -KILL $foreign_pid
    await 60 curl -fsS --unix-socket "$dir/run/$1.sock" http://localhost/api/v1/vmm.ping &&
        vm_call "$1" PUT vm.create "$(foreign_text "$1" vm)" && [ "$code" = 204 ] &&
        vm_call "$1" PUT vm.boot && [ "$code" = 204 ] && return
    diag "the VMM of $1 does not start: $code $out"$'\n'"$(tail -n 5 "$root/sandboxes/$1/cloud-hypervisor.log")"
    return 1
}
