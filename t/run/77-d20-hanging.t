#!/usr/bin/env bash
# tier: component
# D20: machines that hang, more of them than the runner has workers, delay no other sandbox. Whether something was quick
# is not told by a clock: it has to be over while all that hang still do.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
need curl

settings="workers: 4
timeouts: {stop_grace: 10m, stop: 20m, request: 10m, ready: 10m, create: 20m}"
hanging=()
state() {
    json state "$("$ctl" info --json "$1")"
}
hang() { # COMMAND [ARG...]: one that will not end by itself
    "$@" >"$dir/hanging.${#hanging[@]}" 2>&1 &
    hanging+=($!)
}
all_hang() {
    local pid
    for pid in "${hanging[@]}"; do
        kill -0 "$pid" 2>/dev/null || return 1
    done
}
tasks() { # how many run, beside this look at them
    http GET /metrics
    echo $(($(sed -n 's/^runner_tasks{state="running"} //p' <<<"$out") - 1))
}
# A whole life and all looks, of a sandbox that has nothing to do with those that hang.
others_live() { # NAME ID
    http GET "/sandboxes/$2"
    is "$1: a look at one" "$code" 200
    http GET "/sandboxes?stats=true"
    like "$1: the list, with figures" "$code $out" '^200 .*"sandboxes":\['
    http GET /info
    is "$1: the runner's own health" "$code" 200
    run "$ctl" create "$2"
    is "$1: a create" "$code $(state "$2")" "0 started"
    run "$ctl" exec "$2" -- x
    is "$1: the way into its guest" "$code $out" "0 fake guest"
    run "$ctl" pause "$2"
    is "$1: a pause" "$code $(state "$2")" "0 paused"
    run "$ctl" resume "$2"
    is "$1: a resume" "$code $(state "$2")" "0 started"
    run "$ctl" stop -f "$2"
    is "$1: a stop" "$code $(state "$2")" "0 stopped"
    run "$ctl" start "$2"
    is "$1: a start" "$code $(state "$2")" "0 started"
    run "$ctl" rm -f "$2"
    is "$1: a removal" "$code" 0
    ok "$1: all of this while they hang" all_hang
}

ok "the runner starts" start_runner "$settings" || done_testing

# ---- creates that get no further ----
for i in 1 2 3 4 5 6 7 8 9; do
    vm_wish "mute-$i" "no-guest"
    hang "$ctl" create "mute-$i"
done
# Four run at once, and each of the others begins when one has waited for 5 s.
ok "d20: nine creates hang, with four workers" await 120 eval '[ "$(tasks)" = 9 ]'
others_live "d20: beside creates" other
all_wait() {
    run "$ctl" ls
    [ "$(grep -c '^mute-[1-9] .* creating:ready ' <<<"$out")" = 9 ]
}
ok "d20: what they wait for is shown, in the list" await 60 all_wait
run "$ctl" info mute-1
like "d20: and of each" "$out" '^phase +ready$'
for i in 1 2 3 4 5 6 7 8 9; do
    kill -KILL "$(grep -Eo '^[0-9]+' "$root/sandboxes/mute-$i/vmm.pid")"
done
wait "${hanging[@]}"
is "d20: they fail when their machines end" "$(cat "$dir"/hanging.* | grep -c "ended before its daemon answered")" 9
hanging=()

# ---- machines that stop answering ----
for i in {1..11}; do
    "$ctl" create "stuck-$i" >"$dir/x"
done
pids=()
for i in {1..11}; do
    pids+=("$(json pid "$("$ctl" info --json "stuck-$i")")")
done
kill -STOP "${pids[@]}"
stopping=() # a stop hangs for some seconds, until it ends the machine; the others for the better part of a minute
for i in 1 2 3 4 5; do
    "$ctl" stop "stuck-$i" >"$dir/x" 2>&1 &
    stopping+=($!)
done
for i in 6 7 8 10 11; do
    hang "$ctl" pause "stuck-$i"
done
hang "$ctl" exec stuck-9 -- x
ok "d20: operations on them hang" await 60 eval '[ "$(tasks)" = 10 ]'
others_live "d20: beside operations" other
for i in {1..11}; do
    http GET "/sandboxes/stuck-$i"
    is "d20: stuck-$i can be looked at" "$code" 200
done

# ---- the runner comes back among them ----
stop_runner KILL
wait "${hanging[@]}" "${stopping[@]}"
hanging=()
ok "the runner starts again" start_runner "$settings"
run "$ctl" create another
is "d20: a create beside recoveries that get no answer" "$code $(state another)" "0 started"
kill -CONT "${pids[@]}"
ok "d20: what had hung answers again" await 60 eval '[ "$(tasks)" = 0 ] && [ "$(state stuck-9)" = started ]'
are_stopped() {
    [ "$(for i in 1 2 3 4 5; do state stuck-$i; done | sort -u)" = stopped ]
}
ok "d20: stops that were asked for are done" await 60 are_stopped
run "$ctl" rm -f --all
is "all of it goes" "$code $(find "$root/sandboxes" "$dir/run" -mindepth 1) $(vms)" "0  0"
stop_runner
is "it ends well" "$code" 0
done_testing
