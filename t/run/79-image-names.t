#!/usr/bin/env bash
# Names of images: those of the host's own snapshots, names within names, names whose base has gone, one name with several
# accounts; what goes to make room.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99

use_shelf
own_ports
start_runner || exit 99
make_boot_kit

create() { # ID REF
    http POST /sandboxes -d "{\"id\":\"$1\",\"userId\":\"u\",\"osUser\":\"root\",\"cpuQuota\":1,\"memoryQuota\":1,
        \"storageQuota\":1,\"snapshot\":\"$2\"}"
}
is_over() { # REF
    http GET "/snapshots/info?snapshot=$1"
    [ "$code" = 200 ] || [ "$code" = 422 ]
}
pull() { # REF [MORE JSON]: until it ends
    http POST /snapshots/pull -d "{\"snapshot\": \"$1\"${2:+, $2}}"
    await 60 is_over "$1"
}
tag() { # FROM TO
    http POST /snapshots/tag -d "{\"sourceImage\": \"$1\", \"targetImage\": \"$2\"}"
}
names() {
    http GET /snapshots
    grep -o '"name":"[^"]*"' <<<"$out" | cut -d '"' -f 4 | sort | tr '\n' ' '
}

# ---- the host's own ----

own=$(sha256sum "$root/snapshots/tiny/manifest.json")
put_on_shelf tiny evil
pull tiny
is "a pull of the name of an own snapshot: it is here" "$code $(json name)" "200 tiny"
is "and was not fetched" "$(ls "$dir/shelf/pulls" 2>/dev/null)" ""
http GET "/snapshots/exists?snapshot=tiny"
is "it exists, though it has no tag" "$code $(json exists)" "200 true"
put_on_shelf team/app:1 app
for names in '"newTag": "tiny"' '"newTag": "tiny/x:1"' '"newTag": "x/manifest.json"' \
    '"destinationRef": "tiny", "destinationRegistry": {"url": "in.example", "project": "p"}'; do
    pull team/app:1 "$names"
    is "with $names" "$code" 422
done
like "says why" "$(message)" "'tiny' is a snapshot of this host's own"
ok "nothing was copied there" eval '! ls "$dir/shelf/tiny" | grep -q image'
pull team/app:1
is "the image itself" "$code" 200
for to in tiny tiny/x manifest.json; do
    tag team/app:1 "$to"
    is "a tag '$to'" "$code" 400
done
is "the snapshot is what it was" "$(sha256sum "$root/snapshots/tiny/manifest.json")" "$own"

metric() { # NAME
    curl -s --unix-socket "$RUNNER_SOCKET" http://runner/metrics | awk -v name="$1" '$1 == name {print $2}'
}
pull team/app:1 '"newTag": "app:2"'
http GET /info
is "two names of one image, and the host's own: two images" "$(json metrics.currentSnapshotCount)" 2
is "names, by /metrics" "$(metric runner_image_names)" 2
is "bases" "$(metric runner_image_bases) $(metric runner_image_bases_bytes)" "1 1048576"
is "pulls" "$(metric 'runner_image_pulls_total{result="done"}') $(metric 'runner_image_pulls_total{result="failed"}')" "3 4"
is "of which nothing runs" "$(metric runner_image_pulls_running)" 0
is "what was fetched" "$(metric runner_image_pulled_bytes_total)" 1048576
http POST "/snapshots/remove?snapshot=app:2"

run "$top_builddir/runner-image" remove team/app:1 --root "$root"
like "runner-image leaves alone what was pulled" "$code $err" "^1 .*runnerctl rmi team/app:1"
run "$top_builddir/runner-image" build tiny --name team/app:1 --root "$root" --guestd "$top_builddir/guest/runner-guestd"
like "and builds nothing in its place" "$code $err" "^1 .*(runnerctl rmi team/app:1|needs? )"

# ---- names within names ----

tag team/app:1 a/b
tag team/app:1 a/b/c
is "a name below a name" "$code" 200
is "both are listed" "$(names)" "a/b a/b/c team/app:1 tiny "
stop_runner
start_runner || exit 99
is "a runner knows the bases that it finds" "$(metric runner_image_bases) $(metric runner_image_names)" "1 3"
for ref in team/app:1 a/b; do
    http POST "/snapshots/remove?snapshot=$ref"
done
create n a/b/c
is "after a restart, with the others removed, the one below is good" "$code" 201
ok "its base is there" test -f "$(json disk.backingPath "$(cat "$root/sandboxes/n/runner.json")")"
http POST /sandboxes/n/destroy

# ---- a base that has gone ----

rm -rf "$root"/bases/*
http GET "/snapshots/info?snapshot=a/b/c"
is "a name without its base is unknown" "$code" 404
put_on_shelf a/b/c app
create n a/b/c
is "and is fetched again" "$code" 201
ok "with a base" test -f "$(json disk.backingPath "$(cat "$root/sandboxes/n/runner.json")")"
http POST /sandboxes/n/destroy

# ---- without what images boot ----

mv "$root/boot" "$root/boot.not"
http GET "/snapshots/info?snapshot=a/b/c"
is "info without a kernel for images" "$code" 200
put_on_shelf other:1 other
before=$(ls "$dir/shelf/pulls" | wc -l)
pull other:1
like "a pull without one fails" "$code $(message)" "^422 .*runner-image boot --root $root"
is "before anything is fetched" "$(ls "$dir/shelf/pulls" | wc -l)" "$before"
counted=$(metric runner_image_bases)
http POST "/snapshots/remove?snapshot=a/b/c"
is "an image is removed all the same" "$code $(ls "$root/bases")" "200 "
is "and counted no more" "$(metric runner_image_bases)" $((counted - 1))
mv "$root/boot.not" "$root/boot"

# ---- accounts ----

put_on_shelf secret:1 secret
: >"$dir/shelf/secret:1/hold"
echo right >"$dir/shelf/secret:1/password"
as() { # PASSWORD TAG
    http POST /snapshots/pull -d "{\"snapshot\": \"secret:1\", \"newTag\": \"$2\",
        \"registry\": {\"url\": \"x\", \"username\": \"u\", \"password\": \"$1\"}}"
}
held() {
    ls -A "$root/bases" | grep -q '^\.new'
}
as wrong one:1
ok "a pull with a wrong password is under way" await 60 held
as right two:1
echo >"$dir/shelf/secret:1/hold"
await 60 is_over one:1
is "it fails" "$code" 422
await 60 is_over two:1
is "and nobody else's with it" "$code" 200

# ---- what an image says of itself ----

put_on_shelf odd:1 odd '{"workdir": "work"}'
pull odd:1
like "a working directory that is none" "$code $(message)" "^422 .*workdir"
put_on_shelf odd:2 odd2 '{"env": ["A=b"]}'
pull odd:2
like "an environment that is none" "$code $(message)" "^422 .*env"
printf 'A%063d' 0 >"$dir/shelf/odd:2/digest"
http POST /snapshots/inspect -d '{"snapshot": "odd:2"}'
like "INSPECT: a digest that is none" "$code $(message)" "^500 .*digest"

# ---- eviction ----

put_on_shelf used:1 used
put_on_shelf unused:1 unused
put_on_shelf wanted:1 wanted
pull used:1
pull unused:1
create u used:1
is "a sandbox of one of two images" "$code" 201
stop_runner
runner_capacity="{cpu_overcommit: 0, memory_overcommit: 0, disk_overcommit: 0, disk_reserve: 100T}"
start_runner || exit 99
put_on_shelf bomb:1 bomb
echo 1000000000000000 >"$dir/shelf/bomb:1/size"
echo right >"$dir/shelf/bomb:1/password"
pull bomb:1
is "an image that says that it is larger than the disk, and fails" "$code" 422
is "costs nobody's images" "$(names)" "bomb:1 secret:1 tiny two:1 unused:1 used:1 "
pull wanted:1
is "a pull on a full disk" "$code" 200
is "gotcha 43: what is unused goes by itself, and its name" "$(names)" "bomb:1 tiny used:1 wanted:1 "
is "two bases are left" "$(ls "$root/bases" | wc -l)" 2
ok "that of the sandbox too" test -f "$(json disk.backingPath "$(cat "$root/sandboxes/u/runner.json")")"
create u2 unused:1
is "a create fetches it again" "$code" 201
http POST /sandboxes/u/destroy
http POST /sandboxes/u2/destroy

for ref in used:1 unused:1 wanted:1; do
    http POST "/snapshots/remove?snapshot=$ref"
done
is "no directory is left of names that are gone" "$(find "$root/snapshots" -type d -empty)" ""
done_testing
