#!/usr/bin/env bash
# not sanitized: what it tests is Python
# The fake Daytona API against what was recorded of the real one.
if ! command -v python3 >/dev/null; then
    echo "1..0 # SKIP needs python3"
    exit 0
fi
PYTHONPATH="${top_srcdir:-.}/t/rig" exec python3 -B "${top_srcdir:-.}/t/fake/daytona-test.py" "$@"
