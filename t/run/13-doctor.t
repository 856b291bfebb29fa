#!/usr/bin/env bash
# tier: component
# runner-ch doctor: on a host that is well, and in worlds that lack one thing each, made of mount and network namespaces.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
export RUNNER_SOCKET=$dir/api.sock
mkdir -p "$dir/bin" "$dir/run" "$root"
ln -s "$top_builddir/t/fake/fake-qemu" "$vmm"
make_snapshot tiny
runner_capacity="{}"
write_config

# doctor ARG...: with the configuration of this test; in the world that world_setup makes.
world_prefix=()
world_setup=
export doctor_config=$dir/runner.yaml
doctor() {
    local words
    printf -v words '%q ' env -i PATH="$PATH" TMPDIR="$dir" LC_ALL=C.UTF-8 \
        ${ASAN_OPTIONS:+ASAN_OPTIONS="$ASAN_OPTIONS"} ${UBSAN_OPTIONS:+UBSAN_OPTIONS="$UBSAN_OPTIONS"} \
        "$top_builddir/runner-ch" doctor --config "$doctor_config" --plugin-dir "$top_builddir/plugins" "$@"
    run "${world_prefix[@]}" bash -euc "$world_setup
$words"
}

# in_world SCRIPT [ARG...]: doctor where SCRIPT was run before, in a mount namespace of its own.
in_world() {
    world_setup=$1
    shift
    world_prefix=(unshare --mount --propagation private --)
    doctor "$@"
    world_prefix=()
    world_setup=
}

# says NAME TOPIC LEVEL [REGEX]: the finding; fixed_by NAME TOPIC REGEX: the command that mends it.
line_of() { grep -A1 -E "^(ok|warn|FAIL|skip) +$1 " <<<"$out"; }
says() { like "$1" "$(line_of "$2" | head -n 1)" "^$3 +$2 +.*${4-}"; }
fixed_by() { like "$1" "$(line_of "$2" | sed -n 2p)" "^ +fix: .*$3"; }
files() { find "$dir" -mindepth 1 ! -name '.[oe]*' -printf '%P\n' | sort; }

# ---- a host that is well ----

doctor
is "nothing fails" "$code $(grep -c ^FAIL <<<"$out")" "0 0"
says "QEMU" qemu ok 'is QEMU 7\.2'
says "KVM is not tried when the configuration says so" qemu-kvm skip
says "the configuration" configuration ok "$doctor_config"
says "the socket" listen ok "unix:$RUNNER_SOCKET: free"
says "the root" root ok 'writable'
says "the snapshots" snapshots ok '1 below'
says "the kernel" kernel ok "Linux $(uname -r)"
says "the capacity" capacity '(ok|warn)' "$(getconf _NPROCESSORS_ONLN) CPUs? times capacity.cpu_overcommit 8|not enough"
like "the last line counts" "$(tail -n 1 <<<"$out")" '^[0-9]+ ok, [0-9]+ warn, 0 FAIL, [0-9]+ skip$'
unlike "no colour where nobody looks" "$out" $'\033'
is "nothing on standard error" "$err" ""
text=$out

before=$(files)
doctor --json
is "as JSON: status" "$code" 0
is "nothing is left behind" "$(files)" "$before"
is "nothing hidden either" "$(find "$dir" -name '.doctor-*' 2>/dev/null)" ""
if command -v python3 >/dev/null; then
    # The same findings in both forms, but of what others take meanwhile; keys and their types.
    settled() { sed -E 's/^[a-zA-Z]+ (memory|capacity|space)$/- \1/'; }
    python3 -c '
import json, sys
for f in json.load(sys.stdin):
    assert list(f) == ["host", "part", "topic", "level", "text", "fix"], f
    assert f["level"] in ("ok", "warn", "fail", "skip"), f
    assert (f["host"] is None) == (f["part"] == "runner"), f
    assert f["fix"] is None or isinstance(f["fix"], str), f
    print(f["level"].replace("fail", "FAIL"), f["topic"])
' >"$dir/.json" 2>&1 < <(doctor --json; printf '%s\n' "$out")
    is "both forms say the same" "$(settled <"$dir/.json")" \
        "$(sed -nE 's/^(ok|warn|FAIL|skip) +([a-z0-9-]+) .*/\1 \2/p' <<<"$text" | settled)"
else
    skip "python3 is not installed" 1
fi

doctor --host local
is "one host" "$code" 0
doctor --host elsewhere
is "a host that is not configured" "$code $out" "2 "
like "is named" "$err" "no host 'elsewhere'"
run "$top_builddir/runner-ch" --json
is "--json is doctor's" "$code" 2

run env NO_COLOR= script -qec "stty cols 70; '$top_builddir/runner-ch' doctor --config '$doctor_config' \
    --plugin-dir '$top_builddir/plugins' 2>'$dir/progress'" /dev/null
is "a terminal gets no line beyond its width, but commands and long words" \
    "$(tr -d '\r' <<<"$out" | sed 's/\x1b\[[0-9;]*[mK]//g' | grep -v fix: | awk 'length > 70 && NF > (/^ / ? 1 : 3)' | head -n 1)" ""

# ---- the runner's own ----

write_config
sed -i 's/^api:.*/nonsense: true/' "$doctor_config"
doctor
is "a wrong configuration: status" "$code" 1
says "it is said" configuration FAIL 'nonsense'
doctor --json
is "as JSON too" "$(json 0.level)" fail
write_config '    daemon: /nonexistent/daemon'
doctor
says "a configured daemon that is missing" daemon FAIL '/nonexistent/daemon: No such file'
write_config $'    defaults: {snapshot: large}\ntimeouts: {ready: 10m}'
doctor
says "a default snapshot that is missing" default-snapshot FAIL "no snapshot 'large'"
fixed_by "and how it is made" default-snapshot 'runner-image build'
says "time-outs that cannot be" timeouts warn 'timeouts.ready'
make_snapshot large
rm "$root/snapshots/large/vmlinux"
doctor
says "a default snapshot without its kernel" default-snapshot FAIL "vmlinux' is missing"

start_runner
doctor
says "a running runner has the socket" listen ok 'a running runner-ch'
is "which is fine" "$code" 0
stop_runner
if command -v python3 >/dev/null; then
    python3 -c '
import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()
t = socket.socket(); t.bind(("127.0.0.1", 0)); t.listen()
print(t.getsockname()[1], flush=True)
while True:
    time.sleep(60)' "$RUNNER_SOCKET" >"$dir/port" &
    other=$!
    at_exit eval 'kill $other'
    await 60 test -s "$dir/port"
    write_config
    sed -i "s/127.0.0.1:0/127.0.0.1:$(cat "$dir/port")/" "$doctor_config"
    doctor
    says "another program has the socket" listen FAIL "$RUNNER_SOCKET"
    like "or the port" "$out" "FAIL +listen +listen on '127.0.0.1:$(cat "$dir/port")': Address already in use"
    like "and how to see which" "$out" "fix: ss -tlnp sport = :$(cat "$dir/port")"
    kill "$other"
    wait "$other" 2>/dev/null
    other= # its number may be another's by the end
    write_config
    doctor
    says "a socket left behind is no matter" listen ok "$RUNNER_SOCKET: free"
else
    skip "python3 is not installed" 4
fi

# ---- vmm ----

rm "$vmm"
printf '#!/bin/sh\necho broken >&2\nexit 1\n' >"$vmm"
chmod +x "$vmm"
doctor
is "a QEMU that fails: status" "$code" 1
says "it is quoted" qemu FAIL 'broken'
rm "$vmm"
doctor
says "no QEMU where the configuration says" qemu FAIL "QEMU '$vmm'"
like "that is told, and by which key" "$(tr -s ' \n' ' ' <<<"$out")" "\(vmm: \{binary: $vmm\} in the configuration"
unlike "and no package would mend it" "$(line_of qemu)" 'apt-get'
sed -i "s|binary: $vmm|binary: qemu-none-such|" "$doctor_config"
doctor
says "no QEMU" qemu FAIL 'QEMU'
fixed_by "and where it is" qemu 'apt-get install -y .*qemu-system-x86'
write_config
ln -s "$top_builddir/t/fake/fake-qemu" "$vmm"

says "which VMM that leaves: none" vmm FAIL 'none works: qemu'
ln -s "$top_builddir/t/fake/fake-qemu" "$vmm"
doctor
says "and with it" vmm ok 'qemu runs new sandboxes'

# Candidates: the first that works is used, and those that do not are no failure then.
sed -i "s|vmm: {.*|vmm: [{plugin: cloud-hypervisor, binary: /nonexistent/ch}, {plugin: qemu, binary: $vmm, accel: tcg}]|" \
    "$doctor_config"
doctor
is "a candidate that is missing: status" "$code" 0
says "it is told" cloud-hypervisor warn "/nonexistent/ch"
says "and which is used instead" vmm ok 'qemu runs new sandboxes; does not work: cloud-hypervisor'
says "one that knows no user network" vmm-network warn 'cloud-hypervisor has no part in the network user'
rm "$vmm"
doctor
is "none that works: status" "$code" 1
says "it is told" vmm FAIL 'none works: cloud-hypervisor, qemu'
ln -s "$top_builddir/t/fake/fake-qemu" "$vmm"
write_config

if [ -w /dev/kvm ]; then
    sed -i 's/accel: tcg/accel: auto/' "$doctor_config"
    vm_wish "" "kvm work"
    doctor
    says "a KVM that runs a guest" qemu-kvm ok 'ran a'
    vm_wish "" "kvm hang"
    "$top_builddir/runner-ch" doctor --config "$doctor_config" --plugin-dir "$top_builddir/plugins" >"$dir/.out" 2>"$dir/.err" &
    ok "a trial is under way" await 60 compgen -G "$root/probe-*"
    kill -INT $! # once: a second one would end it there and then
    wait $!
    is "interrupted in it" "$? $(find "$root" -name 'probe-*')" "1 "
    like "what was found by then is there" "$(cat "$dir/.out")" '^ok +kernel'
    vm_wish ""
    doctor
    says "a KVM that runs none is not remembered for good" qemu-kvm warn 'emulated'
    sed -i 's/accel: auto/accel: kvm/' "$doctor_config"
    doctor
    says "nor is it good enough where it must be" qemu-kvm FAIL
    write_config
else
    skip "/dev/kvm cannot be opened" 6
fi

# ---- worlds ----

[ "$(id -u)" = 0 ] || { skip "needs root: namespaces" 1; done_testing; }
unshare --mount --net true 2>/dev/null || { skip "no namespaces can be made here" 1; done_testing; }

in_world "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; mknod -m 444 /dev/urandom c 1 9"
says "no /dev/kvm" kvm warn
fixed_by "its module" kvm 'modprobe kvm_intel'
says "nobody else needs to reach it" kvm-user skip

write_file() { printf '%b' "$2" >"$dir/$1"; }
write_file osrelease '4.19.0-27-amd64\n'
in_world "mount --bind $dir/osrelease /proc/sys/kernel/osrelease"
says "an old kernel" kernel FAIL 'at least 5\.4'
write_file osrelease '5.10.0-33-amd64\n'
in_world "mount --bind $dir/osrelease /proc/sys/kernel/osrelease"
says "one without landlock" kernel warn
write_file cpuinfo 'flags\t\t: fpu vmx sse2\n'
in_world "mount --bind $dir/cpuinfo /proc/cpuinfo"
says "a processor with virtualization" cpu ok vmx
write_file cpuinfo 'flags\t\t: fpu sse2\n'
in_world "mount --bind $dir/cpuinfo /proc/cpuinfo"
says "one without" cpu warn
write_file meminfo 'MemTotal: 500000 kB\nMemAvailable: 400000 kB\nHugePages_Total: 8\nHugePages_Free: 6\nHugepagesize: 2048 kB\n'
in_world "mount --bind $dir/meminfo /proc/meminfo"
says "reserved huge pages" hugepages ok '6 of 8 free'
says "little memory" memory warn '390 MiB'
says "too little for one sandbox" capacity warn 'not enough memory: 1024 MiB asked for, 0 MiB free of 0 MiB \(488 MiB less'
if [ -e /proc/sys/kernel/seccomp/actions_avail ]; then
    in_world "mount -t tmpfs none /proc/sys/kernel/seccomp"
    says "no seccomp" seccomp warn
else
    skip "this kernel has no seccomp" 1
fi
if [ -d /sys/kernel/iommu_groups ]; then
    in_world "mount -t tmpfs none /sys/kernel/iommu_groups; mkdir /sys/kernel/iommu_groups/{0,1,2}
        mount -t tmpfs none /sys/bus/pci/drivers"
    says "IOMMU groups without the driver" iommu skip '3 IOMMU groups'
    fixed_by "its module" iommu 'modprobe vfio-pci'
    in_world "mount -t tmpfs none /sys/kernel/iommu_groups; mkdir /sys/kernel/iommu_groups/{0,1,2}
        mount -t tmpfs none /sys/bus/pci/drivers; mkdir /sys/bus/pci/drivers/vfio-pci"
    says "with it" iommu ok
else
    skip "this kernel has no IOMMU groups" 3
fi
in_world "umount -l /sys/fs/cgroup"
says "no cgroups" cgroup warn 'not mounted'
fix=$(line_of cgroup | sed -n 's/^ *fix: //p')
in_world "umount -l /sys/fs/cgroup; $fix"
unlike "they are after the fix" "$(line_of cgroup)" 'not mounted|no cgroup can'
cgroup2=$(sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - cgroup2 .*/\1/p' /proc/self/mountinfo | head -n 1)
if [ -n "$cgroup2" ]; then
    in_world "mount -o remount,ro,bind $cgroup2"
    says "cgroups that cannot be written" cgroup warn 'no cgroup can be made'
    fix=$(line_of cgroup | sed -n 's/^ *fix: //p')
    in_world "mount -o remount,ro,bind $cgroup2; $fix"
    unlike "and can after the fix" "$(line_of cgroup)" 'read-only|no cgroup can'
else
    skip "cgroup version 2 is not mounted here" 2
fi
chmod 700 "$dir"
doctor
says "a VMM's own user that cannot get to its sandbox" vmm-user warn "cannot pass $dir,"
fix=$(line_of vmm-user | sed -n 's/^ *fix: //p')
bash -c "$fix"
doctor
says "and can after the fix" vmm-user ok
sed -i 's|^    root:|    uids: none\n    root:|' "$doctor_config"
doctor
says "one that is not to be" vmm-user warn 'uids: none'
write_config

# A /dev of its own, with another mode of /dev/kvm.
dev="mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; mknod -m 444 /dev/urandom c 1 9; mknod -m 600 /dev/kvm c 10 232"
in_world "$dev"
says "a /dev/kvm that is root's only" kvm-user warn
fix=$(line_of kvm-user | sed -n 's/^ *fix: //p')
in_world "$dev; ${fix//groupadd -rf kvm && chgrp kvm/chgrp 1234}"
says "and not after the fix" kvm-user ok

# ---- file systems ----

in_world "mount -t tmpfs none $root"
says "a file system without reflink" reflink warn 'tmpfs'
says "no snapshots" snapshots warn
fixed_by "how one is made" snapshots "runner-image build tiny --root $root"
says "no storage: nothing to boot images with is needed" image-kernel skip
if [ -f "$top_builddir/plugins/storage/oci.so" ]; then
    runner_storage='{plugin: oci}'
    write_config
    doctor
    says "the program that speaks to registries" registry-client ok 'runner-oci [0-9]'
    says "what it may do here is tried" registry-client-confined '(ok|warn)' '(user [0-9]+, its own view|: )'
    says "nothing to boot images with" image-kernel warn
    fixed_by "how that is made" image-kernel "runner-image boot --force --root $root"
    make_boot_kit
    doctor
    says "then it is there" image-kernel ok "$root/boot"
    rm "$root/boot/vmlinux"
    doctor
    says "but for its kernel" image-kernel warn "'$root/boot/vmlinux' is missing"
    runner_storage="{plugin: oci, program: $dir/none}"
    write_config
    doctor
    says "no program that speaks to registries" registry-client FAIL "$dir/none"
    rm -r "$root/boot"
    runner_storage=none
    write_config
else
    skip "storage/oci is not built" 7
fi
in_world "mount -t tmpfs -o size=8m none $root"
is "a full file system: status" "$code" 1
says "it is said" space FAIL '8 MiB'
in_world "mount -t tmpfs -o size=300m none $root"
says "a small one" space warn
in_world "mount -t tmpfs -o ro none $root"
says "one that cannot be written" root FAIL 'Read-only file system'
says "where nothing can be tried" reflink skip
for type in btrfs xfs; do
    if ! command -v mkfs.$type >/dev/null; then
        skip "mkfs.$type is not installed" 1
        continue
    fi
    truncate -s 400M "$dir/image"
    ok=no
    mkfs.$type -q "$dir/image" >"$dir/mkfs" 2>&1 && in_world "mount -o loop $dir/image $root" && ok=yes
    rm -f "$dir/image"
    if [ $ok = yes ] && [ -n "$out" ]; then
        says "$type" reflink ok "$type"
    else
        skip "no $type can be mounted here: $err" 1
    fi
done

# ---- network/bridge ----

runner_network=$'{plugin: bridge, bridge: brdoc0, address: 198.51.100.1/24}\n    ipam: {plugin: static-pool, range: 198.51.100.2-198.51.100.9, gateway: 198.51.100.1/24}'
write_config
net() { # SCRIPT: in a network namespace of its own too
    world_setup=$1
    world_prefix=(unshare --mount --propagation private --net --)
    doctor
    world_prefix=()
    world_setup=
}
if ! command -v nft >/dev/null || ! command -v ip >/dev/null; then
    skip "nft or ip is not installed" 20
else
    route="ip link add up0 type bridge; ip link set up0 up; ip route add default dev up0"
    net "$route; trap 'ip -br link >$dir/links; nft list ruleset >>$dir/links' EXIT"
    is "a bridge can be made: status" "$code" 0
    says "TAPs" tap ok
    says "what a port holds back" ports ok
    says "rules" nftables ok brdoc0
    says "connections" connections ok
    says "limits of bandwidth" bandwidth ok
    says "the uplink" uplink ok up0
    says "forwarding" forwarding ok up0
    says "addresses" addresses ok '8 to lease, gateway 198\.51\.100\.1/24'
    says "and the gateway is the bridge" gateway ok
    is "nothing of it is left" "$(awk '{print $1}' "$dir/links" | sort | tr '\n' ' ')" "lo up0 "
    sed -i 's|gateway: 198.51.100.1/24|gateway: 198.51.100.10/24|' "$doctor_config"
    net "$route"
    is "one that is not: status" "$code" 1
    says "both are named" gateway FAIL "address is 198\.51\.100\.1/24 .*gateway 198\.51\.100\.10 "
    write_config
    net true
    says "no default route" uplink warn
    chain="nft add table ip filter; nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'"
    net "$route; $chain"
    says "a firewall that drops what guests send" firewall warn 'FORWARD'
    fix=$(line_of firewall | sed -n 's/^ *fix: //p')
    net "$route; $chain; $fix"
    says "and does not after the fix" firewall ok
    docker="$chain; nft add chain ip filter DOCKER-USER; nft add rule ip filter FORWARD jump DOCKER-USER"
    net "$route; $docker"
    fixed_by "one that has a place for others' rules" firewall 'DOCKER-USER iifname brdoc0'
    net "$route; $docker; $(line_of firewall | sed -n 's/^ *fix: //p')"
    says "and does not after the fix" firewall ok
    held="nft add table bridge other; nft add chain bridge other f '{ type filter hook forward priority 0; policy drop; }'"
    net "$route; $held"
    says "frames that nobody lets pass" ports warn "somebody's rules"
    fixed_by "who that is" ports 'nft list ruleset'
    net "$route; mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; mknod -m 444 /dev/urandom c 1 9"
    says "no /dev/net/tun" tap FAIL
    fixed_by "its module" tap 'modprobe tun'
    net "$route; mount --bind /dev/null $(command -v nft)"
    says "no nft" nftables FAIL 'not installed'
    fixed_by "its package" nftables 'apt-get install -y nftables'
    net "$route; mount -t proc proc /proc; mount -o bind,ro /proc/sys /proc/sys"
    says "a /proc/sys that cannot be written" forwarding FAIL 'Read-only'
fi

# ---- nobody ----

chmod 711 "$dir" "$dir/bin"
chmod 644 "$doctor_config"
as_nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups --)
if "${as_nobody[@]}" test -x "$top_builddir/runner-ch" -a -x "$vmm"; then
    world_prefix=(unshare --net -- "${as_nobody[@]}")
    doctor
    is "as nobody: status" "$code" 1
    says "who that is" transport ok 'as nobody'
    says "the root" root FAIL 'Permission denied'
    fixed_by "who may make it" root "install -d -o nobody $root"
    says "the bridge" tap FAIL 'not permitted'
    says "rules" nftables FAIL 'not permitted'
    says "no user for a VMM but its own" vmm-user warn 'run as nobody'
    says "QEMU runs all the same" qemu ok
    world_prefix=()
else
    skip "nobody cannot reach the build folder" 8
fi
done_testing
