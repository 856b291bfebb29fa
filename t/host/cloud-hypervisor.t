#!/usr/bin/env bash
# tier: host
# Run in a hypervisor host by 97-host.t, after the list that all VMMs share: what holds of Cloud Hypervisor there. Its
# process is confined, a guest's panic is an error that says so.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
need_vm tiny
start_vm_runner bridge || die_early "the runner comes up"
ok "create" vm_create box --user root
http GET /sandboxes/box
pid=$(json pid)
proc=/proc/$pid
is "the process is Cloud Hypervisor" "$(basename "$(readlink "$proc/exe")")" cloud-hypervisor

# ---- who it is ----
status() { sed -n "s/^$1:[[:space:]]*//p" "$2"; }
of_threads() { for task in "$proc"/task/*/status; do status "$1" "$task"; done | sort | uniq -c | tr -s ' '; }
uid=$(status Uid "$proc/status" | cut -f1)
like "its user is not root, and of the runner's range" "$(status Uid "$proc/status")" "^(19000[0-9]{5})	\\1	\\1	\\1$"
is "nobody else has that user" "$(stat -c %u /proc/[0-9]*/status 2>/dev/null | grep -c "^$uid$")" 1
is "the same group" "$(status Gid "$proc/status" | cut -f1)" "$uid"
is "of other groups that of /dev/kvm only" "$(status Groups "$proc/status" | tr -d ' ')" "$(stat -c %g /dev/kvm)"
for set in CapInh CapPrm CapEff CapBnd CapAmb; do
    like "no capability in $set, in any thread" "$(of_threads $set)" '^ [0-9]+ 0{16}$'
done
like "no new privileges, in any thread" "$(of_threads NoNewPrivs)" '^ [0-9]+ 1$'
diag "threads by name, seccomp mode and filters:"$'\n'"$(for task in "$proc"/task/*; do
    echo "$(cat "$task/comm") $(status Seccomp "$task/status") $(status Seccomp_filters "$task/status")"
done | sort | uniq -c)"
# The one that started the others waits for them, without a filter of its own: it runs no guest and serves no socket.
unfiltered=$(for task in "$proc"/task/*; do
    [ "$(status Seccomp "$task/status")" = 2 ] || basename "$task"
done | grep -vx "$pid")
is "each thread but the first, which waits, is under a seccomp filter" "$unfiltered" ""

# ---- what it holds ----
descriptors() { for fd in "$proc"/fd/*; do readlink "$fd"; done; }
taps() { grep -hs '^iff:' "$proc"/fdinfo/* | awk '{ print $2 }' | sort -u; }
is "its only TAP is the sandbox's" "$(taps)" tap-box
info() { curl -sS --max-time 30 --unix-socket "$(echo "$dir"/run/*box*.sock)" http://localhost/api/v1/vm.info; }
info=$(info)
is "landlock" "$(json config.landlock_enable "$info")" true
like "that TAP was handed over, it does not know its name" "$(json config.net.0.fds "$info")$(json config.net.0 "$info")" '^\['
unlike "and was not given one" "$(json config.net.0 "$info")" '"tap"'
unlike "it holds nothing of /etc, /root or /home" "$(descriptors)" '^/(etc|root|home)/'
like "it is in a cgroup of its own" "$(cat "$proc/cgroup")" '^0::/.*box'
cgroup=/sys/fs/cgroup$(cut -d: -f3 "$proc/cgroup")
is "alone" "$(cat "$cgroup/cgroup.procs")" "$pid"
like "with a limit of memory" "$(cat "$cgroup/memory.max")" '^[0-9]+$'
like "and of threads" "$(cat "$cgroup/pids.max")" '^[0-9]+$'
like "no core is written" "$(grep 'core file' "$proc/limits")" ' 0  +0 '
is "nobody else can read its files" "$(find "$root/sandboxes/box" -type f -perm /077)" ""
is "or see which there are" "$(find "$root/sandboxes/box" -type d -perm /066)" ""
run "$ctl" exec box -- sh -c 'ip -4 addr show dev eth0; dmesg | grep -c "pvpanic\|virtio"'
like "the guest behind that TAP answers" "$out" 'inet 10\.0\.0\.'

# ---- a guest's panic ----
# Half a second later, so that the exec is answered before: a guest that is gone cannot say that it was.
"$ctl" exec box -- sh -c '(sleep 0.5; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &'
is_error() { http GET /sandboxes/box && [ "$(json state)" = error ]; }
ok "a guest that panics is an error" await 60 is_error
like "that says so" "$(http GET /sandboxes/box && json error)" 'panic'
ok "which starts again" "$ctl" start box
ok "rm" "$ctl" rm -f box
is "its cgroup is gone" "$(find /sys/fs/cgroup -name '*box*')" ""
is "its process too" "$(ls -d "$proc" 2>/dev/null)" ""

stop_runner
is "SIGTERM ends the runner" "$code" 0
done_testing
