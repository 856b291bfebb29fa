#!/usr/bin/env bash
# tier: vm
# Random operations on real guests, with the runner and VMMs killed; files that were synced in guests are read back.
# The whole of it: OPERATIONS=200 KILLS=10 SANDBOXES=6
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
need python3
need_vm tiny
chmod 711 "$dir"
status=0
VMM=qemu SNAPSHOT=$cache/snapshots/tiny OPERATIONS=${OPERATIONS:-60} KILLS=${KILLS:-4} CLIENTS=${CLIENTS:-4} \
    SANDBOXES=${SANDBOXES:-4} TMPDIR=$dir PYTHONPATH=$top_srcdir/t/rig:$top_srcdir/t/fault \
    python3 -B "$top_srcdir/t/fault/random_operations.py" || status=$?
test_is_done=yes # the plan is told
exit $status
