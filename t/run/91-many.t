#!/usr/bin/env bash
# tier: vm
# Twenty guests at once, and nothing left of them.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
. "$top_srcdir/t/run/lib-vm.sh"
need_vm tiny
start_vm_runner bridge || die_early "the runner comes up"
n=20
ok "the accelerator is chosen" await 60 vmm_is_known

# The threads and descriptors that the first sandbox brings are the runner's own.
ok "one before" vm_create many-0
ok "and gone" "$ctl" rm -f many-0
before=$(leftovers)
pids=()
for i in $(seq $n); do
    vm_create "many-$i" >"$dir/create.$i" 2>&1 &
    pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do
    wait "$pid" || failed=$((failed + 1))
done
is "d27: $n creates at once all answer" "$failed" 0
[ $failed = 0 ] || diag "$(cat "$dir"/create.*)"
answers=$(for i in $(seq $n); do
    "$ctl" exec "many-$i" -- sh -c 'echo "$(hostname) $(ip -4 -o addr show dev eth0 | sed "s/.*inet \([^ ]*\).*/\1/")"'
done)
is "each has its own host name" "$(cut -d' ' -f1 <<<"$answers" | sort -u | wc -l)" $n
is "each has its own address" "$(cut -d' ' -f2 <<<"$answers" | sort -u | wc -l)" $n
like "and the host name is its id's" "$answers" "^many-$n 10\.0\.0\."
ok "destroy all" "$ctl" rm -f --all
ok "d23: nothing is left: $before" await 60 no_leftovers || diag "$(leftovers)"
done_testing
