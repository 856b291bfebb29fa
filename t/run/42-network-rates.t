#!/bin/sh
# takes: 40 s
# tier: component
# network/bridge: limits of bandwidth by TCP, in a namespace of its own.
skip()
{
    echo "1..0 # SKIP $*"
    exit 0
}
[ "$(id -u)" = 0 ] || skip "needs root"
[ -c /dev/net/tun ] || skip "needs /dev/net/tun"
for program in unshare nsenter ip tc nft python3; do
    command -v $program >/dev/null || skip "needs $program"
done
unshare -n true 2>/dev/null || skip "no network namespaces here"
t=${top_srcdir:-.}/t
PYTHONPATH=$t/rig:$t/run exec unshare -n python3 -B "$t/run/network_rates.py"
