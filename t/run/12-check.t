#!/usr/bin/env bash
# tier: component
# --check-config starts nothing and changes nothing, with a real transport and a fake QEMU that is tried.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
export RUNNER_SOCKET=$dir/api.sock
mkdir "$dir/bin"
ln -s "$top_builddir/t/fake/fake-qemu" "$vmm"
write_config
check() {
    run env -i PATH="$PATH" TMPDIR="$dir" "$top_builddir/runner-ch" --check-config --config "$dir/runner.yaml" \
        --plugin-dir "$top_builddir/plugins"
}
files() { find "$dir" -mindepth 1 ! -name '.*' -printf '%P %T@\n' | sort; }

before=$(files)
check
is "a configuration whose directories are not there yet" "$code $out" "0 configuration is fine"
is "makes none" "$(files)" "$before"

mkdir "$root"
check
is "with a root directory" "$code $out" "0 configuration is fine"
is "what QEMU can do is remembered there, and nothing else" "$(ls -A "$root")" accel-qemu.json
before=$(files)
check
is "once" "$code $(files)" "0 $before"

# What no plugin can know alone: the bridge's address is the gateway that ipam tells the guests.
unfit=$'{plugin: bridge, bridge: brfit0, address: 198.51.100.1/24}\n    ipam: {plugin: static-pool, range: 198.51.100.20-198.51.100.29, gateway: 198.51.100.9/24}'
unfit_words="bridge's address is 198\.51\.100\.1/24 \(network: \{address: .*gateway 198\.51\.100\.9 \(ipam: \{gateway: "
runner_network=$unfit
write_config
check
is "a bridge with another address than ipam's gateway: status" "$code" 2
like "it is said, with both addresses and keys" "$err" "hosts\[0\].ipam: network/bridge: the $unfit_words"
runner_network=${unfit/.9\/24/.1\/24}
write_config
check
unlike "and not where they are the same" "$err" "hosts\[0\].ipam"
runner_network=
write_config

rm "$vmm"
check
is "no QEMU: status" "$code" 2
like "no QEMU: says so" "$err" "hosts\[0\].vmm: QEMU '$vmm'"
printf '#!/bin/sh\nexit 1\n' >"$vmm"
chmod 755 "$vmm"
at_exit eval 'kill -KILL $runner_pid'
start_runner
ok "a runner that comes up with one that does not work says so" \
    await 30 grep "error *event=plugin.sick host=local kind=vmm plugin=qemu error=.*$vmm" "$runner_log" ||
    diag "$(cat "$runner_log")"
stop_runner
if [ "$(id -u)" = 0 ] && unshare --net true 2>/dev/null && command -v nft >/dev/null; then
    runner_network=$unfit
    runner_prefix=(unshare --net --)
    start_runner
    ok "and one whose network and ipam do not fit" \
        await 30 grep -E "error *event=plugin.sick host=local kind=ipam plugin=static-pool error=.*$unfit_words" "$runner_log" ||
        diag "$(cat "$runner_log")"
    is "which is no matter of the network's" "$(grep -c 'event=plugin.sick .*kind=network' "$runner_log")" 0
    stop_runner
else
    skip "a network namespace and nft are needed" 2
fi
done_testing
