#!/bin/sh
# network/bridge with real TAPs, rules and packets, in a network namespace of its own.
top_srcdir=${top_srcdir:-.}
. "$top_srcdir/t/run/lib-network.sh" || exit 99
need_network ip nft
in_namespace "${top_builddir:-.}/t/run/check-network"
