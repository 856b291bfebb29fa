#!/bin/sh
# The real Cloud Hypervisor against the list that the fake is held to (45-ch-differential.t), with the toy guest.
# CLOUD_HYPERVISOR names the program, else it is looked up.
# tier: native
top=${top_builddir:-.}

skip_all() {
    echo "1..0 # SKIP $1"
    exit 0
}

program=${CLOUD_HYPERVISOR:-$(command -v cloud-hypervisor)} || skip_all "cloud-hypervisor is not installed"
case $("$program" --version 2>/dev/null) in
*"cloud-hypervisor v53."*) ;;
*) skip_all "$program is no Cloud Hypervisor v53, which the list is of" ;;
esac
[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip_all "/dev/kvm cannot be used here"
said=$(timeout 20 "$program" --kernel "$top/t/guest/toy" --cmdline poweroff --memory size=64M --serial tty \
    --console off </dev/null 2>/dev/null)
case $said in
*"toy: up"*) ;;
*) skip_all "the KVM of this machine does not run the toy guest" ;;
esac
exec "$top/t/run/check-ch" "$program" "${top_srcdir:-.}/t/run/ch-cases.txt" "$top/t/guest/toy" real \
    "$(cd "$top" && pwd)/t/run/no-nested.so"
