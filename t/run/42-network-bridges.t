#!/bin/sh
# tier: component
# takes: 50 s
# network/bridge by packets, with more sandboxes than a bridge has ports; in namespaces of its own.
top_srcdir=${top_srcdir:-.}
. "$top_srcdir/t/run/lib-network.sh" || exit 99
need_network ip bridge nft python3
in_namespace_with_sysfs python3 -B "$top_srcdir/t/run/network_bridges.py"
