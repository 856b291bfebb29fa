#!/usr/bin/env bash
# tier: vm
# The debian image: systemd, cloud-init with a static address, SSH through the bridge.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
need ssh ssh-keygen
need_vm debian
start_vm_runner bridge || die_early "the runner comes up"
ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
snapshot=debian
ok "create" vm_create deb-one --ssh-key "$dir/key.pub" --user daytona --memory 1 --env COLOUR=blue
run "$ctl" exec deb-one -- cat /etc/os-release
like "it is Debian" "$out" 'ID=debian'
run "$ctl" exec deb-one -- cloud-init status --wait
like "cloud-init is done" "$out" 'status: done'
run "$ctl" exec deb-one -- hostname
is "host name" "$out" deb-one
run "$ctl" exec deb-one -- ip -4 -o addr show
like "static address" "$out" 'inet 10\.0\.0\.2/24'
run "$ctl" exec deb-one -- sh -c 'echo $COLOUR'
is "environment" "$out" blue
run in_netns ssh -i "$dir/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile="$dir/known" \
    -o ConnectTimeout=60 daytona@10.0.0.2 'id -un; cat /proc/1/comm'
is "SSH by key" "$out" $'daytona\nsystemd'
ok "stop" "$ctl" stop deb-one
ok "rm" "$ctl" rm -f deb-one
done_testing
