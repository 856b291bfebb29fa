# runner-image: the image "debian".
# shellcheck shell=bash

debian_packages=(base-files systemd systemd-sysv dbus udev kmod cloud-init openssh-server sudo
    ca-certificates iproute2 iputils-ping netbase procps less curl python3-minimal)

# apt's own sources of this machine that are Debian's, whatever file and format they are in.
debian_sources() {
    # shellcheck disable=SC2016
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)|$(ORIGIN)' 'Created-By: Packages' |
        sed -n 's/|Debian$//p' | sort -u
}

apt_options() {
    apt-config dump | grep -iE '^Acquire::[^ ]*(proxy|verify|ca-?info|retries|timeout)[^ ]* "' || true
}

# A base system as mmdebstrap leaves it, kept in the cache as a tar archive.
debian_base() { # OUT
    local sources suite option options=()
    sources=$(debian_sources)
    [ -n "$sources" ] || die "apt has no source of Debian's"
    suite=$(awk '$3 !~ /-/ { print $3; exit }' <<<"$sources")
    [ -n "$suite" ] || die "apt's sources name no release of Debian"
    while IFS= read -r option; do
        [ -z "$option" ] || options+=(--aptopt="$option")
    done < <(apt_options)
    step "installing Debian $suite (mmdebstrap)"
    # shellcheck disable=SC2016
    mmdebstrap --quiet --mode=root --format=tar --variant=minbase --include="$(IFS=, && echo "${debian_packages[*]}")" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        "${options[@]}" --customize-hook='rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/ssh/ssh_host_*' \
        "$suite" "$1.part" - <<<"$sources" >"$1.log" 2>&1 || {
        tail -n 20 "$1.log" >&2
        die "mmdebstrap failed; all it said is in $1.log"
    }
    mv "$1.part" "$1"
}

debian_cloud_init() { # TREE
    echo 'policy: enabled' >"$1/etc/cloud/ds-identify.cfg"
    cat >"$1/etc/cloud/cloud.cfg.d/90_runner.cfg" <<'TXT'
# The seed is a volume with the label cidata; nothing is looked for on the network.
datasource_list: [NoCloud]
ssh_genkeytypes: [ed25519, ecdsa]
disable_root: false
manage_etc_hosts: false
ssh_quiet_keygen: true
# The disk is grown before systemd starts, and package sources are the image's.
apt: {preserve_sources_list: true}
cloud_init_modules: [bootcmd, write-files, ca-certs, set_hostname, update_hostname, update_etc_hosts, users-groups, ssh]
cloud_config_modules: [set-passwords, timezone, runcmd]
cloud_final_modules: [package-update-upgrade-install, write-files-deferred, scripts-vendor, scripts-per-once,
  scripts-per-boot, scripts-per-instance, scripts-user, final-message]
TXT
}

debian_units() { # TREE
    local unit
    cat >"$1/etc/systemd/system/runner-guestd.service" <<'TXT'
[Unit]
Description=Guest daemon of runner-ch
Documentation=man:runner-guestd(8)
# Early: it answers while cloud-init is still at work.
DefaultDependencies=no
After=local-fs.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
ExecStart=/usr/local/sbin/runner-guestd --seed auto
Restart=always
RestartSec=1
OOMScoreAdjust=-900
KillMode=process

[Install]
WantedBy=multi-user.target
TXT
    chroot "$1" systemctl --quiet enable runner-guestd.service systemd-networkd.service ssh.service
    chroot "$1" systemctl --quiet set-default multi-user.target
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
        fstrim.timer getty@tty1.service systemd-networkd-wait-online.service cloud-init-hotplugd.socket \
        systemd-pstore.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount sys-kernel-debug.mount \
        sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount modprobe@drm.service; do
        chroot "$1" systemctl --quiet mask "$unit"
    done
}

debian_accounts() { # TREE
    chroot "$1" useradd --create-home --uid 1000 --user-group --shell /bin/bash --comment Daytona daytona
    echo 'daytona ALL=(ALL) NOPASSWD:ALL' >"$1/etc/sudoers.d/90-daytona"
    chmod 0440 "$1/etc/sudoers.d/90-daytona"
}

# What comes while the machine runs; memory is the kernel's command line's.
debian_hotplug() { # TREE
    echo 'SUBSYSTEM=="cpu", ACTION=="add", TEST=="online", ATTR{online}!="1", ATTR{online}="1"' \
        >"$1/etc/udev/rules.d/90-runner-hotplug.rules"
}

# What is another one in each sandbox must not be in the image; neither may this machine's credentials for its mirror.
debian_clean() { # TREE
    rm -rf "$1"/etc/ssh/ssh_host_* "$1"/var/lib/dbus/machine-id "$1"/var/lib/systemd/random-seed \
        "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/lib/cloud "$1"/var/log/*.log "$1"/var/log/apt \
        "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/etc/machine-id
    : >"$1/etc/machine-id"
    find "$1/etc/apt" -type f -exec sed -i -E 's|(://)[^/@ ]+@|\1|' {} +
}

debian_tree() { # TREE
    local base=$cache/debian-$(debian_key).tar
    mkdir -p "$1"
    if [ -s "$base" ]; then
        step "unpacking the base system"
    else
        rm -f "$cache"/debian-*.tar*
        debian_base "$base"
    fi
    tar -x -C "$1" --numeric-owner --xattrs --xattrs-include='*' -f "$base"
    step "configuring it"
    debian_accounts "$1"
    debian_hotplug "$1"
    debian_cloud_init "$1"
    install -m 0755 "$guestd" "$1/usr/local/sbin/runner-guestd"
    debian_units "$1"
    echo '# The root file system is mounted, and grown, before systemd starts.' >"$1/etc/fstab"
    debian_clean "$1"
}

# What the base system depends on.
debian_key() {
    { declare -f debian_base && package_sums && debian_sources; } | sha256sum | cut -c1-16
}

build_debian() {
    local tree=$work/tree used
    debian_tree "$tree"
    cp -a "$work/kernel/lib/modules" "$tree/usr/lib/"
    chroot "$tree" depmod "$kernel_version"
    used=$(du -sm "$tree" | cut -f1)
    step "making the root disk ($used MiB used)"
    make_disk "$tree" "$out/disk.raw" $(((used * 5 / 4 + 128 + 63) / 64 * 64))
    image_version=$(cat "$tree/etc/debian_version")
}
