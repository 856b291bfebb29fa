# The fake Daytona API for shell tests; after lib.sh. What can be asked and told: t/fake/daytona_api/control.py
#   start_daytona [COMMAND...]       under that command; sets $daytona_url, $daytona_otlp; the key is $token of lib.sh
#   daytona METHOD PATH [JSON]       sets $code, $out: daytona POST /sandboxes/one/create '{"snapshot": "tiny"}'
#   daytona_user ID CALL [JSON]      the same for a user's call; sets $job to the job's id
#   daytona_result JOB [SECONDS]     waits until it is final; sets $out to all there is about it
daytona_control=
daytona_url=
daytona_otlp=
job=

start_daytona() {
    daytona_control=$dir/daytona.sock
    printf '%s' "$token" >"$dir/daytona.token"
    coproc DAYTONA { exec "$@" "$top_srcdir/t/fake/daytona-api" --control "$daytona_control" \
        --token-file "$dir/daytona.token" --stay-with-stdin 2>"$dir/daytona.err"; }
    at_exit kill "$DAYTONA_PID"
    local line
    read -r -t 60 line <&"${DAYTONA[0]}" || { diag "no fake API: $(cat "$dir/daytona.err")"; return 1; }
    daytona_url=$(json url "$line")
    daytona_otlp=$(json otlp "$line")
}

daytona() {
    code=$(curl -sS --max-time 600 --unix-socket "$daytona_control" -X "$1" -o "$dir/.out" -w '%{http_code}' \
        ${3+--data-binary "$3"} "http://daytona$2") || true
    out=$(cat "$dir/.out")
}

daytona_user() {
    daytona POST "/sandboxes/$1/$2" "${3-{\}}"
    job=$(json job.id)
}

daytona_result() {
    daytona POST /wait "{\"job\": \"$1\", \"timeout\": ${2-60}}"
    [ "$code" = 200 ] || return 1
    daytona GET "/jobs/$1"
}
