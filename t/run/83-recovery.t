#!/usr/bin/env bash
# tier: component
# The runner dies and comes back: what runs is taken over, what is dead is noticed, what was half made is undone.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
need curl

state() {
    json state "$("$ctl" info --json "$1")"
}
pid_of() {
    json pid "$("$ctl" info --json "$1")"
}
is_alive() {
    [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status"
}
tasks() { # STATE: how many of the worker pool's are in it
    http GET /metrics
    sed -n "s/^runner_tasks{state=\"$1\"} //p" <<<"$out"
}
# The runner serves while recoveries run: until its own is done a sandbox has the state of its record.
has_state() { # ID REGEX
    [[ $(state "$1") =~ $2 ]]
}

ok "the runner starts" start_runner "timeouts: {stop_grace: 1s}" || done_testing
for id in runs-1 runs-2 frozen dies stopped; do
    "$ctl" create $id >"$dir/x"
done
"$ctl" stop stopped >"$dir/x"
"$ctl" pause frozen >"$dir/x"
before=$("$ctl" ls --json | tr -d ' ')
pids="$(pid_of runs-1) $(pid_of runs-2) $(pid_of frozen)"
dying=$(pid_of dies)

# ---- killed ----
stop_runner KILL
is "SIGKILL ends it" $code 137
for pid in $pids $dying; do
    ok "d08: VM $pid goes on" is_alive "$pid"
done
run "$ctl" ls
is "nobody answers" $code 3
kill -KILL "$dying"
ok "one VM dies meanwhile" await 60 eval '! is_alive "$dying"'
ok "a new runner takes over" start_runner "timeouts: {stop_grace: 1s}"
is "running ones" "$(state runs-1) $(state runs-2)" "started started"
is "the paused one" "$(state frozen)" paused
is "d02: the stopped one stays stopped" "$(state stopped)" stopped
ok "the dead one" await 60 has_state dies '^(stopped|error)$'
is "the same processes" "$(pid_of runs-1) $(pid_of runs-2) $(pid_of frozen)" "$pids"
for id in runs-1 runs-2 frozen stopped; do
    is "d01: $id: the same record" "$("$ctl" ls --json | tr -d ' ' | grep -o "{\"id\":\"$id\"[^}]*")" \
        "$(grep -o "{\"id\":\"$id\"[^}]*" <<<"$before")"
done
run "$ctl" exec runs-1 -- x
is "guests answer" "$code $out" "0 fake guest"
run "$ctl" resume frozen
is "the paused one goes on" "$code $(state frozen)" "0 started"
run "$ctl" start dies
is "the dead one starts" "$code $(state dies)" "0 started"
run "$ctl" start stopped
is "so does the stopped one" "$code $(state stopped)" "0 started"
kill -TERM "$(pid_of runs-2)"
ok "the end of an adopted VM is noticed" await 60 eval '[ "$(state runs-2)" != started ]'

# ---- ended in order ----
stop_runner TERM
is "d08: SIGTERM: exit status" $code 0
ok "and again" start_runner
is "states" "$(state runs-1) $(state frozen) $(state dies) $(state stopped)" "started started started started"
run "$ctl" create another
is "ports of the adopted are not given twice" "$code $(state another)" "0 started"
for id in runs-1 frozen dies stopped another; do
    run "$ctl" exec $id -- x
    is "$id answers" "$code $out" "0 fake guest"
done

# ---- half made ----
vm_wish half "no-guest"
"$ctl" create half >"$dir/x" 2>&1 &
create=$!
ok "a create is under way" await 60 test -s "$root/sandboxes/half/vmm.pid"
half=$(grep -Eo '^[0-9]+' "$root/sandboxes/half/vmm.pid")
stop_runner KILL
wait $create
is "its client hears of it" $? 1
ok "its VM lives" is_alive "$half"
ok "a new runner" start_runner
ok "what was half made goes" await 60 has_state half '^destroyed$'
ok "with its files" await 60 test ! -e "$root/sandboxes/half"
ok "and its VM" await 60 eval '! is_alive "$half"'

# ---- ended, and nobody noted it ----
# The runner is stopped by SIGSTOP while its VM ends: the start that is asked for meets a record that says started.
"$ctl" create unnoted >"$dir/x"
unnoted=$(pid_of unnoted)
kill -STOP "$runner_pid"
kill -KILL "$unnoted"
"$ctl" start unnoted >"$dir/x" 2>&1 &
start=$!
kill -CONT "$runner_pid"
wait $start
is "start of one that has just ended" "$? $(state unnoted)" "0 started"
again=$(pid_of unnoted)
ok "it is another VM" test "$again" != "$unnoted"
run "$ctl" exec unnoted -- x
is "which answers" "$code $out" "0 fake guest"
# The same while the start waits for its daemon.
kill -STOP "$again"
"$ctl" start unnoted >"$dir/x" 2>&1 &
start=$!
ok "a start waits for a daemon" await 60 eval '[ "$(tasks running)" = 2 ]' # beside this look at the tasks
kill -KILL "$again"
wait $start
is "start of one that ends then" "$? $(state unnoted)" "0 started"
ok "it is another VM again" test "$(pid_of unnoted)" != "$again"

# ---- records that make no sense ----
stop_runner
mkdir "$root/sandboxes/nonsense" "$root/sandboxes/empty" "$root/sandboxes/UPPER" "$root/sandboxes/unborn"
touch "$root/sandboxes/unborn/.tmp-0123456789abcdef" "$root/sandboxes/runs-1/.tmp-0123456789abcdef" "$root/.tmp-0123456789abcdef"
echo 'no json' >"$root/sandboxes/nonsense/runner.json"
touch "$root/sandboxes/UPPER/file"
ok "a runner among strange directories" start_runner
is "the others are there" "$(state runs-1)" started
ok "what cannot be read is left alone" test -s "$root/sandboxes/nonsense/runner.json"
ok "what is no sandbox is left alone" test -e "$root/sandboxes/UPPER/file"
ok "what a create left before its record is gone" test ! -e "$root/sandboxes/unborn"
is "so is what was half written" "$(find "$root" -name '.tmp-*')" ""
like "and the log says so" "$(cat "$runner_log")" "nonsense"
run "$ctl" rm -f nonsense
is "it can be removed" "$code $(state nonsense)" "0 destroyed"

# ---- users of VMMs: where they cannot be had, what was theirs runs on and starts again ----
uid_of() { stat -c %u "/proc/$(pid_of "$1")"; }
if [ "$(id -u)" = 0 ]; then
    ok "runs-1 is a user of its own" test "$(uid_of runs-1)" -ge 1900000000
    isnt_shared=$(for id in runs-1 frozen another; do uid_of $id; done | sort -u | wc -l)
    is "each has another" "$isnt_shared" 3
    stop_runner
    chmod 700 "$dir"
    ok "a runner whose root others cannot reach" start_runner
    ok "says so" await 60 grep -q 'host.unconfined .*o+x' "$runner_log"
    run "$ctl" stop -f runs-1
    run "$ctl" start runs-1
    is "what it starts is its own user's" "$code $(uid_of runs-1)" "0 0"
    ok "what runs is left as it is" test "$(uid_of frozen)" -ge 1900000000
    stop_runner
    chmod 711 "$dir"
    ok "and back" start_runner
    run "$ctl" stop -f runs-1
    run "$ctl" start runs-1
    ok "a user of its own again" test "$(uid_of runs-1)" -ge 1900000000
else
    skip "only root can start a VMM as another user" 9
fi

run "$ctl" rm -f --all
is "all of it goes" $code 0
stop_runner
is "it ends well" $code 0

# ---- asked before the records are read ----
# The network's set-up comes before them, and here it takes its time: the nft that it calls waits to be let go on, by
# looking for a file, as a shell can wait for no event of it.
runner_network="{plugin: bridge, bridge: br-t, address: 10.9.0.1/24}
    ipam: {plugin: static-pool, range: 10.9.0.2-10.9.0.9, gateway: 10.9.0.1/24}"
runner_prefix=(unshare --net -- env "PATH=$dir/slow:$PATH")
if [ "$(id -u)" = 0 ] && unshare --net -- true 2>/dev/null && [ -e "$top_builddir/plugins/network/bridge.so" ]; then
    mkdir "$dir/slow"
    cat >"$dir/slow/nft" <<SH
#!/bin/sh
while [ -e "$dir/slow/hold" ]; do sleep 0.05; done
exec "$(PATH=$PATH:/usr/sbin:/sbin command -v nft)" "\$@"
SH
    chmod +x "$dir/slow/nft"
    vm_wish half "no-guest"
    ok "a runner with a bridge" start_runner
    "$ctl" create half >"$dir/x" 2>&1 &
    create=$!
    ok "a create is under way" await 60 test -s "$root/sandboxes/half/vmm.pid"
    stop_runner KILL
    wait $create
    touch "$dir/slow/hold"
    ok "a runner that reads no records yet" start_runner
    "$ctl" start half >"$dir/x" 2>"$dir/start" &
    start=$!
    ok "a start waits for them" await 60 eval '[ "$(tasks running)" = 3 ]' # beside the set-up, and this look at the tasks
    "$ctl" stop half >"$dir/x" 2>"$dir/stop" &
    stop=$!
    ok "and a stop behind it" await 60 eval '[ "$(tasks waiting)" = 1 ]'
    rm "$dir/slow/hold"
    wait $start
    is "the start comes after the recovery" "$? $(cat "$dir/start")" "1 runnerctl: start: not found: no sandbox 'half'"
    wait $stop
    is "and so does the stop" "$? $(cat "$dir/stop")" "1 runnerctl: stop: not found: no sandbox 'half'"
    stop_runner
    is "it ends well" $code 0
else
    skip "a bridge needs root, network namespaces and the plugin" 8
fi
done_testing
