#!/usr/bin/env bash
# tier: component
# takes: 40 s
# What clients send that makes no sense: the status, the error body of the contract (1.2), and nothing made of it.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
need curl python3

ok "the runner starts" start_runner "limits: {body: 64K, cpus: 8, memory_mb: 65536, disk_gb: 1000}" || done_testing
make_snapshot large $((5 << 30))
touch "$dir/before"

# ---- tokens, over TCP ----
port=$(runner_port)
tcp() { # PATH [CURL ARG...]
    local path=$1
    shift
    code=$(curl -sS --max-time 30 --path-as-is -o "$dir/.out" -w '%{http_code}' "$@" "http://127.0.0.1:$port$path" \
        2>"$dir/.err") || true
    out=$(tr -d '\0' <"$dir/.out")
}
tcp /
is "GET / needs no token" $code 200
tcp /sandboxes -H "Authorization: Bearer $token"
is "the right token" $code 200
tcp /sandboxes -H "X-Daytona-Authorization: Bearer $token" -H "Authorization: Bearer other"
is "X-Daytona-Authorization comes first" $code 200
tcp /sandboxes -H "X-Daytona-Authorization;" -H "Authorization: Bearer $token"
is "unless it is empty" $code 200
refused() { # NAME MESSAGE CURL ARG...
    local name=$1 wanted=$2 path
    shift 2
    for path in /sandboxes /info /metrics /sandboxes/x/toolbox/version /sandboxes/../x /nothing; do
        tcp $path "$@"
        is "s04, gotcha 38 (/metrics too): $name: $path" "$code $(json code) $(message)" "401 UNAUTHORIZED unauthorized: $wanted"
    done
}
refused "no token" "authorization header required"
refused "another token" "invalid token" -H "Authorization: Bearer wrong"
refused "half a token" "invalid token" -H "Authorization: Bearer ${token:0:8}"
refused "a longer token" "invalid token" -H "Authorization: Bearer ${token}x"
refused "another scheme" "invalid authorization header format" -H "Authorization: Basic $token"
refused "a scheme in lower case" "invalid authorization header format" -H "Authorization: bearer $token"
refused "three parts" "invalid authorization header format" -H "Authorization: Bearer $token x"
refused "no scheme" "invalid authorization header format" -H "Authorization: $token"
tcp /sandboxes -X POST -d '{ no json'
is "the token comes before the body" $code 401

# ---- the error body ----
http POST /sandboxes -d '{'
is "error body: statusCode" "$(json statusCode)" "$code"
is "error body: path, method" "$(json path) $(json method)" "/sandboxes POST"
like "error body: time" "$(json timestamp)" '^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]+(Z|[+-][0-9:]{5})$'
like "error body: type" "$err" '^[Cc]ontent-[Tt]ype: application/json'

# ---- bodies of create ----
good='"id": "x", "userId": "u", "snapshot": "tiny", "osUser": "daytona"'
bad_body() { # NAME BODY REGEX-OF-MESSAGE
    http POST /sandboxes --data-binary "$2"
    is "$1: status" "$code $(json code)" "400 INVALID_REQUEST_BODY"
    like "$1: message" "$(message)" "^invalid body request: $3"
}
bad_body "empty body" "" "the body is empty"
bad_body "no JSON" "{ no json" "JSON at byte"
bad_body "cut JSON" '{"id": "x"' "JSON"
bad_body "more than one value" "{$good} {}" "JSON"
bad_body "an array" "[]" "a JSON object is needed"
bad_body "null" "null" "a JSON object is needed"
bad_body "too deep" "{$good, \"env\": $(printf '[%.0s' {1..40})$(printf ']%.0s' {1..40})}" "JSON at byte [0-9]+: nested deeper"
bad_body "a key twice" "{$good, \"id\": \"y\"}" "JSON at byte [0-9]+: repeated key"
bad_body "a NUL" "{$good, \"name\": \"a\\u0000b\"}" "JSON at byte [0-9]+: a string holds a NUL"
bad_body "broken UTF-8" "{$good, \"name\": \"$(printf '\xff')\"}" "JSON at byte"
bad_body "an integer beyond 64 bits" "{$good, \"cpuQuota\": 99999999999999999999}" "JSON at byte"
bad_body "an empty object" "{}" "id: "
with() { # MEMBER JSON|"": the good body with that member changed, or without it
    local member body=
    for member in '"id": "x"' '"userId": "u"' '"snapshot": "tiny"' '"osUser": "daytona"'; do
        if [ "${member%%:*}" != "\"$1\"" ]; then
            body="$body, $member"
        elif [ -n "$2" ]; then
            body="$body, \"$1\": $2"
        fi
    done
    echo "{${body:2}}"
}
for member in id userId snapshot osUser; do
    bad_body "without $member" "$(with $member "")" "$member: is required"
    bad_body "$member is empty" "$(with $member '""')" "$member: must not be empty"
    bad_body "$member is a number" "$(with $member 7)" "$member: expected a string"
    bad_body "$member is null" "$(with $member null)" "$member: is required"
done
rest='"userId": "u", "snapshot": "tiny", "osUser": "daytona"'
for id in "../x" "." ".." "a/b" "UPPER" "-a" "a b" "a.b" "a_b" "é" "$(printf 'a%.0s' {1..64})" "$(printf 'a%.0s' {1..300})" 'a\nb' 'a%2fb'; do
    bad_body "id ${id:0:20} (${#id})" "{\"id\": \"$id\", $rest}" "id: must match"
done
for snapshot in ../tiny /tiny tiny/ a//b . .. "a/../b" "a b" "$(printf 'a%.0s' {1..256})"; do
    bad_body "snapshot ${snapshot:0:20}" "{\"id\": \"x\", \"userId\": \"u\", \"osUser\": \"d\", \"snapshot\": \"$snapshot\"}" \
        "snapshot: is not a snapshot reference"
done
for quota in cpuQuota memoryQuota storageQuota; do
    bad_body "$quota 0" "{$good, \"$quota\": 0}" "$quota: must be at least 1"
    bad_body "$quota -1" "{$good, \"$quota\": -1}" "$quota: must be at least 1"
    bad_body "$quota 1.5" "{$good, \"$quota\": 1.5}" "$quota: expected an integer"
    bad_body "$quota \"1\"" "{$good, \"$quota\": \"1\"}" "$quota: expected an integer"
    bad_body "$quota beyond the limit" "{$good, \"$quota\": 1000000000}" "$quota: must be at most"
    bad_body "$quota beyond all" "{$good, \"$quota\": 9223372036854775807}" "$quota: must be at most"
done
bad_body "env is a list" "{$good, \"env\": []}" "env: expected an object"
bad_body "a variable is a number" "{$good, \"env\": {\"A\": 1}}" "env: 'A': expected a string"
bad_body "a variable's name" "{$good, \"env\": {\"A B\": \"1\"}}" "env: 'A B' is not the name of a variable"
bad_body "a variable's name is empty" "{$good, \"env\": {\"\": \"1\"}}" "env: '' is not the name of a variable"
bad_body "entrypoint is text" "{$good, \"entrypoint\": \"sh\"}" "entrypoint: expected an array of strings"
bad_body "entrypoint of numbers" "{$good, \"entrypoint\": [1]}" "entrypoint: expected an array of strings"

# ---- what is not built is refused, not dropped ----
for member in '"gpuQuota": 1' '"volumes": [{"volumeId": "v", "mountPath": "/v"}]' \
    '"linkedSandboxId": "y"' '"sandboxClass": "android"'; do
    http POST /sandboxes -d "{$good, $member}"
    is "d11, s03: $member" "$code $(json code)" "501 NOT_IMPLEMENTED"
    like "$member: message" "$(message)" "^not implemented: ${member:1:6}"
done

# ---- network settings: of a network that cannot keep them, and such as nobody could keep ----
for member in '"networkBlockAll": true' '"networkAllowList": "10.0.0.0/8"' '"domainAllowList": "a.b"'; do
    http POST /sandboxes -d "{$good, $member}"
    is "s03: $member" "$code $(json code)" "501 NOT_IMPLEMENTED"
    like "$member: message" "$(message)" "^not implemented: network settings: network 'user' cannot limit"
done
bad_body "a block that is text" "{$good, \"networkBlockAll\": \"true\"}" "networkBlockAll: expected a boolean"
bad_body "an address without a length" "{$good, \"networkAllowList\": \"10.0.0.0\"}" "networkAllowList: '10.0.0.0' is not"
bad_body "a name that is none" "{$good, \"domainAllowList\": \"a b\"}" "domainAllowList: 'a b' is not the name of a domain"
http GET /sandboxes/x/network-settings
is "network settings of no sandbox" "$code $(json code)" "404 NOT_FOUND"
http POST /sandboxes/x/network-settings -d '{}'
is "s03: network settings for no sandbox" "$code $(json code)" "404 NOT_FOUND"
http POST /sandboxes/x/network-settings -d '{"networkAllowList": "10.0.0.0/8,x"}'
is "network settings that nobody could keep" "$code $(json code)" "400 INVALID_REQUEST_BODY"

# ---- snapshots ----
http POST /sandboxes -d '{"id": "x", "userId": "u", "osUser": "d", "snapshot": "nosuch"}'
is "unknown snapshot" "$code $(json code)" "404 NOT_FOUND"
like "unknown snapshot: which, and what there is" "$(message)" "^not found: .*'nosuch'.*tiny"
http POST /sandboxes -d '{"id": "x", "userId": "u", "osUser": "d", "snapshot": "large", "storageQuota": 4}'
is "d13: a disk smaller than its base" $code 400
like "a disk smaller than its base: message" "$(message)" "[45]"
bad_manifest() { # NAME REGEX
    http POST /sandboxes -d '{"id": "x", "userId": "u", "osUser": "d", "snapshot": "broken"}'
    like "$1: failed" $code '^(400|500)$'
    like "$1: message" "$(message)" "$2"
}
make_snapshot broken
echo '{"schema": 2}' >"$root/snapshots/broken/manifest.json"
bad_manifest "a manifest of another schema" "manifest.json: schema: expected 1"
echo 'no json' >"$root/snapshots/broken/manifest.json"
bad_manifest "a manifest that is no JSON" "manifest.json"
sed 's|"disk.raw"|"../../../etc/passwd"|' "$root/snapshots/tiny/manifest.json" >"$root/snapshots/broken/manifest.json"
bad_manifest "d09: a manifest that leads elsewhere" "manifest.json: disk.file: expected the name of a file"

# ---- ids in paths ----
for id in . .. ../x a%2fb %2e%2e UPPER a%00b a.b -a "$(printf 'a%.0s' {1..64})" "$(printf 'a%.0s' {1..300})"; do
    for route in "GET " "DELETE " "POST /start" "POST /stop" "POST /pause" "POST /destroy" "GET /log" \
        "GET /toolbox/version" "GET /proxy/80/"; do
        http ${route%% *} "/sandboxes/$id${route#* }" $([ "${route%% *}" != POST ] || echo -d {})
        # ".." has no route of its own where nothing follows: 404; never a 2xx, never a 5xx
        like "s01: $route with id ${id:0:20} (${#id})" $code '^40[04]$'
    done
done
for id in UPPER a.b -a a%00b "$(printf 'a%.0s' {1..64})"; do
    http GET "/sandboxes/$id"
    is "GET with id ${id:0:20} (${#id}): an error body" "$code $(json code)" "400 BAD_REQUEST"
done
for port_text in 0 65536 x -1 080 99999999999; do
    http GET /sandboxes/x/proxy/$port_text/
    like "proxy of port $port_text" $code '^40[04]$'
done

# ---- routes and requests ----
for route in "GET /nothing" "PUT /sandboxes" "PATCH /sandboxes/x" "GET /sandboxes/x/start" "POST /" "DELETE /info" \
    "POST /sandboxes/x/nothing" "GET /sandboxes/" "GET //sandboxes"; do
    http ${route%% *} "${route#* }" $([ "${route%% *}" = GET ] || echo -d {})
    is "$route" $code 404
done
for route in "POST /sandboxes/x/backup" "POST /snapshots/build" "POST /sandboxes/x/snapshot-from-sandbox"; do
    http ${route%% *} "${route#* }" $([ "${route%% *}" = GET ] || echo -d {})
    is "d11: $route" "$code $(json code)" "501 NOT_IMPLEMENTED"
done
head -c 70000 /dev/zero | tr '\0' ' ' >"$dir/large"
http POST /sandboxes --data-binary "@$dir/large"
is "a body above the limit" $code 413
http POST /sandboxes -H "Transfer-Encoding: chunked" --data-binary "@$dir/large"
is "a chunked body above the limit" $code 413
http GET /info -H "X: $(head -c 100000 /dev/zero | tr '\0' x)"
like "a head above the limit" $code '^(431|400)$'
raw() { # TEXT: what comes back for these bytes, first line
    printf "$1" | python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect(sys.argv[1])
s.sendall(sys.stdin.buffer.read())
s.shutdown(socket.SHUT_WR)
print(s.makefile("rb").read(4096).split(b"\r\n")[0].decode("latin-1"))' "$RUNNER_SOCKET" 2>&1 | tail -n 1
}
like "no HTTP at all" "$(raw 'hello\r\n\r\n')" '^(HTTP/1\.[01] 400 .*)?$'
like "two lengths" "$(raw 'POST /sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab')" '^HTTP/1\.[01] 400 '
like "a length and chunks" \
    "$(raw 'POST /sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n')" '^HTTP/1\.[01] 400 '
like "a length that is none" "$(raw 'POST /sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n')" '^HTTP/1\.[01] 400 '
like "a NUL in the path" "$(raw 'GET /sandboxes/a\0b HTTP/1.1\r\nHost: x\r\n\r\n')" '^(HTTP/1\.[01] 40[04] .*)?$'
like "a folded header" "$(raw 'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n')" '^HTTP/1\.[01] (200|400) '

# ---- the end ----
run "$ctl" ls -q
is "no sandbox came of all that" "$code $out" "0 "
is "no file either" "$(find "$root/sandboxes" "$dir/run" -mindepth 1 2>/dev/null)" ""
is "nor elsewhere" "$(find "$dir" -newer "$dir/before" -type d -not -path "$root*" -not -path "$dir" -not -path "$dir/run")" ""
run "$ctl" create fine
is "and it still works" "$code $out" "0 fine"
run "$ctl" rm -f fine
unlike "s08: no token in the log" "$(cat "$runner_log")" "$token"
stop_runner
is "it ends well" $code 0
done_testing
