#!/bin/sh
# The disk plugins of this build, on real files.
dir=$(mktemp -d "${TMPDIR:-/tmp}/rct.XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
trap 'exit 99' HUP INT TERM
TMPDIR=$dir
export TMPDIR
"${top_builddir:-.}/t/run/check-disk" "${top_builddir:-.}/plugins" qcow2
