#!/bin/sh
# takes: 40 s
# tier: component
# network/bridge: limits of bandwidth by TCP, in a namespace of its own.
top_srcdir=${top_srcdir:-.}
. "$top_srcdir/t/run/lib-network.sh" || exit 99
need_network nsenter ip tc nft python3
in_namespace python3 -B "$top_srcdir/t/run/network_rates.py"
