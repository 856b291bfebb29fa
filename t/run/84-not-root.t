#!/usr/bin/env bash
# tier: component
# A runner that is not root, where root's was before: what it may not look into is none of its own.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
[ "$(id -u)" = 0 ] || skip_all "needs root, to be another user"
need setpriv
as_nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups --)
"${as_nobody[@]}" test -x "$top_builddir/runner-ch" || skip_all "others cannot reach $top_builddir"
hierarchy=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
[ -n "$hierarchy" ] && mkdir -m 700 "$hierarchy/$cgroup_parent" 2>/dev/null || skip_all "no cgroup can be made here"

# shellcheck disable=SC2016
runner_prefix=(sh -ec 'chown -R 65534:65534 "$1" && shift && exec "$@"' sh "$dir" "${as_nobody[@]}")
start_runner
is "it is somebody else's" "$(stat -c %u "/proc/$runner_pid")" 65534
run "$ctl" create --snapshot tiny one
is "create" "$code $out" "0 one" || diag "$err"
run "$ctl" rm --force one
is "destroy, where cgroups are root's" "$code $err" "0 "
is "nothing is left" "$(ls -A "$root/sandboxes")" ""
stop_runner
is "it ends as it should" "$code" 0
done_testing
