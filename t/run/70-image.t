#!/usr/bin/env bash
# tier: vm
# runner-image makes "tiny" from Debian's packages; what it says no to. RUNNER_TEST_CACHE keeps the packages between runs.
. "${top_srcdir:-.}/t/run/lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root"
PATH=$PATH:/usr/sbin:/sbin
need apt-get dpkg-deb mke2fs debugfs e2fsck cpio lz4 xz zstd flock python3
[ "$(dpkg --print-architecture)" = amd64 ] || skip_all "this machine is not amd64"
guestd=$top_builddir/guest/runner-guestd
[ -x "$guestd" ] || skip_all "the guest daemon is not built"
! grep -qaF /lib64/ld-linux-x86-64.so "$guestd" || skip_all "the guest daemon is not static in this build"
cache=${RUNNER_TEST_CACHE:-/var/cache/runner-ch-test}
[ -d "$cache/packages" ] || apt-cache policy linux-image-cloud-amd64 | grep -q 'Candidate: [0-9]' ||
    apt-get update -qq >/dev/null 2>&1 || skip_all "apt has no package lists and cannot fetch them"

root=$dir/root
image() { "$top_builddir/runner-image" "$@"; }
tiny() { image build tiny --root "$root" --guestd "$guestd" --cache "$cache" "$@"; }
member() { python3 -c 'import functools, json, sys
print(functools.reduce(lambda o, k: o[k], sys.argv[2].split("."), json.load(open(sys.argv[1]))))' "$@"; }
on_disk() { debugfs -R "$1" "$snapshot/disk.raw" 2>/dev/null; }

run tiny
is "tiny is built" "$code" 0 || diag "$out$err"
like "its last line says where" "$out" "^\[ *[0-9.]+ s\] made $root/snapshots/tiny \([0-9]+ MiB\)$"
snapshot=$root/snapshots/tiny
manifest=$snapshot/manifest.json
is "nothing but the snapshot is left" "$(ls -A "$root/snapshots")" tiny
is "files" "$(ls "$snapshot" | tr '\n' ' ')" "disk.raw initramfs.img manifest.json vmlinux "

for pair in schema=1 name=tiny arch=x86_64 disk.file=disk.raw disk.format=raw kernel=vmlinux initramfs=initramfs.img \
    daemon=True init=runner-guestd; do
    is "manifest: ${pair%%=*}" "$(member "$manifest" "${pair%%=*}")" "${pair#*=}"
done
is "manifest: disk.sizeBytes is the disk's" "$(member "$manifest" disk.sizeBytes)" "$(stat -c %s "$snapshot/disk.raw")"
like "manifest: the command line names the serial console" "$(member "$manifest" cmdline)" '(^| )console=ttyS0( |$)'

ok "the kernel is an ELF program with a PVH entry point" python3 - "$snapshot/vmlinux" <<'PY'
import struct, sys
data = open(sys.argv[1], "rb").read()
assert data[:6] == b"\x7fELF\x02\x01", data[:6]
offset, = struct.unpack_from("<Q", data, 32)
size, count = struct.unpack_from("<HH", data, 54)
notes, loads = {}, []
for i in range(count):
    kind, _, at, _, physical, length, memory, _ = struct.unpack_from("<IIQQQQQQ", data, offset + i * size)
    if kind == 1:
        loads.append((physical, physical + memory))
    while kind == 4 and length > 0:
        name_size, size_, note = struct.unpack_from("<III", data, at)
        name_padded, padded = (name_size + 3) & ~3, (size_ + 3) & ~3
        name = data[at + 12:at + 12 + name_size]
        notes[name, note] = data[at + 12 + name_padded:at + 12 + name_padded + size_]
        at, length = at + 12 + name_padded + padded, length - 12 - name_padded - padded
entry = int.from_bytes(notes[b"Xen\0", 18], "little")
assert any(low <= entry < high for low, high in loads), hex(entry)
PY

mkdir "$dir/initramfs"
ok "the initramfs is a cpio archive" sh -c "cd '$dir/initramfs' && cpio --quiet -id <'$snapshot/initramfs.img'"
ok "its /init is the guest daemon" cmp "$dir/initramfs/init" "$guestd"
for name in virtio_pci virtio_blk virtio_net virtio_rng virtio_balloon virtio_console vmw_vsock_virtio_transport isofs \
    button evdev pvpanic_pci; do
    ok "it loads $name" grep -qx "/lib/modules/$name.ko" "$dir/initramfs/lib/modules/load"
done
ok "a module comes after those it depends on, and all are there, without signature" python3 - "$dir/initramfs" <<'PY'
import sys
top = sys.argv[1]
seen = []
for line in open(top + "/lib/modules/load"):
    data = open(top + line.strip(), "rb").read()
    assert data[:4] == b"\x7fELF" and not data.endswith(b"~Module signature appended~\n"), line
    depends = next(x for x in data.split(b"\0") if x.startswith(b"depends="))[8:].decode()
    for name in filter(None, depends.split(",")):
        assert name.replace("-", "_") in seen, (line, name)
    seen.append(line.strip().rsplit("/", 1)[1][:-3])
assert len(seen) == len(set(seen)) > 10, seen
PY

ok "the disk's file system is sound" e2fsck -fn "$snapshot/disk.raw"
like "it is Debian" "$(on_disk 'cat /usr/lib/os-release')" '^ID=debian$'
like "it has a root user" "$(on_disk 'cat /etc/passwd')" '^root:x:0:0:'
like "it has the user daytona" "$(on_disk 'cat /etc/passwd')" '^daytona:x:1000:1000:.*:/home/daytona:'
like "whose home is its own" "$(on_disk 'stat /home/daytona')" '^User: +1000 +Group: +1000 '
like "the rest is root's" "$(on_disk 'stat /etc')" '^User: +0 +Group: +0 '
like "it has a shell" "$(on_disk 'stat /bin/sh')" 'Fast link dest: "/bin/busybox"'
like "with execute permission" "$(on_disk 'stat /bin/busybox')" 'Type: regular +Mode: +0755'

made=$(stat -c %i "$snapshot/disk.raw")
run tiny
is "a second build succeeds" "$code" 0
like "and says that nothing has changed" "$out" 'is up to date$'
is "and leaves the files alone" "$(stat -c %i "$snapshot/disk.raw")" "$made"
run tiny --force
is "--force builds again" "$code $([ "$(stat -c %i "$snapshot/disk.raw")" != "$made" ] && echo other)" "0 other" ||
    diag "$out$err"
unlike "from the cache" "$out" downloading
run tiny --name team/tiny:2
is "another name" "$code $(member "$root/snapshots/team/tiny:2/manifest.json" name)" "0 team/tiny:2"

run image list --root "$root"
like "list: tiny" "$out" '^tiny  .*Linux [0-9]+\.[0-9]+.* MiB '
like "list: the other" "$out" '^team/tiny:2 '
mkdir -p "$root/snapshots/a/b/c/d/e/f/g/h" && cp "$manifest" "$root/snapshots/a/b/c/d/e/f/g/h/"
run image list --root "$root"
like "list: a name of as many parts as there may be" "$out" '^a/b/c/d/e/f/g/h '
rm -r "$root/snapshots/a"
run image show tiny --root "$root"
like "show: the manifest" "$out" '"kernel": "vmlinux"'

mkdir -p "$root/sandboxes/abc"
echo '{"schema":1,"id":"abc","snapshot":"tiny"}' >"$root/sandboxes/abc/runner.json"
run image remove tiny --root "$root"
is "remove: not while it is a base" "$code $err" "1 runner-image: snapshot 'tiny' is the base of the disks of: abc"
ok "and it is still there" test -s "$manifest"
run tiny --force
is "build --force: overwrites even so, being told" "$code" 0
rm -r "$root/sandboxes"
run image remove tiny --root "$root"
is "remove" "$code $(ls -A "$root/snapshots")" "0 team"
run image remove tiny --root "$root"
is "remove: what is not there" "$code $err" "1 runner-image: no snapshot 'tiny' in $root/snapshots"

run image remove ../snapshots --root "$root"
is "a name that leaves the folder" "$code $err" "1 runner-image: '../snapshots' is not a snapshot reference"
run tiny --name a//b
is "a name with an empty part" "$code $err" "1 runner-image: 'a//b' is not a snapshot reference"
run image build tiny --root "$root" --guestd /nowhere --cache "$cache"
is "no guest daemon" "$code $err" "1 runner-image: no guest daemon '/nowhere'; name it by --guestd"
run image build tiny --root "$root" --guestd "$(command -v bash)" --cache "$cache"
is "one that is not static" "$code $err" "1 runner-image: '$(command -v bash)' is not linked statically"
run image build windows --root "$root"
is "an image that is not known" "$code $err" "2 runner-image: no image 'windows'; try --help"
run image build tiny --root
is "an option without its value" "$code $err" "2 runner-image: --root needs a value; try --help"
run env PATH=/nowhere "$BASH" "$top_builddir/runner-image" build tiny --root "$root" --guestd "$guestd"
like "missing programs: names their packages" "$err" '^runner-image: programs are missing; install the packages:.* cpio( |$)'
run image --help
like "help" "$out" '^Usage: runner-image build tiny\|debian '
done_testing
