# A hypervisor host for tests, on top of lib.sh: . lib-host.sh after it. A Debian machine under QEMU with an emulated SVM
# CPU and IOMMU, so that it has a KVM of its own; in it the installed runner, the guest image "tiny" and Cloud Hypervisor.
# QEMU and its user network live in a network namespace of the test's own. Slow and delicate (see README.md): one machine
# a test, at most four guests in it at a time.
#   need_host                 skips the whole test unless this machine can make one; sets $cloud_hypervisor
#   start_host                brings one up, at the second try if need be
#   restart_host              ends it, brings up another that is as the first was
#   host_kernel=stock         before it: Debian's own, not that of backports
#   host_images=FOLDER        before it: bases/, boot/ and snapshots/ of images that were pulled here, to be there as well
#   host_files=(PATH...)      before it: of the build folder, to be there in $host_tests, under the same paths
#   on_host SECONDS COMMAND   runs a shell command there as root, at most so long
cache=${RUNNER_TEST_CACHE:-/var/cache/runner-ch-test}
host_netns=rh-${dir##*.}
host_dir=$dir/host
host_pid=
host_files=()
host_tests=/t/tests

need_host() {
    [ "$(id -u)" = 0 ] || skip_all "needs root"
    need qemu-system-x86_64 ip nsenter ssh ssh-keygen mmdebstrap mke2fs cpio
    cloud_hypervisor=${CLOUD_HYPERVISOR:-$(command -v cloud-hypervisor || true)}
    [ -x "$cloud_hypervisor" ] || skip_all "needs cloud-hypervisor in PATH or CLOUD_HYPERVISOR"
    ip netns add "$host_netns" 2>/dev/null || skip_all "needs network namespaces"
    at_exit ip netns del "$host_netns"
    in_host_netns ip link set lo up
}

in_host_netns() { nsenter --net="/run/netns/$host_netns" "$@"; }

# ---- what the test brings ----

host_ssh_files() { # TREE
    mkdir -p "$1/ssh"
    ssh-keygen -q -t ed25519 -N '' -C test -f "$host_dir/key"
    ssh-keygen -q -t ed25519 -N '' -C host -f "$1/ssh/host_key"
    cp "$host_dir/key.pub" "$1/ssh/authorized_keys"
    echo "[127.0.0.1]:2222 $(cut -d' ' -f1,2 "$1/ssh/host_key.pub")" >"$host_dir/known_hosts"
    cat >"$1/ssh/sshd_config" <<'TXT'
HostKey /t/ssh/host_key
AuthorizedKeysFile /t/ssh/authorized_keys
PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
TXT
}

# The scripts find there what they find in a build folder; it is what was installed.
host_build_folder() { # TREE
    mkdir -p "$1/build/t/run"
    ln -s "$host_prefix/sbin/runner-ch" "$1/build/runner-ch"
    ln -s "$host_prefix/bin/runnerctl" "$1/build/runnerctl"
    ln -s "$host_prefix/lib/runner-ch" "$1/build/plugins"
    cp "$top_builddir/t/run/json-get" "$1/build/t/run/"
    mkdir "$1/tests"
    [ ${#host_files[@]} = 0 ] || (cd "$top_builddir" && cp --parents "${host_files[@]}" "$1/tests/")
}

# The second disk, mounted at /t: what make install makes, the scripts, images, Cloud Hypervisor.
make_host_data() {
    local tree=$host_dir/data
    mkdir -p "$tree/install/usr/local/bin" "$tree/src/t"
    make -s -C "$top_builddir" install DESTDIR="$tree/install" >"$host_dir/install.log" 2>&1 || return
    host_prefix=$(cd "$tree/install" && find . -name runner-ch -path '*/sbin/*')
    host_prefix=${host_prefix#.}
    host_prefix=${host_prefix%/sbin/runner-ch}
    host_build_folder "$tree"
    host_ssh_files "$tree"
    cp -r "$top_srcdir"/t/{run,rig,host} "$tree/src/t/"
    cp "$cloud_hypervisor" "$tree/install/usr/local/bin/cloud-hypervisor"
    mkdir -p "$tree/snapshots"
    cp -r --sparse=always "$cache/snapshots/tiny" "$tree/snapshots/"
    [ -z "${host_images:-}" ] || cp -r --sparse=always "$host_images"/{bases,boot,snapshots} "$tree/" || return
    truncate -s 1G "$host_dir/data.raw"
    mke2fs -q -t ext4 -L data -m 0 -O ^has_journal -d "$tree" "$host_dir/data.raw"
}

# ---- the machine ----

# The processor is one that KVM works on when it is emulated; each word of this is known to matter. The devices are
# for tests of device assignment.
spawn_host() {
    # Not by in_host_netns: of a function in the background the shell knows its own copy, not the program.
    TMPDIR=$host_dir nsenter --net="/run/netns/$host_netns" qemu-system-x86_64 \
        -nodefaults -no-user-config -display none -no-reboot -M q35 \
        -accel tcg,thread=multi,tb-size=1024 -cpu max,la57=off,pku=off -smp 2 -m 6144 \
        -kernel "$host_image/vmlinuz" -initrd "$host_image/initrd.img" \
        -append "console=ttyS0 panic=-1 no_timer_check intel_iommu=on mitigations=off nokaslr tsc=reliable kvm_amd.vgif=0 \
kvm_amd.vls=0 kvm_amd.avic=0" \
        -drive "if=none,id=root,format=raw,snapshot=on,file=$host_image/root.raw" -device virtio-blk-pci,drive=root \
        -drive "if=none,id=data,format=raw,readonly=on,file=$host_dir/data.raw" -device virtio-blk-pci,drive=data \
        -netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22 -device virtio-net-pci,netdev=net,romfile= \
        -device intel-iommu,intremap=on -device bochs-display -device edu -device e1000e,romfile= \
        -serial "file:$host_dir/console" </dev/null >"$host_dir/qemu.log" 2>&1 &
    host_pid=$!
}

host_last_words() {
    cat "$host_dir/qemu.log"
    tail -n 20 "$host_dir/console" | tr -d '\0\r'
}

host_is_ready_or_gone() { ! kill -0 $host_pid 2>/dev/null || grep -qa '^host: ready' "$host_dir/console"; }

try_host() {
    : >"$host_dir/console"
    spawn_host
    await 180 host_is_ready_or_gone && kill -0 $host_pid 2>/dev/null && on_host 60 true && return
    diag "$(host_last_words)"
    end_host
    return 1
}

start_host() {
    mkdir -p "$host_dir"
    host_image=$("$top_srcdir/t/host/make-host" "$cache/host" ${host_kernel:+"$host_kernel"} 2>"$host_dir/make.log") ||
        { diag "$(tail -n 20 "$host_dir/make.log")"; return 1; }
    "$top_builddir/runner-image" build tiny --root "$cache" --guestd "$top_builddir/guest/runner-guestd" \
        >"$host_dir/image.log" 2>&1 || { diag "$(tail -n 20 "$host_dir/image.log")"; return 1; }
    make_host_data || { diag "$(tail -n 20 "$host_dir/install.log")"; return 1; }
    at_exit end_host
    boot_host
}

boot_host() { try_host || { diag "once more: emulation of this kind sometimes fails to boot" && try_host; }; }

end_host() {
    kill -KILL $host_pid 2>/dev/null
    wait $host_pid 2>/dev/null
}

restart_host() {
    end_host
    boot_host
}

on_host() {
    local limit=$1
    shift
    in_host_netns timeout -k 5 "$limit" ssh -F /dev/null -i "$host_dir/key" -o BatchMode=yes -o IdentitiesOnly=yes \
        -o UserKnownHostsFile="$host_dir/known_hosts" -o GlobalKnownHostsFile=/dev/null -o ConnectTimeout=30 \
        -o ServerAliveInterval=15 -o LogLevel=ERROR -p 2222 root@127.0.0.1 "$@" </dev/null
}
