#!/bin/sh
# network/bridge with real TAPs, rules and packets, in a network namespace of its own.
skip()
{
    echo "1..0 # SKIP $*"
    exit 0
}
[ "$(id -u)" = 0 ] || skip "needs root"
[ -c /dev/net/tun ] || skip "needs /dev/net/tun"
for program in unshare ip nft; do
    command -v $program >/dev/null || skip "needs $program"
done
unshare -n true 2>/dev/null || skip "no network namespaces here"
exec unshare -n "${top_builddir:-.}/t/run/check-network"
