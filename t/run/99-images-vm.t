#!/usr/bin/env bash
# tier: vm
# Images of a registry become sandboxes by the Daytona API's jobs alone: inspected, pulled and copied, run as they want to
# be run, removed. Four kinds of images on real guests.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
. "$top_srcdir/t/run/lib-daytona.sh"
. "$top_srcdir/t/run/lib-images.sh"
need curl python3
need_vm tiny debian
need_images debian
ok "a registry is there" start_registry nsenter --net="/run/netns/$netns" || done_testing
ok "the API is there" start_daytona nsenter --net="/run/netns/$netns" || done_testing
for tag in busybox app debian systemd; do
    ok "$tag is in it" publish "$tag" "library/$tag:1"
done
mkdir -p "$root/snapshots"
ok "what images boot is made" "$top_builddir/runner-image" boot --root "$root" --cache "$cache/cache" \
    --guestd "$top_builddir/guest/runner-guestd"
[ ! -f "$cache/accel-qemu.json" ] || cp "$cache/accel-qemu.json" "$root/"
chmod 711 "$dir"
mkdir -p "$dir/run"
at_exit kill_all_vms
at_exit eval 'kill -KILL $runner_pid'
(umask 077 && printf '%s\n' "$token" >"$dir/runner.token")
vm_listen=127.0.0.1:0
vm_top="domain: 127.0.0.1
state_dir: $dir/state
api: {version: 2, url: \"$daytona_url\", token_file: $dir/runner.token, healthcheck_interval: 1s}"
start_vm_runner bridge || die_early "the runner comes up"
daytona POST /wait '{"runner": "ready", "timeout": 60}'
daytona GET /runner
proxy_url=$(json proxyUrl)
login="{\"url\": \"$registry\", \"project\": \"daytona\", \"username\": \"user\", \"password\": \"word\"}"

by_job() { # TYPE RESOURCE [PAYLOAD]: sets $status, and $result to its metadata
    daytona POST /jobs "{\"type\": \"$1\", \"resourceId\": \"$2\"${3:+, \"payload\": $3}}"
    daytona_result "$(json id)" 600
    status="$(json status) $(json errorMessage)"
    result=$(json resultMetadata)
}

execute() { # ID COMMAND: sets $out to its output
    code=$(in_netns curl -sS --max-time 120 -H "Authorization: Bearer $token" -H "Content-Type: application/json" \
        --data-binary "{\"command\": \"$2\", \"timeout\": 100}" -o "$dir/.out" -w '%{http_code}' \
        "$proxy_url/sandboxes/$1/toolbox/process/execute")
    out=$(cat "$dir/.out")
    [ "$code" != 200 ] || out=$(json result)
}

id_of() { printf '5e4f9a80-7f42-4c57-9b6c-%012x\n' "$1"; }

no_trial() { # that tells which accelerator works: a machine that is no sandbox's
    before=$(leftovers)
    [[ $before == *" vms=0 "* ]]
}
ok "no machine runs" await 120 no_trial

# As the API does it for a new snapshot and a sandbox of it (contract 7.3).
number=0
use() { # TAG
    local ref=$registry/library/$1:1 hash
    id=$(id_of $((++number)))
    by_job INSPECT_SNAPSHOT_IN_REGISTRY "$ref" "{\"snapshot\": \"$ref\", \"registry\": $login}"
    is "$1: INSPECT" "$status" "COMPLETED "
    hash=$(json hash "$result")
    is "$1: its hash" "$hash" "$(raw_manifest "$ref" | sha256sum | cut -c 1-64)"
    target=$registry/daytona/daytona-$hash:daytona
    by_job PULL_SNAPSHOT "$target" "{\"snapshot\": \"$ref\", \"sandboxClass\": \"linux-vm\", \"registry\": $login,
        \"destinationRegistry\": $login, \"destinationRef\": \"$target\"}"
    is "$1: PULL" "$status" "COMPLETED "
    is "$1: the same is in the internal registry" "$(raw_manifest "$target" | sha256sum)" "$(raw_manifest "$ref" | sha256sum)"
    by_job CREATE_SANDBOX "$id" "{\"id\": \"$id\", \"userId\": \"u\", \"snapshot\": \"$target\", \"osUser\": \"daytona\",
        \"cpuQuota\": 1, \"memoryQuota\": 1, \"storageQuota\": 3, \"env\": {\"GREETING\": \"hello there\"},
        \"registry\": $login, \"entrypoint\": null, \"volumes\": [], \"sandboxClass\": \"linux-vm\"}"
    is "$1: CREATE" "$status" "COMPLETED " || diag "$(tail -n 20 "$root/sandboxes/$id/serial.log" 2>&1)"
}

leave() { # TAG
    by_job DESTROY_SANDBOX "$id"
    is "$1: DESTROY" "$status" "COMPLETED "
    by_job REMOVE_SNAPSHOT "$target"
    is "$1: REMOVE" "$status" "COMPLETED "
}

use busybox
execute "$id" "cat /etc/os-release"
is "busybox: its own /etc/os-release" "$out" "ID=busybox-image"
execute "$id" "sh -c 'id -un; pwd; echo \$GREETING \$PATH; df -m / | tail -n 1 | tr -s \\\" \\\" | cut -d \\\" \\\" -f 2'"
like "busybox: root, at home, with both environments, on a disk of its quota" "$(tr '\n' ' ' <<<"$out")" \
    '^root /root hello there /bin (29|30)[0-9][0-9] $'
execute "$id" "sh -c 'hostname; cat /etc/resolv.conf; grep -c ${id:0:12} /etc/hosts'"
is "busybox: host name, resolver, hosts" "$(tr '\n' ' ' <<<"$out")" "${id:0:12} nameserver 10.0.0.1 1 "
leave busybox

use app
execute "$id" "sh -c 'id -un; id -gn; pwd; echo \$COLOUR'"
is "app: USER, WORKDIR, ENV" "$(tr '\n' ' ' <<<"$out")" "app staff /work/deep blue "
entrypoint_log() {
    in_netns curl -sS --max-time 60 -H "Authorization: Bearer $token" \
        "$proxy_url/sandboxes/$id/toolbox/process/session/entrypoint/command/entrypoint_command/logs"
}
ok "app: ENTRYPOINT runs, and its log is kept" await 60 eval '[ "$(entrypoint_log)" = "I am app in /work/deep, blue" ]'
leave app

use debian
execute "$id" "sh -c '. /etc/os-release; echo \$ID; cat /proc/1/comm; getcap /bin/ping 2>/dev/null || true; stat -c %a /usr/bin/su'"
like "debian: the guest daemon is process 1" "$(tr '\n' ' ' <<<"$out")" '^debian init .*4755 $'
leave debian

use systemd
execute "$id" "sh -c 'cat /proc/1/comm; systemctl is-active runner-guestd.service; hostname'"
is "systemd: the image's own, with the daemon as a unit" "$(tr '\n' ' ' <<<"$out")" "systemd active ${id:0:12} "
leave systemd

ok "nothing is left of sandboxes" await 60 no_leftovers
diag "before: $before; after: $(leftovers)"
daytona GET /violations
is "the API was asked as it wants to be" "$out" "[]"
not_ok "no password in the log" grep -qF '"word"' "$runner_log"
done_testing
