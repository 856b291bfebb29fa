# Container images for tests with real guests, and a registry; after lib.sh and lib-vm.sh (or lib-host.sh).
#   need_images [debian]   makes images, once, each kind an OCI layout in $cache/images; skips the test where it cannot
#                            busybox   busybox, no user, nothing to run
#                            app       the same with USER, ENV, WORKDIR and ENTRYPOINT
#                            debian    Debian without an init
#                            systemd   Debian with systemd
#                          (the first two out of the snapshot tiny's packages, the others out of debian's base system,
#                          which must have been made)
#   start_registry [COMMAND...]    Debian's, under that command; sets $registry to its host and port; account user, word
#   publish TAG REF        copies an image into the registry
registry=
registry_under=()

need_images() {
    need umoci skopeo docker-registry python3 dpkg-deb
    make_once small
    [ "${1:-}" != debian ] || make_once debian
}

make_once() { # KIND
    local key layout=$cache/images/$1
    key=$({ declare -f "make_$1_images" && ls "$cache"/cache/debian-*.tar; } 2>/dev/null | sha256sum | cut -c 1-16)
    [ "$(cat "$layout/key" 2>/dev/null)" != "$key" ] || return 0
    rm -rf "$layout"
    mkdir -p "$cache/images"
    "make_$1_images" "$layout" >"$dir/images.log" 2>&1 || {
        diag "$(tail -n 20 "$dir/images.log")"
        report 1 "images are made"
        done_testing
    }
    echo "$key" >"$layout/key"
}

make_small_images() ( # LAYOUT
    set -e
    work=$(mktemp -d "$cache/images/work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    umoci init --layout "$1"
    umoci new --image "$1:busybox"
    umoci unpack --image "$1:busybox" "$work/busybox"
    tree=$work/busybox/rootfs
    dpkg-deb -x "$cache"/cache/packages/busybox-static_*.deb "$work/deb"
    mkdir -p "$tree"/bin "$tree"/etc "$tree"/home/app "$tree"/root
    install -m 0755 "$work/deb/bin/busybox" "$tree/bin/busybox"
    for name in $("$tree/bin/busybox" --list); do
        [ -e "$tree/bin/$name" ] || ln -s busybox "$tree/bin/$name"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\napp:x:77:78:app:/home/app:/bin/sh\n' >"$tree/etc/passwd"
    printf 'root:x:0:\nstaff:x:78:\n' >"$tree/etc/group"
    echo 'ID=busybox-image' >"$tree/etc/os-release"
    chown 77:78 "$tree/home/app"
    umoci repack --image "$1:busybox" "$work/busybox"
    umoci config --image "$1:busybox" --config.env PATH=/bin
    umoci tag --image "$1:busybox" app
    umoci config --image "$1:app" --config.user app:staff --config.env COLOUR=blue --config.workingdir /work/deep \
        --config.entrypoint /bin/sh --config.entrypoint -c \
        --config.entrypoint 'echo I am $(id -un) in $PWD, $COLOUR; exec sleep 1000000'
)

# A layer of debian takes away what makes systemd an init.
make_debian_images() ( # LAYOUT
    set -e
    work=$(mktemp -d "$cache/images/work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    umoci init --layout "$1"
    umoci new --image "$1:systemd"
    umoci unpack --image "$1:systemd" "$work/systemd"
    tar -x -C "$work/systemd/rootfs" --numeric-owner --xattrs --xattrs-include='*' --exclude './dev/*' \
        -f "$cache"/cache/debian-*.tar
    umoci repack --image "$1:systemd" "$work/systemd"
    umoci tag --image "$1:systemd" debian
    umoci unpack --image "$1:debian" "$work/debian"
    tree=$work/debian/rootfs
    rm -f "$tree"/sbin/init "$tree"/usr/sbin/init "$tree"/lib/systemd/systemd
    umoci repack --image "$1:debian" "$work/debian"
)

start_registry() {
    registry_under=("$@")
    local port
    own_ports
    port=$((first_port + 50))
    registry=127.0.0.1:$port
    python3 -W ignore -c 'import crypt; print("user:" + crypt.crypt("word", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))' \
        >"$dir/htpasswd"
    cat >"$dir/registry.yml" <<YAML
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $dir/registry}, delete: {enabled: true}}
http: {addr: $registry}
auth: {htpasswd: {realm: test, path: $dir/htpasswd}}
YAML
    "$@" docker-registry serve "$dir/registry.yml" >"$dir/registry.log" 2>&1 </dev/null &
    at_exit kill $!
    await 60 "$@" curl -s -o /dev/null "http://$registry/v2/"
}

publish() {
    local layout=$cache/images/small
    case $1 in debian | systemd) layout=$cache/images/debian ;; esac
    "${registry_under[@]}" skopeo copy -q --dest-tls-verify=false --dest-creds user:word "oci:$layout:$1" \
        "docker://$registry/$2"
}

raw_manifest() { # REF
    "${registry_under[@]}" skopeo inspect --raw --tls-verify=false --creds user:word "docker://$1"
}
