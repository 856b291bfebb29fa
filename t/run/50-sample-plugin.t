#!/bin/sh
# A third party's plugin: built outside the tree with the installed header and pkg-config file alone, then loaded and used.
src=${top_srcdir:-.} build=${top_builddir:-.}
dir=$(mktemp -d "${TMPDIR:-/tmp}/rct.XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
trap 'exit 99' HUP INT TERM
unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR

skip() { echo "1..0 # SKIP $1"; exit 0; }
die() { echo "Bail out! $1"; sed 's/^/# /' "$dir/log"; exit 1; }

command -v pkg-config >/dev/null || skip "pkg-config is not installed"
command -v cc >/dev/null || skip "no C compiler is installed"

make -s -C "$build" install-includeHEADERS install-pkgconfigDATA DESTDIR="$dir/root" >"$dir/log" 2>&1 || die "make install"
pc=$(find "$dir/root" -name runner-plugin.pc)
[ -n "$pc" ] || die "runner-plugin.pc was not installed"

mkdir "$dir/sample" "$dir/tmp"
cp "$src/t/plugin/sample/rawcopy.c" "$src/t/plugin/sample/Makefile" "$dir/sample/"
PKG_CONFIG_LIBDIR=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$dir/root PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 \
    make -s -C "$dir/sample" install CC=cc plugindir="$dir/plugins" \
    CFLAGS="-std=gnu99 -O2 -Wall -Wextra -Wno-unused-parameter -Werror" >"$dir/log" 2>&1 || die "the sample does not build"

"$build/runner-ch" --plugin-dir "$dir/plugins" --dump-plugin disk/rawcopy >"$dir/log" 2>&1 &&
    grep -q '^name=rawcopy$' "$dir/log" || die "runner-ch --dump-plugin does not take it"

# Its size is part of the interface's promise: comments and blank lines aside.
lines=$(sed -e 's|/\*.*\*/||' -e '/\/\*/,/\*\//d' "$dir/sample/rawcopy.c" | grep -c '[^[:space:]]')
[ "$lines" -le 60 ] || die "the sample has $lines lines of code, more than 60"

TMPDIR=$dir/tmp
export TMPDIR
"$build/t/run/check-disk" "$dir/plugins" rawcopy
