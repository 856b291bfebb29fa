#!/usr/bin/env bash
# tier: vm
# A real guest that is known to the runner by the Daytona API's jobs alone: made, used as the API's proxy does, stopped,
# started, paused, resumed, destroyed.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
. "$top_srcdir/t/run/lib-daytona.sh"
need curl python3
need_vm tiny
id=5e4f9a80-7f42-4c57-9b6c-0d3a1c2b9e10

ok "the API is there" start_daytona nsenter --net="/run/netns/$netns" || done_testing
(umask 077 && printf '%s\n' "$token" >"$dir/runner.token")
vm_listen=127.0.0.1:0
vm_top="domain: 127.0.0.1
state_dir: $dir/state
api: {version: 2, url: \"$daytona_url\", token_file: $dir/runner.token, healthcheck_interval: 1s}"
start_vm_runner bridge || die_early "the runner comes up"
ok "the accelerator is chosen" await 60 vmm_is_known
daytona POST /wait '{"runner": "ready", "timeout": 60}'
is "the API takes it for ready" "$code" 200
daytona GET /runner
proxy_url=$(json proxyUrl)
like "and knows where its proxy goes" "$proxy_url" '^http://127\.0\.0\.1:[0-9]+$'
before=$(leftovers)

by_job() { # CALL STATE [JSON]: as a user does it, until the API shows it done
    daytona_user "$id" "$1" "${3-{\}}"
    daytona_result "$job" 600
    is "$1: the job" "$(json status) $(json errorMessage)" "COMPLETED "
    daytona POST /wait "{\"sandbox\": \"$id\", \"state\": \"$2\", \"timeout\": 60}"
    is "$1: $2" "$code" 200
}

execute() { # COMMAND: sets $code, and $out to its output
    code=$(in_netns curl -sS --max-time 120 -H "Authorization: Bearer $token" -H "Content-Type: application/json" \
        --data-binary "{\"command\": \"$1\"}" -o "$dir/.out" -w '%{http_code}' \
        "$proxy_url/sandboxes/$id/toolbox/process/execute")
    out=$(cat "$dir/.out")
    [ "$code" != 200 ] || out=$(json result)
}

by_job create started '{"snapshot": "tiny", "user": "root", "cpu": 1, "memory": 1, "disk": 3, "env": {"GREETING": "hello there"}}'
daytona GET "/sandboxes/$id"
like "the API knows the daemon's version" "$(json daemonVersion)" .
execute "uname -s"
is "a command through the proxy's route" "$code $out" "200 Linux"
execute "sh -c 'echo \$GREETING'"
is "with the sandbox's environment" "$out" "hello there"
execute "sh -c 'echo kept >/root/file; sync; cat /proc/sys/kernel/random/boot_id'"
boot=$out
code=$(in_netns curl -sS --max-time 60 -o /dev/null -w '%{http_code}' "$proxy_url/sandboxes/$id/toolbox/version")
is "not without the token" "$code" 401

by_job stop stopped
execute "true"
is "a stopped one has no toolbox" "$code" 400
by_job start started
execute "cat /root/file"
is "the file is still there" "$code $out" "200 kept"
execute "cat /proc/sys/kernel/random/boot_id"
ok "after a new boot" eval '[ -n "$out" ] && [ "$out" != "$boot" ]'
boot=$out

by_job pause paused
http GET "/sandboxes/$id"
is "it is paused here too" "$(json state)" paused
by_job start started
execute "cat /proc/sys/kernel/random/boot_id"
is "the same boot goes on" "$code $out" "200 $boot"

by_job destroy absent
ok "nothing is left" await 60 no_leftovers
diag "before: $before; after: $(leftovers)"
daytona GET /violations
is "the API was asked as it wants to be" "$out" "[]"
not_ok "no token in the log" grep -qF "$token" "$runner_log"
done_testing
