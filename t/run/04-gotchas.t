#!/usr/bin/env bash
# not sanitized: it reads documents
# README.md's table of the traps of Daytona's protocol: each of the 48 is in it once, and what a line names as holding it has
# a test point "gotcha N".
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
cd "$top_srcdir" || exit 99

sed -n '/^## Traps/,/^## Notes/p' README.md | grep -E '^\| [0-9]' >"$dir/table"
numbers=$(cut -d '|' -f 2 "$dir/table" | tr -s ' ' '\n' | grep . | sort -n | tr '\n' ' ')
is "the table has each number once" "$numbers" "$(echo {1..48}) "

while IFS='|' read -r _ list said _; do
    path=$(grep -o '`t/[^`]*`' <<<"$said" | tr -d '`')
    [ -n "$path" ] || continue
    missing=
    for n in $list; do
        grep -Eq "gotcha[ _]$n([^0-9]|\$)" "$path" || missing+=" $n"
    done
    is "what $path has" "$missing" ""
done <"$dir/table"
done_testing
