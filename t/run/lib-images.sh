# Container images for tests with real guests, and a registry; after lib.sh and lib-vm.sh.
#   need_images        skips the test unless images can be made; makes them, once, as OCI layout $layout with the tags
#                        busybox   busybox, no user, nothing to run
#                        app       the same with USER, ENV, WORKDIR and ENTRYPOINT
#                        debian    Debian without an init
#                        systemd   Debian with systemd
#                      (the last two out of the snapshot debian's base system; need_vm debian made that)
#   start_registry     Debian's, in the test's namespace; sets $registry to its host and port; account user, password word
#   publish TAG REF    copies an image of the layout into the registry
layout=$cache/images
registry=

need_images() {
    need umoci skopeo docker-registry python3 dpkg-deb
    local key
    key=$({ declare -f make_images && ls "$cache"/cache/debian-*.tar; } | sha256sum | cut -c 1-16)
    [ "$(cat "$layout/key" 2>/dev/null)" != "$key" ] || return 0
    rm -rf "$layout"
    make_images >"$dir/images.log" 2>&1 || {
        diag "$(tail -n 20 "$dir/images.log")"
        die_early "images are made"
    }
    echo "$key" >"$layout/key"
}

# busybox and debian are layers on nothing; app and systemd are others of them, debian takes what makes systemd an init.
make_images() (
    set -e
    work=$(mktemp -d "$cache/images.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    umoci init --layout "$layout"
    umoci new --image "$layout:busybox"
    umoci unpack --image "$layout:busybox" "$work/busybox"
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
    umoci repack --image "$layout:busybox" "$work/busybox"
    umoci config --image "$layout:busybox" --config.env PATH=/bin
    umoci tag --image "$layout:busybox" app
    umoci config --image "$layout:app" --config.user app:staff --config.env COLOUR=blue --config.workingdir /work/deep \
        --config.entrypoint /bin/sh --config.entrypoint -c \
        --config.entrypoint 'echo I am $(id -un) in $PWD, $COLOUR; exec sleep 1000000'

    umoci new --image "$layout:systemd"
    umoci unpack --image "$layout:systemd" "$work/systemd"
    tree=$work/systemd/rootfs
    tar -x -C "$tree" --numeric-owner --xattrs --xattrs-include='*' --exclude './dev/*' -f "$cache"/cache/debian-*.tar
    umoci repack --image "$layout:systemd" "$work/systemd"
    umoci tag --image "$layout:systemd" debian
    umoci unpack --image "$layout:debian" "$work/debian"
    tree=$work/debian/rootfs
    rm -f "$tree"/sbin/init "$tree"/usr/sbin/init "$tree"/lib/systemd/systemd
    umoci repack --image "$layout:debian" "$work/debian"
)

start_registry() {
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
    in_netns docker-registry serve "$dir/registry.yml" >"$dir/registry.log" 2>&1 </dev/null &
    at_exit kill $!
    await 60 in_netns curl -s -o /dev/null "http://$registry/v2/"
}

publish() {
    in_netns skopeo copy -q --dest-tls-verify=false --dest-creds user:word "oci:$layout:$1" "docker://$registry/$2"
}

raw_manifest() { # REF
    in_netns skopeo inspect --raw --tls-verify=false --creds user:word "docker://$1"
}
