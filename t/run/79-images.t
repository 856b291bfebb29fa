#!/usr/bin/env bash
# Images: fetched once for all who want them, kept as long as a name or a sandbox needs them, refused with a reason.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99

use_shelf
own_ports
start_runner || exit 99

create() { # ID REF [MORE JSON]
    http POST /sandboxes -d "{\"id\":\"$1\",\"userId\":\"u\",\"osUser\":\"root\",\"cpuQuota\":1,\"memoryQuota\":1,
        \"storageQuota\":1,\"snapshot\":\"$2\"${3:+,$3}}"
}
pull() { # BODY
    http POST /snapshots/pull -d "$1"
}
is_pulled() { # REF
    http GET "/snapshots/info?snapshot=$1"
    [ "$code" = 200 ] || [ "$code" = 422 ]
}
pulls() {
    ls "$dir/shelf/pulls" 2>/dev/null | wc -l
}
bases() {
    ls -A "$root/bases" 2>/dev/null | wc -l
}

# ---- without an image, or a kernel for it ----

create a reg.example:5000/team/app:1
is "a create of what nobody has" "$code" 404
like "says who was asked" "$(message)" "no object 'reg.example:5000/team/app:1'"
like "and what is here" "$(message)" "which has: tiny"
put_on_shelf reg.example:5000/team/app:1 one '{"env": {"A": "b"}, "entrypoint": ["/bin/app"], "cmd": ["-v"], "user": "app"}'
create a reg.example:5000/team/app:1
is "a create without a kernel for images" "$code" 500
like "says what makes one" "$(message)" "runner-image boot"
make_boot_kit
http POST "/snapshots/remove?snapshot=reg.example:5000/team/app:1"
is "what was fetched is removed" "$code $(bases)" "200 0"

# ---- pulls, as the API's v0 adapter makes them ----

put_on_shelf reg.example:5000/team/app:2 two '{"entrypoint": ["/bin/app"], "cmd": ["-v"]}'
http POST /snapshots/inspect -d '{"snapshot": "reg.example:5000/team/app:2", "registry": {"url": "reg.example:5000"}}'
digest=$(printf two | sha256sum | cut -c 1-64)
is "inspect" "$code $(json hash)" "200 $digest"
like "its size in GiB" "$(json sizeGB)" "^0.000976"
http GET "/snapshots/exists?snapshot=reg.example:5000/team/app:2"
is "it is not here" "$code $(json exists)" "200 false"
: >"$dir/shelf/reg.example:5000/team/app:2/hold"
pull '{"snapshot": "reg.example:5000/team/app:2", "destinationRef": "in.example/daytona/daytona-x:daytona",
    "destinationRegistry": {"url": "in.example", "project": "daytona", "username": "u", "password": "secret-word"}}'
is "a pull is begun" "$code" 202
fetching() {
    http GET /snapshots
    [ "$(json snapshots.0.phase)$(json snapshots.1.phase)$(json snapshots.2.phase)" = fetch ]
}
ok "the list shows how far it is" await 60 fetching
http GET "/snapshots/info?snapshot=reg.example:5000/team/app:2"
is "until it is there, info is 404" "$code" 404
echo >"$dir/shelf/reg.example:5000/team/app:2/hold"
ok "it ends" await 60 is_pulled reg.example:5000/team/app:2
is "info" "$code $(json name) $(json hash) $(json entrypoint.0) $(json cmd.0)" \
    "200 reg.example:5000/team/app:2 $digest /bin/app -v"
http GET "/snapshots/exists?snapshot=in.example/daytona/daytona-x:daytona"
is "it is here by the name of its copy too" "$code $(json exists)" "200 true"
ok "which is elsewhere as well" test -f "$dir/shelf/in.example/daytona/daytona-x:daytona/disk.raw"
before=$(pulls)
pull '{"snapshot": "reg.example:5000/team/app:2"}'
await 60 is_pulled reg.example:5000/team/app:2
is "pulled again, nothing is fetched" "$(pulls)" "$before"
pull '{"snapshot": "reg.example:5000/team/app:2",
    "destinationRegistry": {"url": "https://in.example", "project": "", "username": null, "password": null}}'
copied() {
    http GET "/snapshots/exists?snapshot=in.example/daytona/daytona-$digest:daytona"
    [ "$(json exists)" = true ]
}
ok "a destination without a ref is named after the digest" await 60 copied
http POST /snapshots/tag -d '{"sourceImage": "reg.example:5000/team/app:2", "targetImage": "mine:1"}'
is "tag" $code 200
http GET "/snapshots/info?snapshot=mine:1"
is "its other name" "$code $(json hash)" "200 $digest"
is "all of these share one base" "$(bases)" 1

# ---- creates ----

create b in.example/daytona/daytona-x:daytona
is "a create of what is here" $code 201
like "its disk is on the base" "$(json disk.backingPath "$(cat "$root/sandboxes/b/runner.json")")" "/bases/$digest-shelf-1.0--est-1/disk.raw"
is "how the image wants to be run is in the record" \
    "$(json image.entrypoint.0 "$(cat "$root/sandboxes/b/runner.json")")" /bin/app
for ref in reg.example:5000/team/app:2 in.example/daytona/daytona-x:daytona mine:1 \
    "in.example/daytona/daytona-$digest:daytona"; do
    http POST "/snapshots/remove?snapshot=$ref"
    is "remove $ref" $code 200
done
is "the base stays while a sandbox has its disk on it" "$(bases)" 1
http POST /sandboxes/b/stop
http POST /sandboxes/b/start -d '{}'
is "which starts again" $code 200
http POST /sandboxes/b/destroy
http POST "/snapshots/remove?snapshot=mine:1"
is "then it goes, with the next that goes" "$code $(bases)" "200 1"
put_on_shelf other:1 three
pull '{"snapshot": "other:1"}'
await 60 is_pulled other:1
http POST "/snapshots/remove?snapshot=other:1"
is "nothing is left" "$code $(bases)" "200 0"

# ---- many at once ----

put_on_shelf many:1 many
: >"$dir/shelf/many:1/hold"
before=$(pulls)
for i in $(seq 50); do
    curl -s -o /dev/null -w '%{http_code}\n' --unix-socket "$RUNNER_SOCKET" -H 'Content-Type: application/json' \
        http://runner/sandboxes -d "{\"id\":\"m$i\",\"userId\":\"u\",\"osUser\":\"root\",\"snapshot\":\"many:1\",
        \"cpuQuota\":1,\"memoryQuota\":1,\"storageQuota\":1}" >>"$dir/codes" &
    creating[i]=$!
done
all_wait() {
    http GET /sandboxes
    [ "$(grep -o '"state":"pulling_snapshot"' <<<"$out" | wc -l)" = 50 ]
}
ok "fifty creates wait for one image" await 60 all_wait
http POST /snapshots/inspect -d '{"snapshot": "reg.example:5000/team/app:1"}'
is "gotcha 11: an inspection does not wait" "$code" 200
echo >"$dir/shelf/many:1/hold"
wait "${creating[@]}"
is "gotcha 23: fifty sandboxes, whose creates pulled by themselves" "$(sort "$dir/codes" | uniq -c | tr -s ' ')" " 50 201"
is "one fetch" $(($(pulls) - before)) 1
is "fifty machines" "$(vms)" 50
for i in $(seq 50); do
    http POST "/sandboxes/m$i/destroy"
done

# ---- what goes wrong ----

wrong() { # CODE OF THE STORAGE, TEXT
    put_on_shelf "bad:$1" "bad$1"
    echo "$1 $2" >"$dir/shelf/bad:$1/fail"
    pull "{\"snapshot\": \"bad:$1\"}"
    is "a pull that will fail ($1) is begun" $code 202
    await 60 is_pulled "bad:$1"
    is "info is 422" "$code" 422
    like "and says why" "$(message)" "$2"
}
wrong 2 "no such manifest"
wrong 7 "connect: refused"
wrong 12 "password wrong"
wrong 10 "the image is for linux/arm64"
http POST /snapshots/inspect -d '{"snapshot": "bad:10"}'
like "inspect: for others" "$code $(message)" "^409 .*linux/arm64"
create c bad:10
like "a create of what is for others" "$code $(message)" "^409 .*linux/arm64"
http POST /snapshots/inspect -d '{"snapshot": "bad:12"}'
is "inspect: credentials" $code 401
http POST /snapshots/inspect -d '{"snapshot": "bad:2"}'
is "inspect: absent" $code 404
create c bad:12
is "a create with wrong credentials" $code 400
create c bad:2
is "a create of nothing" $code 404
rm "$dir/shelf/bad:2/fail"
create c bad:2
is "the next try works" $code 201
http POST /sandboxes/c/destroy
printf 'A%063d' 0 >"$dir/shelf/bad:2/digest"
pull '{"snapshot": "bad:2", "newTag": "worse:1"}'
await 60 is_pulled worse:1
like "a digest that is none is refused" "$code $(message)" "^422 .*digest"
pull '{"snapshot": "other:1"}'
await 60 is_pulled other:1
echo "{" >"$dir/shelf/other:1/image.json"
printf '%064d' 7 >"$dir/shelf/other:1/digest"
pull '{"snapshot": "other:1", "newTag": "odd:1"}'
await 60 is_pulled odd:1
like "an image that is no JSON is refused" "$code $(message)" "^422 .*image"
ok "nothing half-made is left" eval '! ls -A "$root/bases" | grep -q "^\."'
for body in '{}' '{"snapshot": 7}' '{"snapshot": "../x"}' '{"snapshot": "a b"}' '{"snapshot": "x:1", "registry": 5}' \
    '{"snapshot": "x:1", "registry": {"url": []}}' '{"snapshot": "x:1", "destinationRegistry": {"url": "a", "project": null}}' \
    '{"snapshot": "x:1", "destinationRegistry": {"project": ""}}' '{"snapshot": "x:1", "newTag": "/"}'; do
    pull "$body"
    is "pull $body" $code 400
done
for path in /snapshots/exists /snapshots/info "/snapshots/info?snapshot=../x" "/snapshots/exists?snapshot=a%2f..%2fb"; do
    http GET "$path"
    is "GET $path" $code 400
done
http GET "/snapshots/info?snapshot=unknown:1"
is "info of the unknown" $code 404
http GET "/snapshots/exists?snapshot=other:latest"
is "latest is never here" "$code $(json exists)" "200 false"
http GET "/snapshots/logs?snapshotRef=x"
is "nothing is built here" $code 404
http POST "/snapshots/remove?snapshot=tiny"
http GET "/snapshots/exists?snapshot=tiny"
is "an own snapshot is removed as well" "$(json exists)" false

# ---- runnerctl ----

put_on_shelf mine/app:1 ctl
run "$ctl" pull mine/app:1 --tag other/app:1
is "runnerctl pull" "$code $out" "0 mine/app:1"
run "$ctl" images
like "runnerctl images" "$out" "^other/app:1 +ready +$(printf ctl | sha256sum | cut -c 1-12) +1.0 MiB"
like "and what failed" "$out" "^bad:12 +error .*password wrong"
run "$ctl" pull bad:7
is "one that fails" "$code" 1
like "says why" "$err" "runnerctl: pull: +connect: refused"
run "$ctl" pull mine/app:1 --username x
is "a name without a password" "$code" 2
printf 'secret-word\n' >"$dir/password"
ok "with an account" "$ctl" pull mine/app:1 --username x --password-file "$dir/password"
make_snapshot tiny
create own tiny
run "$ctl" rmi mine/app:1 tiny other/app:1
like "runnerctl rmi: what is in use stays, and is named" "$code $err" "^1 runnerctl: rmi: tiny: 'tiny' is in use, and stays$"
run "$ctl" images
unlike "the others go, that behind it too" "$out" "^(mine|other)/app"
http POST /sandboxes/own/destroy
run "$ctl" rmi bad:7
run "$ctl" images
unlike "rmi forgets what failed" "$out" "^bad:7"
put_on_shelf slow/app:1 slow
: >"$dir/shelf/slow/app:1/hold"
"$ctl" pull slow/app:1 >"$dir/pull.out" 2>"$dir/pull.err" &
pulling=$!
ok "a pull whose errors are no terminal: a line a phase" await 60 grep -qx "slow/app:1: fetch" "$dir/pull.err"
like "images says how far it is" "$("$ctl" images)" "^slow/app:1 +pulling +- +- +fetch, 50 % of 1.0 MiB, [0-9]+ s"
script -qec "$ctl create --snapshot slow/app:1 slow" "$dir/terminal" >/dev/null 2>&1 </dev/null &
making=$!
ok "a create on a terminal says how far its image is" await 60 grep -q "create slow: fetch .*512.0 KiB of 1.0 MiB (50%)" "$dir/terminal"
echo >"$dir/shelf/slow/app:1/hold"
ok "the pull ends" wait $pulling
is "and tells the name alone on standard output" "$(cat "$dir/pull.out")" "slow/app:1"
ok "the create too" wait $making
http POST /sandboxes/slow/destroy
run "$ctl" rmi slow/app:1
run "$ctl" images --json
unlike "they are gone" "$out" mine/app
run "$ctl" rmi ../x
is "no reference" "$code" 2

# ---- restarts ----

put_on_shelf late:1 late
: >"$dir/shelf/late:1/hold"
pull '{"snapshot": "late:1"}'
half() {
    ls -A "$root/bases" | grep -q '^\.new'
}
ok "killed in the middle of a pull" await 60 half
stop_runner KILL
start_runner || exit 99
echo >"$dir/shelf/late:1/hold"
pull '{"snapshot": "late:1"}'
ok "the next runner pulls it" await 60 is_pulled late:1
is "which is there" $code 200
not_ok "nothing half-made is left" half
: >"$dir/shelf/late:1/hold"
pull '{"snapshot": "late:1", "newTag": "later:1"}'
stop_runner
is "a runner that is stopped meanwhile ends as it should" $code 0
unlike "the registry's password is in no log" "$(cat "$runner_log")" secret-word
done_testing
