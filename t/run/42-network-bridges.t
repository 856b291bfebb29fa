#!/bin/sh
# tier: component
# takes: 50 s
# network/bridge by packets, with more sandboxes than a bridge has ports; in namespaces of its own.
skip()
{
    echo "1..0 # SKIP $*"
    exit 0
}
[ "$(id -u)" = 0 ] || skip "needs root"
[ -c /dev/net/tun ] || skip "needs /dev/net/tun"
for program in unshare ip bridge nft python3; do
    command -v $program >/dev/null || skip "needs $program"
done
unshare -nm sh -c "mount -t sysfs sysfs /sys" 2>/dev/null || skip "no network namespaces here, with their sysfs"
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/run exec unshare -nm sh -c "mount -t sysfs sysfs /sys && exec python3 -B $t/run/network_bridges.py"
