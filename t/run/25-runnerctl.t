#!/usr/bin/env bash
# runnerctl against a small server: every command, every exit code, bad replies.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
need python3

ctl=$top_builddir/runnerctl
fake=$top_srcdir/t/fake/fake-runner.py
A=0e1f2a3b-0000-4000-8000-00000000000a
B=b
export RUNNER_SOCKET=$dir/api.sock
unset RUNNER_TOKEN

echo "s3cret-token" >"$dir/token"
coproc FAKE { exec "$fake" --socket "$RUNNER_SOCKET" --token "$dir/token" --port-file "$dir/port" \
    --requests "$dir/requests" 2>"$dir/fake.err"; }
fake_pid=$FAKE_PID
at_exit kill "$fake_pid"
read -r -t 60 ready <&"${FAKE[0]}" || true
is "the fake runner is up" "${ready-}" ready

request() { # field of the last request
    tail -n 1 "$dir/requests" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}
body() { # key of the body of the last request, as JSON
    tail -n 1 "$dir/requests" |
        python3 -c 'import json, sys; print(json.dumps(json.loads(json.load(sys.stdin)["body"]).get(sys.argv[1])))' "$1"
}
requests() {
    wc -l <"$dir/requests"
}
json_value() { # KEY of $out
    python3 -c 'import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])' "$out" "$1"
}

# ---- help and usage ----
run "$ctl" --help
is "--help: code" $code 0
for command in create ls info start stop pause resume resize recover network rm exec put get log top version; do
    like "--help names $command" "$out" "^  $command "
done
commands="create ls info start stop pause resume resize recover network rm exec put get log top version"
for command in $commands; do
    run "$ctl" $command --help
    is "$command --help: code" $code 0
    like "$command --help: usage" "$out" "^usage: runnerctl $command "
    run "$ctl" $command --no-such-option
    is "$command: an unknown option is wrong usage" $code 2
    like "$command: and says which" "$err" "^runnerctl: $command: unknown option --no-such-option"
done
run "$ctl" help stop
like "help COMMAND" "$out" "^usage: runnerctl stop "
run "$ctl"
is "no command: code" $code 2
run "$ctl" strat x
is "a misspelt command: code" $code 2
is "and a proposal" "$err" "runnerctl: unknown command 'strat' (did you mean start?)"
run "$ctl" create --snapshat x
is "a misspelt option" "$(head -n 1 <<<"$err")" "runnerctl: create: unknown option --snapshat (did you mean --snapshot?)"
for words in "create --cpus 0" "create --cpus x" "create --memory -1" "create --disk" "create --cpus=" "create a b" \
    "create --env X" "create --env 1=2" "create --snapshot ../x" "create UPPER" "info ../x" "info ." \
    "info a%2fb" "info $(printf 'a%.0s' {1..64})" "stop" "resize x" "resize --cpus 1" "resize --disk 0 x" "recover" "stop --all x" "rm" "rm x --all" "network" "network x y" "network --block --open x" "network --allow 1.0.0.0/8 --block x" \
    "network --domains a.b --open x" "network ../x" "create --block --domains a.b" "exec" "exec x" "exec x --" \
    "exec ../x -- ls" "exec x --timeout 30 -- ls" "exec x --timeout 0 -- ls" "put x" "put x y" "get x" "log" \
    "log --tail 0 x" "log --tail x y" "top x" "ls x" "version x" "--socket a --url http://b ls" "--token-file a ls" \
    "--url ftp://x ls" "--url http://u:p@127.0.0.1 ls" "--url http://127.0.0.1/?x ls" "--url http:// ls" "ls --json=1" \
    "start -x y" "put x /dev/null / --mode 9" "--socket $(printf 'a%.0s' {1..108}) ls"; do
    run "$ctl" $words
    is "wrong usage: $words" $code 2
    like "its message: $words" "$err" "^runnerctl: "
done
ok "nothing of that was sent" test ! -s "$dir/requests"

# ---- create ----
run "$ctl" create $A --cpus 2 --memory 4 --disk 10 --env A=1 -e 'B=x "y" é' --env A=2 --name "my box" --user bob
is "create: code" $code 0
is "create prints the id" "$out" $A
is "create is quiet otherwise" "$err" ""
is "create: request" "$(request method) $(request path)" "POST /sandboxes"
for pair in "id \"$A\"" 'name "my box"' 'snapshot "tiny"' 'osUser "bob"' 'cpuQuota 2' 'memoryQuota 4' 'storageQuota 10' \
    'env {"B": "x \"y\" \u00e9", "A": "2"}' 'skipStart null'; do
    is "create: ${pair%% *}" "$(body "${pair%% *}")" "${pair#* }"
done
run "$ctl" create --no-start $B
is "create --no-start: skipStart" "$(body skipStart)" true
is "create: quotas are left to the runner" "$(body cpuQuota) $(body memoryQuota) $(body storageQuota)" "null null null"
run "$ctl" create
like "create without an id makes a UUID up" "$out" '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'
C=$out
run "$ctl" create --timings "$C"
is "create --timings" "$out" "$C
PHASE       MS
disk      0.41
ready  1200.00
total  1200.41"
run "$ctl" create --json
is "create --json: the id goes to standard error" "$(tr -d '0-9a-f' <<<"$err")" "----"
is "create --json: the reply" "$out" '{"daemonVersion": "0.1.0", "timings": [{"phase": "disk", "ms": 0.41}, {"phase": "ready", "ms": 1200}]}'
"$ctl" rm -f "$err" >"$dir/x"
is "create: the runner's message" "$("$ctl" create --snapshot nope 2>&1)" "runnerctl: create: not found: snapshot 'nope'"
run "$ctl" create --snapshot nope
is "create: failed" "$code $out" "1 "
printf 'ssh-ed25519 AAAAC3 bob@a\n# no key\n\nssh-rsa AAAB x' >"$dir/keys.pub"
run "$ctl" create --ssh-key "$dir/keys.pub" $A
is "create --ssh-key" "$(body sshKeys)" '["ssh-ed25519 AAAAC3 bob@a", "ssh-rsa AAAB x"]'
before=$(requests)
printf -- '-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n' >"$dir/key"
: >"$dir/empty"
for file in key empty missing; do
    run "$ctl" create --ssh-key "$dir/$file"
    is "create --ssh-key $file: code" $code 1
    like "create --ssh-key $file: message" "$err" "^runnerctl: create: --ssh-key: '$dir/$file'"
    unlike "create --ssh-key $file: the content is not shown" "$err" b3Bl
done
is "create --ssh-key: no bad file was sent" "$(requests)" "$before"

# ---- ls, info ----
run "$ctl" ls
is "ls: code" $code 0
is "ls: heading" "$(head -n 1 <<<"$out")" \
    "ID                                    NAME    STATE    SNAPSHOT  CPUS  MEM GIB  DISK GIB  ADDRESS   AGE"
like "ls: a row" "$out" "^$A  my box  started  tiny         2        4        10  10.0.0.2 +[0-9]+[sm]$"
like "ls: a stopped one without a name of its own" "$out" "^$B +-       stopped  tiny "
unlike "ls: no colours in a pipe" "$out" $'\033'
run "$ctl" ls --quiet
is "ls --quiet" "$(sort <<<"$out")" "$(printf '%s\n' $A $B "$C" | sort)"
run "$ctl" ls --json
is "ls --json" "$(python3 -c 'import json,sys; print(len(json.loads(sys.argv[1])["sandboxes"]))' "$out")" 3
run "$ctl" info $A
is "info: code" $code 0
like "info: state" "$out" "^state        started$"
like "info: name" "$out" "^name         my box$"
run "$ctl" --json info $A
is "info --json: options before the command" "$(json_value state)" started
run "$ctl" info $A $B nosuch
is "info of several" "$(grep -c '^state' <<<"$out")" 3
is "info of a missing one: destroyed" "$(grep '^state' <<<"$out" | tail -n 1)" "state        destroyed"

run "$ctl" info
is "info of the runner" "$code $out" "0 appVersion  9.8.7
vmm         qemu 7.2, tcg
HOST   RESOURCE   ALLOCATED    LIMIT  HOST HAS
local  cpus               3       16         2
local  memory       3.0 GiB  3.5 GiB   4.0 GiB
local  disk             0 B        -  20.0 GiB
local  addresses          3      253         -
SERVICE     STATE    PROBLEM
vmm/qemu    healthy  -
disk/qcow2  failing  disk full"

# ---- states ----
run "$ctl" stop $A
is "stop" "$code $out" "0 $A"
is "stop: request" "$(request method) $(request path) $(request body)" "POST /sandboxes/$A/stop {}"
run "$ctl" stop --force $A
is "stop --force" "$(request body)" '{"force":true}'
run "$ctl" start $A $B
is "start of two" "$code $out" "0 $A"$'\n'"$B"
is "start sends an object" "$(request body)" "{}"
run "$ctl" start --timings $A
like "start --timings" "$out" "^boot +3.00$"
run "$ctl" pause $A
is "pause" "$code $out" "0 $A"
is "pause sends no body" "$(request body)$(request headers | grep -o "Content-[A-Za-z]*': [^,}]*" | tr -d "'")" "Content-Length: 0"
run "$ctl" pause $A
is "pause: conflict" "$code $err" "1 runnerctl: pause: conflict: sandbox '$A' is paused"
run "$ctl" resume $A
is "resume" "$code $out" "0 $A"
run "$ctl" stop nosuch $A
is "one of several fails: code" $code 1
is "the others go on" "$out" $A
is "and the message names it" "$err" "runnerctl: stop: nosuch: not found: sandbox 'nosuch'"
run "$ctl" --json stop $A
is "stop --json" "$out" '"Sandbox stopped"'
"$ctl" start $A >"$dir/x"
run "$ctl" stop --all
is "stop --all: those that run" "$(sort <<<"$out")" "$(printf '%s\n' $A $B "$C" | sort)"
run "$ctl" stop --all
is "stop --all with nothing to do" "$code $out" "0 "
"$ctl" start $A >"$dir/x"
run "$ctl" rm $A
is "rm of a running one" "$code $err" "1 runnerctl: rm: sandbox '$A' is started; stop it first, or use --force"
run "$ctl" rm nosuch
is "rm of a missing one" "$code $err" "1 runnerctl: rm: there is no sandbox 'nosuch'"
run "$ctl" rm -f nosuch
is "rm -f of a missing one" "$code $out" "0 nosuch"
run "$ctl" rm $B
is "rm of a stopped one" "$code $out" "0 $B"
is "rm: request" "$(request method) $(request path)" "DELETE /sandboxes/$B"

# ---- resize, recover ----
run "$ctl" resize --cpus 4 --disk 20 $A
is "resize" "$code $out" "0 $A"
is "resize: request" "$(request method) $(request path) $(request body)" \
    "POST /sandboxes/$A/resize {\"cpu\":4,\"memory\":0,\"disk\":20}"
run "$ctl" resize --memory 2 nosuch $A
is "resize of several: the others go on" "$code $out $err" "1 $A runnerctl: resize: nosuch: not found: sandbox 'nosuch'"
is "resize --memory" "$(request body)" '{"cpu":0,"memory":2,"disk":0}'
run "$ctl" recover $A
is "recover of one that runs" "$code $err" "1 runnerctl: recover: conflict: cannot recover sandbox '$A': it is started"
run "$ctl" recover --disk-full $A
is "recover --disk-full" "$code $out $(request path) $(request body)" \
    "0 $A /sandboxes/$A/recover {\"errorReason\":\"no space left on device\"}"
"$ctl" stop $A >"$dir/x"
run "$ctl" --json recover $A
is "recover --json" "$code $out $(request body)" '0 "Sandbox recovered" {}'
"$ctl" start $A >"$dir/x"

# ---- network ----
run "$ctl" network $A
is "network shows" "$code $out" "0 reaches    everything
networks   -
domains    -
limited    no
enforced   yes"
run "$ctl" network --allow 10.0.0.0/8,192.0.2.0/24 --domains '*.example.org' $A
is "network: a change prints the id" "$code $out" "0 $A"
is "network: request" "$(request method) $(request path) $(request body)" "POST /sandboxes/$A/network-settings \
{\"networkBlockAll\":false,\"networkAllowList\":\"10.0.0.0/8,192.0.2.0/24\",\"domainAllowList\":\"*.example.org\"}"
run "$ctl" network $A
is "network shows lists" "$(head -n 3 <<<"$out")" "reaches    what is listed
networks   10.0.0.0/8,192.0.2.0/24
domains    *.example.org"
run "$ctl" network --block $A
is "network --block takes the place of all" "$(request body)" \
    '{"networkBlockAll":true,"networkAllowList":"","domainAllowList":""}'
run "$ctl" network $A
is "network shows a block" "$(head -n 1 <<<"$out")" "reaches    nothing"
run "$ctl" network --open $A
is "network --open" "$(request body)" '{"networkBlockAll":false,"networkAllowList":"","domainAllowList":""}'
run "$ctl" --json network $A
is "network --json" "$(json_value isEnforced)" True
run "$ctl" network nosuch
is "network of a missing one" "$code $err" "1 runnerctl: network: not found: sandbox 'nosuch'"
run "$ctl" create --domains a.example net1
is "create --domains" "$(body domainAllowList) $(body networkBlockAll)" '"a.example" false'
run "$ctl" create --block net2
is "create --block" "$(body networkBlockAll)" true
"$ctl" rm -f net1 net2 >"$dir/x"

# ---- exec ----
run "$ctl" exec $A -- echo "it's" 'a  "b" $HOME `x` \ *' ''
is "exec: the words arrive as they are" "$out" "it's a  \"b\" \$HOME \`x\` \\ * "
run "$ctl" exec $A printf 'a\nb'
is "exec: no newline is added" "$(od -An -c "$dir/.out" | tr -d ' ')" 'a\nb'
for wanted in 0 1 2 3 42 125 255; do
    run "$ctl" exec $A -- sh -c "exit $wanted"
    is "exec: exit code $wanted" "$code" $wanted
done
run "$ctl" exec $A --cwd / --env X=1 -e 'Y=a b' --timeout 1500ms -- sh -c 'pwd; echo "$X $Y"'
is "exec: folder and environment" "$out" "/"$'\n'"1 a b"
is "exec: whole seconds" "$(body timeout)" 2
run "$ctl" exec $A -- ls -l --color=never /
like "exec: options behind -- are the command's" "$(body command)" "ls -l '--color=never' /"
run "$ctl" exec $A ls --help
like "exec: and behind the command" "$(body command)" "ls --help"
run "$ctl" --json exec $A -- sh -c 'echo x; exit 7'
is "exec --json" "$code $out" '7 {"exitCode": 7, "result": "x\n"}'
run "$ctl" exec "$C" -- true
is "exec in a stopped one" "$code $err" "125 runnerctl: exec: bad request: no IP address found. Is the Sandbox started?"
run "$ctl" exec nosuch -- true
is "exec in a missing one" "$code $err" "125 runnerctl: exec: not found: sandbox 'nosuch'"
run "$ctl" exec $A -- nonsense
is "exec: a reply without sense" $code 125
run "$ctl" --socket "$dir/none" exec $A -- true
is "exec without a runner" $code 125

# ---- put, get ----
head -c 3000000 /dev/urandom >"$dir/big"
run "$ctl" put $A "$dir/big" "/tmp/a b/%41&x=y?é"
is "put" "$code $out$err" "0 "
is "put: the path is encoded" "$(request path)" "/sandboxes/$A/toolbox/files/upload?path=%2Ftmp%2Fa%20b%2F%2541%26x%3Dy%3F%C3%A9"
run "$ctl" get $A "/tmp/a b/%41&x=y?é" "$dir/back"
is "get" "$code $out$err" "0 "
ok "get: the same bytes" cmp "$dir/big" "$dir/back"
is "get: permissions follow umask" "$(stat -c %a "$dir/back")" "$(printf %o $((0666 & ~$(umask))))"
"$ctl" get $A "/tmp/a b/%41&x=y?é" - >"$dir/back2"
ok "get to standard output" cmp "$dir/big" "$dir/back2"
printf 'through a pipe' | "$ctl" put $A - /tmp/pipe
is "put from a pipe: code" $? 0
mkdir "$dir/into"
run "$ctl" get $A /tmp/pipe "$dir/into"
is "get into a folder" "$(cat "$dir/into/pipe")" "through a pipe"
(cd "$dir/into" && rm pipe && "$ctl" get $A /tmp/pipe)
is "get here" "$(cat "$dir/into/pipe")" "through a pipe"
run "$ctl" put $A "$dir/empty" /tmp/
is "put into a folder" "$(request path)" "/sandboxes/$A/toolbox/files/upload?path=%2Ftmp%2Fempty"
run "$ctl" get $A /tmp/empty "$dir/empty2"
is "an empty file" "$code $(stat -c %s "$dir/empty2")" "0 0"
printf '#!/bin/sh\n' >"$dir/prog"
chmod +x "$dir/prog"
run "$ctl" put $A "$dir/prog" /tmp/prog
is "put: a program stays one" "$(request path)" "/sandboxes/$A/toolbox/files/permissions?path=%2Ftmp%2Fprog&mode=0755"
run "$ctl" put --mode 600 $A "$dir/prog" /tmp/prog
like "put --mode" "$(request path)" "&mode=600$"
run "$ctl" put $A "$dir/missing" /tmp/x
is "put: no such file" "$code $err" "1 runnerctl: put: '$dir/missing': No such file or directory"
run "$ctl" put $A "$dir" /tmp/x
is "put: a folder" $code 1
run "$ctl" get $A /nosuch "$dir/never"
is "get: no such file" "$code $err" "1 runnerctl: get: not found: '/nosuch'"
run "$ctl" get short /x "$dir/never"
is "get: cut short" $code 1
is "d07: get: nothing is left of failures" "$(find "$dir" -name 'never*')" ""
run "$ctl" get $A /tmp/pipe "$dir/no/such/folder"
is "get: no such folder" $code 1
run "$ctl" get $A /
is "get: no file name" $code 2
if [ -c /dev/full ]; then
    "$ctl" get $A /tmp/pipe - >/dev/full 2>"$dir/x"
    is "get: a full disk" "$? $(cat "$dir/x")" "1 runnerctl: get: write 'standard output': No space left on device"
    "$ctl" ls >/dev/full 2>"$dir/x"
    is "ls: a full disk" "$? $(cat "$dir/x")" "1 runnerctl: ls: standard output: No space left on device"
else
    skip "no /dev/full" 2
fi

# ---- log ----
append() {
    "$ctl" exec $A -- append "$(printf "$1" | base64 -w0)"
}
append 'line one\nline two\n\x01\xff\n'
run "$ctl" log $A
is "log" "$(od -An -tx1 "$dir/.out" | tr -d ' \n')" "$(printf 'line one\nline two\n\x01\xff\n' | od -An -tx1 | tr -d ' \n')"
run "$ctl" log --tail 3 $A
is "log --tail" "$(request path) $(stat -c %s "$dir/.out")" "/sandboxes/$A/log?tail=3 3"
run "$ctl" log nosuch
is "log of a missing one" "$code $err" "1 runnerctl: log: not found: sandbox 'nosuch'"
"$ctl" log -f --tail 12 $A >"$dir/follow" 2>"$dir/follow.err" &
follow=$!
at_exit eval 'kill $follow'
ok "log -f: the end first" await 60 test -s "$dir/follow"
append 'line three\n'
ok "log -f: what is new" await 60 grep -q three "$dir/follow"
append 'line three\n'
ok "log -f: again" await 60 sh -c "test \$(grep -c three '$dir/follow') = 2"
kill -INT $follow
wait $follow
is "log -f: SIGINT ends it" $? 130
follow=
is "log -f: all of it, once" "$(od -An -tx1 "$dir/follow" | tr -d ' \n')" \
    "$(printf 'line two\n\x01\xff\nline three\nline three\n' | od -An -tx1 | tr -d ' \n')"

# ---- top, version ----
run "$ctl" top --once --interval 100ms
is "top --once: code" $code 0
is "top: heading" "$(head -n 1 <<<"$out" | tr -s ' ')" "ID STATE CPU % CPUS MEMORY OF GIB"
like "top: CPU and memory" "$out" "^$A +started +[1-9][0-9]*\.[0-9] +2 +64.0 MiB +4$"
like "top: a stopped one has none" "$out" "^$C +stopped +- "
run "$ctl" top --once --json --interval 10ms
like "top --json" "$out" '"rssBytes": 67108864'
run "$ctl" version
is "version" "$code $out" "0 $("$ctl" --version)"$'\n'"runner-ch 9.8.7 at $RUNNER_SOCKET"
run "$ctl" version --json
is "version --json" "$out" '{"status": "ok", "version": "9.8.7"}'

# ---- replies that make no sense ----
for id in garbage short closes nonhttp html recover; do
    run "$ctl" info $id
    is "a reply like '$id': code" $code 1
    is "a reply like '$id': nothing is printed" "$out" ""
    echo "$err" >"$dir/err-$id"
done
like "no JSON" "$(cat "$dir/err-garbage")" "^runnerctl: info: the runner's reply makes no sense: JSON at byte"
like "cut short" "$(cat "$dir/err-short")" "^runnerctl: info: the reply is cut short"
is "closed" "$(cat "$dir/err-closes")" "runnerctl: info: the runner closed the connection without a reply"
is "no HTTP" "$(cat "$dir/err-nonhttp")" "runnerctl: info: what answers at $RUNNER_SOCKET does not speak HTTP"
is "no JSON in an error" "$(cat "$dir/err-html")" "runnerctl: info: HTTP status 500: <html>oops</html>"
is "JSON in JSON" "$(cat "$dir/err-recover")" "runnerctl: info: no space left on device"
run "$ctl" stop escape
is "terminal escapes are shown, lines kept" "$err" 'runnerctl: stop: bad \x1b[31mred\x07 text'$'\n''second line'

# ---- signals ----
"$ctl" stop slow >"$dir/slow.out" 2>"$dir/slow.err" &
slow=$!
ok "a request is under way" await 60 grep -q '/sandboxes/slow/stop' "$dir/requests"
kill -INT $slow
wait $slow
is "SIGINT: code" $? 130
is "SIGINT: message" "$(cat "$dir/slow.err")" "runnerctl: stop: interrupted"
"$ctl" get slow /x "$dir/slow-file" 2>"$dir/slow.err" &
slow=$!
ok "a download is under way" await 60 grep -q '/sandboxes/slow/toolbox' "$dir/requests"
ok "d07: into a file beside" await 60 sh -c "ls '$dir'/slow-file.part-*"
kill -TERM $slow
wait $slow
is "SIGTERM: code" $? 143
is "d07: SIGTERM: no file is left" "$(find "$dir" -name 'slow-file*')" ""
if command -v script >/dev/null; then
    TERM=xterm script -qec "'$ctl' stop slow" /dev/null >"$dir/tty" 2>&1 </dev/null &
    slow=$!
    ok "a terminal shows progress" await 60 grep -q 'stop slow  [0-9.]* s' "$dir/tty"
    echo >&"${FAKE[1]}"
    wait $slow
    ok "and takes it away" sh -c "tail -c 200 '$dir/tty' | grep -q 'not found: sandbox'"
    TERM=xterm script -qec "'$ctl' ls" /dev/null >"$dir/tty" 2>&1 </dev/null
    ok "ls is coloured on a terminal" grep -q $'\033\[32mstarted\033\[0m' "$dir/tty"
    NO_COLOR=1 TERM=xterm script -qec "'$ctl' ls" /dev/null >"$dir/tty" 2>&1 </dev/null
    not_ok "unless NO_COLOR says so" grep -q $'\033' "$dir/tty"
else
    skip "script(1) is not installed" 4
fi

# ---- TCP and its token ----
ok "the port is known" await 60 test -s "$dir/port"
url=http://127.0.0.1:$(cat "$dir/port")
unset RUNNER_SOCKET
run "$ctl" --url "$url/" --token-file "$dir/token" ls -q
is "token file" "$code" 0
run env RUNNER_TOKEN=s3cret-token http_proxy=http://127.0.0.1:1 "$ctl" --url "$url" ls -q
is "token in the environment, no proxy" "$code" 0
run env RUNNER_TOKEN=wrong "$ctl" --url "$url" ls
is "wrong token" "$code $err" "1 runnerctl: ls: unauthorized: invalid token"
run "$ctl" --url "$url" ls
is "no token" $code 1
printf 'a b' >"$dir/bad-token"
run "$ctl" --url "$url" --token-file "$dir/bad-token" ls
is "a token with a blank" $code 2
run "$ctl" --url "$url" --token-file "$dir/missing" ls
is "no token file" "$code $err" "1 runnerctl: ls: token file '$dir/missing': No such file or directory"

# ---- nobody there ----
for command in ls "create" "info $A" "stop $A" "stop $A $C" "rm $A" "rm --all" "log $A" "top" "version" "get $A /x $dir/x" \
    "put $A $dir/big /x"; do
    run "$ctl" --socket "$dir/none" $command
    is "no socket: $command" $code 3
    is "no socket: $command: once, with its reason" "$err" \
        "runnerctl: ${command%% *}: cannot reach the runner at $dir/none: No such file or directory"
done
python3 -c 'import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])' "$dir/dead"
run "$ctl" --socket "$dir/dead" ls
is "nobody listens" "$code $err" "3 runnerctl: ls: cannot reach the runner at $dir/dead: Connection refused"
run "$ctl" --url http://127.0.0.1:1 ls
is "nobody listens on the port" "$code $err" "3 runnerctl: ls: cannot reach the runner at http://127.0.0.1:1: Connection refused"

# ---- completion, manual ----
export RUNNER_SOCKET=$dir/api.sock
complete_line() { # WORDS...: what is proposed for the last one
    PATH=$top_builddir:$PATH bash -c '
        . "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _runnerctl
        printf "%s\n" "${COMPREPLY[@]}" | sort | tr "\n" " "' - "$top_srcdir/core/ctl/runnerctl.bash" "$@"
}
is "completion of commands" "$(complete_line runnerctl st)" "start stop "
is "completion of options" "$(complete_line runnerctl stop --f)" "--force "
is "completion of ids" "$(complete_line runnerctl stop 0e1f2)" "$A "
is "completion behind an option with a value" "$(complete_line runnerctl --socket "$RUNNER_SOCKET" info 0e1f2)" "$A "
for command in $commands; do
    options=$("$ctl" $command --help | sed -nE 's/^  (-., |    )(--[a-z-]+).*/\2/p' | sort | tr '\n' ' ')
    is "completion knows $command's options" "$(complete_line runnerctl $command --)" "$options"
    for option in $options; do
        ok "manual: $command $option" grep -qF -- "${option//-/\\-}" "$top_srcdir/core/ctl/runnerctl.1"
    done
done
if command -v man >/dev/null; then
    is "the manual page has no warnings" "$(MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$top_srcdir/core/ctl/runnerctl.1" 2>&1 >/dev/null)" ""
else
    skip "man is not installed" 1
fi

is "the fake runner had no trouble" "$(cat "$dir/fake.err")" ""
done_testing
