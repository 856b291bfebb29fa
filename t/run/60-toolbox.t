#!/bin/bash
# The guest daemon on loopback: what HTTP, files and the proxy must hold, and then Daytona's published client, which npm
# brings (kept in the cache directory, skipped with the reason when the registry is out of reach).
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-client.sh"

guestd=$top_builddir/guest/runner-guestd
[ -x "$guestd" ] || skip_all "guest/runner-guestd is not built (a library is missing)"
need curl python3

cat >"$dir/runner.json" <<'J'
{"schema": 1, "id": "11111111-2222-4333-8444-555555555555", "hostname": "box", "snapshot": "tiny", "user": "nobody-such",
 "env": {"GREETING": "hello there"}, "entrypoint": ["sh", "-c", "echo \"it's up\"; sleep 600"], "unknown": [1],
 "network": null, "daemonPort": 2280}
J

start_guestd() { # [ROOT]: in place of ours
    mkdir -p "$dir/tmp"
    if [ -n "${1-}" ]; then
        TMPDIR=/tmp chroot "$1" /guestd --address 127.0.0.1 --port 0 --seed /runner.json >"$dir/guestd.log" 2>&1 </dev/null &
    else
        HOME=$dir TMPDIR=$dir/tmp "$guestd" --address 127.0.0.1 --port 0 --seed "$dir/runner.json" \
            >"$dir/guestd.log" 2>&1 </dev/null &
    fi
    guestd_pid=$!
    at_exit kill "$guestd_pid"
    if ! await 60 grep -q '^runner-guestd .*: port ' "$dir/guestd.log"; then
        diag "the daemon did not start: $(cat "$dir/guestd.log")"
        exit 99
    fi
    port=$(sed -n 's/^runner-guestd .*: port //p' "$dir/guestd.log")
    base=http://127.0.0.1:$port
}

# get PATH [CURL ARG...]: $code, $out
get() {
    local path=$1
    shift
    code=$(curl -s --max-time 300 --path-as-is -o "$dir/body" -w '%{http_code}' "$@" "$base$path")
    out=$(tr -d '\0' <"$dir/body")
}

# raw BYTES (printf format): the status line of the answer to them
raw() {
    # shellcheck disable=SC2059
    printf "$1" | timeout 120 python3 -c '
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(sys.stdin.buffer.read())
print(s.makefile("rb").readline().decode().strip())' "$port"
}

# ---- command line ----
run "$guestd" --version
like 'version' "$out" '^runner-guestd [0-9]'
run "$guestd" --help
like 'help' "$out" '--seed FILE'
for bad in "--port 65536" "--port x" "--nonsense" "operand" "--port"; do
    # shellcheck disable=SC2086
    run "$guestd" $bad
    is "$bad is refused" "$code" 2
done
run "$guestd" --address 127.0.0.300 --port 0
is 'an address that is none' "$code $err" "1 runner-guestd: '127.0.0.300' is no IP address"
echo '{"schema": 2}' >"$dir/bad.json"
run "$guestd" --seed "$dir/bad.json" --port 0
like 'a seed of another schema' "$code $err" '^2 .*schema 2 is newer'

# ---- an image of one program: no shell, no /etc/passwd ----
alone=$dir/alone
mkdir -p "$alone/dev" "$alone/tmp" "$alone/bin"
cp "$guestd" "$alone/guestd"
ln "$alone/guestd" "$alone/bin/program"
alone_seed() { # USER [WORKDIR]
    echo "{\"schema\": 1, \"runAs\": \"$1\", \"env\": {\"PATH\": \"/none:/bin\"}, \"entrypoint\": [\"/guestd\", \"--version\"]
        ${2:+, \"workdir\": \"$2\"}}" >"$alone/runner.json"
}
alone_has() { # COMMAND
    get /process/execute -d "$1"
    [ "$code" = 200 ] && out="$(json exitCode) $(json result)" || out="$code $(json message)"
}
entrypoint_said() {
    get /process/session/entrypoint/logs
    [[ $out = *runner-guestd* ]]
}
if ! mknod -m 666 "$alone/dev/null" c 1 3 2>/dev/null || ! chroot "$alone" /guestd --version >/dev/null 2>&1; then
    skip "needs root, and a daemon that is linked statically" 10
else
    alone_seed root
    start_guestd "$alone"
    alone_has '{"command": "/guestd --version"}'
    like "no shell: a program runs" "$out" "^0 runner-guestd [0-9]"
    alone_has '{"command": " program \"--no\\\"such\" c\\ d"}'
    like "it is looked for in PATH; quotes are a shell's" "$out" '^2 runner-guestd: .*--no"such'
    for line in 'program | program' 'program $HOME' "program 'open" 'program \"$(id)\"' 'program >x'; do
        alone_has "{\"command\": \"$line\"}"
        like "what needs a shell is told: $line" "$out" "^400 .*there is no shell here"
    done
    alone_has '{"command": "nothing"}'
    like "a program that is not there" "$out" "^404 .*no program 'nothing' in PATH"
    alone_has "{\"command\": \"'' x\"}"
    like "an empty name" "$out" "^404 .*no program '' in PATH"
    ok "the entrypoint ran, with its log" await 60 entrypoint_said
    kill "$guestd_pid"
fi
if [ "$(id -u)" != 0 ]; then
    skip "only root becomes another user" 2
else
    for case in "ghost||no user 'ghost' in /etc/passwd" "root|/guestd|working directory '/guestd': Not a directory"; do
        IFS='|' read -r user workdir wanted <<<"$case"
        alone_seed "$user" "${workdir:+$alone$workdir}"
        run "$guestd" --address 127.0.0.1 --port 0 --seed "$alone/runner.json"
        like "what the image has not: $user $workdir" "$code $err" "^2 runner-guestd: ${wanted%%\'/*}"
    done
fi

start_guestd

# ---- the sandbox's environment ----
get /process/execute -d '{"command": "echo $DAYTONA_SANDBOX_ID $DAYTONA_SANDBOX_SNAPSHOT $GREETING"}'
is 'env of the seed reaches commands' "$(json result)" "11111111-2222-4333-8444-555555555555 tiny hello there"
entrypoint_is_up() {
    get /process/session/entrypoint/logs
    [ "$out" = "it's up" ]
}
ok 'the entrypoint runs, word for word, and its output is kept' await 60 entrypoint_is_up
get /process/session/entrypoint
is 'entrypoint session' "$(json sessionId) $(json commands.0.id)" "entrypoint entrypoint_command"
get /init -d '{"token": "secret"}'
is 'init' "$code" 200

# ---- HTTP ----
is 'two lengths' "$(raw 'GET /version HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n')" 'HTTP/1.1 400 Bad Request'
is 'length and chunked' "$(raw 'POST /init HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}')" 'HTTP/1.1 400 Bad Request'
is 'blank before the colon' "$(raw 'GET /version HTTP/1.1\r\nHost : x\r\n\r\n')" 'HTTP/1.1 400 Bad Request'
is 'folded line' "$(raw 'GET /version HTTP/1.1\r\nA: x\r\n y\r\n\r\n')" 'HTTP/1.1 400 Bad Request'
is 'bad chunk size' "$(raw 'POST /init HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n')" 'HTTP/1.1 400 Bad Request'
is 'chunked body' "$(raw 'POST /init HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nT: r\r\n\r\n')" 'HTTP/1.1 200 OK'
is 'header of 40 KB' "$(raw "GET /version HTTP/1.1\r\nA: $(head -c 40000 /dev/zero | tr '\0' a)\r\n\r\n")" 'HTTP/1.1 431 Header Too Large'
is 'absolute target' "$(raw 'GET http://x/version HTTP/1.1\r\n\r\n')" 'HTTP/1.1 400 Bad Request'
pipelined=$(printf 'GET /version HTTP/1.1\r\n\r\nGET /nope HTTP/1.1\r\n\r\nGET /version HTTP/1.0\r\n\r\n' | timeout 120 python3 -c '
import re, socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(sys.stdin.buffer.read())
print(*re.findall(r"HTTP/1.1 (\d+)", s.makefile().read()))' "$port")
is 'pipelined requests, answered in order, then closed' "$pipelined" '200 404 200'
get /process/execute -d '{"command": '
is 'broken JSON' "$code $(json code)" "400 INVALID_REQUEST_BODY"
get /process/execute -d '[1]'
is 'JSON that is no object' "$code $(json code)" "400 INVALID_REQUEST_BODY"
head -c 5000000 /dev/zero | tr '\0' ' ' >"$dir/large"
get /process/execute --data-binary "@$dir/large" -H 'Expect:'
is 'a JSON body of 5 MB' "$code" 413
for path in /git/status /lsp/start /computeruse/status /process/pty /process/interpreter/context; do
    get $path
    is "$path is 501" "$code $(json code) $(json path)" "501 NOT_IMPLEMENTED $path"
done
get /files/%zz
is 'unknown route' "$code $(json statusCode)" "404 404"

# ---- files of any size in little memory ----
head -c 300000000 /dev/zero | tr '\0' 'x' >"$dir/in"
get "/files/upload?path=$dir/out" -F "file=@$dir/in"
is 'upload of 300 MB' "$code" 200
ok 'it arrived' cmp "$dir/in" "$dir/out"
curl -s --max-time 300 "$base/files/download?path=$dir/out" | cmp - "$dir/in"
report $? 'download of it'
rss=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$guestd_pid/status")
if [ -n "${ASAN_OPTIONS-}" ] && grep -q __asan_init "$guestd"; then
    skip "memory is not the daemon's own under the sanitizer" 1
else
    [ "$rss" -lt 8192 ]
    report $? "the daemon never held more than 8 MB" || diag "peak: $rss KB"
fi
rm -f "$dir/in"
printf -- '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nhalf' >"$dir/cut"
get "/files/upload?path=$dir/cut-out" -H 'Content-Type: multipart/form-data; boundary=b' --data-binary "@$dir/cut"
is 'a multipart body that is cut' "$code" 400
not_ok 'leaves no file' test -e "$dir/cut-out"
is 'and nothing beside it' "$(find "$dir" -name '*.upload-*')" ''
get "/files/upload?path=$dir/x" -d 'no multipart'
is 'an upload that is no multipart' "$code" 400
ln -s "$dir/target" "$dir/link" && echo old >"$dir/target"
get "/files/upload?path=$dir/link" -F 'file=@-;filename=f' </dev/null
is 'upload through a link' "$code $(readlink "$dir/link") $(stat -c %s "$dir/target")" "200 $dir/target 0"
get "/files/download?path=/proc/self/status"
like 'a file of /proc' "$out" 'runner-guestd'
get "/files/download?path=$dir"
is 'download of a directory' "$code" 400
get "/files/upload?path=$dir" -F "file=@$dir/runner.json"
is 'upload onto a directory' "$code" 400
get /files/download
is 'no path' "$code" 400

# ---- the proxy ----
cat >"$dir/upstream.py" <<'P'
import http.server, socket, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def reply(self, text, status=200):
        self.send_response(status)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def do_GET(self):
        if self.path == '/chunked':
            self.send_response(200)
            self.send_header('Transfer-Encoding', 'chunked')
            self.end_headers()
            for word in (b'one ', b'two'):
                self.wfile.write(b'%x\r\n%s\r\n' % (len(word), word))
            self.wfile.write(b'0\r\n\r\n')
        elif self.path == '/cut':
            self.send_response(200)
            self.send_header('Content-Length', '10')
            self.end_headers()
            self.wfile.write(b'half')
            self.close_connection = True
        elif self.path == '/upgrade':
            self.wfile.write(b'HTTP/1.1 101 Go\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n')
            data = self.rfile.read()
            self.wfile.write(b'read %d' % len(data))
            self.close_connection = True
        else:
            self.reply(self.path.encode())
    def do_POST(self):
        if self.path == '/refuse':
            self.reply(b'no', 413)
            self.close_connection = True
            return
        n = 0
        if self.headers.get('Transfer-Encoding') == 'chunked':
            while (size := int(self.rfile.readline(), 16)) > 0:
                n += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            n = len(self.rfile.read(int(self.headers['Content-Length'])))
        self.reply(b'%d' % n)
    def log_message(self, *args):
        pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
server = Server(('127.0.0.1', 0), Handler)
deaf = socket.socket()  # has a port, and does not listen at it
deaf.bind(('127.0.0.1', 0))
print(server.server_port, deaf.getsockname()[1], flush=True)
server.serve_forever()
P
python3 "$dir/upstream.py" >"$dir/upstream.port" 2>/dev/null &
at_exit kill $!
await 60 grep -q . "$dir/upstream.port"
read -r upstream_port deaf_port <"$dir/upstream.port"
proxy=/proxy/$upstream_port
get "$proxy/a%2Fb/../c//d;x?q=%zz"
is 'the path arrives byte for byte' "$out" '/a%2Fb/../c//d;x?q=%zz'
get "$proxy?a=b"
is 'an empty path is /' "$out" '/?a=b'
get "$proxy/chunked"
is 'a chunked answer' "$out" 'one two'
get "$proxy/p" --data-binary "@$dir/large"
is 'an upload with length' "$out" 5000000
get "$proxy/p" --data-binary "@$dir/large" -H 'Transfer-Encoding: chunked'
is 'a chunked upload' "$out" 5000000
refusals=
for _ in 1 2 3 4 5; do
    get "$proxy/refuse" --data-binary "@$dir/large"
    refusals+="$code "
done
is 'a refusal during the upload arrives' "$refusals" '413 413 413 413 413 '
curl -s -o /dev/null "$base$proxy/cut"
is 'a cut answer is seen to be cut' "$(($? == 18 || $? == 56))" 1
get "/proxy/$deaf_port/"
is 'nothing listens' "$code [$out]" '502 []'
get /proxy/0/
is 'no port' "$code" 400
upgraded=$(timeout 120 python3 -c '
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"GET %s/upgrade HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly" % sys.argv[2].encode())
f = s.makefile("rb")
print(f.readline().split()[1].decode())
while f.readline().strip():
    pass
s.sendall(b"y" * 1000000)
s.shutdown(1)
print(f.read().decode())' "$port" "$proxy" | tr '\n' ' ')
is 'an upgrade becomes a tunnel, closed half by half' "$upgraded" '101 read 1000005 '

# ---- a log by WebSocket, as the SDK follows it ----
get /process/session -d '{"sessionId": "ws"}'
get /process/session/ws/exec -d '{"command": "read x; echo out; echo err >&2", "runAsync": true}'
command=$(json cmdId)
websocket=$(timeout 120 python3 -c '
import socket, sys, urllib.request
port, command = sys.argv[1:]
path = "/process/session/ws/command/%s" % command
s = socket.create_connection(("127.0.0.1", int(port)))
s.sendall(("GET %s/logs?follow=true HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % path).encode())
f = s.makefile("rb")
status, accept = f.readline().split()[1].decode(), ""
while line := f.readline().strip():
    if line.lower().startswith(b"sec-websocket-accept:"):
        accept = line.split()[1].decode()
urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:%s%s/input" % (port, path), b"{\"data\": \"in\\n\"}"))
text = b""
while True:
    head = f.read(2)
    payload = f.read(head[1])
    if head[0] == 0x88:
        break
    text += payload
print(status, accept, text, payload)' "$port" "$command")
# The key and its answer are the example of RFC 6455, section 1.3.
is 'a WebSocket gets marked messages and a close' "$websocket" \
    "101 s3pPLMBiTxaQ9kYGzzhZRbK+xOo= b'\\x01\\x01\\x01in\\n\\x01\\x01\\x01out\\n\\x02\\x02\\x02err\\n' b'\\x03\\xe8'"

# ---- Daytona's client ----
run_client "$base"

# ---- the end ----
kill -TERM "$guestd_pid"
wait "$guestd_pid"
is 'SIGTERM ends it with 0' "$?" 0
is 'nothing on stderr' "$(grep -v ': port ' "$dir/guestd.log")" ''
is 'no session directory is left' "$(ls "$dir/tmp")" ''
done_testing
