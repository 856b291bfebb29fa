#!/bin/sh
# tier: component
# network/bridge by packets: what others take away is told and put right; in a namespace of its own.
top_srcdir=${top_srcdir:-.}
. "$top_srcdir/t/run/lib-network.sh" || exit 99
need_network ip bridge nft python3
in_namespace_with_sysfs python3 -B "$top_srcdir/t/run/network_lost.py"
