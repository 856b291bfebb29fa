# runner-image: how an image is made: its files, its manifests, when it need not be.
# shellcheck shell=bash

# make_disk TREE OUT MIB: an ext4 file system without partition table, made to be grown by its guest: tables for 1 TiB are
# set aside, and a journal that can hold them (beyond, Linux adds them elsewhere). What it grows into is known to be zero
# (noinit_itable), so the guest need not write it.
make_disk() {
    truncate -s "$3M" "$2"
    mke2fs -q -t ext4 -b 4096 -i 16384 -m 1 -L root -J size=8 -d "$1" \
        -E lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0,resize=268435456 "$2" ||
        die "mke2fs could not make a disk of $3 MiB"
    tune2fs -E mount_opts=noinit_itable "$2" >/dev/null
}

# Without cryptomgr.notests an emulated guest spends two thirds of the kernel's start on self-tests of ciphers. Memory that
# comes while the machine runs is used at once; processors are runner-guestd's to bring online, or udev's.
cmdline='console=ttyS0 quiet reboot=t panic=-1 no_timer_check cryptomgr.notests memhp_default_state=online'

write_manifest() { # KIND KEY
    local init=runner-guestd cmdline=$cmdline
    [ "$1" != debian ] || init=systemd cmdline+=' net.ifnames=0 runner.init=/sbin/init'
    cat >"$out/manifest.json" <<TXT
{
  "schema": 1,
  "name": "$ref",
  "version": "$image_version, Linux $kernel_version",
  "arch": "x86_64",
  "disk": {"file": "disk.raw", "format": "raw", "sizeBytes": $(stat -c %s "$out/disk.raw")},
  "kernel": "vmlinux",
  "initramfs": "initramfs.img",
  "cmdline": "$cmdline",
  "daemon": true,
  "init": "$init",
  "user": "root",
  "buildKey": "$2",
  "createdAt": "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
}
TXT
}

# All that an image is made of; nothing is done when it is as it was.
build_key() {
    { cat "${BASH_SOURCE[0]}" "$guestd" && package_sums; } | sha256sum | cut -d' ' -f1
}

check_guestd() {
    [ -r "$guestd" ] || die "no guest daemon '$guestd'; name it by --guestd"
    [ "$(head -c 4 "$guestd" | tr -d '\177')" = ELF ] || die "'$guestd' is no program"
    ! LC_ALL=C grep -qaF /lib64/ld-linux-x86-64.so "$guestd" || die "'$guestd' is not linked statically"
}

# The whole snapshot appears at once, or stays as it was.
publish() { # DIR
    local to=$1
    chmod 0644 "$out"/*
    chmod 0755 "$out"
    sync "$out"/*
    mkdir -p "${to%/*}"
    [ ! -e "$to" ] || mv -T "$to" "$work/old"
    mv -T "$out" "$to"
    sync "${to%/*}"
}

unpack_kernel() {
    local image
    fetch "$kernel_package"
    step "unpacking $kernel_package"
    mkdir -p "$work/kernel"
    dpkg-deb -x "$deb" "$work/kernel"
    image=$(compgen -G "$work/kernel/boot/vmlinuz-*") || die "$kernel_package has no /boot/vmlinuz"
    kernel_version=${image##*/vmlinuz-}
    extract_vmlinux "$image" "$out/vmlinux"
    make_initramfs "$work/kernel/lib/modules/$kernel_version" "$out/initramfs.img"
}

# Temporary files are beside the snapshots, since they are renamed.
make_work() {
    work=$(mktemp -d "$root/snapshots/.build.XXXXXX")
    trap 'rm -rf --one-file-system "$work"' EXIT
    trap 'exit 130' HUP INT TERM
}

is_up_to_date() { # KEY
    local manifest=$root/snapshots/$ref/manifest.json
    [ -z "$is_forced" ] && [ -e "$manifest" ] && [ "$(manifest_text "$manifest" buildKey)" = "$1" ]
}

prepare() { # KIND
    need_programs "$1"
    : "${cache:=$root/cache}" "${ref:=$1}"
    is_ref "$ref" || die "'$ref' is not a snapshot reference"
    [ "$1" = boot ] || refuse_pulled "$ref"
    check_guestd
    [ "$1" != debian ] || [ "$(id -u)" = 0 ] || die "only root can build '$1'"
    mkdir -p "$root/snapshots" "$cache/packages"
    root=$(realpath "$root")
    cache=$(realpath "$cache")
    exec {lock}>"$cache/.lock"
    flock "$lock"
    make_work
    refresh_lists
}

# What images boot that are pulled from a registry: they bring neither kernel nor daemon.
write_boot_manifest() { # KEY
    cat >"$out/manifest.json" <<TXT
{
  "schema": 1,
  "version": "Linux $kernel_version",
  "arch": "x86_64",
  "kernel": "vmlinux",
  "initramfs": "initramfs.img",
  "cmdline": "$cmdline",
  "buildKey": "$1",
  "createdAt": "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
}
TXT
}

build_boot() {
    local key manifest=$root/boot/manifest.json
    ref=boot
    prepare boot
    plan "$kernel_package"
    key=$(build_key)
    if [ -z "$is_forced" ] && [ -e "$manifest" ] && [ "$(manifest_text "$manifest" buildKey)" = "$key" ]; then
        step "$root/boot is up to date"
        return
    fi
    out=$work/out
    umask 022
    mkdir "$out"
    unpack_kernel
    write_boot_manifest "$key"
    publish "$root/boot"
    step "made $root/boot ($(du -sm "$root/boot" | cut -f1) MiB)"
}

build() { # KIND
    local key
    prepare "$1"
    local -n packages=$1_packages
    plan "$kernel_package" "${packages[@]}"
    key=$(build_key)
    if is_up_to_date "$key"; then
        step "$root/snapshots/$ref is up to date"
        return
    fi
    refuse_used "$ref"
    out=$work/out
    umask 022
    mkdir "$out"
    unpack_kernel
    "build_$1"
    write_manifest "$1" "$key"
    publish "$root/snapshots/$ref"
    step "made $root/snapshots/$ref ($(du -sm "$root/snapshots/$ref" | cut -f1) MiB)"
}
