#!/usr/bin/env bash
# tier: host
# Cloud Hypervisor on real Debian guests: the scripts of the vm tier and some of their own, run in a hypervisor host, with
# the installed runner. Their points are taken over.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/host/lib-host.sh"
. "$top_srcdir/t/host/there.sh"
. "$top_srcdir/t/run/lib-images.sh"
need_host
begin=$SECONDS

there_env="top_builddir=/t/build RUNNER_TEST_CACHE=/t RUNNER_TEST_IMAGES=made RUNNER_TEST_VMM=cloud-hypervisor \
RUNNER_TEST_NOTICED_MS=5000"

# An image of a registry becomes a disk here, with a fake VMM, since the host has no way to a registry.
make_image() {
    "$top_builddir/runner-image" build tiny --root "$cache" --guestd "$top_builddir/guest/runner-guestd" || return
    need_images
    start_registry && publish app app:1 || return
    runner_storage="{plugin: oci, insecure: [\"$registry\"]}"
    "$top_builddir/runner-image" boot --root "$root" --cache "$cache/cache" \
        --guestd "$top_builddir/guest/runner-guestd" || return
    start_runner || return
    "$ctl" pull "$registry/app:1" --tag app:1 --username user --password-file <(echo word) || return
    stop_runner
    host_images=$dir/images
    mkdir -p "$host_images/snapshots"
    mv "$root/bases" "$root/boot" "$host_images/"
    mv "$root/snapshots/app:1" "$host_images/snapshots/"
}
ok "an image is made a disk" make_image || done_testing
ok "a hypervisor host boots" start_host || done_testing
diag "$(grep -a '^host: ready' "$host_dir/console" | tr -d '\r'), $((SECONDS - begin)) s"
there 300 t/run/90-lifecycle.t
there 300 t/host/cloud-hypervisor.t
there 300 t/host/images.t

# What doctor says of it: a KVM that runs guests for a user of its own, limits, devices.
run on_host 120 "$host_prefix/sbin/runner-ch doctor"
diag "$out"
is "doctor: nothing fails there" "$code" 0
for topic in cloud-hypervisor ch-kvm ch-landlock kvm-user vmm-user cgroup iommu tap nftables; do
    like "doctor: $topic" "$out" "^ok +$topic "
done
like "doctor: which VMM" "$out" '^ok +vmm +cloud-hypervisor runs new sandboxes'
diag "in all $((SECONDS - begin)) s"
done_testing
