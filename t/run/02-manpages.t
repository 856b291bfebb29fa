#!/bin/bash
# not sanitized: it reads documents
# The documents: every page that is installed builds without a warning, every program and plugin has one, a page refers
# to pages that exist, and what README.md calls a path of the repository is there.
. "${top_srcdir:-.}/t/run/lib.sh" || exit 99
need man groff
unset MAKEFLAGS MFLAGS MAKELEVEL

make -s -C "$top_builddir" install-man DESTDIR="$dir/root" >"$dir/log" 2>&1
report $? "the pages install" || diag "$(tail -n 20 "$dir/log")"
find "$dir/root" -type f -path '*/man*' | sort >"$dir/pages"
ok "there are pages" test -s "$dir/pages"

# builds PAGE: neither man nor groff has anything to say about it.
builds() {
    LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$1" 2>&1 >/dev/null
    groff -man -ww -z -K utf8 -T utf8 "$1" 2>&1
}
while IFS= read -r page; do
    is "${page##*/} builds without a warning" "$(builds "$page")" ""
done <"$dir/pages"

has_page() { grep -q "/man${2##*.}/$2\$" "$1"; }
cd "$top_builddir" || exit 99
for name in $(make -s --no-print-directory print-programs); do
    ok "$name has a page" grep -Eq "/${name##*/}\.[18]\$" "$dir/pages"
done
for name in $(./runner-ch --plugin-dir plugins --list-plugins); do
    ok "$name has a page" has_page "$dir/pages" "runner-${name/\//-}.7"
done

# Ours begin with runner; pages of others may be absent here. A part that configure left out still has its page in the
# source.
find "$top_srcdir" -name 'runner*.[1-8]' >"$dir/all"
references() {
    sed -e '/^\.\\"/d' -e 's/\\-/-/g' "$1" | sed -n '/^\.SH SEE ALSO/,$p' |
        sed -nE 's/^\.BR (runner[a-z.-]*) \(([0-9])\).*/\1.\2/p'
}
while IFS= read -r page; do
    missing=
    for name in $(references "$page"); do
        grep -q "/$name\$" "$dir/all" || missing="$missing $name"
    done
    is "${page##*/} refers to pages that exist" "$missing" ""
done <"$dir/pages"

# ---- README.md ----

cd "$top_srcdir" || exit 99

# is_path WORD: whether a backquoted word claims to be a path of the repository: its first component is there, or it
# looks like a source file with a folder.
is_path() {
    case $1 in
    */../* | ../* | /* | *[!A-Za-z0-9_./*-]*) return 1 ;;
    */*.[cht] | */*.am | */*.md | */*.ac | */*.m4 | */*.yaml | */*.sh | */*.py | */*.[1-8]) return 0 ;;
    esac
    [ -e "${1%%/*}" ]
}

# exists WORD: a file, a pattern that matches one, or a plugin as KIND/NAME.
exists() {
    compgen -G "$1" >/dev/null || compgen -G "plugins/${1%/}" >/dev/null
}

sed '/^```/,/^```/d' README.md | grep -o '`[^`]*`' | tr -d '`' | sed 's|^\./||' | sort -u >"$dir/words"
n=0
missing=
while IFS= read -r word; do
    is_path "$word" || continue
    n=$((n + 1))
    exists "$word" || missing="$missing $word"
done <"$dir/words"
is "the paths in README.md exist" "$missing" ""
ok "README.md has paths ($n)" test "$n" -ge 20

is "the row of tier sanitize has the scripts that leave it out" \
    "$(grep '^| sanitize' README.md | grep -o 't/run/[^`]*\.t' | sort | tr '\n' ' ')" \
    "$(for script in t/run/*.t; do sed -n "1,5s|^# not sanitized: .*|$script|p" "$script"; done | tr '\n' ' ')"

# The tree map names each folder of sources.
missing=
for folder in core core/* kit kit/* plugins/*/* guest/* conf include m4 t t/*; do
    [ -d "$folder" ] || continue
    grep -Fq "\`$folder/" README.md || missing="$missing $folder"
done
is "the map in README.md has every folder" "$missing" ""
sed -n '/^## Map of the tree/,/^Each plugin folder/s/^| //p' README.md | grep -o '`[^`]*`' | tr -d '`' >"$dir/map"
missing=
for file in core/*.c; do
    while IFS= read -r pattern; do
        # shellcheck disable=SC2053
        [[ $file != $pattern ]] || continue 2
    done <"$dir/map"
    missing="$missing $file"
done
is "and every file of core" "$missing" ""

is "the scripts of t/run can be run" "$(for script in t/run/*.t; do [ -x "$script" ] || echo "$script"; done)" ""
done_testing
