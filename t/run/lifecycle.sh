# The list of lifecycle tests that every VMM passes: lifecycle ID, after lib.sh and a running runner. Which VMM that is, and
# where, is its caller's matter. What differs between real guests and fakes is asked by these functions, of which lib-vm.sh
# has the real ones; one that is not there is a point that is skipped:
#   vm_create ID [OPTION...] makes the sandbox
#   guest_write ID TEXT      TEXT into a file on the guest's disk, not synced
#   guest_read ID            what that file says
#   guest_boot ID            another text after each boot, the same between
#   ticker_start ID          the guest begins to count, some times a second
#   ticks ID                 how far it has come, as seen from outside, paused or not
#   runner_restart SIGNAL    ends the runner, starts another
#   noticed_within_ms        what "at once" means of a VMM's death (100; emulation in emulation has a reason for more)
life_member() { http GET "/sandboxes/$1" && json "$2"; } # ID MEMBER
life_state() { life_member "$1" state; }
life_pid() { life_member "$1" pid; }
is_state() { [[ $(life_state "$1") =~ ^($2)$ ]]; }
has() { declare -F "$1" >/dev/null; }
ticks_beyond() { [ "$(ticks "$1")" -gt "$2" ]; }

lifecycle() {
    life_create "$1"
    life_pause "$1"
    life_stop "$1"
    life_vmm_death "$1" error
    life_adopt "$1"
    life_vmm_death "$1" 'stopped|error' # nobody knows how a process of another parent ended
    life_destroy "$1"
}

life_create() {
    ok "create" vm_create "$1" --user root
    is "is started" "$(life_state "$1")" started
    run "$ctl" exec "$1" -- uname -s
    like "exec through the toolbox" "$code $out" '^0 (Linux|fake guest)$'
}

life_pause() {
    local before after
    if has ticker_start; then
        ticker_start "$1"
        ok "the guest counts" await 60 ticks_beyond "$1" 3
    fi
    ok "pause" "$ctl" pause "$1"
    is "is paused" "$(life_state "$1")" paused
    if has ticker_start; then
        before=$(ticks "$1")
        sleep 2 # that nothing happens has no event
        is "the guest stands still" "$(ticks "$1")" "$before"
    fi
    ok "resume" "$ctl" resume "$1"
    is "is started" "$(life_state "$1")" started
    if has ticker_start; then
        ok "the guest goes on" await 60 ticks_beyond "$1" "$((before + 3))"
        after=$(ticks "$1")
        ok "from where it was: $before, $after" [ "$after" -lt $((before + 1000)) ]
    else
        skip "this guest does not count" 4
    fi
}

life_stop() {
    local boot
    if has guest_write; then
        boot=$(guest_boot "$1")
        ok "a file is written, not synced" guest_write "$1" "kept over $boot"
    fi
    ok "stop" "$ctl" stop "$1"
    is "is stopped" "$(life_state "$1")" stopped
    is "no process is left" "$(life_pid "$1")" ""
    ok "start" "$ctl" start "$1"
    is "is started" "$(life_state "$1")" started
    if has guest_write; then
        ok "it is another boot" [ "$(guest_boot "$1")" != "$boot" ]
        is "of the same disk, which was written before the power went" "$(guest_read "$1")" "kept over $boot"
    else
        skip "this guest has no disk" 3
    fi
}

life_adopt() {
    local pid boot=
    pid=$(life_pid "$1")
    ! has guest_boot || boot=$(guest_boot "$1")
    ok "the runner is killed, another comes up" runner_restart KILL
    ok "it has the sandbox" await 60 is_state "$1" started
    is "the process is the same" "$(life_pid "$1")" "$pid"
    run "$ctl" exec "$1" -- uname -s
    like "exec, by the new runner" "$code $out" '^0 (Linux|fake guest)$'
    ! has guest_boot || is "it never stopped" "$(guest_boot "$1")" "$boot"
    ok "the new runner pauses it" "$ctl" pause "$1"
    ok "and resumes it" "$ctl" resume "$1"
}

now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }

# The runner's words of VMs of ID that ended: lines of its log.
noticed() { grep -E "op=exited .*id=$1( |\$)" "$runner_log"; }
noticed_beyond() { [ "$(noticed "$1" | wc -l)" -gt "$2" ]; } # ID COUNT

# await_death PID: it has no threads and no memory any more; reaped or not.
await_death() {
    local state=
    while [ -n "$1" ] && read -r _ _ state _ 2>/dev/null <"/proc/$1/stat" && [ "$state" != Z ]; do
        :
    done
}

# Kills the VMM; sets $late: the milliseconds from its death to the runner's word of it.
life_kill_vmm() { # ID STATE
    local pid killed died before
    before=$(noticed "$1" | wc -l)
    pid=$(life_pid "$1")
    killed=$(now_ms)
    kill -KILL "$pid"
    await_death "$pid"
    died=$(now_ms)
    ok "a VMM that is killed leaves state $2" await 60 is_state "$1" "$2"
    await 60 noticed_beyond "$1" "$before"
    late=$(($(date -d "$(noticed "$1" | tail -n 1 | cut -d' ' -f1)" +%s%3N) - died))
    diag "dead $((died - killed)) ms after SIGKILL; state \"$(life_state "$1")\" $late ms after death"
}

life_vmm_death() { # ID STATE
    local late limit=100 try
    ! has noticed_within_ms || limit=$(noticed_within_ms)
    life_kill_vmm "$1" "$2"
    [ "$2" != error ] || like "with an error that says how" "$(life_member "$1" error)" 'killed by signal 9'
    for try in {2..20}; do # a machine that is busy with something else is given more of them
        [ "$late" -gt "$limit" ] || break
        ok "try $try" "$ctl" start "$1"
        life_kill_vmm "$1" error
    done
    ok "within $limit ms of its death" [ "$late" -le "$limit" ]
    ok "it starts again" "$ctl" start "$1"
}

life_destroy() {
    ok "destroy" "$ctl" rm -f "$1"
    is "is destroyed" "$(life_state "$1")" destroyed
    ok "again" "$ctl" rm -f "$1"
}
