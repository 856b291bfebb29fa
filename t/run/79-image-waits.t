#!/usr/bin/env bash
# takes: 60 s
# Who waits for an image: a create for longer than a create may take, but not when its sandbox is destroyed, nor beyond
# timeouts.pull; pulls for others, beyond limits.pulls.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99

use_shelf
own_ports
make_boot_kit
start_runner "timeouts: {create: 4s}" || exit 99

held_on_shelf() { # REF
    put_on_shelf "$1" "$1"
    : >"$dir/shelf/$1/hold"
}
let_go() { # REF
    echo >"$dir/shelf/$1/hold"
}
create() { # ID REF: in the background, its status in $dir/code.ID, its body in $dir/body.ID
    curl -s -o "$dir/body.$1" -w '%{http_code}' --unix-socket "$RUNNER_SOCKET" -H 'Content-Type: application/json' \
        http://runner/sandboxes -d "{\"id\":\"$1\",\"userId\":\"u\",\"osUser\":\"root\",\"snapshot\":\"$2\",
        \"cpuQuota\":1,\"memoryQuota\":1,\"storageQuota\":1}" >"$dir/code.$1" &
    creating[$1]=$!
}
declare -A creating
ended() { # ID
    wait "${creating[$1]}"
    code=$(cat "$dir/code.$1")
    out=$(cat "$dir/body.$1")
}
waits() { # ID [SECONDS]
    http GET "/sandboxes/$1"
    [ "$(json state)" = pulling_snapshot ] && [ "$(json pull.phase)" = fetch ] && [ "$(json pull.seconds)" -ge "${2:-0}" ]
}
pulls() {
    ls "$dir/shelf/pulls" 2>/dev/null | wc -l
}
pull() { # REF
    http POST /snapshots/pull -d "{\"snapshot\": \"$1\"}"
}
phase() { # REF WANTED
    run "$ctl" images --json
    [ "$(grep -o "\"name\":\"$1\"[^}]*" <<<"$out" | grep -o '"phase":"[^"]*"' | cut -d '"' -f 4)" = "$2" ]
}
metric() { # NAME
    curl -s --unix-socket "$RUNNER_SOCKET" http://runner/metrics | awk -v name="$1" '$1 == name {print $2}'
}

# ---- longer than a create may take ----

held_on_shelf slow:1
create a slow:1
create b slow:1
ok "a create waits for its image" await 60 waits a
is "and says how far that is" "$(json pull.doneBytes) of $(json pull.totalBytes)" "524288 of 1048576"
ok "longer than timeouts.create" await 60 waits a 6
http POST /sandboxes/b/destroy
is "one that is destroyed meanwhile is gone" "$code" 200
ended b
like "its create ends" "$code $(message)" "^409 .*image 'slow:1' is not waited for: the sandbox is being destroyed"
http GET /sandboxes/b
is "and left nothing" "$(json state)" destroyed
ok "the other one waits on" waits a
create b slow:1
ok "a create after that waits as well" await 60 waits b
let_go slow:1
ended a
is "its image comes, and it starts" "$code" 201
ended b
is "and so does the second try" "$code" 201
is "with one fetch for all of them" "$(pulls)" 1
is "creates whose image was here, or was not" \
    "$(metric 'runner_image_opens_total{result="here"}') $(metric 'runner_image_opens_total{result="fetched"}')" "0 3"
is "pulls of some seconds" "$(metric runner_image_pull_seconds_count) $(metric 'runner_image_pull_seconds_bucket{le="2"}')" "1 0"
create c slow:1
ended c
is "what is here is not fetched" "$code $(pulls) $(metric 'runner_image_opens_total{result="here"}')" "201 1 1"

# ---- a destroy that is in the queue before its create has begun to wait ----

held_on_shelf queued:1
create d queued:1
first=${creating[d]}
ok "a create, and then" await 60 waits d
create d queued:1
in_queue() {
    [ "$(metric 'runner_tasks{state="waiting"}')" = 1 ]
}
await 60 in_queue
http POST /sandboxes/d/destroy
is "a destroy that comes with a second create before it in the queue" "$code" 200
wait "$first" "${creating[d]}"
http GET /sandboxes/d
is "leaves none" "$(json state)" destroyed
let_go queued:1
for id in a b c; do
    http POST "/sandboxes/$id/destroy"
done

# ---- beyond timeouts.pull ----

stop_runner
start_runner "timeouts: {pull: 2s}" || exit 99
held_on_shelf never:1
create e never:1
ended e
is "an image that does not come within timeouts.pull" "$code" 408
http GET /sandboxes/e
is "its sandbox is gone" "$(json state)" destroyed
over() {
    http GET "/snapshots/info?snapshot=never:1"
    [ "$code" = 422 ]
}
ok "the pull has ended as well" await 60 over
is "kinds of failure" "$(metric 'runner_image_pull_failures_total{code="timeout"}')" 1
ok "nothing half-made is left" eval '! ls -A "$root/bases" | grep -q "^\."'
let_go never:1
stop_runner
start_runner || exit 99
create e never:1
ended e
is "the next try works" "$code" 201
http POST /sandboxes/e/destroy

# ---- one after the other ----

stop_runner
start_runner "limits: {pulls: 1}" || exit 99
for i in 1 2 3; do
    held_on_shelf "row:$i"
    pull "row:$i"
    [ $i -gt 1 ] || await 60 phase row:1 fetch
    [ $i = 1 ] || await 60 phase "row:$i" wait
done
ok "with limits.pulls 1 the first is fetched" phase row:1 fetch
ok "the others wait" eval 'phase row:2 wait && phase row:3 wait'
is "running, waiting" "$(metric runner_image_pulls_running) $(metric runner_image_pulls_waiting)" "1 2"
ok "of that which takes longest it is known for how long" eval '[ "$(metric runner_image_pull_oldest_seconds | cut -d . -f 1)" -ge 0 ]'
http POST /snapshots/inspect -d '{"snapshot": "row:3"}'
is "an inspection waits for nobody" "$code" 200
let_go row:3
let_go row:1
ok "who came second is second" await 60 phase row:2 fetch
ok "and the third waits" phase row:3 wait
let_go row:2
is_pulled() {
    http GET "/snapshots/info?snapshot=row:3"
    [ "$code" = 200 ]
}
ok "then it is fetched" await 60 is_pulled
is "nothing runs or waits" "$(metric runner_image_pulls_running) $(metric runner_image_pulls_waiting)" "0 0"
held_on_shelf row:4
held_on_shelf row:5
pull row:4
await 60 phase row:4 fetch
create f row:5
ok "a create waits for its turn" await 60 phase row:5 wait
stop_runner
is "a runner that is stopped meanwhile ends as it should" "$code" 0
ended f
unlike "the create was not done" "$code" "^2"
done_testing
