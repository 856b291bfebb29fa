#!/usr/bin/env bash
# tier: component
# D26: a host is never promised beyond what its capacity settings say. What does not fit is refused before anything is done,
# with the numbers; what is promised is counted right through stop, start, pause, death, failure, restart and destroy.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
need curl awk

GIB=1073741824
n_cpus=$(getconf _NPROCESSORS_ONLN)
memory_mib=$(awk '/^MemTotal:/ { total = $2 } /^Hugetlb:/ { huge = $2 } END { print int((total - huge) / 1024) }' /proc/meminfo)

# A factor by which n of something become a limit of wanted, rounded up to thousandths.
factor() { # N WANTED
    awk -v n="$1" -v wanted="$2" 'BEGIN { f = wanted * 1000 / n; t = int(f); t += t < f; print t / 1000 }'
}
up() { # starts the runner; what its host has, and has promised, is known then: a list waits for that, /metrics does not
    start_runner "${1-}" && http GET /sandboxes && [ "$code" = 200 ] || done_testing
}
begin() { # CAPACITY [YAML]: what it does not limit is not limited
    local resource
    runner_capacity="{$1"
    for resource in cpu memory disk; do
        [[ $1 == *${resource}_overcommit* ]] || runner_capacity+=", ${resource}_overcommit: 0"
    done
    runner_capacity+="}"
    up "${2-}"
}
create() { # ID [MEMBERS]
    http POST /sandboxes -d "{\"id\": \"$1\", \"userId\": \"u\", \"snapshot\": \"tiny\", \"osUser\": \"daytona\"${2:+, $2}}"
}
start() { # ID
    http POST "/sandboxes/$1/start" -d '{}'
}
state() {
    json state "$("$ctl" info --json "$1")"
}
has_state() { # ID STATE
    [ "$(state "$1")" = "$2" ]
}
metric() { # NAME [LABELS]
    http GET /metrics
    sed -n "s/^runner_$1{host=\"local\"${2:+,$2}} //p" <<<"$out"
}
allocated() {
    http GET /metrics
    sed -n 's/^runner_allocated_[a-z_]*{host="local"} //p' <<<"$out" | xargs
}
# The same of the list of sandboxes: what none but stopped ones and broken ones lack.
listed() {
    "$ctl" ls --json | awk -v RS='{' -v gib=$GIB '
        function number(key) { match($0, "\"" key "\":[0-9.]+"); return substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) }
        /"id":/ { n++; disk += number("diskGiB") }
        /"id":/ && !/"state":"(stopped|error)"/ { cpus += number("cpus"); memory += number("memoryGiB") }
        END { printf "%d %d %.0f %.0f\n", n, cpus, memory * gib, disk * gib }'
}
adds_up() { # NAME
    is "$1: the sums are those of the sandboxes" "$(allocated)" "$(listed)"
}
untouched() { # NAME ID
    is "$1: nothing was touched" "$(ls -d "$root/sandboxes/$2" "$dir/run/$2"* 2>/dev/null)" ""
}
refused() { # NAME REGEX: of the last request
    is "$1: status" "$code $(json code)" "409 CONFLICT"
    like "$1: message" "$(message)" "$2"
}

# ---- vCPUs, through the life of sandboxes ----

begin "cpu_overcommit: $(factor "$n_cpus" 3)"
is "the limit" "$(metric capacity_cpus)" 3
create one '"cpuQuota": 1'
is "the first is admitted" $code 201
create two '"cpuQuota": 1'
is "the second is admitted" $code 201
create big '"cpuQuota": 2'
refused "a third that asks for two" "^conflict: no room on host 'local': not enough vCPUs: 2 asked for, 1 free of 3 \($n_cpus CPUs? times capacity.cpu_overcommit [0-9.]+\)$"
untouched "a third that asks for two" big
run "$ctl" create big --cpus 2
is "runnerctl says so" "$code $out" "1 "
like "in words" "$err" "^runnerctl: create: .*not enough vCPUs: 2 asked for, 1 free of 3 "
create three
is "one that fits is admitted" $code 201
create four
refused "one more" "0 free of 3"
adds_up "with three"

create parked '"skipStart": true'
is "one that is not to be started needs no vCPU" "$code $(state parked)" "201 stopped"
adds_up "with one parked"
before=$(sha256sum "$root/sandboxes/parked/runner.json")
start parked
refused "starting it" "1 asked for, 0 free of 3"
is "it stays stopped" "$(state parked)" stopped
is "its record is as it was" "$(sha256sum "$root/sandboxes/parked/runner.json")" "$before"
create parked
refused "creating it again, which starts it" "0 free of 3"

run "$ctl" pause three
create four
refused "while one is paused" "0 free of 3"
adds_up "with one paused"
run "$ctl" resume three
is "a paused one goes on" "$code $(state three)" "0 started"

run "$ctl" stop two
start parked
is "after a stop there is room" "$code $(state parked)" "200 started"
start two
refused "the stopped one now has none" "1 asked for, 0 free of 3"
adds_up "with one stopped"

kill -KILL "$(json pid "$("$ctl" info --json one)")"
ok "a VM dies" await 60 has_state one error
adds_up "with one in error"
start two
is "after a death there is room" "$code $(state two)" "200 started"
start one
refused "starting the dead one" "0 free of 3"
is "it stays as it is" "$(state one)" error

vm_wish bad "exit 1 broken"
run "$ctl" stop three
for i in 1 2; do
    create bad
    is "a create that fails, again" $code 500
done
adds_up "after creates that failed"
vm_wish three "exit 1 broken"
for i in 1 2; do
    start three
    is "a start that fails, again" "$code $(state three)" "500 stopped"
done
adds_up "after starts that failed"
vm_wish three
start three
is "and they took nothing" "$code $(state three)" "200 started"
is "refusals are counted" "$(metric refused_total 'resource="cpus"') $(metric refused_total 'resource="memory"')" "8 0"


# A start that fails before it is recorded, and an end that cannot be.
run "$ctl" stop three
before=$(allocated)
mv "$root/sandboxes/three" "$root/three"
start three
like "a start that cannot be recorded" "$code $(message)" "^[45].*write the record"
is "it took nothing" "$(allocated) $(state three)" "$before stopped"
mv "$root/three" "$root/sandboxes/three"
start three
is "it can be started later" "$code $(state three)" "200 started"

# ---- restarts ----
for signal in KILL TERM; do
    before=$(allocated)
    stop_runner $signal
    begin "cpu_overcommit: $(factor "$n_cpus" 3)"
    is "SIG$signal: what was allocated still is" "$(allocated)" "$before"
    adds_up "SIG$signal"
    create four
    refused "SIG$signal: one more" "0 free of 3"
done
stop_runner KILL
begin "cpu_overcommit: $(factor "$n_cpus" 1)"
is "with lower limits all go on" "$(vms)" 3
create four
refused "with lower limits" "1 asked for, 0 free of 1"
run "$ctl" rm -f two three
create four
refused "as many as the limit" "0 free of 1"
run "$ctl" rm -f parked
create four
is "fewer than the limit" $code 201
run "$ctl" rm -f --all
is "nothing is left" "$(allocated)" "0 0 0 0"
stop_runner

# ---- the defaults, on a small host ----
# The files in which the runner reads what its host has are those of a mount namespace, and change under it.
if [ "$(id -u)" = 0 ] && unshare --mount -- true 2>/dev/null; then
    : >"$dir/meminfo"
    : >"$dir/online"
    runner_prefix=(unshare --mount --propagation private -- sh -euc "mount --bind '$dir/meminfo' /proc/meminfo
        mount --bind '$dir/online' /sys/devices/system/cpu/online"' && exec "$@"' sh)
    runner_capacity="{disk_overcommit: 0}"
    up
    like "what cannot be read is said" "$(cat "$runner_log")" 'event=host.capacity_unknown host=local resource=memory '
    is "and has no limit" "$(metric capacity_cpus)$(metric capacity_memory_bytes)" ""
    echo "MemTotal: 4194304 kB" >"$dir/meminfo"
    echo 0-1 >"$dir/online"
    create big '"cpuQuota": 17'
    refused "it is read before the next create" "17 asked for, 16 free of 16 \(2 CPUs times capacity.cpu_overcommit 8\)"
    for i in one two three; do
        create $i
        is "a small host has room for sandbox $i" $code 201
    done
    create four
    refused "and for no more" "not enough memory: 1024 MiB asked for, 512 MiB free of 3584 MiB \(4096 MiB less capacity.memory_reserve 512M, times capacity.memory_overcommit 1\)$"
    printf 'MemTotal: 8388608 kB\nHugetlb: 1048576 kB\n' >"$dir/meminfo"
    echo 0-2,5 >"$dir/online"
    http GET /info
    is "GET /info reads it again" "$(json metrics.cpu) $(json metrics.memoryGiB)" "4 7"
    create four
    is "there is room then" $code 201
    : >"$dir/meminfo"
    http GET /info
    is "what cannot be read any more stays as it was" "$(json metrics.memoryGiB)" 7
    run "$ctl" rm -f --all
    stop_runner
    runner_prefix=()
else
    skip "files of /proc and /sys for a runner need root and mount namespaces" 12
fi

# ---- memory ----
# Ten times what is beyond the reserve: 563 MiB, whatever the machine has.
begin "memory_overcommit: 10, memory_reserve: $((memory_mib - 563))M"
create one '"memoryQuota": 4'
is "memory: admitted" $code 201
create two '"memoryQuota": 2'
refused "memory" "not enough memory: 2048 MiB asked for, 15[0-9]{2} MiB free of 56[0-9]{2} MiB \([0-9]+ MiB less capacity.memory_reserve $((memory_mib - 563))M, times capacity.memory_overcommit 10\)$"
untouched "memory" two
create two '"memoryQuota": 1'
is "memory: less of it" $code 201
adds_up "memory"

# ---- what is shown ----
http GET /info
is "GET /info: allocated" \
    "$(json metrics.currentAllocatedCpu) $(json metrics.currentAllocatedMemoryGiB) $(json metrics.currentAllocatedDiskGiB)" "2 5 20"
is "GET /info: totals" "$(json metrics.cpu)" "$n_cpus"
like "GET /info: totals" "$(json metrics.memoryGiB) $(json metrics.diskGiB)" '^[0-9.]+ [0-9.]+$'
is "GET /info: a resource" "$(json capacity.2.resource) $(json capacity.2.allocated) $(json capacity.1.limit)" "memory $((5 * GIB)) null"
run "$ctl" info
like "runnerctl info: sandboxes" "$out" '^local +sandboxes +2 +- +-$'
like "runnerctl info: vCPUs" "$out" "^local +cpus +2 +- +$n_cpus\$"
like "runnerctl info: memory" "$out" '^local +memory +5\.0 GiB +5\.5 GiB +[0-9.]+ [GT]iB$'
run "$top_builddir/runner-ch" doctor --config "$dir/runner.yaml" --plugin-dir "$runner_plugins"
like "doctor" "$out" '^ok +capacity +56[0-9]{2} MiB memory \(.* less capacity.memory_reserve .*\): 5 sandboxes of the default size$'
run "$ctl" rm -f --all
stop_runner

# ---- disk ----
disk_bytes=$(($(stat -f -c '%b * %S' "$root")))
quota=$((disk_bytes / GIB / 10 + 1))
begin "disk_overcommit: 0.25, disk_reserve: 0"
create one "\"storageQuota\": $quota, \"skipStart\": true"
create two "\"storageQuota\": $quota, \"skipStart\": true"
is "disk: two of a tenth each" $code 201
create three "\"storageQuota\": $quota, \"skipStart\": true"
refused "disk" "not enough disk: $quota\.0 GiB asked for, [0-9.]+ GiB free of [0-9.]+ GiB \([0-9.]+ GiB less capacity.disk_reserve 0, times capacity.disk_overcommit 0.25\)$"
untouched "disk" three
adds_up "disk"
run "$ctl" rm -f one
create three "\"storageQuota\": $quota, \"skipStart\": true"
is "disk: after a destroy" $code 201
run "$ctl" rm -f --all
stop_runner

# Free: less than the reserve, which is less than all of it. Others fill and empty the file system meanwhile.
free_bytes=$(($(stat -f -c '%a * %S' "$root")))
if [ $((disk_bytes - free_bytes)) -gt $((1 << 30)) ]; then
    begin "disk_overcommit: 1000, disk_reserve: $((free_bytes + (disk_bytes - free_bytes) / 2))"
    create one '"storageQuota": 1'
    refused "free space" "no room on host 'local': [0-9]+ MiB are free in its file system, [0-9]+ MiB needed: capacity.disk_reserve [0-9]+[KM]? and 4 MiB for an empty sandbox$"
    untouched "free space" one
    is "free space: counted" "$(metric refused_total 'resource="space"')" 1
    stop_runner
else
    skip "the file system of $root is nearly empty" 4
fi

# ---- many at once ----
begin "cpu_overcommit: $(factor "$n_cpus" 7)"
at_once() { # METHOD PATH BODY N: N stands for 1 to 50; prints how many times each status was answered
    local i
    for ((i = 1; i <= $4; i++)); do
        [ $i = 1 ] || echo next
        printf '%s\n' "url = \"http://runner${2//N/$i}\"" "request = $1" "data = \"${3//N/$i}\"" \
            "unix-socket = \"$RUNNER_SOCKET\"" "max-time = 300" "output = /dev/null" 'write-out = "%{http_code}\n"' silent show-error
    done >"$dir/requests"
    curl --parallel --parallel-immediate --parallel-max 50 --config "$dir/requests" | sort | uniq -c | xargs
}
is "50 creates at once where 7 fit" \
    "$(at_once POST /sandboxes '{\"id\": \"c-N\", \"userId\": \"u\", \"osUser\": \"u\", \"snapshot\": \"tiny\"}' 50)" \
    "7 201 43 409"
is "7 VMs run" "$(vms)" 7
adds_up "50 at once"
is "50 at once: all others left nothing" "$(ls "$root/sandboxes" | wc -l)" 7
run "$ctl" rm -f --all
is "all are gone" "$(allocated)" "0 0 0 0"
is "50 stopped ones" \
    "$(at_once POST /sandboxes '{\"id\": \"s-N\", \"userId\": \"u\", \"osUser\": \"u\", \"snapshot\": \"tiny\", \"skipStart\": true}' 50)" "50 201"
is "50 starts at once where 7 fit" "$(at_once POST /sandboxes/s-N/start '{}' 50)" "7 200 43 409"
is "7 VMs run" "$(vms)" 7
adds_up "50 starts"
is "50 destroys at once" "$(at_once DELETE /sandboxes/s-N '' 50)" "50 200"
is "nothing is left" "$(allocated) $(vms) $(ls "$root/sandboxes")" "0 0 0 0 0 "
stop_runner
done_testing
