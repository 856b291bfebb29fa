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
done_testing
