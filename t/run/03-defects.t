#!/usr/bin/env bash
# not sanitized: it reads documents
# README.md's table of the defects of earlier runners: every id has a line, which says what holds it or that nothing
# does; and each test that a line names has something in it that is called by that id: a file, a test, a point "d04: ...".
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
cd "$top_srcdir" || exit 99

sed -n '/^## Defects/,/^## Notes/p' README.md | grep -E '^\| [DS][0-9]+ \|' >"$dir/table"
line_of() { grep -E "^\| $1 \|" "$dir/table"; }

ids=$(echo D{1..17} D{20..27} S{1..9})
is "the table has each id once, in order" "$(sed -E 's/^\| ([DS][0-9]+) .*/\1/' "$dir/table" | tr '\n' ' ')" "$ids "

for id in $ids; do
    line=$(line_of "$id")
    said=${line#*|*|*| }
    like "$id: held, in part, or open" "$said" '^(held|in part|open)[: ]'
    word=$(printf '%s%02d' "${id:0:1}" "${id:1}" | tr DS ds)
    missing=
    n=0
    for path in $(grep -o '`t/[^`]*`' <<<"$said" | tr -d '`'); do
        n=$((n + 1))
        # shellcheck disable=SC2086 # a pattern
        [[ $path = *-$word-* && -e $path ]] || grep -Eq "(^|[^a-z0-9])$word([^a-z0-9]|\$)" $path || missing+=" $path"
    done
    is "$id: the tests that it names call something ${word}" "$missing" ""
    [[ $said != held* ]] || ok "$id: it names a test" test $n -gt 0
done
done_testing
