#!/usr/bin/env bash
# tier: component
# The runner with a fake QEMU: the life of a sandbox, and every repetition that contract 1.5 names.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
need curl

A=0e1f2a3b-4c5d-4e6f-8a9b-0c1d2e3f4a5b
ok "the runner starts" start_runner || done_testing
dto() { # ID [MEMBERS]
    printf '{"id": "%s", "userId": "u", "snapshot": "tiny", "osUser": "daytona", "cpuQuota": 1, "memoryQuota": 1, "storageQuota": 3%s}' \
        "$1" "${2:+, $2}"
}
state() {
    json state "$("$ctl" info --json "$1")"
}
pid_of() {
    json pid "$("$ctl" info --json "$1")"
}
descriptors() { # all but sockets
    find "/proc/$runner_pid/fd" -type l -not -lname 'socket:*' | wc -l
}
sockets() {
    find "/proc/$runner_pid/fd" -type l -lname 'socket:*' | wc -l
}
threads() {
    find "/proc/$runner_pid/task" -mindepth 1 -maxdepth 1 | wc -l
}

# ---- the runner itself ----
http GET /
is "GET /: status" "$(json status)" ok
is "GET /: version" "runner-ch $(json version)" "$("$top_builddir/runner-ch" --version)"
http GET /info
is "GET /info" $code 200
for number in currentCpuLoadAverage currentCpuUsagePercentage currentMemoryUsagePercentage currentDiskUsagePercentage \
    currentAllocatedCpu currentAllocatedMemoryGiB currentAllocatedDiskGiB currentStartedSandboxes; do
    like "GET /info: $number" "$(json metrics.$number)" '^[0-9.e+-]+$'
done
is "GET /info: services are healthy" "$(json serviceHealth | grep -o '"healthy":[a-z]*' | sort -u)" '"healthy":true'
http GET /metrics
is "GET /metrics" $code 200
unlike "GET /metrics: each line is a comment or a sample" "$(grep -vE '^(#|[a-z_]+(\{[^}]*\})? [0-9.e+-]+$)' <<<"$out")" .
run "$ctl" ls --json
is "no sandboxes" "$out" '{"sandboxes":[]}'

# ---- create ----
http POST /sandboxes -d "$(dto $A '"env": {"X": "1"}, "name": "box"')"
is "create: status" $code 201
is "create: the daemon's version" "$(json daemonVersion)" fake
for phase in admit address directory disk begin network seed spawn host boot ready commit; do
    like "create: time of $phase" "$(json timings)" "\"phase\":\"$phase\",\"ms\":[0-9.]+"
done
http GET /sandboxes/$A
is "info: state" "$(json state)" started
is "info: backup state" "$(json backupState)" NONE
is "info: recoverable" "$(json recoverable)" false
is "info: version" "$(json daemonVersion)" fake
is "info: name" "$(json name)" box
is "info: resources" "$(json cpus) $(json memoryGiB) $(json diskGiB)" "1 1 3"
like "info: creation" "$(json createdAt)" '^20[0-9-]{8}T[0-9:.]+Z$'
pid=$(json pid)
is "info: the process is the VMM" "$(tr '\0' '\n' <"/proc/$pid/cmdline" | head -n 1)" "$vmm"
is "one VM runs" "$(vms)" 1
is "s08: its files are private" "$(find "$root/sandboxes" -mindepth 1 \( -perm /067 -o -type f -perm /077 \))" ""
if [ "$(id -u)" = 0 ]; then
    like "s05: its VMM is a user of its own, with nothing but its disks" \
        "$(stat -c %u "/proc/$pid") $(cd "$root/sandboxes/$A" && find . -uid "$(stat -c %u "/proc/$pid")" | sort | tr '\n' ' ')" \
        '^19000[0-9]{5} \./cloud-init\.iso \./disk\.qcow2 (\./serial\.log )?\./vmm (\./vmm/vsock\.sock )?$'
else
    skip "only root can start a VMM as another user" 1
fi
is "its record is JSON of schema 1" "$(json schema "$(cat "$root/sandboxes/$A/runner.json")")" 1
http GET "/sandboxes?stats=true"
is "list: one" "$(json sandboxes.0.id) $(json sandboxes.1)" "$A "
like "list: statistics" "$(json sandboxes.0.cpuMs) $(json sandboxes.0.rssBytes)" '^[0-9]+ [1-9][0-9]+$'
http GET "/sandboxes"
is "list: none unless asked for" "$(json sandboxes.0.cpuMs)" ""
http GET /sandboxes/$A/log
is "log" "$code $out" $'200 fake guest is up\r'
http GET "/sandboxes/$A/log?tail=4"
is "log: its end" "$out" $'up\r'
http GET "/sandboxes/$A/log?tail=x"
is "log: tail is no number" $code 400
log=$root/sandboxes/$A/serial.log
size=$(stat -c %s "$log")
truncate -s 100M "$log"
printf end >>"$log"
http GET "/sandboxes/$A/log?tail=3"
is "log: the end of one that no answer would hold" "$code $out" "200 end"
run "$ctl" log --tail 2000000 $A
is "log: as much as was asked for" "$(stat -c %s "$dir/.out")" 2000000
truncate -s "$size" "$log"

# ---- into the guest ----
run "$ctl" exec $A -- anything
is "exec" "$code $out" "0 fake guest"
run "$ctl" get $A /x -
is "get" "$out" "content of a file in the fake guest"
http GET "/sandboxes/$A/toolbox/a%2Fb/../c//d?q=%20&r"
is "gotcha 29: toolbox: the path's bytes are untouched" "$(head -n 1 <<<"$out" | tr -d '\r')" "GET /a%2Fb/../c//d?q=%20&r HTTP/1.1"
http GET "/sandboxes/$A/toolbox"
is "toolbox: an empty path is /" "$(head -n 1 <<<"$out" | tr -d '\r')" "GET / HTTP/1.1"
http PUT "/sandboxes/$A/toolbox/x" -H "Authorization: mine" -H "X-Daytona-Authorization: Bearer theirs" -d hello
like "gotcha 37: toolbox: any method, and the body" "$out" "^PUT /x HTTP/1.1"
like "toolbox: the user's own header arrives" "$out" "^[Aa]uthorization: mine"
unlike "gotcha 28: toolbox: the runner's does not" "$out" "theirs"
http GET "/sandboxes/$A/proxy/8080/p?q"
is "proxy of a port goes through the daemon" "$(head -n 1 <<<"$out" | tr -d '\r')" "GET /proxy/8080/p?q HTTP/1.1"

# ---- create again (contract 1.5) ----
http POST /sandboxes -d "$(dto $A)"
is "create of a started one" "$code $(json daemonVersion)" "201 fake"
is "and it is the same VM" "$(pid_of $A)" "$pid"
for i in 1 2 3 4; do
    "$ctl" create concurrent >"$dir/create.$i" 2>&1 &
    creates[i]=$!
done
failed=0
for i in 1 2 3 4; do wait "${creates[i]}" || failed=$((failed + 1)); done
is "four creates of one id at once all succeed" $failed 0
is "and make one VM" "$(vms)" 2
run "$ctl" rm -f concurrent
http POST /sandboxes/$A/stop
is "stop without a body" "$code $out" '200 "Sandbox stopped"'
http POST /sandboxes -d "$(dto $A '"skipStart": true')"
is "create of a stopped one starts it" "$code $(json daemonVersion)" "201 fake"
is "its state" "$(state $A)" started

# ---- start, stop ----
pid=$(pid_of $A)
http POST /sandboxes/$A/start -d '{}'
is "start of a started one" "$code $(json daemonVersion)" "200 fake"
is "changes nothing" "$(pid_of $A)" "$pid"
http POST /sandboxes/$A/start
is "start without a body" "$code $(json code)" "400 INVALID_REQUEST_BODY"
http POST /sandboxes/$A/start -d '[]'
is "start with another body" "$code $(json code)" "400 INVALID_REQUEST_BODY"
http POST /sandboxes/$A/stop -d 'no { json'
is "stop ignores a body that it cannot read" "$code" 200
is "its state" "$(state $A)" stopped
is "no VM is left" "$(vms)" 0
is "a stopped one has no pid" "$(pid_of $A)" ""
http POST /sandboxes/$A/stop -d '{}'
is "stop of a stopped one" "$code $out" '200 "Sandbox stopped"'
http POST /sandboxes/$A/start -d '{"a": "b"}'
is "start" "$code $(json daemonVersion)" "200 fake"
http POST /sandboxes/$A/stop -d '{"force": true}'
is "stop by force" "$code $(state $A)" "200 stopped"
http POST /sandboxes/missing/stop -d '{}'
is "stop of a missing one" "$code $(json code)" "404 NOT_FOUND"
http POST /sandboxes/missing/start -d '{}'
is "start of a missing one" "$code $(json code)" "404 NOT_FOUND"
http GET /sandboxes/missing/log
is "log of a missing one" "$code $(json code)" "404 NOT_FOUND"

# ---- toolbox without a guest ----
http GET /sandboxes/$A/toolbox/version
is "toolbox of a stopped one" "$code $(json code)" "400 BAD_REQUEST"
like "toolbox of a stopped one: the text the API looks for" "$(message)" 'Is the Sandbox started\?$'
http GET /sandboxes/missing/toolbox/version
is "toolbox of a missing one" "$code $(json code)" "404 NOT_FOUND"

# ---- pause, resume ----
http POST /sandboxes/$A/pause
is "pause of a stopped one" "$code $(json code)" "409 CONFLICT"
"$ctl" start $A >"$dir/x"
pid=$(pid_of $A)
toolbox() { # often enough to meet each of the runner's loops
    local i
    for i in 1 2 3 4 5 6 7 8 9 10; do
        http GET /sandboxes/$A/toolbox/version --max-time 30
        echo "$code $(json code)"
    done | sort -u
}
is "toolbox of a running one" "$(toolbox)" "200 "
http POST /sandboxes/$A/pause
is "pause" "$code $(state $A)" "200 paused"
http POST /sandboxes/$A/pause
is "pause of a paused one" $code 200
is "toolbox of a paused one, on no old connection" "$(toolbox)" "400 BAD_REQUEST"
http POST /sandboxes/$A/resume
is "resume" "$code $(state $A)" "200 started"
http POST /sandboxes/$A/resume
is "resume of a running one" $code 200
http POST /sandboxes/$A/pause
http POST /sandboxes/$A/start -d '{}'
is "start of a paused one resumes it" "$code $(state $A) $(pid_of $A)" "200 started $pid"
http POST /sandboxes/$A/pause
http POST /sandboxes/$A/stop
is "stop of a paused one" "$code $(state $A) $(vms)" "200 stopped 0"
for operation in pause resume; do
    http POST /sandboxes/missing/$operation
    is "$operation of a missing one" "$code $(json code)" "404 NOT_FOUND"
done

# ---- a guest that ends by itself ----
"$ctl" start $A >"$dir/x"
kill -TERM "$(pid_of $A)"
ok "a VM that ended is noticed" await 60 eval '[ "$(state $A)" != started ]'
is "a clean end is a stop" "$(state $A)" stopped
"$ctl" start $A >"$dir/x"
kill -KILL "$(pid_of $A)"
ok "a VM that was killed is noticed" await 60 eval '[ "$(state $A)" != started ]'
run "$ctl" start $A
is "it starts again" "$code $(state $A)" "0 started"

# ---- destroy ----
http DELETE /sandboxes/$A
is "destroy of a running one" "$code $out" '200 "Sandbox destroyed"'
http POST /sandboxes/$A/destroy
is "destroy of a destroyed one" "$code $out" '200 "Sandbox destroyed"'
http DELETE /sandboxes/never
is "destroy of one that never was" "$code $out" '200 "Sandbox destroyed"'
http GET /sandboxes/$A
is "info of a destroyed one" "$code $(json state)" "200 destroyed"
is "d14: nothing of it is left" "$(find "$root/sandboxes" "$dir/run" -mindepth 1)" ""
is "no VM is left" "$(vms)" 0

# ---- skipStart ----
http POST /sandboxes -d "$(dto skip '"skipStart": true')"
is "create without start" "$code $(json daemonVersion)" "201 "
is "its state" "$(state skip) $(vms)" "stopped 0"
run "$ctl" start skip
is "it starts" "$code $(state skip)" "0 started"
run "$ctl" rm -f skip

# ---- many, and nothing is lost ----
"$ctl" ls >"$dir/x"
fds=$(descriptors)
open=$(sockets)
tasks=$(threads)
for i in 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20; do
    "$ctl" create many-$i >"$dir/x.$i" 2>&1 &
    creates[10#$i]=$!
done
failed=0
for i in $(seq 20); do wait "${creates[i]}" || failed=$((failed + 1)); done
is "twenty creates at once" "$failed $(vms) $("$ctl" ls -q | wc -l)" "0 20 20"
is "each process is another" "$("$ctl" ls --json | grep -Eo '"pid":[0-9]+' | sort -u | wc -l)" 20
is "each answers" "$(for i in 01 07 13 20; do "$ctl" exec many-$i -- x; done | sort | uniq -c | tr -s ' ')" " 4 fake guest"
run "$ctl" stop --all
is "stop --all" "$code $(vms)" "0 0"
run "$ctl" rm --all
is "rm --all" "$code $("$ctl" ls -q)" "0 "
is "d23: no files are left" "$(find "$root/sandboxes" "$dir/run" -mindepth 1)" ""
ok "d23: no descriptors are left" await 60 eval '[ "$(descriptors)" -le "$fds" ]'
ok "of 60 operations no more than 20 pairs of sockets are kept, for reuse" await 60 eval '[ "$(sockets)" -le $((open + 42)) ]'
ok "d23: no threads are left" await 60 eval '[ "$(threads)" -le "$tasks" ]'

# ---- a second one, which cannot listen ----
second() {
    timeout 60 "$top_builddir/runner-ch" --config "$dir/runner.yaml" --plugin-dir "$runner_plugins" >"$dir/second" 2>&1
}
codes=
for _ in 1 2 3 4 5 6 7 8 9 10; do # its threads run for a moment
    second
    codes+="$? "
done
is "a second runner ends: exit status" "$codes" "1 1 1 1 1 1 1 1 1 1 "
like "and says why" "$(cat "$dir/second")" "event=runner.failed .*is in use by a running server"

# ---- the end ----
"$ctl" create stays >"$dir/x"
stop_runner
is "SIGTERM: exit status" "$code" 0
is "d08: its VM goes on" "$(vms)" 1
unlike "no secret in the log" "$(cat "$runner_log")" "$token"
done_testing
