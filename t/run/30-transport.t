#!/bin/sh
# transport/local: every step kind, in a directory of its own.
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/rct.XXXXXX") || exit 99
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 99' HUP INT TERM
"${top_builddir:-.}/t/run/check-transport"
