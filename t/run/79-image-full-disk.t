#!/usr/bin/env bash
# takes: 20 s
# Images on a file system that is full to its end: what nobody uses makes room, what is used stays, and what does not fit
# fails with the disk's words and leaves nothing.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
PATH=$PATH:/usr/sbin:/sbin
need mkfs.ext4 mount
[ "$(id -u)" = 0 ] || skip_all "needs root, to mount a file system"

truncate -s 208M "$dir/fs"
mkfs.ext4 -q -m 0 "$dir/fs"
mkdir "$root"
mount -o loop "$dir/fs" "$root" 2>/dev/null || mount -t tmpfs -o size=160m tmpfs "$root" 2>/dev/null ||
    skip_all "no file system can be mounted here"
at_exit umount "$root"
diag "$(df -h "$root" | tail -n 1)"

use_shelf
own_ports
make_boot_kit
runner_capacity="{cpu_overcommit: 0, memory_overcommit: 0, disk_overcommit: 0, disk_reserve: 0}"
start_runner || exit 99

full_on_shelf() { # REF [MIB]: it says that it has 1 MiB, and has 32
    put_on_shelf "$1" "$1"
    dd if=/dev/urandom of="$dir/shelf/$1/disk.raw" bs=1M count="${2:-32}" conv=notrunc status=none
    echo $((${2:-32} << 20)) >"$dir/shelf/$1/content"
}
is_over() { # REF
    http GET "/snapshots/info?snapshot=$1"
    [ "$code" = 200 ] || [ "$code" = 422 ]
}
pull() { # REF
    http POST /snapshots/pull -d "{\"snapshot\": \"$1\"}"
    await 60 is_over "$1"
}
create() { # ID REF
    http POST /sandboxes -d "{\"id\":\"$1\",\"userId\":\"u\",\"osUser\":\"root\",\"cpuQuota\":1,\"memoryQuota\":1,
        \"storageQuota\":1,\"snapshot\":\"$2\"}"
}
names() { # of what is here, not what failed
    http GET /snapshots
    grep -o '{[^}]*}' <<<"$out" | grep -v '"state"' | grep -o '"name":"[^"]*"' | cut -d '"' -f 4 | sort | tr '\n' ' '
}
metric() { # NAME
    curl -s --unix-socket "$RUNNER_SOCKET" http://runner/metrics | awk -v name="$1" '$1 == name {print $2}'
}
fill() { # [LEFT MIB]
    dd if=/dev/zero of="$root/filler" bs=64K status=none 2>/dev/null
    [ $# -eq 0 ] || truncate -s -$(($1 << 20)) "$root/filler"
    sync -f "$root"
}
free_mib() {
    echo $(($(stat -f -c '%a * %S' "$root") >> 20))
}
half() {
    ls -A "$root/bases" | grep '^\.'
}

for ref in used:1 old:1 newer:1 more:1; do
    full_on_shelf "$ref"
done
full_on_shelf wanted:1 28 # it fits where another was, whatever the file system needs for itself
for ref in used:1 old:1 newer:1; do
    pull "$ref"
done
create u used:1
is "a sandbox of one of three images" "$code" 201

# ---- not a byte is free ----

fill
is "the file system is full" "$(free_mib)" 0
pull wanted:1
is "a pull makes itself room" "$code" 200
is "what was used longest ago has gone, and its name" "$(names)" "newer:1 tiny used:1 wanted:1 "
is "as the metrics say" "$(metric runner_image_evictions_total) $(metric runner_image_evicted_bytes_total)" "1 33554432"
ok "the sandbox's base is there" cmp "$(json disk.backingPath "$(cat "$root/sandboxes/u/runner.json")")" "$dir/shelf/used:1/disk.raw"

# ---- more than it said ----

fill 12
is "some is free, more than the image says that it needs" "$(($(free_mib) >= 11))" 1
pull old:1
is "an image that is larger than it says: tried again with more room" "$code" 200
is "one more has gone, and no other" "$(names)" "old:1 tiny used:1 wanted:1 "

# ---- nothing can go ----

create o old:1
create w wanted:1
is "a sandbox of each" "$(vms)" 3
fill
bases=$(ls -A "$root/bases")
pull more:1
like "a pull that has no room" "$code $(message)" "^422 .*No space left on device"
is "kind of failure" "$(metric 'runner_image_pull_failures_total{code="nospace"}')" 1
is "nobody's base has gone" "$(ls -A "$root/bases")" "$bases"
is "nor a name" "$(names)" "old:1 tiny used:1 wanted:1 "
not_ok "nothing half-made is left" half
create m more:1
like "a create of it is answered as one that may be tried again" "$code $(message)" '^400 .*"recoverable":true'
http GET /sandboxes/m
is "and leaves nothing" "$(json state) $(ls "$root/sandboxes" | tr '\n' ' ')" "destroyed o u w "
for id in u o w; do
    http GET "/sandboxes/$id"
    is "sandbox $id goes on" "$(json state)" started
done

# ---- the disk is larger again ----

rm "$root/filler"
pull more:1
is "the next try works" "$code" 200
ok "and is whole" cmp "$root"/bases/"$(printf more:1 | sha256sum | cut -c 1-64)"*/disk.raw "$dir/shelf/more:1/disk.raw"
create m more:1
is "the create too" "$code" 201
http POST "/snapshots/remove?snapshot=more:1"
fill
http POST /sandboxes/u/stop
http POST /sandboxes/u/destroy
is "a sandbox is destroyed on a full disk" "$code" 200
http POST "/snapshots/remove?snapshot=used:1"
is "and its image goes" "$code $(names)" "200 old:1 tiny wanted:1 "
not_ok "with its base" ls -d "$root/bases/$(printf used:1 | sha256sum | cut -c 1-64)"*
for id in o w m; do
    http POST "/sandboxes/$id/destroy"
done
stop_runner
is "a runner on a full disk ends as it should" "$code" 0
done_testing
