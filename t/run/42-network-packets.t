#!/bin/sh
# tier: component
# network/bridge by packets: who may speak to whom, while policies change and runners die; in a namespace of its own.
top_srcdir=${top_srcdir:-.}
. "$top_srcdir/t/run/lib-network.sh" || exit 99
need_network ip bridge nft python3
in_namespace python3 -B "$top_srcdir/t/run/network_packets.py"
