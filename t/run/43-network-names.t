#!/bin/sh
# tier: component
# network/bridge with runner-dns by packets: a guest that may reach only some names; in a namespace of its own.
top_srcdir=${top_srcdir:-.}
. "$top_srcdir/t/run/lib-network.sh" || exit 99
need_network ip bridge nft python3
need_runner_dns
in_namespace python3 -B "$top_srcdir/t/run/network_names.py"
