#!/bin/bash
# tier: component
# takes: 15 s
# t/unit/criterion-run notices what a test leaves behind, and takes it away.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99

judge() { # LINE...: of a test
    { echo '#!/bin/bash' && printf '%s\n' "$@" 'echo ok 1' 'echo 1..1'; } >"$dir/case.t"
    chmod +x "$dir/case.t"
    run sh "$top_srcdir/t/unit/criterion-run" "$dir/case.t"
}
is_gone() { ! kill -0 "$1"; }

judge 'sleep 1 >/dev/null &' 'mkdir "$TMPDIR/a"' 'trap "rmdir \"$TMPDIR/a\"" EXIT'
is "one that cleans up, and what ends by itself" "$code" 0

judge 'exit 3'
is "its exit status" "$code" 3

judge 'setsid sleep 1000 >/dev/null 2>&1 &' "echo \$! >$dir/pid" 'touch "$TMPDIR/file"'
is "a daemon: it fails" "$code" 1
like "which it is" "$out" "^# left running: $(cat "$dir/pid") sleep 1000"
ok "which is gone" is_gone "$(cat "$dir/pid")"

judge 'touch "$TMPDIR/file"'
is "a file: it fails" "$code" 1
like "which it was" "$out" '^# left in TMPDIR: file'

# All that run for it are told to end, as by the terminal or timeout(1).
printf '%s\n' '#!/bin/bash' 'setsid sleep 1000 >/dev/null 2>&1 &' "echo \$! >$dir/pid" "echo \$TMPDIR >$dir/at" 'sleep 1000' \
    >"$dir/case.t"
rm "$dir/pid"
set -m
sh "$top_srcdir/t/unit/criterion-run" "$dir/case.t" >/dev/null 2>&1 &
group=$!
set +m
at_exit eval '[ -z "$group" ] || kill -KILL -- "-$group"'
await 60 test -s "$dir/at"
kill -TERM -- "-$group"
wait "$group"
is "told to end, it does" $? 99
group= # its number may be another's by the end
ok "and what it had started is gone" is_gone "$(cat "$dir/pid")"
not_ok "and its folder" test -e "$(cat "$dir/at")"

done_testing
