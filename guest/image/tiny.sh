# runner-image: the image "tiny".
# shellcheck shell=bash

# Without root the files are ours on the disk as well, until now.
own_by_root() { # TREE DISK
    local path
    (cd "$1" && find . -mindepth 1 -printf '/%P\n') | while IFS= read -r path; do
        printf 'sif "%s" uid 0\nsif "%s" gid 0\n' "$path" "$path"
    done | debugfs -w -f - "$2" >/dev/null 2>&1
}

own_home() { # DISK
    printf 'sif /home/daytona uid 1000\nsif /home/daytona gid 1000\n' | debugfs -w -f - "$1" >/dev/null 2>&1
}

tiny_packages=(busybox-static base-files)

tiny_busybox() { # TREE
    local applets
    mkdir -p "$work/busybox"
    dpkg-deb -x "$deb" "$work/busybox"
    install -m 0755 "$(find "$work/busybox" -name busybox -type f -perm -u+x)" "$1/bin/busybox"
    applets=$("$1/bin/busybox" --list-full | grep -vE '^(linuxrc|sbin/init|bin/busybox)$')
    # Its shell has ln and mkdir built in: one process instead of some hundreds.
    # shellcheck disable=SC2016
    (cd "$1" && bin/busybox sh -ec 'while read -r path; do
        mkdir -p "${path%/*}"
        ln -s /bin/busybox "$path"
    done') <<<"$applets"
}

tiny_accounts() { # TREE
    cat >"$1/etc/passwd" <<'TXT'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
daytona:x:1000:1000:Daytona:/home/daytona:/bin/sh
TXT
    cat >"$1/etc/group" <<'TXT'
root:x:0:
daemon:x:1:
tty:x:5:
disk:x:6:
nogroup:x:65534:
daytona:x:1000:
TXT
    printf 'root:*:19000:0:99999:7:::\ndaytona:*:19000:0:99999:7:::\n' >"$1/etc/shadow"
    chmod 0640 "$1/etc/shadow"
}

tiny_tree() { # TREE
    mkdir -p "$1"/{bin,dev,etc,home/daytona,lib,mnt,opt,proc,root,run,sbin,srv,sys,tmp,usr/{bin,sbin,lib},var/{cache,lib,log,tmp}}
    chmod 0700 "$1/root"
    chmod 1777 "$1/tmp" "$1/var/tmp"
    ln -s ../run "$1/var/run"
    fetch busybox-static
    tiny_busybox "$1"
    fetch base-files
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$1" ./etc/debian_version ./etc/os-release ./usr/lib/os-release
    tiny_accounts "$1"
    echo 'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' >"$1/etc/profile"
    echo localhost >"$1/etc/hostname"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$1/etc/hosts"
}

build_tiny() {
    tiny_tree "$work/tree"
    step "making the root disk"
    make_disk "$work/tree" "$out/disk.raw" 64
    [ "$(id -u)" = 0 ] || own_by_root "$work/tree" "$out/disk.raw"
    own_home "$out/disk.raw"
    image_version=$(cat "$work/tree/etc/debian_version")
}
