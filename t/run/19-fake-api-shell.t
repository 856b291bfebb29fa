#!/usr/bin/env bash
# not sanitized: what it tests is Python
# t/run/lib-daytona.sh: a job from the user's call to its result, with curl for the runner.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-daytona.sh"
need curl python3

as_runner() { # METHOD PATH [JSON]
    code=$(curl -sS --max-time 60 -H "Authorization: Bearer $token" -H "X-Daytona-Source: runner" -X "$1" \
        ${3+-H "Content-Type: application/json" --data-binary "$3"} -o "$dir/.out" -w '%{http_code}' "$daytona_url$2")
    out=$(cat "$dir/.out")
}

ok "it starts" start_daytona
like "its address" "$daytona_url $daytona_otlp" '^http://127.0.0.1:[0-9]+/api http://127.0.0.1:[0-9]+$'
daytona_user one create '{"snapshot": "tiny", "cpu": 2}'
is "a user's create makes a job" "$code $(json job.type)" "200 CREATE_SANDBOX"
as_runner GET "/jobs/poll?timeout=10&limit=1"
is "the runner gets it" "$code $(json jobs.0.id)" "200 $job"
not_ok "it is not final" daytona_result "$job" 0.1
as_runner POST "/jobs/$job/status" '{"status": "COMPLETED", "resultMetadata": "{\"daemonVersion\":\"v1\"}"}'
is "the result is taken" "$code" 201
ok "it is final" daytona_result "$job"
is "with its post" "$(json status) $(json posts.0.body.status)" "COMPLETED COMPLETED"
daytona POST /wait '{"sandbox": "one", "state": "started", "timeout": 60}'
is "the sandbox is started" "$code" 200
daytona_user one start
is "a call that the state forbids" "$code $(message)" "400 Sandbox is started, not stopped or paused or archived"
daytona GET /violations
is "no violations" "$out" "[]"
done_testing
