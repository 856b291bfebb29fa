#!/bin/sh
# takes: 20 s
# The HTTP server's front over a fake backend and scripted guests: every trap of proxying that is known, on loopback.
if ! command -v python3 >/dev/null; then
    echo "1..0 # SKIP needs python3"
    exit 0
fi
exec python3 -B "${top_srcdir:-.}/t/http/front-test.py" "${top_builddir:-.}/t/http/front-driver"
