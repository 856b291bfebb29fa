#!/usr/bin/env bash
# tier: host
# Debian's own kernel, 6.1, is older than the one that tests run on: what is said to the kernel, and what packets show of it,
# in a machine that has it.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/host/lib-host.sh"
. "$top_srcdir/t/host/there.sh"
need_host
host_kernel=stock
host_files=(plugins/transport/local.so plugins/network/bridge.so plugins/network/bridge/runner-dns
    t/run/check-transport t/run/check-network t/run/network-driver)
there_env="top_builddir=$host_tests RUNNER_TEST_CHANGES=100" # beside a flood, one takes 86 ms in emulation
ok "a host with the release's kernel boots" start_host || done_testing
diag "$(grep -a '^host: ready' "$host_dir/console" | tr -d '\r'), $SECONDS s"
for script in 30-transport 40-network 41-dns 42-network-packets 43-network-names; do
    there 200 "t/run/$script.t"
done
diag "in all $SECONDS s"
done_testing
