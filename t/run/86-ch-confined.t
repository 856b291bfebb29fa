#!/bin/bash
# takes: 15 s
# Cloud Hypervisors whose answer to vm.create comes too late, and kernels that refuse the rules of landlock: what was to be
# confined and is not runs only where the configuration lets it, and is warned of.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
need curl
use_cloud_hypervisor
vm_plugin=$runner_vmm

start_with() { # LANDLOCK
    runner_vmm="${vm_plugin%\}}, landlock: \"$1\", boot_timeout: 2s}"
    start_runner
}

create() { # ID WISH...
    vm_wish "$@"
    http POST /sandboxes -d "{\"id\": \"$1\", \"userId\": \"u\", \"snapshot\": \"tiny\", \"osUser\": \"daytona\"}"
}

# Whether the machine was made with the rules.
rules() { # ID
    json config.landlock_enable "$(curl -sS --max-time 60 --unix-socket "$dir/run/$1.sock" http://vmm/api/v1/vm.info)"
}

warnings() {
    grep -c event=vmm.no_landlock "$runner_log"
}

ok "the runner starts" start_with auto || exit 1
create late "stall vm.create 3000 1"
is "d06: an answer that is lost fails no create" "$code" 201
is "... which is confined" "$(rules late)" true

create deaf "stall vm.create 3000"
is "two are too many" "$code" 408
like "... and the create says so" "$(message)" "does not answer vm.create in time"
is "nobody was warned" "$(warnings)" 0

create open no-landlock "stall vm.create 3000 1"
is "s05: the rules were refused, and the answer is lost: it is created" "$code" 201
is "... without them" "$(rules open)" false
is "... with a warning" "$(warnings)" 1

stop_runner
ok "another runner insists on them" start_with on || exit 1
create strict no-landlock "stall vm.create 3000 1"
is "s05: the rules were refused, and the answer is lost: it fails" "$code" 500
like "... and says why" "$(message)" "refuses vm.create: .*landlock"

for id in late open; do
    http POST "/sandboxes/$id/destroy"
done
is "nothing is left" "$(vms)" 0
is "none ran otherwise than it was asked for" "$(cat "$vmm.faults")" ""
done_testing
